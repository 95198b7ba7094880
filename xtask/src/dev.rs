//! `cargo xtask dev`: the console where it can be built, and a server on a data directory of its own.

use std::process::{Command, ExitCode};

use crate::workspace::{Fallible, Workspace, cargo};
use crate::{process, setup};

pub(crate) fn run(workspace: &Workspace) -> Fallible<ExitCode> {
    if setup::apply(workspace) > 0 {
        eprintln!("dev: going on without what is missing");
    }
    let data = workspace.target.join("dev");
    process::inherit(
        Command::new(cargo())
            .args(["run", "--package", "creto", "--", "serve", "--data"])
            .arg(&data)
            .current_dir(&workspace.root)
            .env("PATH", workspace.path()?)
            .env("CRETO_TOOLS_DIR", &workspace.tools),
    )?;
    Ok(ExitCode::SUCCESS)
}
