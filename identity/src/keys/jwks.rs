//! An issuer's keys by HTTP or from a file: asked for by one for all, remembered, and kept on disk for when it is away.
//!
//! Requests never wait for an issuer whose keys are at hand, except once when they are over. A token with an unknown key leads to one
//! question a minute at most, so a flood of invented ones costs nothing; an answer that is no use (HTML, no keys, another issuer)
//! counts as none, so good keys stay. When to ask is `pace`'s, how is `discovery`'s. Source: `spec/identity.md` "OIDC".

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use runtime::{Clock, Single, Tasks, file::Files};
use wire::name::IssuerName;

use super::{
    Away, KeySet, KeySource,
    discovery::{self, Keys, Place},
    kept::{self, Kept},
    pace::{self, Facts, Held, Next},
};

/// What every issuer's keys need of the process.
#[derive(Debug, Clone)]
pub struct Around {
    /// The reader of time.
    pub clock: Clock,
    /// Owns the questions under way.
    pub tasks: Tasks,
    /// Where last good keys are kept; nowhere if `None`, for who has no disk of their own.
    pub disk: Option<(Arc<dyn Files>, PathBuf)>,
}

/// The keys of one issuer. Clones are the same.
#[derive(Debug, Clone)]
pub struct Jwks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: IssuerName,
    place: Place,
    kept: Option<Kept>,
    around: Around,
    questions: Single<(), Result<Arc<KeySet>, Away>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    facts: Facts,
    /// Whether it was looked for keys on disk.
    looked: bool,
    /// What was wrong at the last try.
    wrong: Option<Away>,
}

impl Around {
    /// Takes the keys of issuers that are not declared any more from the disk, meanwhile.
    pub fn keep_only(&self, names: BTreeSet<IssuerName>) {
        let Some((files, directory)) = self.disk.clone() else {
            return;
        };
        let sweep = move || {
            if let Err(error) = kept::sweep(&*files, &directory, &names) {
                tracing::debug!(%error, "keys of issuers that are gone stay on disk");
            }
        };
        drop(self.tasks.spawn_blocking("issuer-keys-sweep", sweep));
    }
}

impl Jwks {
    /// The keys of the issuer at `place`. Nothing is asked before somebody wants them.
    #[must_use]
    pub fn new(name: &IssuerName, place: Place, around: &Around) -> Self {
        let is_file = matches!(place.keys, Some(Keys::File(_)));
        let disk = around.disk.as_ref().filter(|_| !is_file);
        let kept =
            disk.map(|(files, directory)| Kept::new(Arc::clone(files), directory, name, &place));
        Self(Arc::new(Inner {
            name: name.clone(),
            place,
            kept,
            around: around.clone(),
            questions: Single::new("issuer-keys", &around.tasks, 1),
            state: Mutex::default(),
        }))
    }

    /// The answer to a question that is being asked, or is asked now.
    async fn ask(&self) -> Result<Arc<KeySet>, Away> {
        let inner = Arc::clone(&self.0);
        let asked = self
            .0
            .questions
            .run((), || async move { inner.ask().await });
        asked
            .await
            .unwrap_or_else(|lost| Err(Away::new(lost.to_string())))
    }

    /// Asks, and lets nobody wait for it: the question belongs to `Tasks`, and what came of it is in the state and the log.
    fn renew(&self) {
        drop(self.ask().now_or_never());
    }

    /// Looks on disk once, before the issuer is asked for the first time.
    async fn look(&self) {
        let Some(kept) = self.0.kept.clone().filter(|_| !self.0.state().looked) else {
            return;
        };
        let tasks = &self.0.around.tasks;
        let loaded = tasks.spawn_blocking("issuer-keys-load", move || kept.load());
        let loaded = loaded.await.ok().flatten();
        let mut state = self.0.state();
        if state.looked {
            return;
        }
        state.looked = true;
        if let (None, Some(keys)) = (&state.keys, loaded) {
            state.keys = Some(Arc::new(keys));
            state.facts.held = Some(Held {
                since: None,
                life: pace::SHORTEST,
            });
        }
    }
}

