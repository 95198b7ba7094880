//! One way to write: a sealed commit of steps, an audit leaf and outbox messages, on SQLite or PostgreSQL.
