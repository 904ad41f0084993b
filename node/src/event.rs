//! Events: what is recorded in a commit's transaction, and who is told.
//!
//! `Recorder` turns something that happened into operations for that same transaction, so no event tells of what is not
//! durable and no commit goes untold. `deliver` sends what the outbox holds. Which webhooks want an event is decided when it
//! is recorded: a subscription made later hears of what comes later. Source: `spec/pull-through.md` "Events",
//! `spec/operations.md` "Webhooks".

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use runtime::clock::Clock;
use tokio::sync::watch;
use uuid::Uuid;
use wire::{
    digest::Digest,
    event::{Action, Cause, Event, EventScope, Origin, Request as Caller, Target},
    name::{MeshName, NodeName, RuleName, WebhookName},
    platform::Platform,
    reference::Tag,
    repository::RepositoryName,
    time::WallTime,
};

use crate::store::metadata::{EventRecord, Op, Version, record::RequestInfo};

pub mod attempt;
pub mod deliver;
mod held;

/// What a recorder must know of a webhook.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its name.
    pub webhook: WebhookName,
    /// What it wants to hear of.
    pub actions: Vec<Action>,
    /// Of which repositories and tags.
    pub scope: EventScope,
}

/// Makes events. Cheap to clone; subscriptions are swapped with the slice.
#[derive(Debug, Clone)]
pub struct Recorder {
    mesh: MeshName,
    node: NodeName,
    clock: Clock,
    subscriptions: Arc<ArcSwap<Vec<Subscription>>>,
    /// Whether events are told to the control plane, whoever subscribed.
    reported: Arc<AtomicBool>,
    news: Arc<watch::Sender<()>>,
    held: Arc<held::Held>,
}

/// What an event tells besides its action.
#[derive(Debug, Clone)]
pub struct Happening<'a> {
    /// Where.
    pub repository: &'a RepositoryName,
    /// Under which tag, if any.
    pub tag: Option<&'a Tag>,
    /// To what.
    pub digest: &'a Digest,
    /// Its media type and size, when known.
    pub version: Option<&'a Version>,
    /// By whom.
    pub cause: Cause,
    /// Under which rule, if any.
    pub rule: Option<&'a RuleName>,
    /// The platform, where it means something.
    pub platform: Option<&'a Platform>,
    /// The request that caused it.
    pub info: &'a RequestInfo,
    /// Why, for actions that have a reason.
    pub reason: Option<String>,
}

impl Recorder {
    /// A recorder of this node, with no subscriptions yet.
    #[must_use]
    pub fn new(mesh: MeshName, node: NodeName, clock: Clock) -> Self {
        Self {
            mesh,
            node,
            clock,
            subscriptions: Arc::default(),
            reported: Arc::default(),
            news: Arc::new(watch::channel(()).0),
            held: Arc::default(),
        }
    }

    /// Replaces all subscriptions.
    pub fn subscribe(&self, subscriptions: Vec<Subscription>) {
        self.subscriptions.store(Arc::new(subscriptions));
    }

    /// From now on the control plane is told of every event, so that one nobody subscribed to is recorded as well.
    pub fn report(&self) {
        self.reported.store(true, Ordering::Relaxed);
    }

    /// A manifest was stored, under a tag or under none.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is one field of the event")]
    pub fn push(
        &self,
        repository: &RepositoryName,
        tag: Option<&Tag>,
        version: &Version,
        cause: Cause,
        rule: Option<&RuleName>,
        platform: Option<&Platform>,
        info: &RequestInfo,
    ) -> Vec<Op> {
        let digest = &version.digest;
        self.record(
            Action::Push,
            &Happening {
                repository,
                tag,
                digest,
                version: Some(version),
                cause,
                rule,
                platform,
                info,
                reason: None,
            },
        )
    }

    /// A tag or a manifest was deleted by a client; `version` is what was known of it while it was here.
    #[must_use]
    pub fn delete(
        &self,
        repository: &RepositoryName,
        tag: Option<&Tag>,
        digest: &Digest,
        version: Option<&Version>,
        rule: Option<&RuleName>,
        info: &RequestInfo,
    ) -> Vec<Op> {
        self.record(
            Action::Delete,
            &Happening {
                repository,
                tag,
                digest,
                version,
                cause: Cause::Client,
                rule,
                platform: None,
                info,
                reason: None,
            },
        )
    }

    /// The operations that record one event for everyone who wants it; none when nobody does. An event without a webhook leaves nothing
    /// in the outbox.
    #[must_use]
    pub fn record(&self, action: Action, happening: &Happening<'_>) -> Vec<Op> {
        let webhooks = self.wanted_by(action, happening.repository, happening.tag);
        if webhooks.is_empty() && !self.reported.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let event = self.event(action, happening, WallTime(self.clock.wall_ms()));
        let key = format!(
            "{}:{}",
            happening.repository,
            happening.tag.map_or("", Tag::as_str)
        );
        let record = EventRecord {
            id: event.id,
            key,
            action: action.as_str().to_owned(),
            body: event.to_body(),
            recorded_at: WallTime(self.clock.steady_ms()),
        };
        vec![Op::PutEvent(record, webhooks)]
    }

