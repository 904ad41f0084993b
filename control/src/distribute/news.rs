//! What changed, whoever changed it: wakes the streams, carries questions over, reads what others wrote, keeps our certificate.
//!
//! One task follows the state's news and the publisher; streams are woken only after what they will look at has been read.

use std::{sync::Arc, time::Duration};

use runtime::{Reconciler, Tasks};
use tokio::time::Instant;
use wire::generation::Generation;

use super::{Inner, sweep};
use crate::{ask, history, state::News};

/// How often what other control planes wrote is read, at most.
const LOOK: Duration = Duration::from_millis(500);
/// How long until news that could not be read are read again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn start(inner: &Arc<Inner>, tasks: &Tasks) {
    tasks.spawn("news", follow(Arc::clone(inner)));
    let mine = Arc::clone(inner);
    Reconciler::new("history", history::EVERY).start(tasks, &inner.clock, move || {
        let inner = Arc::clone(&mine);
        async move { history::record(&inner).await }
    });
    let mine = Arc::clone(inner);
    Reconciler::new("instances", sweep::EVERY).start(tasks, &inner.clock, move || {
        let inner = Arc::clone(&mine);
        async move { inner.sweep().await }
    });
}

async fn follow(inner: Arc<Inner>) {
    let token = inner.tasks.token();
    let (mut news, mut generation) = (inner.state.news(), inner.publisher.watch());
    let mut known = Known::default();
    let mut looked = inner.clock.now();
    loop {
        let now = (*news.borrow_and_update(), *generation.borrow_and_update());
        let read = inner.react(&mut known, now).await;
        inner.look(&mut looked).await;
        let pause = if inner.others() {
            LOOK
        } else {
            inner.rhythm.heartbeat
        };
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            changed = generation.changed() => if changed.is_err() { return },
            changed = news.changed() => if changed.is_err() { return },
            () = inner.clock.sleep(if read { pause } else { AGAIN }) => {}
        }
    }
}

/// What was looked at; nothing at the start, so that what happened before is looked at too.
#[derive(Default)]
struct Known {
    generation: Option<Generation>,
    revocations: Option<u64>,
    asks: Option<u64>,
}

impl Inner {
    /// Reads what the news are about, then wakes the streams. `false` when it could not be read and must be tried again.
    async fn react(
        self: &Arc<Self>,
        known: &mut Known,
        (news, generation): (News, Generation),
    ) -> bool {
        if known.asks != Some(news.asks) {
            known.asks = Some(news.asks);
            ask::relay::answer_others(self).await;
        }
        let moved = known.generation != Some(generation);
        let revoked = known.revocations != Some(news.revocations);
        if !moved && !revoked {
            return true;
        }
        let mut read = Ok(());
        if revoked {
            read = self.enrol.refresh().await;
        }
        if moved {
            read = read.and(self.load_mark().await);
        }
        if let Err(error) = &read {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the state's news cannot be read; trying again shortly"
            );
        } else {
            known.revocations = Some(news.revocations);
            known.generation = Some(generation);
        }
        self.wake
            .send_modify(|count| *count = count.wrapping_add(1));
        read.is_ok()
    }

    async fn look(&self, looked: &mut Instant) {
        let now = self.clock.now();
        let every = if self.others() {
            LOOK
        } else {
            self.rhythm.heartbeat
        };
        if now.saturating_duration_since(*looked) < every {
            return;
        }
        *looked = now;
        if let Err(error) = self.look_elsewhere().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what other control planes wrote cannot be read"
            );
        }
    }
}
