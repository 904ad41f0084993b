//! Waiting for a condition, with a bound, by looking again and again: the one place of this package that sleeps.
//!
//! A condition answers `Ok` when it holds and otherwise `Err` with the state it saw, which is what a failure prints: "still not"
//! without the last state helps nobody.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use runtime::Clock;

/// How long [`eventually`] looks: far beyond what anything takes on a busy machine, since a passing test never waits for it.
pub const BOUND: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Looks until `condition` is `Ok`, at most [`BOUND`]; then panics with `what` and the last state.
pub async fn eventually<T, E: Debug>(what: &str, condition: impl FnMut() -> Result<T, E>) -> T {
    within(BOUND, what, condition).await
}

/// [`eventually`] with a bound of one's own.
pub async fn within<T, E: Debug>(
    bound: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    eventually_async(bound, what, || std::future::ready(condition())).await
}

/// [`eventually`] for a condition that must ask somebody.
pub async fn eventually_async<T, E: Debug, F: Future<Output = Result<T, E>>>(
    bound: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let clock = Clock::system();
    let end = clock.now() + bound;
    let mut pause = FIRST_PAUSE;
    loop {
        let state = match condition().await {
            Ok(value) => return value,
            Err(state) => state,
        };
        assert!(
            clock.now() < end,
            "not within {bound:?}: {what}; last seen: {state:#?}"
        );
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for `future` at most [`BOUND`] and panics with `what` otherwise: a hang becomes a failure that says where.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match Clock::system().timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("did not happen within {BOUND:?}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let value = eventually("the third look", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "last seen: \"red\"")]
    async fn a_failure_prints_the_last_state() {
        within(Duration::ZERO, "it turns green", || Err::<(), _>("red")).await;
    }
}
