//! One secret that somebody else gives, kept in hand: a token of Entra or of a foreign token service, a secret of a vault.
//!
//! It is asked for anew in the background once it is due, one question at a time, so nobody waits while it is good. Past that it is asked
//! for while the caller waits; what has not ended yet is still shown when whoever gives it is away. A failure is remembered for some
//! seconds, so that a source that is away costs its time-out once and not each pull. The version stays when a value takes the place of
//! one that was due, because what was got by the earlier one is as good; it moves when one was refused. That nobody there has heard of us
//! is taken for "not yet" in the first minutes, and for a refusal after them. Nothing is written to disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use runtime::{Clock, Secret, Single, Tasks};
use tokio::time::Instant;
use wire::time::WallTime;

use super::Error;

/// How long after an attempt the next one is made in the background, while the present value is good.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// How long a failure is remembered, whatever `Retry-After` says: at least, at most.
const REMEMBERED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How often refusals may cost whoever gives it a value.
const ANEW_AGAIN: Duration = Duration::from_secs(10);
/// How long after the first question it may be that who was asked has not heard of us yet (AADSTS70021).
const YOUNG: Duration = Duration::from_secs(10 * 60);
/// How long a caller waits when the last attempt failed, or when there is something older to show.
const IMPATIENT: Duration = Duration::from_millis(1_500);

/// What was given, and for how long from now on it is what.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    pub(crate) value: Secret,
    /// After that the next one is asked for in the background.
    pub(crate) due: Duration,
    /// After that it is shown only while nobody can be asked.
    pub(crate) good: Duration,
    /// After that it is not shown.
    pub(crate) ends: Duration,
}

/// Gives a value. Bounded in time by itself.
pub(crate) type Make =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Fresh, Error>> + Send + Sync + 'static>;

/// One value. Clones are the same.
#[derive(Clone)]
pub(crate) struct Held(Arc<Inner>);

struct Inner {
    /// For the log.
    what: &'static str,
    make: Make,
    clock: Clock,
    tasks: Tasks,
    asking: Single<(), Result<(), Error>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    version: u64,
    failed: Option<(Error, Instant)>,
    /// When it was first asked for.
    since: Option<Instant>,
    /// When a refusal last made us ask, and whether what it made us ask for is still to come.
    anew: Option<Instant>,
    owed: bool,
}

#[derive(Clone)]
struct Kept {
    value: Secret,
    due: Instant,
    good: Instant,
    ends: Instant,
    ends_at: WallTime,
}

/// What is in hand.
enum Found {
    Good(Secret, u64),
    /// Show it, and ask for the next one meanwhile.
    Due(Secret, u64),
    /// Show the value, or say this: it was asked for a moment ago.
    Failed(Option<(Secret, u64)>, Error),
    /// Ask, waiting at most so long; the value is what is left when nobody can be asked.
    Ask(Option<(Secret, u64)>, Option<Duration>),
}

impl Fresh {
    /// A token of this life: due at half of it, of no worth after it.
    pub(crate) fn token(value: Secret, life: Duration) -> Self {
        Self {
            value,
            due: life / 2,
            good: life,
            ends: life,
        }
    }
}

impl Held {
    /// `what` is its name in the log: `azure-token`.
    pub(crate) fn new(what: &'static str, make: Make, clock: Clock, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner {
            what,
            make,
            clock,
            tasks: tasks.clone(),
            asking: Single::new(what, tasks, 1),
            state: Mutex::default(),
        }))
    }

    /// The value that is valid now, and its version.
    pub(crate) async fn get(&self) -> Result<(Secret, u64), Error> {
        let (left, patience) = match self.0.find() {
            Found::Good(value, version) => return Ok((value, version)),
            Found::Due(value, version) => {
                self.ask_behind();
                return Ok((value, version));
            }
            Found::Failed(left, error) => return left.ok_or(error),
            Found::Ask(left, patience) => (left, patience),
        };
        let asked = match patience {
            None => self.ask().await,
            Some(patience) => {
                let asked = self.0.clock.timeout(patience, self.ask()).await;
                asked.unwrap_or_else(|_| Err(self.0.late()))
            }
        };
        match asked {
            Ok(()) => self.0.shown().ok_or_else(|| self.0.late()),
            Err(Error::Away { .. }) if left.is_some() => left.ok_or_else(|| self.0.late()),
            Err(error) => Err(error),
        }
    }

    /// The value of this version was not taken: another one is asked for now, at most once in a while.
    pub(crate) async fn refused(&self, version: u64) {
        {
            let (mut state, now) = (self.0.lock(), self.0.clock.now());
            let lately = |at: Instant| now.saturating_duration_since(at) < ANEW_AGAIN;
            if state.version != version || state.anew.is_some_and(lately) {
                return;
            }
            state.anew = Some(now);
            state.owed = true;
        }
        self.tell(self.ask().await);
    }

    /// When the value in hand ends.
    pub(crate) fn ends(&self) -> Option<WallTime> {
        self.0.lock().kept.as_ref().map(|kept| kept.ends_at)
    }

    async fn ask(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.0);
        let asked = self.0.asking.run((), || async move {
            inner.begin();
            let made = (inner.make)().await;
            inner.take(made)
        });
        asked.await.unwrap_or_else(|lost| {
            Err(Error::Away {
                detail: lost.to_string(),
                retry_after: None,
            })
        })
    }

    fn ask_behind(&self) {
        let this = self.clone();
        self.0.tasks.spawn(self.0.what, async move {
            let asked = this.ask().await;
            this.tell(asked);
        });
    }

    fn tell(&self, asked: Result<(), Error>) {
        if let Err(error) = asked {
            let what = self.0.what;
            tracing::warn!(what, %error, "it could not be renewed; the present one is used to its end");
        }
    }
}

