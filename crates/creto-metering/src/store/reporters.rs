//! Who may report for a subscription.

use creto_db::{Db, DbError, Write, params};
use creto_kernel::TenantId;

/// Puts these reporters in the place of those before.
pub(crate) fn put(tenant: &TenantId, subscription: &str, reporters: &[String]) -> Vec<Write> {
    let forget = Write::new("DELETE FROM meter_reporter WHERE tenant = $1 AND subscription = $2", params![tenant, subscription]);
    let note = |reporter: &String| {
        Write::new(
            "INSERT INTO meter_reporter (tenant, subscription, reporter) VALUES ($1,$2,$3)",
            params![tenant, subscription, reporter.as_str()],
        )
    };
    std::iter::once(forget).chain(reporters.iter().map(note)).collect()
}

/// The reporters of a subscription.
pub(crate) async fn of(db: &Db, tenant: &TenantId, subscription: &str) -> Result<Vec<String>, DbError> {
    let sql = "SELECT reporter FROM meter_reporter WHERE tenant = $1 AND subscription = $2 ORDER BY reporter";
    db.query(sql, params![tenant, subscription]).await?.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
