//! Where things are: the checkout, the target directory, the tools directory, and whether a person or a machine is watching.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// A result whose error is a sentence for the person at the terminal.
pub(crate) type Fallible<T = ()> = Result<T, String>;

/// The places and circumstances every command needs.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What `setup` installed for this user: runsc, the Python environment, Node.
    pub(crate) tools: PathBuf,
    /// Whether a missing component is a failure (`CI=true`) rather than a loud skip.
    pub(crate) ci: bool,
    /// What `cargo metadata` says of the members.
    pub(crate) packages: Vec<Package>,
}

/// One workspace member.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on, in every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its libraries, binaries, tests and benches.
    pub(crate) targets: Vec<Target>,
    /// Its features, and what each of them turns on.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// `package.metadata`.
    #[serde(default)]
    pub(crate) metadata: serde_json::Value,
}

/// One edge of the dependency graph.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The other package.
    pub(crate) name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// Something cargo can build.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `bench`.
    pub(crate) kind: Vec<String>,
}

impl Package {
    /// The folder that holds it.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// `package.metadata.creto.layer`.
    pub(crate) fn layer(&self) -> Option<&str> {
        self.metadata.get("creto")?.get("layer")?.as_str()
    }
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

impl Workspace {
    /// Asks cargo, and the environment.
    pub(crate) fn find() -> Fallible<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("`cargo metadata` failed:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cannot read `cargo metadata`: {error}"))?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            tools: tools_folder()?,
            ci: env::var("CI").is_ok_and(|value| value == "true" || value == "1"),
            packages: metadata.packages,
        })
    }

    /// The debug build of `creto`.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target.join("debug").join("creto")
    }

    /// The Python environment that `setup` makes.
    pub(crate) fn python(&self) -> PathBuf {
        self.tools.join("venv/bin/python")
    }

    /// `PATH` with the tools directory in front, so that every child finds what `setup` installed.
    pub(crate) fn path(&self) -> Fallible<OsString> {
        let own = [self.tools.clone(), self.tools.join("node/bin")];
        let inherited = env::var_os("PATH").unwrap_or_default();
        env::join_paths(own.into_iter().chain(env::split_paths(&inherited))).map_err(|error| format!("PATH cannot be extended: {error}"))
    }

    /// Names a path relative to the checkout where it lies in it.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// The cargo that runs us, so that a toolchain chosen with `cargo +x` stays chosen.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

fn tools_folder() -> Fallible<PathBuf> {
    if let Some(folder) = env::var_os("CRETO_TOOLS_DIR").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let home = env::var_os("HOME").ok_or("neither CRETO_TOOLS_DIR nor HOME is set; set CRETO_TOOLS_DIR to a directory of yours")?;
    Ok(Path::new(&home).join(".local/share/creto/tools"))
}
