//! Configuration: one directory, one optional file, a flag for what is changed often.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use creto_config::ConfigFile;

use crate::failure::Failure;

/// Everything a server is started with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data: PathBuf,
    /// Where HTTP is served; `None` serves only the local sockets.
    pub(crate) listen: Option<SocketAddr>,
    /// The rest.
    pub(crate) file: ConfigFile,
}

impl Config {
    /// Reads the file that is named, else `config.toml` of the data directory where there is one, and applies the flag. So a command that
    /// becomes the server of a directory is configured as the server was.
    pub(crate) fn load(data: Option<PathBuf>, listen: Option<SocketAddr>, file: Option<&Path>) -> Result<Self, Failure> {
        let data = data.map_or_else(data_dir, Ok)?;
        let own = data.join("config.toml");
        let file = match file.or_else(|| own.exists().then_some(&*own)) {
            None => ConfigFile::default(),
            Some(path) => read(path)?,
        };
        Ok(Self { data, listen: listen.or(file.listen), file })
    }
}

fn read(path: &Path) -> Result<ConfigFile, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("the configuration `{}` cannot be read: {e}", path.display()), "name a file that exists"))?;
    ConfigFile::parse(&text).map_err(|e| {
        Failure::usage(format!("the configuration `{}` is refused: {e}", path.display()), "see docs/sdd/07-deployment-design.md")
    })
}

/// `$CRETO_DATA` is read by the command line; this is what holds without it.
fn data_dir() -> Result<PathBuf, Failure> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .map(|base| base.join("creto"))
        .ok_or_else(|| Failure::usage("there is no home directory to keep data in", "name one with `--data DIR`"))
}
