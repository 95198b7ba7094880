//! The peer: one table, its unique key, nothing else.

use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::BATCH;
use super::ours::{SUBSCRIPTIONS, identifier};

/// An event as it is bound: subscription, identifier, metric, properties.
pub(crate) type Event = (String, String, String, String);

pub(crate) struct Bare(Connection);

/// The columns of the table, for SQLite and PostgreSQL.
pub(crate) const TABLE: &str = "(tenant TEXT NOT NULL, subscription TEXT NOT NULL, transaction_id TEXT NOT NULL, code TEXT NOT NULL, \
                                occurred_at BIGINT NOT NULL, properties TEXT NOT NULL, UNIQUE (tenant, subscription, transaction_id))";
/// When all of them happened, in microseconds.
pub(crate) const AT: i64 = 1_795_341_600_000_000;

/// The same events that we record.
pub(crate) fn batch(first: usize) -> Vec<Event> {
    let properties = json!({ "n": "12.5", "model": "large", "region": "eu-west-1" }).to_string();
    let event = |n: usize| (format!("s{}", n % SUBSCRIPTIONS), identifier(), format!("m{}", n % 10), properties.clone());
    (first..first + BATCH).map(event).collect()
}

impl Bare {
    pub(crate) fn open(folder: &Path) -> Self {
        let connection = Connection::open(folder.join("bare.db")).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
        connection.execute_batch(&format!("{settings} CREATE TABLE event {TABLE}")).unwrap();
        Self(connection)
    }

    pub(crate) fn send(&mut self, batch: &[Event]) {
        let tx = self.0.transaction().unwrap();
        {
            let mut insert = tx.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6)").unwrap();
            for (subscription, id, code, properties) in batch {
                insert.execute(rusqlite::params!["default", subscription, id, code, AT, properties]).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}
