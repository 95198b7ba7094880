//! What shares leases between servers, so that they ask the database less often.

use std::fmt;

use creto_kernel::{ErrorCode, TenantId};
use futures::future::BoxFuture;

use crate::model::quota::QuotaId;

/// What hands leases out cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("what shares leases between servers cannot be reached: {0}")]
pub struct PoolError(pub String);

/// Quotas that refuse cannot be asked.
pub(crate) const UNAVAILABLE: ErrorCode = ErrorCode::new("metering.quota_unavailable");

/// A pool of units of one subject in one span: debited in the database already.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// Whose tenant.
    pub tenant: &'a TenantId,
    /// Under which quota.
    pub quota: QuotaId,
    /// Under which revision of it.
    pub revision: i64,
    /// Whose.
    pub subject: &'a str,
    /// The span, by its first moment in microseconds.
    pub start: i64,
    /// When the span ends.
    pub end: i64,
}

/// Pools of units that were debited in the database and that no server has.
///
/// INVARIANT: a unit is in at most one place: in a pool, or with the server it was handed to. A pool that was lost, or that came back
/// from an older time, hands out nothing.
pub trait Pools: Send + Sync + fmt::Debug {
    /// Takes up to `most` units out of a pool; none of one that is not there. After an error what was taken is nobody's.
    fn take<'a>(&'a self, pool: Pool<'a>, most: i64) -> BoxFuture<'a, Result<i64, PoolError>>;

    /// Puts units into a pool; whether there was room for them. After an error nobody knows whether they are there, and they are nobody's.
    fn put<'a>(&'a self, pool: Pool<'a>, units: i64) -> BoxFuture<'a, Result<bool, PoolError>>;
}
