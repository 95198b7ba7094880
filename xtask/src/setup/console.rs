//! The console's packages and its build, which the binary embeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::process;
use crate::workspace::{Fallible, Workspace};

/// Folders whose content is made from the rest.
const MADE: [&str; 3] = ["node_modules", "dist", "test-results"];

/// The console's folder, where there is one.
pub(crate) fn folder(workspace: &Workspace) -> Option<PathBuf> {
    let folder = workspace.root.join("console");
    folder.join("package.json").is_file().then_some(folder)
}

/// Whether `package.json` has this script.
pub(crate) fn has_script(folder: &Path, name: &str) -> bool {
    let package = fs::read(folder.join("package.json")).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    package.is_some_and(|package| package.get("scripts").and_then(|scripts| scripts.get(name)).is_some())
}

/// `npm` in the console's folder, with the tools directory in `PATH` and no browser of its own to download: we use Debian's.
pub(crate) fn npm(workspace: &Workspace, folder: &Path) -> Fallible<Command> {
    let mut command = Command::new("npm");
    command.current_dir(folder).env("PATH", workspace.path()?).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    Ok(command)
}

pub(super) fn missing(workspace: &Workspace) -> Option<String> {
    let folder = folder(workspace)?;
    if packages_are_stale(&folder) {
        return Some("its packages are not installed, or older than package-lock.json".to_owned());
    }
    let built = modified(&folder.join("dist/index.html"));
    (built.is_none() || built < newest_source(&folder)).then(|| "it is not built, or older than its sources".to_owned())
}

pub(super) fn plan(workspace: &Workspace) -> String {
    let packages = folder(workspace).is_some_and(|folder| packages_are_stale(&folder));
    format!("run {}`npm run build` in console/", if packages { "`npm ci` and " } else { "" })
}

pub(super) fn install(workspace: &Workspace) -> Fallible {
    let Some(folder) = folder(workspace) else { return Ok(()) };
    if packages_are_stale(&folder) {
        process::inherit(npm(workspace, &folder)?.args(["ci", "--no-audit", "--no-fund"]))?;
    }
    process::inherit(npm(workspace, &folder)?.args(["run", "build"]))
}

/// Whether `npm ci` has something to do.
pub(super) fn packages_are_stale(folder: &Path) -> bool {
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    installed.is_none() || installed < modified(&folder.join("package-lock.json"))
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn newest_source(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| !MADE.iter().any(|made| entry.file_name() == *made))
        .filter_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest_source(&entry.path()),
            _ => modified(&entry.path()),
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_newer_than_the_build_makes_it_stale() {
        let root = std::env::temp_dir().join(format!("creto-xtask-console-{}", std::process::id()));
        let console = root.join("console");
        fs::create_dir_all(console.join("src")).unwrap();
        fs::create_dir_all(console.join("dist")).unwrap();
        fs::create_dir_all(console.join("node_modules")).unwrap();
        fs::write(console.join("package.json"), r#"{"scripts":{"build":"vite build"}}"#).unwrap();
        fs::write(console.join("package-lock.json"), "{}").unwrap();
        let workspace = Workspace { root: root.clone(), target: root.clone(), tools: root.clone(), ci: false, packages: Vec::new() };
        assert!(missing(&workspace).unwrap().contains("packages"));

        fs::write(console.join("node_modules/.package-lock.json"), "{}").unwrap();
        assert!(missing(&workspace).unwrap().contains("built"));

        fs::write(console.join("dist/index.html"), "").unwrap();
        assert_eq!(missing(&workspace), None);

        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        let source = fs::File::create(console.join("src/main.tsx")).unwrap();
        source.set_modified(later).unwrap();
        assert!(missing(&workspace).unwrap().contains("older than its sources"));

        assert!(has_script(&console, "build") && !has_script(&console, "test"));
        fs::remove_dir_all(&root).unwrap();
    }
}
