//! Non-human identity: who acts, on whose authority, and how that is proved.
//!
//! People, agents and services are SPIFFE identifiers. Authority flows from a human or a service to agents by signed links, each no
//! wider than the one before: a [`DelegationChain`], untrusted bytes until [`Authority::verify`] makes a [`VerifiedChain`] of it.
//! [`Credentials`] turns what a request carries (a bearer key, a chain token with a signed request, a login session) into a
//! [`Principal`].
//!
//! - [`model`] what exists: grants, links, chains, identities, principals.
//! - [`core`] pure decisions: narrowing, verification, request signatures, replay memory, login throttling.
//! - [`Authority`] the embedded issuer: identities, keys, delegation, revocation.
//! - [`Credentials`] keys, proofs and sessions.
//!
//! INVARIANT: a chain never crosses a tenant or a trust domain, and a revocation is in force before its caller hears that it is.
//!
//! INVARIANT: an agent's credential carries the agent's role and no other; [`Roles`] has no value that says otherwise.
//!
//! INVARIANT: the database holds no secret: of keys and sessions it has SHA-256 digests of 256-bit secrets, of passwords argon2id.

mod authority;
pub mod core;
mod credentials;
mod error;
pub mod model;
mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use authority::{Authority, Source};
pub use credentials::{
    ApiKey, CHALLENGE_MAX, Credentials, Federated, FederatedEnd, FederatedStart, INVITE_MAX, IssuedKey, KEY_DAYS_MAX, Login, PASSKEYS_MAX,
    PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, PasskeyInfo, PasskeyQuestion, SESSION_IDLE_MAX, SESSION_MAX, Token, read_form,
};
pub use error::NhiError;
pub use model::chain::{Hop, VerifiedChain};
pub use model::grant::{Grant, Pattern};
pub use model::identity::{Identity, IdentityKey, Status};
pub use model::link::{DELEGATION_DOMAIN, DelegationChain, Link, LinkBody};
pub use model::principal::{AuthMethod, Principal, Role, Roles};
pub use model::registration::KeyRegistration;
pub use model::subjects::{Standing, subject_hash};
pub use store::{IDENTITIES_MAX, MIGRATIONS, PASSKEY_MIGRATIONS};
