//! Manifests that were served and could not be written down: remembered in memory and recorded when the store takes them, so that
//! the copy completes without another pull.
//!
//! Bounded in number and bytes; the oldest goes first, and a later pull brings it again. A restart forgets them. While one is
//! owed, its rule is `NotStoring`, and `copy_failed` is told once, from memory where the outbox cannot be written either. Here
//! also ends what a rule says of a store that has healed, when no copy of it is left to prove it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Backoff;
use wire::{digest::Digest, event::Action, name::RuleName, reference::Tag, time::WallTime};

use super::{Arrival, Copies, describe::version, record, stall};
use crate::{event::Happening, store};

/// How many are remembered, and how many bytes of manifests.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 32 << 20;
/// How long a store may take to write one down.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pauses between tries, at most: a store that heals is to be used within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After how many failures it is told.
const TOLD_AFTER: u32 = 2;

/// The arrivals of one node that are nowhere but here.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<VecDeque<Owing>>);

#[derive(Debug, Clone)]
struct Owing {
    arrival: Arrival,
    /// Why it could not be written down.
    reason: String,
    attempts: u32,
    due_at: WallTime,
    told: bool,
}

impl Owing {
    fn is(&self, arrival: &Arrival) -> bool {
        let own = &self.arrival;
        (own.repository == arrival.repository)
            && (digest(own) == digest(arrival))
            && (tag(own) == tag(arrival))
    }
}

fn digest(arrival: &Arrival) -> &Digest {
    &arrival.manifest.digest
}

fn tag(arrival: &Arrival) -> Option<&Tag> {
    arrival.tag.as_ref().map(|seen| &seen.tag)
}

impl Owed {
    fn add(&self, arrival: Arrival, reason: String, now: WallTime) {
        let mut owed = self.lock();
        if let Some(known) = owed.iter_mut().find(|owing| owing.is(&arrival)) {
            (known.arrival, known.reason) = (arrival, reason);
            return;
        }
        owed.push_back(Owing {
            arrival,
            reason,
            attempts: 1,
            due_at: now,
            told: false,
        });
        let mut bytes: usize = owed.iter().map(|owing| owing.arrival.bytes.len()).sum();
        while owed.len() > MOST || bytes > MOST_BYTES {
            let Some(oldest) = owed.pop_front() else {
                break;
            };
            bytes -= oldest.arrival.bytes.len();
            let Arrival {
                repository,
                manifest,
                ..
            } = oldest.arrival;
            tracing::warn!(%repository, digest = %manifest.digest, "a manifest that could not be stored is forgotten: the next pull brings it again");
        }
    }

    pub(super) fn has(&self, rule: &RuleName) -> bool {
        let owed = self.lock();
        owed.iter()
            .any(|owing| owing.arrival.active.rule.name == *rule)
    }

    fn due(&self, now: WallTime) -> Option<Owing> {
        let owed = self.lock();
        owed.iter().find(|owing| owing.due_at <= now).cloned()
    }

    fn remove(&self, arrival: &Arrival) {
        self.lock().retain(|owing| !owing.is(arrival));
    }

    fn change(&self, arrival: &Arrival, change: impl FnOnce(&mut Owing)) {
        let mut owed = self.lock();
        if let Some(owing) = owed.iter_mut().find(|owing| owing.is(arrival)) {
            change(owing);
        }
    }

    fn to_tell(&self) -> Option<Owing> {
        let mut owed = self.lock();
        let untold = owed
            .iter_mut()
            .find(|owing| !owing.told && owing.attempts >= TOLD_AFTER)?;
        untold.told = true;
        Some(untold.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Owing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    /// These were served and could not be recorded: they are as soon as the store takes them.
    pub fn owe(&self, arrivals: Vec<Arrival>, error: &store::Error) {
        let now = self.now();
        for arrival in arrivals {
            self.0.owed.add(arrival, error.to_string(), now);
        }
    }

    /// Records what is owed, wakes what stalled, and ends what rules say of a store that works again.
    pub(super) async fn pay(&self) {
        let mut left = MOST;
        while let Some(owing) = self.0.owed.due(self.now()).filter(|_| left > 0) {
            left -= 1;
            if !self.pay_one(owing).await {
                // The store refuses still: the others would find the same.
                break;
            }
        }
        while let Some(owing) = self.0.owed.to_tell() {
            self.tell(&owing).await;
        }
        if let Err(error) = self.wake().await {
            self.0.store.report("job", &error);
        }
        self.heal_rules();
    }

    /// Whether it is settled, one way or the other.
    async fn pay_one(&self, owing: Owing) -> bool {
        let (owed, arrival) = (&self.0.owed, owing.arrival);
        let rule = &arrival.active.rule.name;
        let covered = self.0.rules.load().resolve(&arrival.repository);
        let Some(covered) = covered.filter(|covered| covered.active.rule.name == *rule) else {
            owed.remove(&arrival);
            return true;
        };
        let again = Arrival {
            active: covered.active,
            ..arrival.clone()
        };
        let recorded = self.0.clock.timeout(PATIENCE, record::record(self, again));
        let recorded = recorded
            .await
            .unwrap_or_else(|_| Err(store::Error::failed("the store does not answer")));
        match recorded {
            Ok(()) => {
                tracing::info!(repository = %arrival.repository, digest = %digest(&arrival), "a manifest that could not be stored when it was pulled is stored now");
                owed.remove(&arrival);
                true
            }
            Err(error) => {
                self.0.store.report("record", &error);
                let now = self.now();
                arrival
                    .active
                    .state
                    .store_failed(&error.to_string(), arrival.manifest.size, now);
                let backoff = Backoff {
                    max: self.0.config.backoff.max.min(LONGEST_PAUSE),
                    ..self.0.config.backoff
                };
                let pause = backoff.delay(owing.attempts, rand::random());
                owed.change(&arrival, |owing| {
                    owing.attempts = owing.attempts.saturating_add(1);
                    owing.due_at = now.plus(pause);
                    owing.reason = error.to_string();
                });
                false
            }
        }
    }

    async fn tell(&self, owing: &Owing) {
        let arrival = &owing.arrival;
        let ops = self.0.events.record(
            Action::CopyFailed,
            &Happening {
                repository: &arrival.repository,
                tag: tag(arrival),
                digest: digest(arrival),
                version: Some(&version(&arrival.manifest)),
                cause: wire::event::Cause::Copy,
                rule: Some(&arrival.active.rule.name),
                platform: arrival.platform.as_ref(),
                info: &arrival.request.info,
                reason: Some(owing.reason.clone()),
            },
        );
        if ops.is_empty() {
            return;
        }
        let commit = self.0.store.metadata().commit(ops.clone());
        let recorded = self.0.clock.timeout(PATIENCE, commit).await;
        if !matches!(recorded, Ok(Ok(()))) {
            self.0.events.hold(ops);
        }
        self.0.events.nudge();
    }

    /// A rule that could not store, of whose content nothing waits here any more, stores again when the store does.
    fn heal_rules(&self) {
        let (store, now) = (&self.0.store, self.now());
        if store.is_failing() {
            return;
        }
        for active in self.0.rules.load().iter() {
            let facts = active.state.facts();
            let since = facts.store_failed_at.unwrap_or(WallTime(0));
            let rule = &active.rule.name;
            if facts.store_error.is_some()
                && stall::has_rested(since, now)
                && store.has_room(facts.store_needs)
                && !self.0.owed.has(rule)
                && !self.0.stalls.has(rule)
            {
                active.state.healed();
            }
        }
    }
}
