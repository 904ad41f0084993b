//! Tokens from the control plane, over the connection of the stream: rule grants ahead of need, federation tokens when they are asked for.
//!
//! The grants of a slice are fetched as soon as it is in force and again before each is due, in batches, so that a pull finds its grant and
//! an outage finds a day in hand. They are on disk for a restart without the control plane, and nowhere else. What the slice in force does
//! not ask for, or the control plane refuses by the same generation, is dropped. That the whole call fails says nothing about a rule: what is in
//! hand goes on until it ends, and nobody waits while something is. Nor does the refusal of a control plane that was restored from a
//! backup: it knows less than this node, and an operator is to confirm it first. Source: `spec/identity.md` "The rule grant", `spec/control-plane.md` "Identity tokens", T36.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use identity::mint::{Error, Mint, Minted, Wanted};
use runtime::{
    Clock, Secret, Tasks,
    reconcile::{Nudge, Reconciler},
};
use tokio::sync::Mutex as AsyncMutex;
use wire::{generation::Generation, node_service, time::WallTime};

use self::grants::{Held, Needed};
use super::{home::Home, link::Client};
use crate::app::Slice;

pub(super) mod grants;

/// The most that one call asks for.
const BATCH: usize = 256;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);
/// How often it is looked whether something is due, and how soon what failed is tried again.
const LOOK: Duration = Duration::from_secs(30);
/// For how long a control plane with another generation than this node's has its refusals not counted: its slice is on the way.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// For how long a refusal answers pulls by itself: a rule that may not have its grant is no load on the control plane.
const REFUSED_STANDS: Duration = Duration::from_secs(3);
/// How soon what was refused is fetched ahead again without a new slice.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);

/// Asks for tokens of this node's rules. Clones are the same.
#[derive(Clone)]
pub(crate) struct Minter(Arc<Inner>);

struct Inner {
    /// Not held: sources of tokens may outlive the agent, and the directory is locked while it is held.
    home: Weak<Home>,
    clock: Clock,
    tasks: Tasks,
    /// Of the stream that stands.
    client: Mutex<Option<Client>>,
    state: Mutex<State>,
    /// Whether the disk has something else than memory.
    unwritten: AtomicBool,
    writing: AsyncMutex<()>,
    nudge: OnceLock<Nudge>,
}

#[derive(Default)]
struct State {
    /// What the slice in force needs.
    needed: Needed,
    held: HashMap<Wanted, Held>,
    /// Of that slice.
    generation: Generation,
    /// The other generation by which the control plane decides, and since when.
    other: Option<(Generation, WallTime)>,
    /// Whether the control plane knows less than this node: it may not know a rule yet that it has forgotten.
    knows_less: bool,
    /// When what could not be had is asked for again.
    again: HashMap<Wanted, WallTime>,
    /// What the control plane refused, when and why.
    refused: HashMap<Wanted, (WallTime, String)>,
}

impl State {
    /// Whether the control plane decides by another generation than the one in force here, and has not done so for long: when two changes
    /// of a rule follow each other closely, it may refuse what this node has to ask for until the next slice is here.
    fn is_under_way(&mut self, judged: Generation, now: WallTime) -> bool {
        if judged == Generation(0) || judged == self.generation {
            return false;
        }
        let since = match self.other {
            Some((other, since)) if other == judged => since,
            Some(_) | None => now,
        };
        self.other = Some((judged, since));
        since.age(now).is_none_or(|age| age < UNDER_WAY)
    }
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    /// With the grants that are on disk, and what was wrong with them; nobody is asked before [`Minter::keep`].
    pub(super) fn open(home: &Arc<Home>, clock: &Clock, tasks: &Tasks) -> (Self, Option<String>) {
        let (held, damage) = grants::load(home, WallTime(clock.wall_ms()));
        let state = State {
            held,
            ..State::default()
        };
        let this = Self(Arc::new(Inner {
            home: Arc::downgrade(home),
            clock: clock.clone(),
            tasks: tasks.clone(),
            client: Mutex::default(),
            state: Mutex::new(state),
            unwritten: AtomicBool::new(false),
            writing: AsyncMutex::default(),
            nudge: OnceLock::new(),
        }));
        (this, damage)
    }

    /// From now on grants are fetched ahead and written down.
    pub(super) fn keep(&self) {
        let weak = Arc::downgrade(&self.0);
        let nudge =
            Reconciler::new("rule-grants", LOOK).start(&self.0.tasks, &self.0.clock, move || {
                let inner = weak.upgrade();
                async move {
                    if let Some(inner) = inner {
                        Self(inner).look().await;
                    }
                }
            });
        let _ = self.0.nudge.set(nudge);
    }

