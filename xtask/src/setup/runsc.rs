//! A newer runsc than Debian 12's, taken from Debian 13 without changing the system; and Debian 12's own, which the tests run too.
//!
//! Debian's package holds one static binary. We derive an apt source for it from the machine's own (same mirror, same keyring, so apt
//! checks the same signatures), keep its lists and cache in a directory of our own, and unpack the one file into the tools directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// The release whose package is used.
const SUITE: &str = "trixie";
/// The release whose package has traps that the runtime handles, which tests show on it.
const OLD_SUITE: &str = "bookworm";
/// The date in the oldest version that lists directories inside the sandbox (2022's answers EINVAL).
const OLDEST: u32 = 20_230_101;
/// Used where the machine's source names no keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the machine gets Debian from.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    keyring: String,
}

/// The newest usable runsc: in the tools directory or in `PATH`.
pub(crate) fn found(workspace: &Workspace) -> Option<PathBuf> {
    let path = workspace.path().ok()?;
    let candidates = std::env::split_paths(&path).map(|folder| folder.join("runsc")).filter(|file| process::is_executable(file));
    candidates
        .filter_map(|file| Some((release_date(&version(&file)?)?, file)))
        .filter(|(date, _)| *date >= OLDEST)
        .max()
        .map(|(_, file)| file)
}

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    found(workspace).is_none().then(|| format!("no runsc of {} or later in PATH or {}", OLDEST / 10_000, workspace.tools.display()))
}

pub(super) fn plan(workspace: &Workspace) -> String {
    format!(
        "fetch the package `runsc` of Debian {SUITE} (7 MB) with apt, in private directories, and unpack it to {}",
        target(workspace).display()
    )
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    fetch(workspace, SUITE, &target(workspace))
}

/// Debian 12's, under a name that no search for `runsc` finds.
pub(crate) fn old(workspace: &Workspace) -> PathBuf {
    workspace.tools.join("runsc-debian12")
}

pub(super) fn old_missing(workspace: &Workspace) -> Option<String> {
    let file = old(workspace);
    (!process::is_executable(&file)).then(|| format!("{} is not there; tests run it beside the newer one", file.display()))
}

pub(super) fn old_plan(workspace: &Workspace) -> String {
    format!("fetch the package `runsc` of Debian {OLD_SUITE} (6 MB) in the same way, and unpack it to {}", old(workspace).display())
}

pub(super) fn old_install(workspace: &Workspace) -> Fallible {
    fetch(workspace, OLD_SUITE, &old(workspace))
}

fn fetch(workspace: &Workspace, suite: &str, target: &Path) -> Fallible {
    let source = mirror()?;
    let scratch = Scratch::new()?;
    let list = scratch.0.join("source.list");
    fs::write(&list, format!("deb [signed-by={}] {} {suite} main\n", source.keyring, source.uri)).map_err(|error| error.to_string())?;
    apt_get(&scratch.0, &["update"])?;
    apt_get(&scratch.0, &["download", "runsc"])?;

    let package = only_deb(&scratch.0.join("package"))?;
    let unpacked = scratch.0.join("unpacked");
    process::capture(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
    // Beside the final name first, then one rename: another process sees the old file or the whole new one.
    let fresh = target.with_extension("new");
    fs::create_dir_all(&workspace.tools)
        .and_then(|()| fs::copy(unpacked.join("usr/bin/runsc"), &fresh))
        .and_then(|_| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&fresh, target))
        .map_err(|error| format!("cannot write {}: {error}", target.display()))
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.tools.join("runsc")
}

fn version(runsc: &Path) -> Option<String> {
    process::capture(Command::new(runsc).arg("--version")).ok()
}

/// The date in `runsc version 0.0~20240729.0` or `release-20240729.0`.
fn release_date(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 8)?.parse().ok()
}

/// A directory of ours that apt's unprivileged user may read too, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Fallible<Self> {
        let made = process::capture(Command::new("mktemp").args(["--directory", "--tmpdir", "creto-apt.XXXXXXXX"]))?;
        let scratch = Self(PathBuf::from(made.trim_end()));
        for folder in ["lists/partial", "archives/partial", "package"] {
            fs::create_dir_all(scratch.0.join(folder)).map_err(|error| error.to_string())?;
        }
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        if process::is_root() {
            // As root apt downloads as this user, and refuses to do so into a directory that is not the user's.
            process::capture(Command::new("chown").arg("_apt").arg(scratch.0.join("package")))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("setup: cannot remove {}: {error}", self.0.display());
        }
    }
}

