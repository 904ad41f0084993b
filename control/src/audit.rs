//! The audit log does not grow for ever: entries that are older than the retention are forgotten, the oldest first, a batch at a time.
//!
//! Entries have numbers and times; the log is cut where the first entry young enough stands, so that no gap comes of a clock that was
//! wrong for a while. Several control planes may do it at once. What a generation holds is its own affair and stays.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Reconciler, Tasks};
use wire::time::WallTime;

use crate::state::{Error, Part, State};

/// How long entries are kept unless somebody says otherwise: more than a year, which is what most rules ask for.
pub const RETENTION: Duration = Duration::from_secs(400 * 86_400);
/// No shorter: an operator who looks on the next day should find what happened.
pub const SHORTEST: Duration = Duration::from_secs(86_400);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3_600);
/// Entries of one transaction.
const BATCH: usize = 200;
/// Batches of one look: more wait for the next.
const BATCHES: usize = 100;

/// Keeps the log to `retention`, as a task of `tasks`.
pub(crate) fn keep(state: Arc<dyn State>, retention: Duration, clock: &Clock, tasks: &Tasks) {
    let now = clock.clone();
    Reconciler::new("audit-retention", EVERY).start(tasks, clock, move || {
        let state = Arc::clone(&state);
        let from = WallTime(now.wall_ms()).minus(retention.max(SHORTEST));
        async move {
            match shorten(&*state, from).await {
                Ok(0) => {}
                Ok(forgotten) => {
                    tracing::info!(
                        forgotten,
                        "audit entries older than the retention were forgotten"
                    );
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old audit entries cannot be forgotten"
                ),
            }
        }
    });
}

/// Forgets what was recorded before `from`; how many entries.
async fn shorten(state: &dyn State, from: WallTime) -> Result<u64, Error> {
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        let oldest = Part {
            after: Some(0),
            limit: BATCH,
            ..Part::default()
        };
        let entries = state.audit(oldest).await?;
        let old = entries.iter().take_while(|entry| entry.at < from);
        let Some(last) = old.last() else {
            break;
        };
        forgotten += state.sweep_audit(last.sequence).await?;
        if entries.len() < BATCH {
            break;
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{NewEntry, memory::Memory};

    fn entry(at: i64) -> NewEntry {
        NewEntry {
            at: WallTime(at),
            who: "me".to_owned(),
            action: "put".to_owned(),
            target: "rules/r".to_owned(),
            before: None,
            after: None,
            generation: None,
            refused: None,
        }
    }

    #[tokio::test]
    async fn the_log_is_cut_before_the_first_entry_that_is_young_enough() {
        let state = Memory::new(Clock::manual(0));
        let old = (0..450).map(entry).collect();
        state.record(old).await.unwrap();
        // A clock that went back for a while.
        let young = vec![entry(1_000), entry(7), entry(1_001)];
        state.record(young).await.unwrap();
        assert_eq!(shorten(&state, WallTime(0)).await, Ok(0));
        assert_eq!(shorten(&state, WallTime(10)).await, Ok(10));
        assert_eq!(shorten(&state, WallTime(1_000)).await, Ok(440));
        let left = state.audit(Part {
            after: Some(0),
            limit: 10,
            ..Part::default()
        });
        let left: Vec<i64> = left.await.unwrap().iter().map(|entry| entry.at.0).collect();
        assert_eq!(left, [1_000, 7, 1_001]);
        assert_eq!(shorten(&state, WallTime(2_000)).await, Ok(3));
    }

    #[tokio::test]
    async fn it_is_done_in_the_background() {
        let (clock, tasks) = (Clock::manual(0), Tasks::new("test"));
        let state: Arc<dyn State> = Arc::new(Memory::new(clock.clone()));
        state.record(vec![entry(0)]).await.unwrap();
        let log = async || {
            state
                .audit(Part {
                    limit: 9,
                    ..Part::default()
                })
                .await
                .unwrap()
        };
        keep(Arc::clone(&state), RETENTION, &clock, &tasks);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(log().await.len(), 1);
        clock.advance(RETENTION + EVERY * 2);
        let mut left = 1;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
            left = log().await.len();
            if left == 0 {
                break;
            }
        }
        assert_eq!(left, 0);
    }
}
