//! Lists in pages: what every listing of the store does alike.

use creto_db::{Db, DbError, Row, Value, params};

use crate::model::page::{Listed, Page};

/// A page of what `rows` selects, with how many there are in all. `counted` counts the same rows; `filter` is what both take, and
/// `rows` takes LIMIT and OFFSET after it.
pub(crate) async fn listed<T>(
    db: &Db,
    rows: &'static str,
    counted: &'static str,
    mut filter: Vec<Value>,
    page: Page,
    read: impl Fn(&Row) -> Result<T, DbError>,
) -> Result<Listed<T>, DbError> {
    let total = db.query_optional(counted, filter.clone()).await?.map_or(Ok(0), |row| row.int(0))?;
    filter.extend(params![page.limit(), page.offset()]);
    let items = db.query(rows, filter).await?.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::of(items, page, total))
}