    /// There is a connection to ask over, to a control plane that `knows_less` than this node or not.
    pub(super) fn connected(&self, client: Client, knows_less: bool) {
        *lock(&self.0.client) = Some(client);
        lock(&self.0.state).knows_less = knows_less;
        self.nudge();
    }

    /// There is none any more.
    pub(super) fn away(&self) {
        *lock(&self.0.client) = None;
    }

    /// This slice is about to be in force: what it does not need is dropped, and what it needs is fetched.
    pub(super) fn follow(&self, slice: &Slice) {
        let needed = grants::needed(slice);
        {
            let mut state = lock(&self.0.state);
            let before = state.held.len();
            state
                .held
                .retain(|wanted, held| grants::is_right(wanted, held, &needed));
            if state.held.len() != before {
                self.0.unwritten.store(true, Ordering::Relaxed);
            }
            let now = self.now();
            for held in state.held.values_mut() {
                if grants::is_revoked(held, &needed) {
                    held.replace_at(now);
                }
            }
            // What was refused before may be given now.
            state.again.clear();
            state.refused.clear();
            // It comes from the control plane, or from before the first connection.
            state.knows_less = false;
            state.generation = slice.generation;
            state.other = None;
            state.needed = needed;
        }
        self.nudge();
    }

    fn nudge(&self) {
        if let Some(nudge) = self.0.nudge.get() {
            nudge.nudge();
        }
    }

    fn now(&self) -> WallTime {
        WallTime(self.0.clock.wall_ms())
    }

    /// Fetches what is due, and writes down what changed.
    async fn look(&self) {
        let due = self.due();
        for batch in due.chunks(BATCH) {
            match self.call(batch).await {
                Ok((judged, outcomes)) => {
                    for (wanted, outcome) in batch.iter().zip(outcomes) {
                        let _ = self.take(wanted, outcome, judged);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, wanted = batch.len(), "rule grants were not fetched ahead");
                    break;
                }
            }
        }
        self.write().await;
    }

    /// What the slice needs and is not in hand, or is due.
    fn due(&self) -> Vec<Wanted> {
        if lock(&self.0.client).is_none() {
            return Vec::new();
        }
        let now = self.now();
        let state = lock(&self.0.state);
        let is_due = |wanted: &&Wanted| {
            let waits = state.again.get(*wanted).is_some_and(|at| *at > now);
            !waits && state.held.get(*wanted).is_none_or(|held| held.due <= now)
        };
        let mut due: Vec<Wanted> = state.needed.iter().filter(is_due).cloned().collect();
        due.sort_by(|a, b| a.rule.cmp(&b.rule));
        due
    }

    /// Takes over what the control plane said about one token by the generation `judged`, and passes it on.
    fn take(
        &self,
        wanted: &Wanted,
        outcome: Result<Minted, Error>,
        judged: Generation,
    ) -> Result<Minted, Error> {
        let now = self.now();
        let mut state = lock(&self.0.state);
        let under_way = state.is_under_way(judged, now);
        let outcome = match outcome {
            Err(Error::Refused(why)) if state.knows_less => Err(Error::Away(format!(
                "it was restored from a backup and waits for `regmesh control recover`: {why}"
            ))),
            Err(Error::Refused(why)) if under_way => Err(Error::Away(format!(
                "it decides by generation {judged}, which is not the one in force here: {why}"
            ))),
            outcome => outcome,
        };
        if !state.needed.contains(wanted) {
            return outcome;
        }
        match &outcome {
            Ok(minted) => {
                state.again.remove(wanted);
                state.refused.remove(wanted);
                let held = Held::new(minted.clone(), now, rand::random());
                state.held.insert(wanted.clone(), held);
                self.0.unwritten.store(true, Ordering::Relaxed);
            }
            Err(Error::Refused(why)) => {
                let Wanted { rule, identity, .. } = wanted;
                tracing::warn!(%rule, %identity, why, refusal = "IDENTITY_NOT_ATTACHED", "the control plane does not give this rule a grant");
                if state.held.remove(wanted).is_some() {
                    self.0.unwritten.store(true, Ordering::Relaxed);
                }
                state.again.insert(wanted.clone(), now.plus(REFUSED_AGAIN));
                state.refused.insert(wanted.clone(), (now, why.clone()));
            }
            Err(Error::Away(_)) => {
                state.again.insert(wanted.clone(), now.plus(LOOK));
            }
        }
        outcome
    }

