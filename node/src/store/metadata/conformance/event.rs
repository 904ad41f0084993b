//! The outbox.

use uuid::Uuid;
use wire::{name::WebhookName, time::WallTime};

use super::make::{commit, name};
use crate::store::metadata::{Delivery, DeliveryState, EventRecord, KEPT_DELIVERIES, Metadata, Op};

fn event(number: i64) -> EventRecord {
    EventRecord {
        id: Uuid::now_v7(),
        key: "a:v1".to_owned(),
        action: "push".to_owned(),
        body: number.to_string().into_bytes(),
        recorded_at: WallTime(number),
    }
}

fn webhook(text: &str) -> WebhookName {
    name(text)
}

async fn pending(metadata: &dyn Metadata, of: &str) -> Vec<EventRecord> {
    let pending = metadata.pending_events(&webhook(of), 1_000).await.unwrap();
    pending.into_iter().map(|(event, _)| event).collect()
}

fn told(delivery: Delivery) -> Op {
    Op::PutDelivery(Delivery {
        state: DeliveryState::Delivered,
        attempts: 2,
        sent_at: Some(WallTime(99)),
        response: Some("200".to_owned()),
        ..delivery
    })
}

pub(super) async fn what_waits_is_sent_when_a_process_begins(metadata: &dyn Metadata) {
    commit(metadata, [Op::PutEvent(event(900), vec![webhook("one")])]).await;
    commit(metadata, [Op::Begin(WallTime(100))]).await;
    let pending = metadata.pending_events(&webhook("one"), 9).await.unwrap();
    assert_eq!(pending[0].1.due_at, WallTime(100));
}

pub(super) async fn events_are_delivered_in_order(metadata: &dyn Metadata) {
    let events: Vec<EventRecord> = (1..=3).map(event).collect();
    let both = vec![webhook("one"), webhook("two")];
    for event in &events {
        commit(metadata, [Op::PutEvent(event.clone(), both.clone())]).await;
        commit(metadata, [Op::PutEvent(event.clone(), both.clone())]).await;
    }
    commit(metadata, [Op::PutEvent(event(4), Vec::new())]).await;
    assert_eq!(pending(metadata, "one").await, events);
    assert_eq!(metadata.totals().await.unwrap().events, 3);
    let (first, delivery) = metadata
        .pending_events(&webhook("one"), 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((&first, delivery.event), (&events[0], first.id));
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Pending, 0)
    );
    commit(metadata, [told(delivery)]).await;
    assert_eq!(pending(metadata, "one").await, events[1..]);
    assert_eq!(pending(metadata, "two").await, events);
    let counts = metadata.pending_counts().await.unwrap();
    assert_eq!(counts, [(webhook("one"), 2), (webhook("two"), 3)]);
    let last = metadata.deliveries(&webhook("one"), 9).await.unwrap();
    let numbers: Vec<i64> = last.iter().map(|(event, _)| event.recorded_at.0).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let (_, delivered) = &last[2];
    assert_eq!(delivered.state, DeliveryState::Delivered);
    assert_eq!(delivered.response.as_deref(), Some("200"));
    assert_eq!(
        metadata.deliveries(&webhook("one"), 1).await.unwrap().len(),
        1
    );
}

pub(super) async fn the_outbox_drops_the_oldest(metadata: &dyn Metadata) {
    let events: Vec<EventRecord> = (1..=8).map(event).collect();
    let puts = events.iter();
    let puts = puts.map(|event| Op::PutEvent(event.clone(), vec![webhook("one")]));
    let (early, late): (Vec<Op>, Vec<Op>) =
        (puts.clone().take(6).collect(), puts.skip(6).collect());
    commit(metadata, early).await;
    commit(metadata, late).await;
    assert_eq!(pending(metadata, "one").await, events[3..]);
    let totals = metadata.totals().await.unwrap();
    assert_eq!((totals.events, totals.events_dropped), (5, 3));
    assert_eq!(
        metadata.pending_counts().await.unwrap(),
        [(webhook("one"), 5)]
    );
}

pub(super) async fn old_deliveries_are_forgotten_but_the_newest(metadata: &dyn Metadata) {
    let kept = i64::try_from(KEPT_DELIVERIES).unwrap();
    let puts = (1..=kept + 10).map(|n| Op::PutEvent(event(n), vec![webhook("one")]));
    commit(metadata, puts).await;
    let all = metadata.deliveries(&webhook("one"), 1_000).await.unwrap();
    let pending_one = all.last().unwrap().0.clone();
    let delivered = all.into_iter().filter(|(event, _)| event.recorded_at.0 > 1);
    commit(metadata, delivered.map(|(_, delivery)| told(delivery))).await;
    commit(metadata, [Op::ForgetDeliveries(WallTime(6))]).await;
    let left = metadata.deliveries(&webhook("one"), 1_000).await.unwrap();
    let numbers: Vec<i64> = left.iter().map(|(event, _)| event.recorded_at.0).collect();
    let mut expected: Vec<i64> = (6..=kept + 10).rev().collect();
    expected.push(1);
    assert_eq!(numbers, expected, "the old go, but never what still waits");
    assert_eq!(pending(metadata, "one").await, [pending_one]);
    commit(metadata, [Op::ForgetDeliveries(WallTime(i64::MAX))]).await;
    let left = metadata.deliveries(&webhook("one"), 1_000).await.unwrap();
    assert_eq!(left.len(), KEPT_DELIVERIES + 1);
    assert_eq!(metadata.totals().await.unwrap().events, left.len() as u64);
}
