//! What this node tells the control plane of itself, and what it keeps until that was heard.
//!
//! Events and last use stay here until the report that carried them is confirmed; a lost report is told again in the next. Bounded:
//! beyond that the oldest are forgotten, since this is for people who watch, and webhooks have an outbox of their own.

use std::collections::{HashMap, VecDeque};

use wire::{
    api::report::{Counters, EVENTS, Report, USED},
    digest::Digest,
    event::Event,
    node_service,
    time::WallTime,
};

use super::waiting::Words;
use crate::app::Running;

/// Events kept while nobody confirms.
const KEPT: usize = 4 * EVENTS;

/// What was not confirmed yet, across streams.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    sequence: u64,
    /// Each with the report that first carried it; 0 for none yet.
    events: VecDeque<(u64, Event)>,
    used: HashMap<Digest, (u64, WallTime)>,
}

impl Reports {
    /// The next report.
    pub(crate) fn next(
        &mut self,
        running: Option<&Running>,
        words: &Words,
        now: WallTime,
    ) -> node_service::Report {
        let (status, counters) = match running {
            Some(running) => {
                let room = KEPT.saturating_sub(self.events.len());
                self.add(running.take_events(room), running.take_used(USED));
                (running.status(), running.counters())
            }
            None => (words.status(), Counters::default()),
        };
        // A restart begins anew, above what was told before.
        let clock = u64::try_from(now.0).unwrap_or_default();
        self.sequence = clock.max(self.sequence.saturating_add(1));
        let (events, used) = self.carried();
        let report = Report {
            status,
            counters,
            events,
            used,
        };
        node_service::Report {
            sequence: self.sequence,
            report: serde_json::to_vec(&report).unwrap_or_default(),
        }
    }

    /// The control plane has this report.
    pub(crate) fn confirmed(&mut self, sequence: u64) {
        let heard = |carried: u64| carried != 0 && carried <= sequence;
        while self
            .events
            .front()
            .is_some_and(|(carried, _)| heard(*carried))
        {
            self.events.pop_front();
        }
        self.used.retain(|_, (carried, _)| !heard(*carried));
    }

    fn add(&mut self, events: Vec<Event>, used: Vec<(Digest, WallTime)>) {
        self.events
            .extend(events.into_iter().map(|event| (0, event)));
        for (digest, at) in used {
            if self.used.len() < 4 * USED {
                self.used.insert(digest, (0, at));
            }
        }
    }

    fn carried(&mut self) -> (Vec<Event>, Vec<(Digest, WallTime)>) {
        let sequence = self.sequence;
        let first = |carried: &mut u64| {
            if *carried == 0 {
                *carried = sequence;
            }
        };
        let events = self.events.iter_mut().take(EVENTS).map(|(carried, event)| {
            first(carried);
            event.clone()
        });
        let events = events.collect();
        let used = self
            .used
            .iter_mut()
            .take(USED)
            .map(|(digest, (carried, at))| {
                first(carried);
                (digest.clone(), *at)
            });
        (events, used.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wire::event::{Action, Cause, Origin, Target};

    fn event(n: u32) -> Event {
        let repository = "team/a".parse().unwrap();
        let digest = Digest::sha256(&n.to_be_bytes());
        Event {
            id: Uuid::now_v7(),
            timestamp: WallTime(i64::from(n)),
            action: Action::Push,
            target: Target::manifest(repository, None, digest, "m", 1),
            request: None,
            regmesh: Origin {
                mesh: "m".parse().unwrap(),
                node: "prod".parse().unwrap(),
                rule: None,
                cause: Cause::Copy,
                platform: None,
                trace_id: None,
                reason: None,
            },
        }
    }

    #[test]
    fn what_was_not_confirmed_is_told_again_and_what_was_is_not() {
        let mut reports = Reports::default();
        reports.add(
            (0..EVENTS as u32 + 10).map(event).collect(),
            vec![(Digest::sha256(b"x"), WallTime(1))],
        );
        reports.sequence = 5;
        let (first, used) = reports.carried();
        assert_eq!((first.len(), used.len()), (EVENTS, 1));
        reports.sequence = 6;
        assert_eq!(reports.carried().0, first, "nobody has heard it");
        reports.confirmed(4);
        assert_eq!(reports.carried().0, first, "an older report");
        reports.confirmed(5);
        reports.sequence = 7;
        let (rest, used) = reports.carried();
        assert_eq!((rest.len(), used.len()), (10, 0));
        reports.confirmed(7);
        assert_eq!(reports.carried(), (Vec::new(), Vec::new()));
    }
}
