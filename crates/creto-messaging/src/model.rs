//! Plain types of the protocol and their one wire form.
//!
//! INVARIANT: every value has exactly one encoding, and every decoder refuses all others: fixed lengths come from the suite, variable
//! ones carry a bounded length, and nothing may follow the last field. What was decoded re-encodes to the same bytes.

pub mod bundle;
pub mod envelope;
pub mod identity;
pub mod ids;
pub mod suite;
pub mod wire;

pub use bundle::{Bundle, Prekey, PrekeyId, PrekeyKind, Publication};
pub use envelope::{Authorization, Envelope, Mode, Opening, PrekeysNamed, Purpose};
pub use identity::{IdentityKeyId, IdentityStatement};
pub use ids::{AgreementPublic, DeviceId, RouteId, SessionId};
pub use suite::{Sizes, SuiteId};
