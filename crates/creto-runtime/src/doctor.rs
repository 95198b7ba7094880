//! What this machine can run, and what to install where it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::container::ContainerRuntime;
use crate::container::runsc::{RunscOptions, RunscRuntime, locate};
use crate::container::selection::{Need, kata_needs, sgx_needs};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is good.
    pub ok: bool,
    /// Whether runs need it; what is not needed only adds something.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What to do where it is not good.
    pub fix: Option<String>,
}

/// Looks at everything a run needs, and starts one real sandbox to see that it works.
pub async fn doctor(options: RunscOptions) -> Vec<Check> {
    let mut checks = vec![userns(), tools(&options)];
    checks.extend(runs(options).await);
    checks.push(optional("kata", &kata_needs()));
    checks.push(optional("sgx", &sgx_needs()));
    checks
}

fn userns() -> Check {
    if rustix::process::geteuid().is_root() {
        return good("user namespaces", "not needed: running as root".to_owned());
    }
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let switched_off = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone").is_ok_and(|text| text.trim() == "0");
    let ok = most.is_none_or(|most| most > 0) && !switched_off;
    Check {
        name: "user namespaces",
        ok,
        required: true,
        detail: if ok { "an ordinary user may make them".to_owned() } else { "switched off for ordinary users".to_owned() },
        fix: (!ok)
            .then(|| "as root: sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1; or run creto as root".to_owned()),
    }
}

fn tools(options: &RunscOptions) -> Check {
    match locate(options.binary.as_deref(), options.tools_dir.as_deref()) {
        Ok(found) => good("runsc", format!("{} at {}", found.version, found.path.display())),
        Err(error) => Check { name: "runsc", ok: false, required: true, detail: error.to_string(), fix: creto_kernel::Coded::hint(&error) },
    }
}

async fn runs(options: RunscOptions) -> Vec<Check> {
    let failed = |error: &crate::RuntimeError| Check {
        name: "sandbox",
        ok: false,
        required: true,
        detail: error.to_string(),
        fix: creto_kernel::Coded::hint(error),
    };
    let runtime = match RunscRuntime::open(options).await {
        Ok(runtime) => runtime,
        Err(error) => return vec![failed(&error)],
    };
    let sandbox = match runtime.start(&crate::SandboxPlan::default()).await {
        Ok(sandbox) => sandbox,
        Err(error) => return vec![failed(&error)],
    };
    let took = sandbox.cold_start();
    let ended = sandbox.destroy().await;
    let held = runtime.limits_held();
    vec![
        Check {
            name: "sandbox",
            ok: ended.clean,
            required: true,
            detail: format!("{} answered after {} ms", runtime.describe(), took.as_millis()),
            fix: (!ended.clean).then(|| "something of the sandbox was left behind: look for mounts below the data directory".to_owned()),
        },
        Check {
            name: "limits",
            ok: held.cgroup,
            required: false,
            detail: held.reason.unwrap_or_else(|| "memory, processor and task limits hold, by control group".to_owned()),
            fix: (!held.cgroup).then(|| "run creto as root where these limits must hold".to_owned()),
        },
        kvm(),
    ]
}

fn kvm() -> Check {
    let device = Path::new("/dev/kvm");
    let ok = fs::OpenOptions::new().read(true).write(true).open(device).is_ok();
    let detail = if ok {
        "usable; sandboxes do not use it, because inside virtual machines it hangs"
    } else if device.exists() {
        "there, but not for this user"
    } else {
        "not there; sandboxes do not use it"
    };
    let fix = device.exists().then(|| "add this user to the group `kvm`".to_owned()).filter(|_| !ok);
    Check { name: "kvm", ok, required: false, detail: detail.to_owned(), fix }
}

fn optional(name: &'static str, needs: &[Need]) -> Check {
    let missing = needs.iter().find(|need| !need.present);
    Check {
        name,
        ok: missing.is_none(),
        required: false,
        detail: missing.map_or_else(|| "every component is there".to_owned(), |need| format!("{} is missing", need.what)),
        fix: missing.map(|need| need.hint.to_owned()),
    }
}

fn good(name: &'static str, detail: String) -> Check {
    Check { name, ok: true, required: true, detail, fix: None }
}

/// The state folder `creto doctor` uses where no server's is given: of its own, so that it never touches a living server's.
#[must_use]
pub fn scratch_dir() -> PathBuf {
    std::env::temp_dir().join(format!("creto-doctor-{}", rustix::process::geteuid().as_raw()))
}
