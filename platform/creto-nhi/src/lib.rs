//! Non-human identity: SPIFFE identifiers, signed delegation chains, credentials and revocation.
