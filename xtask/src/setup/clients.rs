//! The clients of others that come from npm and are run unmodified against the binary.

use std::path::{Path, PathBuf};

use crate::process;
use crate::setup::console;
use crate::workspace::{Fallible, Workspace};

/// The package that names them and nothing else.
fn folder(workspace: &Workspace) -> Option<PathBuf> {
    let folder = workspace.root.join("tests/clients");
    folder.join("package.json").is_file().then_some(folder)
}

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    let folder = folder(workspace)?;
    console::packages_are_stale(&folder).then(|| "they are not installed, or older than package-lock.json".to_owned())
}

pub(super) fn plan(_: &Workspace) -> String {
    "run `npm ci` in tests/clients/".to_owned()
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    folder(workspace).map_or(Ok(()), |folder| install_in(workspace, &folder))
}

fn install_in(workspace: &Workspace, folder: &Path) -> Fallible {
    process::inherit(console::npm(workspace, folder)?.args(["ci", "--no-audit", "--no-fund"]))
}