impl Inner {
    fn find(&self) -> Found {
        let now = self.clock.now();
        let mut state = self.lock();
        let version = state.version;
        let failed = state.failed.clone().filter(|(_, until)| *until > now);
        let failing = state.failed.is_some();
        let kept = state.kept.as_mut().filter(|kept| kept.ends > now);
        let Some(kept) = kept else {
            return match failed {
                Some((error, _)) => Found::Failed(None, error),
                None => Found::Ask(None, failing.then_some(IMPATIENT)),
            };
        };
        let value = kept.value.clone();
        if kept.due > now {
            return Found::Good(value, version);
        }
        if kept.good > now {
            // Whoever is told asks; should that fail, the next one is not due at once.
            kept.due = now + RENEW_AGAIN;
            return Found::Due(value, version);
        }
        match failed {
            Some((error, _)) => Found::Failed(Some((value, version)), error),
            None => Found::Ask(Some((value, version)), Some(IMPATIENT)),
        }
    }

    fn begin(&self) {
        let now = self.clock.now();
        self.lock().since.get_or_insert(now);
    }

    /// Takes over what was given, or that nothing was.
    fn take(&self, made: Result<Fresh, Error>) -> Result<(), Error> {
        let (now, wall) = (self.clock.now(), WallTime(self.clock.wall_ms()));
        let mut state = self.lock();
        let age = state
            .since
            .map(|since| now.saturating_duration_since(since));
        let made = made.map_err(|error| patient(error, age.unwrap_or_default()));
        match made {
            Ok(fresh) => {
                let known = state.kept.as_ref().map(|kept| kept.value.expose());
                let is_new = known != Some(fresh.value.expose());
                if state.version == 0 || (state.owed && is_new) {
                    state.version += 1;
                    state.owed = false;
                }
                state.failed = None;
                state.kept = Some(Kept {
                    value: fresh.value,
                    due: now + fresh.due,
                    good: now + fresh.good,
                    ends: now + fresh.ends,
                    ends_at: wall.plus(fresh.ends),
                });
                Ok(())
            }
            Err(error) => {
                let (at_least, at_most) = REMEMBERED;
                let told = match &error {
                    Error::Away { retry_after, .. } => *retry_after,
                    // The answer is no: what is in hand may not be shown any more either.
                    Error::NotAttached { .. } | Error::Refused { .. } | Error::Secret(_) => {
                        if state.kept.take().is_some() {
                            state.version += 1;
                        }
                        None
                    }
                };
                let until = now + told.unwrap_or_default().clamp(at_least, at_most);
                state.failed = Some((error.clone(), until));
                Err(error)
            }
        }
    }

    fn shown(&self) -> Option<(Secret, u64)> {
        let state = self.lock();
        let kept = state.kept.as_ref()?;
        let valid = kept.ends > self.clock.now();
        valid.then(|| (kept.value.clone(), state.version))
    }

    /// Why there is nothing yet: what was said last, if anything was.
    fn late(&self) -> Error {
        let last = self.lock().failed.as_ref().map(|(error, _)| error.clone());
        last.unwrap_or_else(|| Error::Away {
            detail: "whoever gives it has not answered yet".to_owned(),
            retry_after: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failure means when the first question was so long ago; pure.
fn patient(error: Error, age: Duration) -> Error {
    if let Error::Refused {
        detail,
        unheard: true,
    } = &error
        && age < YOUNG
    {
        return Error::Away {
            detail: format!("{detail} (as it also says for minutes after it was told)"),
            retry_after: None,
        };
    }
    error
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("what", &self.0.what)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
