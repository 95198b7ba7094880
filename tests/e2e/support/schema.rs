//! Schemas on the PostgreSQL that the tests are given.

use std::process::Command;

/// A schema of its own on the test PostgreSQL, gone with this value.
#[derive(Debug)]
pub(crate) struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// A new one; without a PostgreSQL the test is skipped, loudly, and fails in CI.
    pub(crate) fn new(subject: &str) -> Option<Self> {
        let Ok(url) = std::env::var("CRETO_TEST_POSTGRES_URL") else {
            assert!(std::env::var("CI").is_err(), "CRETO_TEST_POSTGRES_URL is missing in CI");
            eprintln!("SKIPPED postgresql: CRETO_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it");
            return None;
        };
        let schema = Self { url, name: format!("e2e_{subject}_{}", std::process::id()) };
        schema.psql(&format!("CREATE SCHEMA {}", schema.name));
        Some(schema)
    }

    fn psql(&self, statement: &str) {
        let output = Command::new("psql").args([&self.url, "-q", "-c", statement]).output().expect("psql is installed with PostgreSQL");
        assert!(output.status.success(), "{statement}: {output:?}");
    }

    /// The line of a configuration that keeps everything there.
    pub(crate) fn line(&self) -> String {
        let joint = if self.url.contains('?') { '&' } else { '?' };
        format!("postgres = \"{}{joint}options[search_path]={}\"\n", self.url, self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let _ = Command::new("psql").args([&self.url, "-q", "-c", &format!("DROP SCHEMA {} CASCADE", self.name)]).output();
    }
}
