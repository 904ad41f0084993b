//! Carrying a change out: drafted on what is in force, published on top of it or tried again, and what others publish followed.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use wire::{generation::Generation, time::WallTime};

use super::{
    Current, Error, Publisher,
    believed::Believed,
    draft::{Draft, Stamp},
};
use crate::{
    signing_key,
    state::{self, Publish},
};

/// How often a change is tried again because another control plane was faster.
const ATTEMPTS: usize = 32;
/// How long until a newer generation that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Publisher {
    pub(super) fn stamp(&self, who: &str, current: &Current) -> Stamp {
        Stamp {
            who: who.to_owned(),
            at: WallTime(self.0.clock.wall_ms()),
            generation: Generation(current.generation().0 + 1),
            believed: Arc::default(),
        }
    }

    /// Drafts a change on what is in force and publishes it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        who: &str,
        expected: Option<Generation>,
        draft: impl Fn(&Current, &Stamp) -> Result<Draft<T>, Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let _turn = self.0.turn.lock().await;
        let draft = Arc::new(draft);
        for _ in 0..ATTEMPTS {
            let current = self.expected(expected).await?;
            let stamp = Stamp {
                believed: Arc::new(self.believed().await?),
                ..self.stamp(who, &current)
            };
            let drafted = {
                let (draft, current) = (Arc::clone(&draft), Arc::clone(&current));
                let stamp = stamp.clone();
                self.aside(move || draft(&current, &stamp)).await??
            };
            let Some(next) = drafted.next else {
                return Ok(drafted.answer);
            };
            let publish = Publish {
                after: current.generation(),
                generation: next.current.generation(),
                at: stamp.at,
                by: stamp.who,
                desired: next.current.published.desired.clone(),
                audit: next.audit,
            };
            match self.0.state.publish(publish).await {
                Ok(()) => {
                    self.install(next.current);
                    return Ok(drafted.answer);
                }
                Err(state::Error::Moved { newest }) if newest > current.generation() => {
                    self.refresh().await?;
                }
                Err(state::Error::Moved { newest }) => {
                    return Err(restored(newest, current.generation()).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let reason = "other control planes publish all the time";
        Err(state::Error::Unavailable(reason.to_owned()).into())
    }

    /// What grants are to be believed by, as the store has it now: another control plane may have rotated.
    async fn believed(&self) -> Result<Believed, Error> {
        let Some(keys) = &self.0.keys else {
            return Ok(Believed::default());
        };
        match keys.refresh().await {
            Err(signing_key::Error::State(error)) => return Err(error.into()),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the issuer's keys cannot be read; those known stay"
            ),
            Ok(()) => {}
        }
        Ok(Believed {
            keys: Some(keys.points()),
            own: self.own_address().to_owned(),
        })
    }

    /// What is in force, which is `expected` when something is.
    async fn expected(&self, expected: Option<Generation>) -> Result<Arc<Current>, Error> {
        let current = self.current();
        let Some(expected) = expected.filter(|expected| *expected != current.generation()) else {
            return Ok(current);
        };
        self.refresh().await?;
        let current = self.current();
        let newest = current.generation();
        if newest == expected {
            Ok(current)
        } else {
            Err(Error::Stale { expected, newest })
        }
    }

    /// Reads the newest generation, if it is newer than what is in force here.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        let Some(newest) = self.0.state.newest().await? else {
            return Ok(());
        };
        if newest.generation > self.current().generation() {
            let current = self.aside(move || Current::read(newest)).await??;
            self.install(current);
        }
        Ok(())
    }

    /// Reading and checking a large topology takes long: not on a thread that serves others.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, state::Error> {
        let run = self.0.tasks.spawn_blocking("publish", work);
        run.await.map_err(|error| {
            let why = if error.is_panic() {
                "a change failed"
            } else {
                "it is ending"
            };
            state::Error::Unavailable(why.to_owned())
        })
    }

    fn install(&self, next: Current) {
        let generation = next.generation();
        self.0.current.send_if_modified(|current| {
            let newer = generation > current.generation();
            if newer {
                *current = Arc::new(next);
            }
            newer
        });
        self.0.generation.send_if_modified(|known| {
            let newer = generation > *known;
            if newer {
                *known = generation;
            }
            newer
        });
    }

    pub(super) async fn follow(self, mut news: watch::Receiver<state::News>) {
        let ended = self.0.tasks.token();
        loop {
            let behind = news.borrow_and_update().generation > self.current().generation();
            if behind && let Err(error) = self.refresh().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a newer generation cannot be read; the last good one stays in force"
                );
                tokio::select! {
                    () = self.0.clock.sleep(AGAIN) => continue,
                    () = ended.cancelled() => return,
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = ended.cancelled() => return,
            }
        }
    }
}

fn restored(newest: Generation, current: Generation) -> state::Error {
    state::Error::Unavailable(format!(
        "it holds generation {newest} and {current} is in force: it was restored from an older backup; restart the control plane, then `regmesh control recover`"
    ))
}
