//! The Debian packages: found by what they provide, installed only where that is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// A program, and the package that brings it.
const PROGRAMS: [(&str, &str); 3] = [("redis-server", "redis-server"), ("nats-server", "nats-server"), ("chromium", "chromium")];

/// Debian keeps PostgreSQL's server programs out of `PATH`.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Keeps the package from starting a cluster of its own on port 5432: the tests start theirs in a temporary directory.
const NO_CLUSTER: (&str, &str) = ("/etc/postgresql-common/createcluster.d/creto.conf", "create_main_cluster = false\n");

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    let packages = missing_packages(workspace);
    (!packages.is_empty()).then(|| format!("not installed: {}", packages.join(", ")))
}

pub(super) fn plan(workspace: &Workspace) -> String {
    let packages = missing_packages(workspace);
    let cluster = if packages.contains(&"postgresql") { format!("write {} (no default cluster), ", NO_CLUSTER.0) } else { String::new() };
    format!("{cluster}run `apt-get update` and `apt-get install {}` as root", packages.join(" "))
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    let packages = missing_packages(workspace);
    if packages.contains(&"postgresql") {
        let (file, text) = NO_CLUSTER;
        as_root(&["sh", "-c", "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" >\"$1\"", "sh", file, text])?;
    }
    as_root(&["apt-get", "update"])?;
    let mut install = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    as_root(&install)
}

/// The folder with `initdb` and `postgres`: the newest Debian has, else what is in `PATH`.
pub(crate) fn postgres_programs(path: &OsStr) -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(POSTGRES_VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| ["initdb", "postgres"].iter().all(|program| process::is_executable(&folder.join(program))))
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, folder)| folder);
    newest.or_else(|| process::which(path, "initdb")?.parent().map(Path::to_owned))
}

fn missing_packages(workspace: &Workspace) -> Vec<&'static str> {
    let Ok(path) = workspace.path() else { return Vec::new() };
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| process::which(&path, program).is_none()).map(|(_, package)| *package).collect();
    if postgres_programs(&path).is_none() {
        packages.push("postgresql");
    }
    let venv = process::capture(Command::new("python3").args(["-c", "import ensurepip, venv"]));
    if venv.is_err() {
        packages.extend(["python3", "python3-venv"]);
    }
    packages
}

fn as_root(words: &[&str]) -> Fallible {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    if process::is_root() {
        return process::inherit(Command::new(program).args(arguments));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if process::which(&path, "sudo").is_none() {
        return Err(format!("this needs root and there is no sudo; as root, run: {}", words.join(" ")));
    }
    process::inherit(Command::new("sudo").args(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_outside_the_search_path_are_not_found_and_those_on_it_are() {
        let folder = std::env::temp_dir().join(format!("creto-xtask-apt-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(process::which(folder.as_os_str(), "redis-server"), None);
        assert!(process::which(OsStr::new("/bin:/usr/bin"), "sh").is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