fn apt_get(scratch: &Path, words: &[&str]) -> Fallible {
    let options = [
        format!("Dir::Etc::SourceList={}", scratch.join("source.list").display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State::Lists={}", scratch.join("lists").display()),
        format!("Dir::Cache={}", scratch.display()),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ];
    let mut command = Command::new("apt-get");
    command.arg("--quiet").current_dir(scratch.join("package"));
    for option in &options {
        command.args(["-o", option]);
    }
    process::inherit(command.args(words))
}

fn only_deb(folder: &Path) -> Fallible<PathBuf> {
    let mut found = fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    found.next().ok_or_else(|| "apt-get downloaded no package".to_owned())
}

fn mirror() -> Fallible<Source> {
    let release = fs::read_to_string("/etc/os-release").map_err(|error| format!("cannot read /etc/os-release: {error}"))?;
    let codename = value_of(&release, "VERSION_CODENAME=").ok_or("this is no Debian: put a runsc of 2023 or later into PATH yourself")?;
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let files: Vec<(bool, String)> = std::iter::once(PathBuf::from("/etc/apt/sources.list"))
        .chain(parts)
        .filter_map(|file| Some((file.extension().is_some_and(|extension| extension == "sources"), fs::read_to_string(file).ok()?)))
        .collect();
    files
        .iter()
        .find_map(|(deb822, text)| if *deb822 { from_deb822(text, codename) } else { from_one_line(text, codename) })
        .ok_or_else(|| format!("no apt source for `{codename} main` to derive `{SUITE} main` from; put a runsc of 2023 or later into PATH"))
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().trim_matches('"'))
}

/// Stanzas of `Key: value` lines, separated by blank lines.
fn from_deb822(text: &str, codename: &str) -> Option<Source> {
    let stanzas = text.split("\n\n");
    stanzas
        .map(|stanza| {
            let uncommented: Vec<&str> = stanza.lines().filter(|line| !line.starts_with('#')).collect();
            uncommented.join("\n")
        })
        .find_map(|stanza| {
            let words = |key| value_of(&stanza, key).map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            let holds = |key, wanted: &str| words(key).is_some_and(|found| found.iter().any(|word| word == wanted));
            if !(holds("Types:", "deb") && holds("Suites:", codename) && holds("Components:", "main")) {
                return None;
            }
            let keyring = value_of(&stanza, "Signed-By:").filter(|value| value.starts_with('/')).unwrap_or(KEYRING);
            Some(Source { uri: words("URIs:")?.into_iter().next()?, keyring: keyring.to_owned() })
        })
}

/// Lines of `deb [option=value …] uri suite component…`.
fn from_one_line(text: &str, codename: &str) -> Option<Source> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        if words.next()? != codename || !words.any(|component| component == "main") {
            return None;
        }
        let keyring = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).unwrap_or(KEYRING);
        Some(Source { uri: uri.to_owned(), keyring: keyring.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# http://snapshot.example\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\n\
                          Components: main\nSigned-By: /usr/share/keyrings/own.gpg\n\nTypes: deb\nURIs: http://deb.debian.org/debian-security\n\
                          Suites: bookworm-security\nComponents: main\n";

    #[test]
    fn the_mirror_and_its_keyring_come_from_the_machines_own_source() {
        let expected = Source { uri: "http://deb.debian.org/debian".into(), keyring: "/usr/share/keyrings/own.gpg".into() };
        assert_eq!(from_deb822(DEB822, "bookworm"), Some(expected));
        let line = "# deb http://commented bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib\n";
        assert_eq!(from_one_line(line, "bookworm"), Some(Source { uri: "http://mirror/debian".into(), keyring: "/k.gpg".into() }));
    }

    #[test]
    fn other_suites_other_archives_and_comments_are_no_mirror() {
        assert_eq!(from_deb822(DEB822, "bullseye"), None);
        assert_eq!(from_one_line("deb https://packages.cloud.google.com/apt cloud-sdk-bookworm main", "bookworm"), None);
        assert_eq!(from_one_line("deb-src http://mirror/debian bookworm main", "bookworm"), None);
        assert_eq!(from_one_line("deb http://mirror/debian bookworm contrib", "bookworm"), None);
    }

    #[test]
    fn a_source_without_a_keyring_uses_debians() {
        let found = from_one_line("deb http://mirror/debian bookworm main", "bookworm").unwrap();
        assert_eq!(found.keyring, KEYRING);
    }

    #[test]
    fn the_release_date_is_read_from_both_spellings() {
        assert_eq!(release_date("runsc version 0.0~20240729.0-4+b7\nspec: 1.1.0-rc.1"), Some(20_240_729));
        assert_eq!(release_date("runsc version release-20221219.0"), Some(20_221_219));
        assert_eq!(release_date("runsc version unknown"), None);
    }
}
