//! `creto doctor`: what can run here. Starts no server and leaves nothing behind.

use std::path::Path;
use std::process::ExitCode;

use creto_db::Db;
use creto_kernel::Coded as _;
use creto_runtime::container::runsc::RunscOptions;
use creto_runtime::doctor::{Check, scratch_dir};
use serde_json::json;
use tokio::net::{TcpListener, UnixStream};

use crate::commands::answer::{safe, show};
use crate::commands::serve::LISTEN_DEFAULT;
use crate::config::Config;
use crate::failure::Failure;
use crate::server::LOCAL_SOCKET;

/// Looks at everything; exit code 1 where something that is required is missing.
pub(super) async fn doctor(config: Config, json: bool) -> Result<ExitCode, Failure> {
    let mut checks = vec![data(&config.data), port(&config).await];
    if let Some(url) = &config.file.postgres {
        checks.push(postgres(url).await);
    }
    checks.extend(config.file.stripe.as_ref().map(|_| stripe()));
    let options = RunscOptions {
        binary: config.file.runsc.clone(),
        tools_dir: config.file.tools_dir.clone(),
        state_dir: scratch_dir(),
        program: None,
    };
    checks.extend(creto_runtime::doctor::doctor(options).await);
    let ok = checks.iter().all(|check| check.ok || !check.required);
    show(json, &json!({ "ok": ok, "checks": checks }), |_| describe(&checks, ok))?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The data directory, or the nearest folder above it that it would be made in. Tried rather than asked: permissions do not tell of
/// file systems that take no new files.
fn data(dir: &Path) -> Check {
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let probe = there.join(format!(".creto-doctor-{}", std::process::id()));
    let usable = std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok();
    let detail = match (usable, there == dir) {
        (true, true) => format!("`{}` is writable", dir.display()),
        (true, false) => format!("`{}` will be made on first use", dir.display()),
        (false, _) => format!("`{}` cannot be written by this user", there.display()),
    };
    let fix = (!usable).then(|| "name another with `--data DIR`, or make this one writable for you".to_owned());
    Check { name: "data directory", ok: usable, required: true, detail, fix }
}

/// The port; taken by our own server is as good as free.
async fn port(config: &Config) -> Check {
    let wanted = config.listen.unwrap_or_else(|| LISTEN_DEFAULT.into());
    let check = |ok, detail: String, fix| Check { name: "port", ok, required: false, detail, fix };
    if UnixStream::connect(config.data.join(LOCAL_SOCKET)).await.is_ok() {
        return check(true, format!("a server of `{}` is running", config.data.display()), None);
    }
    match TcpListener::bind(wanted).await {
        Ok(_) => check(true, format!("{wanted} is free"), None),
        Err(e) => check(
            false,
            format!("{wanted} cannot be listened on: {e}"),
            Some("serve elsewhere with `creto serve --listen ADDR`; port 0 takes a free one".to_owned()),
        ),
    }
}

/// Whether the configured database answers; no table is made.
async fn postgres(url: &str) -> Check {
    match Db::open_postgres(url, &[]).await {
        Ok(_) => Check { name: "postgresql", ok: true, required: true, detail: "answers".to_owned(), fix: None },
        Err(error) => Check { name: "postgresql", ok: false, required: true, detail: error.to_string(), fix: error.hint() },
    }
}

/// What is configured of Stripe; nobody is called, as nothing may be asked there by looking.
fn stripe() -> Check {
    let missing = ["CRETO_STRIPE_SECRET_KEY", "CRETO_STRIPE_WEBHOOK_SECRET"].into_iter().filter(|name| std::env::var_os(name).is_none());
    let missing: Vec<&str> = missing.collect();
    let from = if missing.is_empty() { "secrets are set".to_owned() } else { format!("{} not set here", missing.join(", ")) };
    let detail = format!("configured, {from}; not contacted: the adapter was proven on a stub of Stripe's API, never on Stripe itself");
    Check { name: "stripe", ok: cfg!(feature = "stripe"), required: false, detail, fix: None }
}

fn describe(checks: &[Check], ok: bool) -> String {
    let mut out = String::new();
    for check in checks {
        let mark = match (check.ok, check.required) {
            (true, _) => "ok",
            (false, true) => "no",
            (false, false) => "--",
        };
        out.push_str(&format!("{mark}  {:<15} {}\n", check.name, safe(&check.detail)));
        if let Some(fix) = &check.fix {
            out.push_str(&format!("    {:<15} → {}\n", "", safe(fix)));
        }
    }
    out.push_str(if ok {
        "everything that is required is there\n"
    } else {
        "something that is required is missing: see the lines marked `no`\n"
    });
    out
}