    /// Keeps events that the outbox does not take now: they are sent from memory, and recorded when that works again.
    pub fn hold(&self, ops: Vec<Op>) {
        self.held.hold(ops);
    }

    /// What is kept in memory for a webhook, for tests.
    #[cfg(test)]
    pub(crate) fn due_from_memory(&self, webhook: &WebhookName) -> Vec<EventRecord> {
        let held = self.held.due(webhook, WallTime(i64::MAX));
        held.into_iter().map(|(event, _)| event).collect()
    }

    /// Wakes the deliveries: a transaction with events was committed.
    pub fn nudge(&self) {
        self.news.send_replace(());
    }

    /// Changes whenever there may be something to deliver.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    fn wanted_by(
        &self,
        action: Action,
        repository: &RepositoryName,
        tag: Option<&Tag>,
    ) -> Vec<WebhookName> {
        let subscriptions = self.subscriptions.load();
        let wants =
            |s: &&Subscription| s.actions.contains(&action) && s.scope.covers(repository, tag);
        subscriptions
            .iter()
            .filter(wants)
            .map(|s| s.webhook.clone())
            .collect()
    }

    fn event(&self, action: Action, happening: &Happening<'_>, now: WallTime) -> Event {
        let info = happening.info;
        let request = Caller {
            id: info.id.clone(),
            host: info.host.clone(),
            method: info.method.clone(),
            useragent: info.user_agent.clone(),
        };
        Event {
            id: Uuid::now_v7(),
            timestamp: now,
            action,
            target: Target {
                media_type: happening.version.map(|v| v.media_type.clone()),
                size: happening.version.map(|v| v.size),
                length: happening.version.map(|v| v.size),
                digest: happening.digest.clone(),
                repository: happening.repository.clone(),
                tag: happening.tag.cloned(),
            },
            request: (!info.id.is_empty()).then_some(request),
            regmesh: Origin {
                mesh: self.mesh.clone(),
                node: self.node.clone(),
                rule: happening.rule.cloned(),
                cause: happening.cause,
                platform: happening.platform.cloned(),
                trace_id: (!info.trace_id.is_empty()).then(|| info.trace_id.clone()),
                reason: happening.reason.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(subscriptions: Vec<Subscription>) -> Recorder {
        let name = "prod".parse().expect("legal");
        let recorder = Recorder::new(
            "contoso".parse().expect("legal"),
            name,
            Clock::manual(1_763_640_000_000),
        );
        recorder.subscribe(subscriptions);
        recorder
    }

    fn gate(scope: &str) -> Subscription {
        Subscription {
            webhook: "gate".parse().expect("legal"),
            actions: vec![Action::Push],
            scope: scope.parse().expect("legal"),
        }
    }

    fn pushed(recorder: &Recorder, tag: Option<&str>) -> Vec<Op> {
        let version = Version {
            digest: Digest::sha256(b"x"),
            media_type: "m".into(),
            size: 1,
        };
        let tag = tag.map(|t| t.parse::<Tag>().expect("legal"));
        recorder.push(
            &"team/a".parse().expect("legal"),
            tag.as_ref(),
            &version,
            Cause::Copy,
            None,
            None,
            &RequestInfo::default(),
        )
    }

    #[test]
    fn only_who_subscribed_is_told() {
        assert_eq!(pushed(&recorder(vec![gate("team/a")]), None).len(), 1);
        assert_eq!(pushed(&recorder(vec![gate("team/b")]), None).len(), 0);
        assert_eq!(
            pushed(&recorder(vec![gate("team/a:1")]), Some("1")).len(),
            1
        );
        assert_eq!(pushed(&recorder(vec![gate("team/a:1")]), None).len(), 0);
        assert_eq!(pushed(&recorder(Vec::new()), None).len(), 0);
    }

    #[test]
    fn what_nobody_subscribed_to_is_recorded_for_the_control_plane_alone() {
        let recorder = recorder(Vec::new());
        recorder.report();
        let ops = pushed(&recorder, None);
        assert!(matches!(&ops[..], [Op::PutEvent(_, webhooks)] if webhooks.is_empty()));
    }

    #[test]
    fn the_recorded_body_is_the_event_as_it_will_be_sent() {
        let ops = pushed(&recorder(vec![gate("")]), Some("1"));
        let [Op::PutEvent(record, webhooks)] = ops.as_slice() else {
            panic!("one event expected, got {ops:?}")
        };
        let body: serde_json::Value = serde_json::from_slice(&record.body).expect("JSON");
        assert_eq!(webhooks.len(), 1);
        assert_eq!(body["id"], record.id.to_string());
        assert_eq!(body["target"]["tag"], "1");
        assert_eq!(body["regmesh"]["cause"], "copy");
        assert_eq!(body["target"]["length"], body["target"]["size"]);
    }
}
