//! For tests: a fresh database of each engine, and a disk that loses power ([`Disk`]).

mod disk;
mod drive;
mod random;
mod vfs;

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{Db, MigrationSet};

pub use crate::sqlite::Steps;
pub use disk::{Counts, Disk, Synchronous};
pub use drive::drive;
pub use random::{Random, SEED, SEEDS, seeds};

/// The variable that names a PostgreSQL server whose user may create schemas.
pub const POSTGRES_URL: &str = "CRETO_TEST_POSTGRES_URL";

/// Runs `body` on a fresh SQLite file, then on a fresh schema of the PostgreSQL server at `CRETO_TEST_POSTGRES_URL`.
///
/// Without the variable it says so (`SKIPPED postgresql: …`), and under `CI=true` it fails.
#[expect(clippy::panic, reason = "a test kit speaks by panicking")]
pub async fn each_engine<F: AsyncFn(Db)>(sets: &[MigrationSet], body: F) {
    let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
    let db = Db::open_sqlite(&directory.path().join("test.db"), sets).unwrap_or_else(|e| panic!("sqlite: {e}"));
    body(db).await;
    let Some(schema) = Schema::create().await else { return };
    let db = Db::open_postgres(&schema.url, sets).await.unwrap_or_else(|e| panic!("postgresql: {e}"));
    body(db).await;
    schema.drop().await;
}

/// A schema of its own on the test server.
#[derive(Debug)]
pub struct Schema {
    /// A connection string whose `search_path` is the schema.
    pub url: String,
    server: String,
    name: String,
}

impl Schema {
    /// Makes a schema; `None` where no server is named, after saying so.
    #[expect(clippy::panic, clippy::print_stderr, reason = "a test kit speaks by printing and panicking")]
    pub async fn create() -> Option<Self> {
        let Ok(server) = std::env::var(POSTGRES_URL) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{POSTGRES_URL} is not set, and CI tests every engine");
            eprintln!("SKIPPED postgresql: {POSTGRES_URL} is not set");
            return None;
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("creto_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mark = if server.contains('?') { '&' } else { '?' };
        let schema = Self { url: format!("{server}{mark}options[search_path]={name}"), server, name };
        schema.run(&format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", schema.name)).await.unwrap_or_else(|e| panic!("{e}"));
        Some(schema)
    }

    /// Removes the schema and what is in it.
    pub async fn drop(self) {
        // What stays behind is removed by the next process with this number.
        let _ = self.run(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name)).await;
    }

    async fn run(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await
    }
}