    /// One token, asked for now.
    async fn ask(&self, wanted: &Wanted) -> Result<Minted, Error> {
        let (judged, outcomes) = self.call(std::slice::from_ref(wanted)).await?;
        let outcome = outcomes.into_iter().next();
        let outcome = outcome.unwrap_or_else(|| Err(Error::Away("it said nothing".to_owned())));
        let taken = self.take(wanted, outcome, judged);
        // It is written down without the pull waiting for it.
        self.nudge();
        taken
    }

    async fn call(
        &self,
        wanted: &[Wanted],
    ) -> Result<(Generation, Vec<Result<Minted, Error>>), Error> {
        let client = lock(&self.0.client).clone();
        let Some(mut client) = client else {
            return Err(Error::Away("it is not connected".to_owned()));
        };
        let request = node_service::TokenRequest {
            wanted: wanted.iter().map(grants::asked).collect(),
        };
        let answer = self.0.clock.timeout(CALL, client.token(request)).await;
        let answer = answer
            .map_err(|_| Error::Away(format!("it did not answer within {} s", CALL.as_secs())))?;
        let answer = answer.map_err(|status| {
            let error = super::link::Error::from(status);
            Error::Away(error.to_string())
        })?;
        let node_service::Tokens { minted, generation } = answer.into_inner();
        if minted.len() != wanted.len() {
            let (asked, got) = (wanted.len(), minted.len());
            return Err(Error::Away(format!("it answered {got} of {asked}")));
        }
        let outcomes = minted.into_iter().map(grants::outcome).collect();
        Ok((Generation(generation), outcomes))
    }

    /// Writes down what is in hand, where that is not what the disk has.
    async fn write(&self) {
        let _one_at_a_time = self.0.writing.lock().await;
        if !self.0.unwritten.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(home) = self.0.home.upgrade() else {
            return;
        };
        let text = grants::text(&lock(&self.0.state).held);
        let written = home.on(&self.0.tasks, move |home| grants::save(home, &text));
        let written = written.await;
        if let Err(error) = written {
            self.0.unwritten.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "rule grants could not be written down: a restart without the control plane would not have them");
        }
    }

    /// Why it was refused a moment ago.
    fn refused(&self, wanted: &Wanted) -> Option<String> {
        let state = lock(&self.0.state);
        let (at, why) = state.refused.get(wanted)?;
        let stands = at.age(self.now()).is_some_and(|age| age < REFUSED_STANDS);
        stands.then(|| why.clone())
    }

    /// The grant in hand, if it has not ended.
    fn valid(&self, wanted: &Wanted) -> Option<Minted> {
        let now = self.now();
        self.in_hand(wanted).filter(|held| held.expires > now)
    }
}

#[async_trait]
impl Mint for Minter {
    async fn mint(&self, wanted: &Wanted) -> Result<Minted, Error> {
        let held = self.valid(wanted);
        if let Some(fresh) = held.clone().filter(|held| held.refresh > self.now()) {
            return Ok(fresh);
        }
        if let Some(why) = self.refused(wanted) {
            return Err(Error::Refused(why));
        }
        match held {
            // It still works: nobody waits for the next one, which is fetched behind.
            Some(due) => {
                self.nudge();
                Ok(due)
            }
            None => self.ask(wanted).await,
        }
    }

    async fn mint_anew(&self, wanted: &Wanted, refused: &Secret) -> Result<Minted, Error> {
        let held = self.valid(wanted);
        match held.filter(|held| held.token.expose() != refused.expose()) {
            Some(other) => Ok(other),
            None => self.ask(wanted).await,
        }
    }

    fn in_hand(&self, wanted: &Wanted) -> Option<Minted> {
        let state = lock(&self.0.state);
        state.held.get(wanted).map(|held| held.minted.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_that_does_not_come_lets_no_rule_go_on_for_ever() {
        let mut state = State {
            generation: Generation(5),
            ..State::default()
        };
        let at = |seconds: i64| WallTime(seconds * 1_000);
        assert!(!state.is_under_way(Generation(5), at(0)));
        assert!(!state.is_under_way(Generation(0), at(0)), "it does not say");
        assert!(state.is_under_way(Generation(6), at(1)));
        assert!(state.is_under_way(Generation(6), at(10)));
        assert!(!state.is_under_way(Generation(6), at(11)));
        assert!(state.is_under_way(Generation(7), at(12)));
        assert!(state.is_under_way(Generation(4), at(13)), "of one behind");
    }
}
