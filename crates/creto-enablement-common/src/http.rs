//! HTTP as every product speaks it: endpoints that state who may call them, strict JSON bodies, RFC 9457 problems.
//!
//! INVARIANT: a route exists only as an [`Endpoint`], and an endpoint has no constructor without an [`Access`] rule, which
//! [`Endpoints::into_router`] enforces before the handler runs: an unguarded route does not compile.

mod dialect;
mod endpoint;
mod extract;
mod problem;

pub use dialect::{Dialect, in_dialect};
pub use endpoint::{Access, Endpoint, Endpoints};
pub use extract::{Caller, HttpError, StrictJson};
pub use problem::Problem;
