//! What `synchronous_standby_names` promises (PostgreSQL manual, section 20.6.2).

/// How many standbys have a commit on their disk before it is acknowledged; 0 where the primary answers alone.
///
/// `level` is `synchronous_commit`: below `on`, a standby has not written to its disk when the primary answers, so nothing is counted.
pub(crate) fn acks(names: &str, level: &str) -> u32 {
    if !matches!(level, "on" | "remote_apply") || names.trim().is_empty() {
        return 0;
    }
    let Some((head, _)) = names.split_once('(') else {
        // A bare list means FIRST 1.
        return 1;
    };
    // Otherwise `FIRST n (…)`, `ANY n (…)` or `n (…)`.
    head.split_whitespace().last().and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::acks;

    #[test]
    fn only_what_waits_for_a_standbys_disk_counts() {
        for (names, level, expected) in [
            ("", "on", 0),
            ("  ", "on", 0),
            ("s1", "on", 1),
            ("*", "on", 1),
            ("s1, s2", "on", 1),
            ("2 (s1, s2, s3)", "on", 2),
            ("FIRST 3 (a, b, c)", "remote_apply", 3),
            ("ANY 2 (\"a b\", c, d)", "on", 2),
            ("any 2(a,b)", "on", 2),
            ("ANY 2 (a, b, c)", "remote_write", 0),
            ("ANY 2 (a, b, c)", "local", 0),
            ("ANY 2 (a, b, c)", "off", 0),
        ] {
            assert_eq!(acks(names, level), expected, "`{names}` at `{level}`");
        }
    }
}
