//! What only a server can do to us: lost connections, other processes, schemas of others.

use crate::support::{SETS, count, insert, leaf, sealed};
use std::sync::atomic::{AtomicBool, Ordering};

use creto_db::testkit::Schema;
use creto_db::{Db, Migration, MigrationSet, Sealed, Step, StepError, Write, params};
use creto_kernel::Coded;
use futures::future::BoxFuture;
use sqlx::{Connection as _, PgConnection};

/// Ends the server's side of the writer's connection the first time it runs, as a failover or an administrator would.
#[derive(Debug, Default)]
struct EndsConnectionOnce(AtomicBool);

impl Step for EndsConnectionOnce {
    fn sqlite(&self, _: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        Ok(())
    }

    fn postgres<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            if !self.0.swap(true, Ordering::SeqCst) {
                sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(connection).await?;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_connection_lost_between_steps_is_repeated_and_written_once() {
    let Some(schema) = Schema::create().await else { return };
    let db = Db::open_postgres(&schema.url, SETS).await.unwrap();
    let work = Sealed::new(leaf()).step(insert(1, "one")).step(EndsConnectionOnce::default()).step(insert(2, "two"));
    assert_eq!(db.commit(work).await.unwrap().sequence, 1);
    assert_eq!((count(&db, "item").await, count(&db, "audit_leaf").await), (2, 1));
    schema.drop().await;
}

#[tokio::test]
async fn a_query_is_repeated_where_its_connections_broke_while_they_were_idle() {
    let Some(schema) = Schema::create().await else { return };
    let db = Db::open_postgres(&schema.url, SETS).await.unwrap();
    db.commit(sealed(1)).await.unwrap();
    let all = futures::future::join_all((0..32).map(|_| db.query("SELECT number FROM item, pg_sleep(0.05)", vec![]))).await;
    assert!(all.iter().all(Result::is_ok), "every connection there may be is open");
    let mut others = PgConnection::connect(&schema.url).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT number FROM item, pg_sleep%' AND pid <> pg_backend_pid()";
    let ended = sqlx::query(end).execute(&mut others).await.unwrap().rows_affected();
    assert!(ended >= 2, "{ended}");
    assert_eq!(count(&db, "item").await, 1);
    schema.drop().await;
}

#[tokio::test]
async fn two_processes_share_one_order_and_wake_each_other() {
    let Some(schema) = Schema::create().await else { return };
    let (one, two) = tokio::join!(Db::open_postgres(&schema.url, SETS), Db::open_postgres(&schema.url, SETS));
    let (one, two) = (one.unwrap(), two.unwrap());
    let mut followed = two.commits();
    let first = one.commit(sealed(1)).await.unwrap();
    followed.wait_for(|newest| *newest >= first.sequence).await.unwrap();
    let writes = (2..60).map(|n| if n % 2 == 0 { one.commit(sealed(n)) } else { two.commit(sealed(n)) });
    let mut sequences: Vec<i64> = futures::future::join_all(writes).await.into_iter().map(|c| c.unwrap().sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (2..60).collect::<Vec<_>>());
    schema.drop().await;
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone_and_ours_is_checked() {
    const ONE: Migration = Migration { version: 1, sqlite: "", postgres: "CREATE TABLE a (x INT)" };
    const EDITED: Migration = Migration { version: 1, sqlite: "", postgres: "CREATE TABLE a (x BIGINT)" };
    const WRONG: Migration = Migration { version: 2, sqlite: "", postgres: "CREATE TABLE c (x INT); CREATE TABLE a (x INT)" };
    let Some(schema) = Schema::create().await else { return };
    let open = async |migrations: &'static [Migration]| {
        Db::open_postgres(&schema.url, &[MigrationSet { name: "set", migrations }]).await.map_err(|e| e.code().as_str())
    };
    let mut connection = PgConnection::connect(&schema.url).await.unwrap();
    sqlx::query("CREATE TABLE theirs (x INT)").execute(&mut connection).await.unwrap();
    assert_eq!(open(&[ONE]).await.unwrap_err(), "db.foreign_schema");
    sqlx::query("DROP TABLE theirs").execute(&mut connection).await.unwrap();
    open(&[ONE]).await.unwrap();
    assert_eq!(open(&[EDITED]).await.unwrap_err(), "db.migration_changed");
    assert_eq!(open(&[]).await.unwrap_err(), "db.newer_schema");
    assert_eq!(open(&[ONE, WRONG]).await.unwrap_err(), "db.migration_failed");
    open(&[ONE]).await.unwrap();
    schema.drop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let error = Db::open_postgres("postgres://nobody@127.0.0.1:1/none", SETS).await.unwrap_err();
    assert_eq!(error.code().as_str(), "db.unavailable");
    let wrong = Db::open_postgres("this is no url", SETS).await.unwrap_err();
    assert_eq!(wrong.code().as_str(), "db.unavailable");
}

#[tokio::test]
async fn commits_wait_for_the_disk_even_where_the_server_would_not() {
    let Some(schema) = Schema::create().await else { return };
    let url = format!("{}&options[synchronous_commit]=off", schema.url);
    let db = Db::open_postgres(&url, SETS).await.unwrap();
    let shown = db.query("SELECT current_setting('synchronous_commit')", vec![]).await.unwrap();
    assert_eq!(shown[0].text(0).unwrap(), "on");
    let note = "INSERT INTO item (number, name) SELECT $1, current_setting('synchronous_commit')";
    db.commit(Sealed::new(leaf()).step(Write::new(note, params![1_i64]))).await.unwrap();
    let noted = db.query("SELECT name FROM item", vec![]).await.unwrap();
    assert_eq!(noted[0].text(0).unwrap(), "on", "the writer's session too");
    schema.drop().await;
}

/// Stands still inside the commit for longer than the writer may, once.
#[derive(Debug, Default)]
struct StandsStillOnce(AtomicBool);

impl Step for StandsStillOnce {
    fn sqlite(&self, _: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        Ok(())
    }

    fn postgres<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            if !self.0.swap(true, Ordering::SeqCst) {
                // The bound is lowered for this session, so that the test does not take the real ten seconds.
                sqlx::query("SET idle_in_transaction_session_timeout = 1").execute(&mut *connection).await?;
                while sqlx::query("SELECT 1").execute(&mut *connection).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                sqlx::query("SELECT 1").execute(connection).await?;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_writer_that_stands_still_loses_the_commit_lock_and_starts_again() {
    let Some(schema) = Schema::create().await else { return };
    let (still, other) = (Db::open_postgres(&schema.url, SETS).await.unwrap(), Db::open_postgres(&schema.url, SETS).await.unwrap());
    let work = Sealed::new(leaf()).step(insert(1, "one")).step(StandsStillOnce::default()).step(insert(2, "two"));
    let (still, other) = tokio::join!(still.commit(work), other.commit(sealed(3)));
    let mut sequences = [still.unwrap().sequence, other.unwrap().sequence];
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2]);
    let bounds = Write::new(
        "INSERT INTO item (number, name) SELECT $1, current_setting('idle_in_transaction_session_timeout') || current_setting('lock_timeout')",
        params![4_i64],
    );
    let db = Db::open_postgres(&schema.url, SETS).await.unwrap();
    db.commit(Sealed::new(leaf()).step(bounds)).await.unwrap();
    assert_eq!(db.query("SELECT name FROM item WHERE number = 4", vec![]).await.unwrap()[0].text(0).unwrap(), "10s30s");
    schema.drop().await;
}
