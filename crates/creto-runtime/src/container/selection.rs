//! Which runtime a configuration asks for, and whether it can be had here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::container::ContainerRuntime;
use crate::container::runsc::{RunscOptions, RunscRuntime};
use crate::error::RuntimeError;

/// A kind of isolation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// gVisor: a kernel in user space.
    #[default]
    Gvisor,
    /// Kata Containers: a virtual machine for each sandbox.
    Kata,
    /// Intel SGX: an enclave, by Gramine.
    Sgx,
}

impl Isolation {
    const fn built_in(self) -> bool {
        match self {
            Self::Gvisor => cfg!(feature = "gvisor"),
            Self::Kata => cfg!(feature = "kata"),
            Self::Sgx => cfg!(feature = "sgx"),
        }
    }

    /// The configuration's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gvisor => "gvisor",
            Self::Kata => "kata",
            Self::Sgx => "sgx",
        }
    }
}

/// Opens the runtime that is asked for. No other is ever taken in its place: a weaker isolation than asked for is not a fallback.
///
/// Errors: [`RuntimeError::Unavailable`] naming the missing component.
pub async fn open(isolation: Isolation, options: RunscOptions) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
    if !isolation.built_in() {
        return Err(RuntimeError::Unavailable {
            what: format!("this creto was built without `{}`", isolation.as_str()),
            hint: format!("build it with `--features {}`", isolation.as_str()),
        });
    }
    match isolation {
        Isolation::Gvisor => Ok(Arc::new(RunscRuntime::open(options).await?)),
        Isolation::Kata => Err(missing(&kata_needs())),
        Isolation::Sgx => Err(missing(&sgx_needs())),
    }
}

/// One component a runtime needs, with how to get it.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) present: bool,
    pub(crate) hint: &'static str,
}

pub(crate) fn kata_needs() -> [Need; 3] {
    [
        Need {
            what: "/dev/kvm",
            present: Path::new("/dev/kvm").exists(),
            hint: "use a machine, or a virtual machine, with hardware virtualisation switched on",
        },
        Need {
            what: "kata-runtime",
            present: on_path("kata-runtime").is_some(),
            hint: "install Kata Containers 3 so that `kata-runtime` is on PATH",
        },
        Need {
            what: "the Kata shim",
            present: on_path("containerd-shim-kata-v2").is_some(),
            hint: "install Kata Containers 3 with its containerd shim, or run sandboxes on Kubernetes with the RuntimeClass `kata`",
        },
    ]
}

pub(crate) fn sgx_needs() -> [Need; 3] {
    [
        Need {
            what: "/dev/sgx_enclave",
            present: Path::new("/dev/sgx_enclave").exists(),
            hint: "use a machine with Intel SGX2 and its driver, switched on in the firmware",
        },
        Need {
            what: "/dev/sgx_provision",
            present: Path::new("/dev/sgx_provision").exists(),
            hint: "give this user access to /dev/sgx_provision, without which no quote can be made",
        },
        Need {
            what: "gramine-sgx",
            present: on_path("gramine-sgx").is_some(),
            hint: "install Gramine 1.8 or later so that `gramine-sgx` is on PATH",
        },
    ]
}

fn missing(needs: &[Need]) -> RuntimeError {
    match needs.iter().find(|need| !need.present) {
        Some(need) => RuntimeError::Unavailable { what: format!("{} is missing on this machine", need.what), hint: need.hint.to_owned() },
        None => RuntimeError::Unavailable {
            what: "this version starts such sandboxes only through Kubernetes".to_owned(),
            hint: "use `gvisor` on this host, or a cluster whose RuntimeClass provides the isolation".to_owned(),
        },
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use creto_kernel::Coded;

    use super::*;

    #[tokio::test]
    async fn a_missing_component_is_refused_by_name_and_never_replaced() {
        for (isolation, needs) in [(Isolation::Kata, kata_needs()), (Isolation::Sgx, sgx_needs())] {
            let options = RunscOptions { binary: None, tools_dir: None, state_dir: PathBuf::from("/nonexistent"), program: None };
            let error = open(isolation, options).await.err().unwrap();
            assert_eq!(error.code().as_str(), "runtime.unavailable");
            let hint = error.hint().unwrap();
            let named = needs.iter().find(|need| !need.present).is_none_or(|need| hint == need.hint);
            assert!(named || !isolation.built_in(), "{error}: {hint}");
        }
    }
}
