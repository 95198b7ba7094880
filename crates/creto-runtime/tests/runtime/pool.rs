//! Warm sandboxes.

use std::sync::Arc;

use creto_runtime::SandboxPlan;
use creto_runtime::container::ContainerRuntime;
use creto_runtime::core::bundle::Limits;
use creto_runtime::core::pool::PoolTarget;
use creto_runtime::pool::WarmPool;

use super::support::{argv, host, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_a_warm_sandbox_binds_the_claimant_and_refills() {
    let Some(host) = host().await else { return };
    let folder = host.folder;
    let runtime: Arc<dyn ContainerRuntime> = Arc::new(host.runtime);
    let pool = WarmPool::start(Arc::clone(&runtime), PoolTarget { warm: 2, starting_max: 1 });
    assert_eq!(pool.filled(2).await, 2);
    let plan = SandboxPlan::default();
    let mut seen = Vec::new();
    for name in ["ann", "bob"] {
        let env = vec![b"PATH=/usr/bin".to_vec(), format!("WHO={name}").into_bytes()];
        let claimed = pool.claim(&plan, env).await.unwrap();
        assert!(claimed.warm);
        let output = run(&claimed.sandbox, argv(&["sh", "-c", "echo $WHO; cat /tmp/trace 2>/dev/null; echo $WHO > /tmp/trace"])).await;
        assert_eq!(output.text(), format!("{name}\n"));
        seen.push(claimed.sandbox.id());
        claimed.sandbox.destroy().await;
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(pool.filled(2).await, 2, "the pool refills");
    let limited = SandboxPlan { limits: Limits { pids: Some(200), ..Limits::default() }, ..SandboxPlan::default() };
    let cold = pool.claim(&limited, Vec::new()).await.unwrap();
    assert!(!cold.warm, "limits are fixed when a sandbox is made");
    cold.sandbox.destroy().await;
    pool.drain().await;
    assert_eq!((pool.ready(), std::fs::read_dir(folder.path().join("sandboxes")).unwrap().count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_that_died_is_passed_over() {
    let Some(host) = host().await else { return };
    let folder = host.folder;
    let runtime: Arc<dyn ContainerRuntime> = Arc::new(host.runtime);
    let pool = WarmPool::start(runtime, PoolTarget { warm: 1, starting_max: 1 });
    pool.filled(1).await;
    let wanted = folder.path().display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&cmdline).contains(&wanted) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            let _gone = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
        }
    }
    let claimed = pool.claim(&SandboxPlan::default(), vec![b"PATH=/usr/bin".to_vec()]).await.unwrap();
    assert_eq!(run(&claimed.sandbox, argv(&["echo", "alive"])).await.text(), "alive\n");
    claimed.sandbox.destroy().await;
    pool.drain().await;
}
