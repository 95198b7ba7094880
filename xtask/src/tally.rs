//! Counting tests from what each runner prints.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed, failed and were skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed, timed out or could not be started.
    pub(crate) failed: u64,
    /// Not run.
    pub(crate) skipped: u64,
}

impl Tally {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that could not be made.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// All tests, run or not.
    pub(crate) const fn total(self) -> u64 {
        self.passed + self.failed + self.skipped
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Who printed the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `Summary [ 0.1s] 3 tests run: 2 passed, 1 failed, 1 skipped`
    Nextest,
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`, once per crate
    Libtest,
    /// `== 3 passed, 1 skipped in 0.12s ==`
    Pytest,
    /// `Tests  3 passed | 1 skipped (4)`
    Vitest,
    /// `3 passed (4.1s)`, `1 failed`, each on its own line
    Playwright,
}

impl Runner {
    /// Reads the counts; `None` when no summary is in the output.
    pub(crate) fn count(self, output: &str) -> Option<Tally> {
        let plain = without_colour(output);
        let mut lines = plain.lines().map(str::trim).filter(|line| self.is_summary(line)).peekable();
        lines.peek()?;
        let mut tally = Tally::default();
        for line in lines {
            tally += counts_in(line);
        }
        Some(tally)
    }

    fn is_summary(self, line: &str) -> bool {
        match self {
            Self::Nextest => line.starts_with("Summary [") && line.contains("run:"),
            Self::Libtest => line.starts_with("test result:"),
            // `335 passed in 84.41s`, and past a minute `(0:01:24)` after it.
            Self::Pytest => line.contains(" in ") && line.trim_end_matches([' ', '=']).ends_with(['s', ')']) && counts_in(line).total() > 0,
            Self::Vitest => line.starts_with("Tests "),
            Self::Playwright => {
                let mut words = line.split_whitespace();
                words.next().is_some_and(|word| word.parse::<u64>().is_ok())
                    && words.next().is_some_and(|word| matches!(word, "passed" | "failed" | "skipped" | "flaky" | "interrupted"))
                    && words.all(|word| word.starts_with('(') || word.ends_with(')'))
            }
        }
    }
}

/// Adds up every `NUMBER WORD` pair whose word is a verdict.
fn counts_in(line: &str) -> Tally {
    let mut tally = Tally::default();
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        let [number, verdict] = pair else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match *verdict {
            "passed" => tally.passed += number,
            // `timed out` and `exec failed` are nextest's, `errors` pytest's, `flaky` Playwright's: without retries none is a pass.
            "failed" | "timed" | "exec" | "error" | "errors" | "flaky" | "interrupted" => tally.failed += number,
            "skipped" | "ignored" | "xfailed" | "todo" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            let _escape = characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn each_runner_is_counted_from_its_own_summary() {
        let table = [
            (Runner::Nextest, "     Summary [   0.005s] 12 tests run: 12 passed, 0 skipped", tally(12, 0, 0)),
            (
                Runner::Nextest,
                "Summary [ 9.1s] 7 tests run: 3 passed (1 slow), 2 failed, 1 exec failed, 1 timed out, 4 skipped",
                tally(3, 4, 4),
            ),
            (Runner::Nextest, "Summary [ 1.0s] 3/9 tests run: 2 passed, 1 failed, 0 skipped", tally(2, 1, 0)),
            (
                Runner::Libtest,
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                 test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
                tally(4, 2, 1),
            ),
            (Runner::Pytest, "===== 1 failed, 9 passed, 2 skipped, 1 error in 1.23s =====", tally(9, 2, 2)),
            (Runner::Pytest, "5 passed in 0.12s", tally(5, 0, 0)),
            (Runner::Pytest, "=========== 335 passed, 1 warning in 84.41s (0:01:24) ===========", tally(335, 0, 0)),
            (Runner::Vitest, "\u{1b}[2m      Tests \u{1b}[22m \u{1b}[1m\u{1b}[32m5 passed\u{1b}[39m | 1 skipped (6)", tally(5, 0, 1)),
            (Runner::Playwright, "  1 failed\n    [chromium] › inbox.spec.ts:3:1 › approves\n  4 passed (3.2s)", tally(4, 1, 0)),
        ];
        for (runner, output, expected) in table {
            assert_eq!(runner.count(output), Some(expected), "{runner:?}: {output}");
        }
    }

    #[test]
    fn output_without_a_summary_counts_as_nothing_at_all() {
        for runner in [Runner::Nextest, Runner::Libtest, Runner::Pytest, Runner::Vitest, Runner::Playwright] {
            assert_eq!(runner.count("error: could not compile `creto`\n"), None, "{runner:?}");
        }
    }

    #[test]
    fn the_closing_line_has_one_form() {
        assert_eq!(tally(3, 0, 1).to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
