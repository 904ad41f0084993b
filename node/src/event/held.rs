//! Events that the outbox could not take: kept in memory, sent from there, and written down as soon as that works.
//!
//! Only for what tells of a store that refuses writes: such an event would otherwise be known to nobody until it no longer
//! matters. What tells of a commit never comes here, because it is in that commit's transaction. A restart forgets them; the
//! copy that they tell of fails again then. A receiver may get one twice, under the same id.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;
use wire::{name::WebhookName, time::WallTime};

use crate::store::metadata::{Delivery, DeliveryState, EventRecord, Op};

/// How many are kept; beyond, the oldest goes.
const MOST: usize = 100;

/// The events of one node that are nowhere but here.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<VecDeque<Event>>);

#[derive(Debug)]
struct Event {
    record: EventRecord,
    /// To whom it is to go still.
    deliveries: Vec<Delivery>,
}

impl Held {
    /// Keeps the events among these operations.
    pub(super) fn hold(&self, ops: Vec<Op>) {
        let mut held = self.lock();
        for op in ops {
            let Op::PutEvent(record, webhooks) = op else {
                continue;
            };
            let pending = |webhook| Delivery {
                webhook,
                event: record.id,
                state: DeliveryState::Pending,
                attempts: 0,
                due_at: record.recorded_at,
                sent_at: None,
                response: None,
            };
            let deliveries = webhooks.into_iter().map(pending).collect();
            held.push_back(Event { record, deliveries });
            if held.len() > MOST {
                held.pop_front();
                tracing::warn!("an event that could not be recorded was dropped for a newer one");
            }
        }
    }

    /// What is due for a webhook.
    pub(super) fn due(&self, webhook: &WebhookName, now: WallTime) -> Vec<(EventRecord, Delivery)> {
        let held = self.lock();
        let pairs = held.iter().flat_map(|event| {
            let deliveries = event.deliveries.iter();
            deliveries.map(|delivery| (&event.record, delivery))
        });
        pairs
            .filter(|(_, delivery)| delivery.webhook == *webhook && delivery.due_at <= now)
            .map(|(record, delivery)| (record.clone(), delivery.clone()))
            .collect()
    }

    /// The operation that records an event for all whom it has not reached; none when it is not here any more.
    pub(super) fn record(&self, id: Uuid) -> Option<Op> {
        let held = self.lock();
        let event = held.iter().find(|event| event.record.id == id)?;
        let webhooks = event.deliveries.iter().map(|each| each.webhook.clone());
        Some(Op::PutEvent(event.record.clone(), webhooks.collect()))
    }

    /// It is in the outbox now.
    pub(super) fn recorded(&self, id: Uuid) {
        self.lock().retain(|event| event.record.id != id);
    }

    /// How a delivery stands after an attempt.
    pub(super) fn sent(&self, after: Delivery) {
        let mut held = self.lock();
        for event in held.iter_mut().filter(|e| e.record.id == after.event) {
            event.deliveries.retain(|d| d.webhook != after.webhook);
            if after.state == DeliveryState::Pending {
                event.deliveries.push(after.clone());
            }
        }
        held.retain(|event| !event.deliveries.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(webhooks: &[&str]) -> (Uuid, Op) {
        let id = Uuid::now_v7();
        let record = EventRecord {
            id,
            key: "k".into(),
            action: "copy_failed".into(),
            body: Vec::new(),
            recorded_at: WallTime(10),
        };
        let webhooks = webhooks.iter().map(|name| name.parse().unwrap());
        (id, Op::PutEvent(record, webhooks.collect()))
    }

    #[test]
    fn an_event_is_here_until_everybody_has_it_or_the_outbox_does() {
        let (held, a) = (Held::default(), "a".parse().unwrap());
        let (id, op) = event(&["a", "b"]);
        held.hold(vec![op]);
        assert!(held.due(&a, WallTime(9)).is_empty());
        let (_, delivery) = held.due(&a, WallTime(10)).remove(0);
        held.sent(Delivery {
            state: DeliveryState::Delivered,
            ..delivery
        });
        assert!(held.due(&a, WallTime(10)).is_empty());
        let left = held.record(id).unwrap();
        assert!(matches!(left, Op::PutEvent(_, to) if to == ["b".parse().unwrap()]));
        held.recorded(id);
        assert!(held.record(id).is_none());
    }

    #[test]
    fn there_are_never_too_many() {
        let (held, a) = (Held::default(), "a".parse().unwrap());
        held.hold((0..MOST + 7).map(|_| event(&["a"]).1).collect());
        assert_eq!(held.due(&a, WallTime(10)).len(), MOST);
    }
}
