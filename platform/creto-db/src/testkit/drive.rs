//! Many callers at once, in an order that replays.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;

use super::disk::Disk;
use super::random::Random;
use crate::sqlite::Steps;

/// Callers that wait this long for something that is no commit have hung.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most writes of one commit: enough that a crowd shares commits, and few enough that it does not share one.
const BATCH_MAX: usize = 48;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs callers until all are done or the power goes, and answers what each one came to; `None` where it was cut.
///
/// Who runs next, and how many writes share a commit, is up to `random`: the same seed runs the same callers in the same order.
#[expect(clippy::panic, reason = "a test kit speaks by panicking")]
pub async fn drive<T>(callers: Vec<LocalBoxFuture<'_, T>>, steps: &mut Steps, disk: &Disk, random: &mut Random) -> Vec<Option<T>> {
    let mut callers: Vec<_> = callers.into_iter().map(|caller| (Some(caller), Arc::new(Flag(AtomicBool::new(true))), None)).collect();
    let mut moved = Instant::now();
    // What callers wait for is not what a busy task of the runtime would have to give way to.
    tokio::task::unconstrained(async {
        while callers.iter().any(|(caller, ..)| caller.is_some()) && !disk.is_off() {
            let mut awake: Vec<usize> = Vec::new();
            for (at, (caller, flag, _)) in callers.iter().enumerate() {
                if caller.is_some() && flag.0.swap(false, Ordering::SeqCst) {
                    awake.push(at);
                }
            }
            random.shuffle(&mut awake);
            let progressed = !awake.is_empty();
            for at in awake {
                let Some((caller, flag, answer)) = callers.get_mut(at) else { continue };
                let waker = Waker::from(Arc::clone(flag));
                let polled = caller.as_mut().map(|caller| pin!(caller).poll(&mut Context::from_waker(&waker)));
                if let Some(Poll::Ready(value)) = polled {
                    (*caller, *answer) = (None, Some(value));
                }
            }
            let waited = !progressed || random.one_in(3);
            let batch = 1 + random.place(BATCH_MAX);
            if waited && steps.waiting() {
                disk.commit_begins();
                steps.step(batch);
                moved = Instant::now();
                continue;
            }
            if progressed {
                moved = Instant::now();
                continue;
            }
            // Somebody waits for a thread or a task of the runtime.
            tokio::task::yield_now().await;
            if moved.elapsed() > PATIENCE {
                panic!("nobody moves, and nothing is left to commit");
            }
        }
    })
    .await;
    callers.into_iter().map(|(_, _, answer)| answer).collect()
}
