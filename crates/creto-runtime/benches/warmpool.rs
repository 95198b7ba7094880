//! `cargo bench -p creto-runtime -- warmpool`: a warm claim beside a cold start, in one run on one machine.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use creto_runtime::SandboxPlan;
use creto_runtime::container::ContainerRuntime;
use creto_runtime::container::runsc::{RunscOptions, RunscRuntime};
use creto_runtime::core::pool::PoolTarget;
use creto_runtime::pool::WarmPool;
use serde_json::json;

const CLAIMS: usize = 30;
const COLD_STARTS: usize = 12;
/// A warm claim costs at most this, at the median.
const WARM_GOAL_MS: f64 = 5.0;
/// A cold start costs at most this, at the median: two processors, ptrace.
const COLD_GOAL_MS: f64 = 400.0;

fn main() -> Result<(), Box<dyn Error>> {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| "warmpool".contains(filter.as_str())) {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("creto-bench-{}", std::process::id()));
    let options = RunscOptions { binary: None, tools_dir: None, state_dir: folder.clone(), program: None };
    let runtime: Arc<dyn ContainerRuntime> = match RunscRuntime::open(options).await {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            println!("SKIPPED runsc: {error}");
            return if std::env::var_os("CI").is_some() { Err(error.into()) } else { Ok(()) };
        }
    };
    println!("{}", runtime.describe());
    let plan = SandboxPlan::default();
    let env = vec![b"PATH=/usr/bin:/bin".to_vec(), b"CRETO_AGENT_ID=bench".to_vec()];
    let mut cold = Vec::new();
    for _ in 0..COLD_STARTS {
        let begun = Instant::now();
        let sandbox = runtime.start(&plan).await?;
        sandbox.bind(env.clone()).await?;
        cold.push(begun.elapsed());
        sandbox.destroy().await;
    }
    let pool = WarmPool::start(runtime, PoolTarget { warm: 4, starting_max: 2 });
    let mut warm = Vec::new();
    while warm.len() < CLAIMS {
        pool.filled(4).await;
        let begun = Instant::now();
        let claimed = pool.claim(&plan, env.clone()).await?;
        if claimed.warm {
            warm.push(begun.elapsed());
        }
        claimed.sandbox.destroy().await;
    }
    pool.drain().await;
    std::fs::remove_dir_all(&folder)?;
    let (cold_p50, cold_p99) = quantiles(&mut cold);
    let (warm_p50, warm_p99) = quantiles(&mut warm);
    println!("cold start  p50 {cold_p50:8.2} ms   p99 {cold_p99:8.2} ms   ({COLD_STARTS} starts)");
    println!("warm claim  p50 {warm_p50:8.2} ms   p99 {warm_p99:8.2} ms   ({CLAIMS} claims)   {:.0} times faster", cold_p50 / warm_p50);
    let row = |id: &str, ours: f64, peer: &str, peer_value: f64, goal: f64| json!({"id": id, "ours": ours, "peer": peer, "peer_value": peer_value, "unit": "ms", "ratio": ours / peer_value, "goal": goal, "met": ours <= goal});
    write(&json!([
        row("runtime.warm_claim_ms", warm_p50, "cold start", cold_p50, WARM_GOAL_MS),
        row("runtime.cold_start_ms", cold_p50, "warm claim", warm_p50, COLD_GOAL_MS),
    ]))
}

/// Median and 99th percentile, in milliseconds.
fn quantiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    (at(50), at(99))
}

fn write(rows: &serde_json::Value) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = std::env::var_os("CRETO_BENCH_DIR") {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(Path::new(&folder).join("runtime.json"), serde_json::to_vec_pretty(rows)?)?;
    }
    Ok(())
}
