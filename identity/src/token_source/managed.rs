//! A managed identity: the rule grant that the control plane mints for this rule, this node and this upstream.
//!
//! One grant is in hand until it ends and is asked for anew in the background once it is due, so a pull waits for the control plane only
//! where there is nothing in hand. An ended grant is never shown. What surprises: the version stays when a grant takes the place of one
//! that was due, because what the upstream gave for the earlier one is as good; it moves when a grant was refused. Source:
//! `spec/identity.md` "The rule grant", `reference/protocols.md` 6.1.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use runtime::{Clock, Single, Tasks};
use tokio::time::Instant;
use wire::time::WallTime;

use super::{Error, Presented, Proof, TokenSource};
use crate::mint::{self, Mint, Minted, Wanted};

/// How long a pull waits for a grant; shorter than a check of what is stored may take, so that it ends with the true reason.
const WAIT: Duration = Duration::from_millis(1_500);
/// How long after an attempt the next one is made in the background, while the present grant still works.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// How often refusals by the upstream may cost the control plane a grant.
const ANEW_AGAIN: Duration = Duration::from_secs(10);

/// The grant of one rule towards one upstream. Clones are the same.
#[derive(Clone)]
pub struct Managed(Arc<Inner>);

struct Inner {
    wanted: Wanted,
    mint: Arc<dyn Mint>,
    clock: Clock,
    tasks: Tasks,
    /// One question to the control plane at a time.
    asking: Single<(), Result<(), mint::Error>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    version: u64,
    /// When the upstream's refusal last cost a grant.
    anew: Option<Instant>,
}

struct Held {
    minted: Minted,
    /// When the next one is asked for.
    due: WallTime,
}

/// What is in hand.
enum Found {
    Good(Presented),
    /// Show it, and ask for the next one meanwhile.
    Due(Presented),
    Nothing,
}

impl Managed {
    /// A source of grants for `wanted`, by `mint`.
    #[must_use]
    pub fn new(wanted: Wanted, mint: Arc<dyn Mint>, clock: Clock, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner {
            wanted,
            mint,
            clock,
            tasks: tasks.clone(),
            asking: Single::new("rule-grant", tasks, 1),
            state: Mutex::default(),
        }))
    }

    fn find(&self) -> Found {
        let now = self.0.now();
        let mut state = self.0.lock();
        let version = state.version;
        let held = state.held.as_mut().filter(|h| h.minted.expires > now);
        let Some(held) = held else {
            return Found::Nothing;
        };
        let presented = Presented {
            proof: Proof::Token(held.minted.token.clone()),
            version,
        };
        if held.due > now {
            return Found::Good(presented);
        }
        // Whoever is told asks; should that fail, the next one is not due at once.
        held.due = now.plus(RENEW_AGAIN);
        Found::Due(presented)
    }

    async fn ask(&self) -> Result<(), mint::Error> {
        let inner = Arc::clone(&self.0);
        let asked = self.0.asking.run((), || async move {
            let minted = inner.mint.mint(&inner.wanted).await;
            inner.take(minted, false)
        });
        let asked = asked.await;
        asked.unwrap_or_else(|lost| Err(mint::Error::Away(lost.to_string())))
    }

    fn ask_behind(&self) {
        let this = self.clone();
        self.0.tasks.spawn("renew-grant", async move {
            if let Err(error) = this.ask().await {
                let Wanted { rule, identity, .. } = &this.0.wanted;
                tracing::warn!(%rule, %identity, %error, "a rule grant could not be renewed; the present one is used to its end");
            }
        });
    }

    async fn ask_and_wait(&self) -> Result<(), Error> {
        let asked = self.0.clock.timeout(WAIT, self.ask()).await;
        let late = || mint::Error::Away("it has not answered yet".to_owned());
        asked
            .unwrap_or_else(|_| Err(late()))
            .map_err(|error| self.0.explain(&error))
    }
}

impl Inner {
    /// Takes over what the control plane said; `anew` when it takes the place of one that was refused.
    fn take(&self, minted: Result<Minted, mint::Error>, anew: bool) -> Result<(), mint::Error> {
        let now = self.now();
        let minted = minted.and_then(|minted| match minted.expires > now {
            true => Ok(minted),
            false => Err(mint::Error::Away(
                "what it gives has ended already by this node's clock".to_owned(),
            )),
        });
        let mut state = self.lock();
        match minted {
            Ok(minted) => {
                let known = state.held.as_ref().map(|held| held.minted.token.expose());
                let is_new = known != Some(minted.token.expose());
                if state.version == 0 || (anew && is_new) {
                    state.version += 1;
                }
                let due = minted.refresh.max(now.plus(RENEW_AGAIN));
                state.held = Some(Held { minted, due });
                Ok(())
            }
            Err(error) => {
                if let mint::Error::Refused(_) = error {
                    state.held = None;
                    state.version += 1;
                }
                Err(error)
            }
        }
    }

    fn explain(&self, error: &mint::Error) -> Error {
        match error {
            mint::Error::Refused(_) => Error::NotAttached {
                detail: error.to_string(),
            },
            mint::Error::Away(_) => {
                let ended = self.lock().held.as_ref().map(|held| held.minted.expires);
                let ended = ended.map(|at| format!("the last rule grant ended at {at}, and "));
                Error::Away {
                    detail: format!("{}{error}", ended.unwrap_or_default()),
                    retry_after: None,
                }
            }
        }
    }

    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenSource for Managed {
    fn kind(&self) -> &'static str {
        "managed"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        match self.find() {
            Found::Good(presented) => return Ok(presented),
            Found::Due(presented) => {
                self.ask_behind();
                return Ok(presented);
            }
            Found::Nothing => self.ask_and_wait().await?,
        }
        match self.find() {
            Found::Good(presented) | Found::Due(presented) => Ok(presented),
            Found::Nothing => {
                let gone = mint::Error::Away("what it gave is not valid any more".to_owned());
                Err(self.0.explain(&gone))
            }
        }
    }

    async fn refused(&self, version: u64) {
        let refused = {
            let (mut state, now) = (self.0.lock(), self.0.clock.now());
            let lately = |at: Instant| now.saturating_duration_since(at) < ANEW_AGAIN;
            if state.version != version || state.anew.is_some_and(lately) {
                return;
            }
            state.anew = Some(now);
            state.held.as_ref().map(|held| held.minted.token.clone())
        };
        let Some(refused) = refused else { return };
        let minted = self.0.mint.mint_anew(&self.0.wanted, &refused).await;
        if let Err(error) = self.0.take(minted, true) {
            let Wanted { rule, identity, .. } = &self.0.wanted;
            tracing::warn!(%rule, %identity, %error, "a rule grant was refused by the upstream, and there is no other");
        }
    }

    fn ends(&self) -> Option<WallTime> {
        let held = self.0.lock().held.as_ref().map(|held| held.minted.expires);
        held.or_else(|| Some(self.0.mint.in_hand(&self.0.wanted)?.expires))
    }
}

#[cfg(test)]
mod tests;
