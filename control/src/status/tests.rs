//! Health as a table, the order of the tree, and that a thousand nodes take no time.

use std::time::Duration;

use runtime::{Clock, Tasks};
use wire::{
    api::{
        mesh::Refused,
        resource::{Apply, File},
        status::{CopiesStatus, RuleStatus, StoreStatus},
    },
    time::WallTime,
};

use super::*;
use crate::{publish::Publisher, report, state::memory::Memory};

const MESH: &str = "version: 1\nmesh: one\nnodes:\n  z: {endpoint: 'http://127.0.0.1:1'}\n  a: {parent: z, endpoint: 'http://127.0.0.1:2'}\n  \
                    b: {parent: a, endpoint: 'http://127.0.0.1:3'}\n  c: {endpoint: 'http://127.0.0.1:4'}\n";

async fn current(text: &str) -> Arc<Current> {
    let (clock, tasks) = (Clock::manual(1_000), Tasks::new("test"));
    let state = Arc::new(Memory::new(clock.clone()));
    let publisher = Publisher::build(state, clock, &tasks).await.unwrap();
    let apply = Apply {
        files: vec![File {
            name: "t".into(),
            text: text.into(),
        }],
        dry_run: false,
        prune: false,
    };
    publisher.apply(&apply, "test", None).await.unwrap();
    publisher.current()
}

fn reported(node: &str) -> NodeStatus {
    NodeStatus {
        node: node.parse().unwrap(),
        mesh: "one".parse().unwrap(),
        tier: 1,
        generation: Generation(1),
        version: "1".into(),
        ready: true,
        draining: false,
        store: StoreStatus::default(),
        rules: Vec::new(),
        copies: CopiesStatus::default(),
        webhooks: Vec::new(),
        warnings: Vec::new(),
    }
}

fn instance(change: impl FnOnce(&mut report::Seen), connected: bool) -> InstanceSeen {
    let mut seen = report::Seen {
        generation: Generation(1),
        confirmed: Generation(1),
        status: Some(reported("z")),
        ..report::Seen::default()
    };
    change(&mut seen);
    InstanceSeen {
        connected,
        here: connected,
        last_seen: WallTime(5),
        seen: Arc::new(seen),
    }
}

fn seen(node: &str, instance: InstanceSeen) -> Seen {
    let of = NodeSeen {
        instances: [("one".to_owned(), instance)].into(),
    };
    Seen {
        nodes: Arc::new([(node.parse().unwrap(), of)].into()),
        shut_out: Arc::default(),
    }
}

#[tokio::test]
async fn parents_stand_before_their_children_and_strangers_are_absent() {
    let status = status(
        &*current(MESH).await,
        &Seen::default(),
        &["disk".to_owned()],
    );
    let names: Vec<_> = status
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.tier))
        .collect();
    assert_eq!(names, [("c", 1), ("z", 1), ("a", 2), ("b", 3)]);
    assert!(
        status
            .nodes
            .iter()
            .all(|node| node.health == Health::Absent)
    );
    assert_eq!(status.alarms, ["disk"]);
}

#[tokio::test]
async fn health_is_the_worst_that_applies_and_says_why() {
    let current = current(MESH).await;
    let rule = RuleStatus {
        name: "golden".parse().unwrap(),
        source: "docker.io/x".into(),
        target: "x".parse().unwrap(),
        identity: None,
        status: RuleState::NotStoring,
        refusal: None,
        reason: Some("disk full".into()),
        last_success: None,
        last_error: None,
        unstored_pulls: 1,
        fills: 0,
        copies: 0,
    };
    let refused = Refused {
        generation: Generation(1),
        problems: Vec::new(),
    };
    let with = |change: fn(&mut NodeStatus)| {
        move |seen: &mut report::Seen| change(seen.status.as_mut().unwrap())
    };
    for (instance, health, word) in [
        (instance(|_| {}, true), Health::Healthy, ""),
        (instance(|_| {}, false), Health::Disconnected, "last heard"),
        (
            instance(|seen| seen.ahead = true, true),
            Health::Ahead,
            "newer",
        ),
        (
            instance(|seen| seen.refused = Some(refused), true),
            Health::Refused,
            "refused generation 1",
        ),
        (
            instance(with(|s| s.draining = true), true),
            Health::Draining,
            "going down",
        ),
        (
            instance(with(|s| s.ready = false), true),
            Health::Degraded,
            "no requests",
        ),
        (
            instance(with(|s| s.store.degraded = Some("read-only".into())), true),
            Health::Degraded,
            "read-only",
        ),
        (
            instance(|seen| seen.generation = Generation(0), true),
            Health::Degraded,
            "generation 0",
        ),
        (
            instance(|seen| seen.clock_skew_ms = -90_000, true),
            Health::Degraded,
            "-90 s",
        ),
        (
            instance(|seen| seen.status = None, true),
            Health::Degraded,
            "not reported",
        ),
        (
            instance(
                move |seen| seen.status.as_mut().unwrap().rules = vec![rule],
                true,
            ),
            Health::Degraded,
            "golden is NotStoring: disk full",
        ),
    ] {
        let status = status(&current, &seen("z", instance), &[]);
        let node = status
            .nodes
            .iter()
            .find(|node| node.name.as_str() == "z")
            .unwrap();
        assert_eq!(node.health, health, "{word}: {:?}", node.reason);
        assert!(
            node.reason.as_deref().unwrap_or_default().contains(word),
            "{word}: {:?}",
            node.reason
        );
        let alarmed = status.alarms.iter().any(|alarm| alarm.contains("recover"));
        assert_eq!(alarmed, health == Health::Ahead);
    }
}

#[tokio::test]
async fn a_thousand_nodes_are_joined_in_no_time() {
    let nodes: String = (0..1_000)
        .map(|n| format!("  n{n}: {{endpoint: 'http://127.0.0.1:{}'}}\n", n + 1))
        .collect();
    let current = current(&format!("version: 1\nmesh: one\nnodes:\n{nodes}")).await;
    let all = current.topology.as_ref().unwrap().nodes.keys().cloned();
    let all = all.map(|name| {
        let of = NodeSeen {
            instances: [("one".to_owned(), instance(|_| {}, true))].into(),
        };
        (name, of)
    });
    let seen = Seen {
        nodes: Arc::new(all.collect()),
        shut_out: Arc::default(),
    };
    let clock = Clock::system();
    let began = clock.now();
    let status = status(&current, &seen, &[]);
    let text = serde_json::to_string(&status).unwrap();
    let took = clock.now().duration_since(began);
    assert!(
        text.len() > 100_000
            && status
                .nodes
                .iter()
                .all(|node| node.health == Health::Healthy)
    );
    assert!(took < Duration::from_millis(200), "{took:?}");
}