#[async_trait]
impl KeySource for Jwks {
    async fn keys(&self) -> Result<Arc<KeySet>, Away> {
        self.look().await;
        let (next, keys, wrong) = {
            let state = self.0.state();
            let next = pace::next(&state.facts, self.0.around.clock.now());
            (next, state.keys.clone(), state.wrong.clone())
        };
        match (next, keys) {
            (Next::Use, Some(keys)) => Ok(keys),
            (Next::Renew, Some(keys)) => {
                self.renew();
                Ok(keys)
            }
            (Next::Away, _) => Err(wrong.unwrap_or_else(|| Away::new("it is away"))),
            (Next::Wait, Some(keys)) => Ok(self.ask().await.unwrap_or(keys)),
            (Next::Wait | Next::Use | Next::Renew, None) => self.ask().await,
        }
    }

    async fn newer(&self, seen: &Arc<KeySet>) -> Result<Arc<KeySet>, Away> {
        let now = self.0.around.clock.now();
        let most_often = match self.0.place.keys {
            Some(Keys::File(_)) => Duration::from_secs(1),
            Some(Keys::Uri(_)) | None => pace::MINUTE,
        };
        let (keys, may_ask, wrong) = {
            let state = self.0.state();
            let may_ask = pace::may_ask(&state.facts, most_often, now);
            (state.keys.clone(), may_ask, state.wrong.clone())
        };
        match keys.filter(|keys| !Arc::ptr_eq(keys, seen)) {
            Some(newer) => Ok(newer),
            None if may_ask => self.ask().await,
            // Whether it has others is not known while it is away.
            None => wrong.map_or_else(|| Ok(Arc::clone(seen)), Err),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<Arc<KeySet>, Away> {
        let asked = self.fetch().await;
        let now = self.around.clock.now();
        let (keys, changed) = {
            let mut state = self.state();
            state.facts.tried = Some((now, asked.is_ok()));
            state.wrong = asked.as_ref().err().cloned();
            let (keys, life) = match asked {
                Ok(fetched) => fetched,
                Err(away) => {
                    let last_good = state.keys.is_some();
                    tracing::warn!(issuer = %self.name, error = %away, last_good, "the issuer's keys cannot be had");
                    return Err(away);
                }
            };
            state.facts.held = Some(Held {
                since: Some(now),
                life,
            });
            // The same keys stay the same `Arc`, and with them what was verified by them.
            match state.keys.clone().filter(|known| **known == keys) {
                Some(known) => (known, false),
                None => {
                    let keys = Arc::new(keys);
                    state.keys = Some(Arc::clone(&keys));
                    (keys, true)
                }
            }
        };
        if changed {
            tracing::info!(issuer = %self.name, keys = ?keys.ids(), "the issuer's keys are known");
            self.keep(&keys).await;
        }
        Ok(keys)
    }

    async fn fetch(&self) -> Result<(KeySet, Duration), Away> {
        let (bytes, life) = match &self.place.keys {
            Some(Keys::File(path)) => (discovery::read(path).await?.into(), pace::FILE),
            Some(Keys::Uri(_)) | None => {
                let answer = self.place.keys(&self.around.clock).await?;
                (answer.body, pace::life(&answer.headers))
            }
        };
        let keys = KeySet::parse(&bytes);
        keys.map(|keys| (keys, life))
            .map_err(|error| Away::new(error.to_string()))
    }

    async fn keep(&self, keys: &Arc<KeySet>) {
        let Some(kept) = self.kept.clone() else {
            return;
        };
        let keys = Arc::clone(keys);
        let tasks = &self.around.tasks;
        let stored = tasks.spawn_blocking("issuer-keys-keep", move || kept.store(&keys));
        let stored = stored.await.map_err(std::io::Error::other).flatten();
        if let Err(error) = stored {
            tracing::warn!(issuer = %self.name, %error, "the issuer's keys were not kept on disk; a start while it is away will be without them");
        }
    }
}

#[cfg(test)]
mod tests;
