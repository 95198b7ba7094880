//! Black-box tests of identity, delegation and credentials.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests speak by panicking")]

mod authority;
mod chains;
mod credentials;
mod fixture;
mod own_keys;
mod passkeys;
mod properties;
