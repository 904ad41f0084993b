//! The loop of a reconciler: runs at once, then on a timer with jitter and whenever nudged, until its owner is cancelled.
//!
//! A run has no input: it looks at the world and makes it right, so it is safe to run twice and nothing is lost when nudges merge.
//! What a run publishes is its own affair. A run that has begun is not interrupted by cancellation (it may look at the token); a run
//! that panics is logged and tried again at the next turn, because one bad record must not end the scrubber for ever.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::tasks::Tasks;

/// How a reconciler is called and how often it runs.
#[derive(Debug, Clone, Copy)]
pub struct Reconciler {
    /// The name of its task.
    pub name: &'static str,
    /// The time between the end of a run and the beginning of the next, before jitter.
    pub every: Duration,
    /// How far the time may stray to either side, as a share of `every`, 0 to 1.
    pub jitter: f64,
}

/// Asks a reconciler to run soon. Nudges during a run cause exactly one more.
#[derive(Debug, Clone)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Asks; never waits, and does nothing once the reconciler has ended.
    pub fn nudge(&self) {
        self.0.notify_one();
    }
}

impl Reconciler {
    /// A reconciler with a tenth of jitter.
    pub fn new(name: &'static str, every: Duration) -> Self {
        Self {
            name,
            every,
            jitter: 0.1,
        }
    }

    /// Starts the loop as a task of `tasks`. It ends when `tasks` is cancelled, after the run in progress.
    pub fn start<F, Fut>(self, tasks: &Tasks, clock: &Clock, mut run: F) -> Nudge
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let nudge = Nudge(Arc::new(Notify::new()));
        let nudged = Arc::clone(&nudge.0);
        let (token, clock) = (tasks.token(), clock.clone());
        tasks.spawn(self.name, async move {
            while !token.is_cancelled() {
                self.run_once(&mut run).await;
                tokio::select! {
                    biased;
                    () = token.cancelled() => {}
                    () = nudged.notified() => {}
                    () = clock.sleep(pause(self.every, self.jitter, rand::random())) => {}
                }
            }
        });
        nudge
    }

    async fn run_once<F, Fut>(self, run: &mut F)
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = ()> + Send,
    {
        let once = AssertUnwindSafe(async { run().await }).catch_unwind();
        if once.await.is_err() {
            tracing::error!(
                reconciler = self.name,
                "a run panicked; it is tried again at its next turn"
            );
        }
    }
}

/// The time until the next run: `every`, moved by up to `jitter` of it to either side; `random` is uniform in `[0, 1)`.
fn pause(every: Duration, jitter: f64, random: f64) -> Duration {
    every.mul_f64(1.0 + jitter.clamp(0.0, 1.0) * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_pause_strays_by_its_share_to_either_side() {
        for (jitter, random, seconds) in [
            (0.0, 0.9, 100),
            (0.1, 0.0, 90),
            (0.1, 0.5, 100),
            (0.1, 1.0, 110),
            (9.0, 0.0, 0),
        ] {
            let pause = pause(Duration::from_secs(100), jitter, random);
            assert_eq!(
                pause,
                Duration::from_secs(seconds),
                "jitter {jitter}, random {random}"
            );
        }
    }

    #[tokio::test]
    async fn it_runs_at_once_then_when_nudged_then_by_the_clock_and_ends_with_its_owner() {
        let (tasks, clock) = (Tasks::new("test"), Clock::manual(0));
        let (ran, mut runs) = mpsc::channel(8);
        let nudge = Reconciler::new("scrub", HOUR).start(&tasks, &clock, move || {
            let ran = ran.clone();
            async move { ran.send(()).await.unwrap() }
        });
        runs.recv().await.unwrap();
        nudge.nudge();
        runs.recv().await.unwrap();
        // The sleep begins after the run; advance until it has been seen.
        while runs.try_recv().is_err() {
            clock.advance(2 * HOUR);
            tokio::task::yield_now().await;
        }
        assert!(tasks.drain(HOUR).await);
    }

    #[tokio::test]
    async fn a_panicking_run_does_not_end_the_loop() {
        let (tasks, clock) = (Tasks::new("test"), Clock::manual(0));
        let (ran, mut runs) = mpsc::channel(8);
        let mut count = 0;
        let nudge = Reconciler::new("scrub", HOUR).start(&tasks, &clock, move || {
            count += 1;
            let (ran, count) = (ran.clone(), count);
            async move {
                ran.send(count).await.unwrap();
                assert_ne!(count, 1, "on purpose");
            }
        });
        assert_eq!(runs.recv().await, Some(1));
        nudge.nudge();
        assert_eq!(runs.recv().await, Some(2));
        assert!(tasks.drain(HOUR).await);
    }
}
