//! PostgreSQL: commits of 1,000 events, beside COPY of 1,000 rows for each commit into one table, synchronous_commit on for both.

use std::env;
use std::time::{Duration, Instant};

use creto_bench::Row;
use creto_db::Db;
use sqlx::{Connection as _, PgConnection};

use super::house::SETS;
use super::ours::Ours;
use super::{BATCH, TURN, bare, beside, not_run};

const ID: &str = "metering.ingest_postgres_per_s";
/// Events recorded before it is measured, and those measured.
const BEFORE: usize = 50_000;
const MEASURED: usize = 50_000;

pub(crate) async fn measure(rows: &mut Vec<Row>) {
    let Ok(url) = env::var("CRETO_BENCH_POSTGRES_URL") else {
        return not_run(ID, "set CRETO_BENCH_POSTGRES_URL to a PostgreSQL whose user may make schemas, with fsync on");
    };
    let mut peer = PgConnection::connect(&url).await.unwrap();
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut peer).await.unwrap();
    if fsync != "on" {
        return not_run(ID, "that PostgreSQL does not wait for the disk (fsync is off)");
    }
    let schemas = "DROP SCHEMA IF EXISTS bench_ours CASCADE; CREATE SCHEMA bench_ours; DROP SCHEMA IF EXISTS bench_peer CASCADE; \
                   CREATE SCHEMA bench_peer; SET synchronous_commit = on;";
    sqlx::raw_sql(schemas).execute(&mut peer).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE TABLE bench_peer.event {}", bare::TABLE))).execute(&mut peer).await.unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let ours = Ours::open(Db::open_postgres(&format!("{url}{mark}options[search_path]=bench_ours"), SETS).await.unwrap(), &[]).await;
    let (mut mine, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for first in (0..BEFORE + MEASURED).step_by(TURN) {
        let batches: Vec<_> = (first..first + TURN).step_by(BATCH).map(|first| ours.batch(first)).collect();
        let started = Instant::now();
        ours.send_all(batches).await;
        let took = started.elapsed();
        let texts: Vec<String> = (first..first + TURN).step_by(BATCH).map(|first| lines(&bare::batch(first))).collect();
        let started = Instant::now();
        for text in texts {
            let mut copy = peer.copy_in_raw("COPY bench_peer.event FROM STDIN").await.unwrap();
            copy.send(text.as_bytes()).await.unwrap();
            copy.finish().await.unwrap();
        }
        if first >= BEFORE {
            (mine, theirs) = (mine + took, theirs + started.elapsed());
        }
    }
    let rate = |took: Duration| MEASURED as f64 / took.as_secs_f64();
    rows.push(beside(ID, rate(mine), "COPY of 1,000 rows a commit into one table", rate(theirs), 0.3));
    drop(ours);
    sqlx::raw_sql("DROP SCHEMA bench_ours CASCADE; DROP SCHEMA bench_peer CASCADE").execute(&mut peer).await.unwrap();
}

/// COPY's text form.
fn lines(batch: &[bare::Event]) -> String {
    let line =
        |(subscription, id, code, properties): &bare::Event| format!("default\t{subscription}\t{id}\t{code}\t{}\t{properties}\n", bare::AT);
    batch.iter().map(line).collect()
}
