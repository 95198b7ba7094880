//! Test mode: a whole installation whose decisions bind nobody, and which says so wherever it shows one.

use creto_db::{Db, Sealed};
use creto_kernel::id::LeafId;
use creto_kernel::{Leaf, NhiId, Timestamp};

use crate::error::OversightError;
use crate::store::mode;

/// Whether this database is one for tests, which it is from its first commit or never: what was decided in a test is never in one log, or
/// under the keys of one log, with what binds. `wanted` makes an unused database one; without it an installation stays what it is.
///
/// Errors: `oversight.live` where a test is wanted in a database in which something was done in earnest.
pub async fn settle(db: &Db, server: &NhiId, now: Timestamp, wanted: bool) -> Result<bool, OversightError> {
    if mode::is_for_tests(db).await? {
        return Ok(true);
    }
    if !wanted {
        return Ok(false);
    }
    if mode::is_used(db).await? {
        return Err(OversightError::Live);
    }
    let bad = |e: creto_kernel::action::NameError| OversightError::BadInput(e.to_string());
    let (action, resource) = ("oversight.test_mode".parse().map_err(bad)?, format!("tenant:{}", server.tenant()).parse().map_err(bad)?);
    let leaf = Leaf::event(LeafId::generate(), now, server.clone(), action, resource, "begun").fact("mode", "test");
    db.commit(Sealed::new(leaf).step(mode::begin(server.tenant(), now))).await?;
    Ok(true)
}
