//! When an event is sent again, and which may be sent now; pure.
//!
//! Order is per (repository, tag): of each key only the oldest undelivered event may go. A receiver that fails is asked again
//! with growing pauses for 24 h, then the delivery is recorded as failed and its key goes on. Source: `spec/operations.md`.

use std::{collections::HashSet, time::Duration};

use runtime::backoff::Backoff;
use wire::time::WallTime;

use crate::store::metadata::{Delivery, DeliveryState, EventRecord};

/// How long a delivery is tried.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The pauses between attempts.
pub const PAUSES: Backoff = Backoff {
    base: Duration::from_secs(1),
    max: Duration::from_secs(600),
};

/// Of `pending`, in the order recorded: the indices of those that may be sent at `now`, at most `limit`, never two of a key.
#[must_use]
pub fn due(pending: &[(EventRecord, Delivery)], now: WallTime, limit: usize) -> Vec<usize> {
    let mut seen = HashSet::new();
    let heads = pending
        .iter()
        .enumerate()
        .filter(|(_, (event, _))| seen.insert(event.key.as_str()));
    heads
        .filter(|(_, (_, delivery))| delivery.due_at <= now)
        .map(|(index, _)| index)
        .take(limit)
        .collect()
}

/// The delivery after an attempt at `now`: `answer` is the receiver's status or why there was none; 2xx counts as taken.
/// `random` is uniform in `[0, 1)`.
#[must_use]
pub fn after(
    delivery: &Delivery,
    recorded_at: WallTime,
    answer: &Result<u16, String>,
    now: WallTime,
    random: f64,
) -> Delivery {
    let attempts = delivery.attempts.saturating_add(1);
    let taken = matches!(answer, Ok(200..=299));
    let given_up = recorded_at.age(now).is_some_and(|age| age >= GIVE_UP_AFTER);
    let state = match (taken, given_up) {
        (true, _) => DeliveryState::Delivered,
        (false, true) => DeliveryState::Failed,
        (false, false) => DeliveryState::Pending,
    };
    let response = match answer {
        Ok(status) => status.to_string(),
        Err(why) => why.chars().take(300).collect(),
    };
    let pause = PAUSES
        .delay(attempts, random)
        .max(Duration::from_millis(200));
    Delivery {
        state,
        attempts,
        due_at: now.plus(pause),
        sent_at: Some(now),
        response: Some(response),
        ..delivery.clone()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn event(key: &str, due_at: i64) -> (EventRecord, Delivery) {
        let id = Uuid::now_v7();
        let record = EventRecord {
            id,
            key: key.into(),
            action: "push".into(),
            body: Vec::new(),
            recorded_at: WallTime(0),
        };
        let delivery = Delivery {
            webhook: "gate".parse().expect("legal"),
            event: id,
            state: DeliveryState::Pending,
            attempts: 0,
            due_at: WallTime(due_at),
            sent_at: None,
            response: None,
        };
        (record, delivery)
    }

    #[test]
    fn a_key_waits_for_its_oldest_event_and_for_no_other_key() {
        let pending = [event("a", 50), event("a", 0), event("b", 0), event("c", 0)];
        assert_eq!(due(&pending, WallTime(10), 10), vec![2, 3]);
        assert_eq!(due(&pending, WallTime(50), 10), vec![0, 2, 3]);
        assert_eq!(due(&pending, WallTime(50), 2), vec![0, 2]);
    }

    #[test]
    fn failure_is_never_recorded_as_success() {
        let (record, delivery) = event("a", 0);
        let day = WallTime(24 * 3600 * 1000);
        let cases = [
            (Ok(204), WallTime(5), DeliveryState::Delivered),
            (Ok(302), WallTime(5), DeliveryState::Pending),
            (Ok(410), WallTime(5), DeliveryState::Pending),
            (
                Err("connection refused".to_owned()),
                WallTime(5),
                DeliveryState::Pending,
            ),
            (Ok(500), day, DeliveryState::Failed),
            (Ok(200), day, DeliveryState::Delivered),
        ];
        for (answer, now, expected) in cases {
            let after = after(&delivery, record.recorded_at, &answer, now, 0.5);
            assert_eq!(after.state, expected, "{answer:?}");
            assert_eq!(after.attempts, 1);
            assert!(after.due_at > now);
        }
    }
}
