//! The only reader of time. Everything else is handed a `Clock`, or better, a `now`.
//!
//! Monotonic time (`now`) is for time-outs, back-off and breakers; wall time (`wall_ms`) is for tokens, certificates, display and
//! what people see. What is stored to be compared later is steady time (`steady_ms`): wall time that nobody can set while the process
//! runs. A manual clock moves all together, and only when told to: tests of an hour take no time and never sleep. A manual clock does
//! not move tokio's own timers; code that should be testable sleeps here.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// Where time comes from. Clones share one time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// When it was made, on both clocks.
    System(Instant, i64),
    /// And by how much the wall clock had been set when it was made.
    Manual(Arc<Manual>, i64),
}

#[derive(Debug)]
struct Manual {
    start: Instant,
    start_wall_ms: i64,
    elapsed: watch::Sender<Duration>,
    /// By how much somebody has set the wall clock, in milliseconds.
    set_by: AtomicI64,
}

/// The time allowed for something is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed is over")]
pub struct Elapsed;

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System(read_monotonic(), read_wall_ms()))
    }

    /// A clock that stands at `start_wall_ms` (milliseconds since 1970) until [`Clock::advance`] moves it.
    pub fn manual(start_wall_ms: i64) -> Self {
        let manual = Manual {
            start: read_monotonic(),
            start_wall_ms,
            elapsed: watch::Sender::new(Duration::ZERO),
            set_by: AtomicI64::new(0),
        };
        Self(Source::Manual(Arc::new(manual), 0))
    }

    /// Sets a manual clock's wall time forward or back by so many milliseconds, as people and NTP do; monotonic time does not notice.
    /// Panics on the system clock.
    pub fn set_wall(&self, by_ms: i64) {
        match &self.0 {
            Source::Manual(manual, _) => drop(manual.set_by.fetch_add(by_ms, Ordering::SeqCst)),
            Source::System(..) => unreachable!("only a manual clock can be set"),
        }
    }

    /// Moves a manual clock forward and wakes who slept until then. Panics on the system clock: nobody can move that.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::Manual(manual, _) => manual.elapsed.send_modify(|elapsed| *elapsed += by),
            Source::System(..) => unreachable!("only a manual clock can be advanced"),
        }
    }

    /// Monotonic time. Values of different clocks have nothing to do with each other.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System(..) => read_monotonic(),
            Source::Manual(manual, _) => manual.start + *manual.elapsed.borrow(),
        }
    }

    /// Wall time in milliseconds since 1970, negative before.
    pub fn wall_ms(&self) -> i64 {
        match &self.0 {
            Source::System(..) => read_wall_ms(),
            Source::Manual(manual, _) => manual
                .unset_ms()
                .saturating_add(manual.set_by.load(Ordering::SeqCst)),
        }
    }

    /// Wall time as it was when this clock was made, moved on by monotonic time: milliseconds since 1970.
    ///
    /// For what is stored and compared: whoever sets the wall clock of a running process makes nothing stale, due or fresh by that
    /// (`reference/faults.md` 10.36, T66). After a restart stored times may lie in the future.
    pub fn steady_ms(&self) -> i64 {
        match &self.0 {
            Source::System(start, wall_ms) => {
                wall_ms.saturating_add(millis(read_monotonic().saturating_duration_since(*start)))
            }
            Source::Manual(manual, set_by) => manual.unset_ms().saturating_add(*set_by),
        }
    }

    /// The clock as a process sees it that starts now: its steady time begins at what the wall clock says.
    pub fn restarted(&self) -> Self {
        match &self.0 {
            Source::System(..) => Self::system(),
            Source::Manual(manual, _) => {
                let set_by = manual.set_by.load(Ordering::SeqCst);
                Self(Source::Manual(Arc::clone(manual), set_by))
            }
        }
    }

    /// Returns once `duration` has passed on this clock. Safe to drop.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System(..) => tokio::time::sleep(duration).await,
            Source::Manual(manual, _) => {
                let mut elapsed = manual.elapsed.subscribe();
                let until = *elapsed.borrow_and_update() + duration;
                // Cannot fail: `self` keeps the sender alive.
                let _ = elapsed.wait_for(|elapsed| *elapsed >= until).await;
            }
        }
    }

    /// Runs `future` for at most `duration`; the future is dropped when the time is over.
    pub async fn timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(duration) => Err(Elapsed),
        }
    }
}

impl Manual {
    /// Wall time if nobody had ever set it.
    fn unset_ms(&self) -> i64 {
        let elapsed = millis(*self.elapsed.borrow());
        self.start_wall_ms.saturating_add(elapsed)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where monotonic time is read"
)]
fn read_monotonic() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where wall time is read"
)]
fn read_wall_ms() -> i64 {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_manual_clock_stands_still_until_moved() {
        let clock = Clock::manual(1_000);
        let start = clock.now();
        assert_eq!(clock.wall_ms(), 1_000);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(clock.wall_ms(), 3_601_000);
        assert_eq!(clock.now() - start, Duration::from_secs(3_600));
    }

    #[test]
    fn a_wall_clock_can_be_set_and_monotonic_time_goes_on() {
        let clock = Clock::manual(1_000_000);
        let start = clock.now();
        clock.set_wall(-500_000);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.wall_ms(), 501_000);
        assert_eq!(clock.steady_ms(), 1_001_000);
        assert_eq!(clock.restarted().steady_ms(), 501_000);
        assert_eq!(clock.now() - start, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come_and_not_before() {
        let clock = Clock::manual(0);
        let mut short = Box::pin(clock.sleep(Duration::from_secs(5)));
        let mut long = Box::pin(clock.sleep(Duration::from_secs(50)));
        assert!((&mut short).now_or_never().is_none());
        assert!((&mut long).now_or_never().is_none());
        clock.advance(Duration::from_secs(5));
        short.await;
        assert!((&mut long).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_timeout_prefers_a_finished_future() {
        let clock = Clock::manual(0);
        let ready = clock.timeout(Duration::ZERO, std::future::ready(7)).await;
        assert_eq!(ready, Ok(7));
        let never = clock.timeout(Duration::ZERO, std::future::pending::<()>());
        assert_eq!(never.await, Err(Elapsed));
    }

    #[test]
    fn the_system_clock_is_in_this_century() {
        assert!(Clock::system().wall_ms() > 1_700_000_000_000);
    }
}
