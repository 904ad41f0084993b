//! What a light node reports: a node in good health with so many rules, as long as a real one's report.

use wire::api::report::{Counters, Report};
use wire::api::status::{CopiesStatus, NodeStatus, RuleState, RuleStatus, StoreStatus};
use wire::generation::Generation;
use wire::name::{MeshName, NodeName};
use wire::node_service;
use wire::time::WallTime;

/// Report number `sequence` of a node.
pub(super) fn report(
    (mesh, node): (&MeshName, &NodeName),
    generation: Generation,
    rules: usize,
    sequence: u64,
    now: WallTime,
) -> node_service::Report {
    let report = Report {
        status: NodeStatus {
            node: node.clone(),
            mesh: mesh.clone(),
            tier: 1,
            generation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: true,
            draining: false,
            store: StoreStatus {
                bytes: sequence << 20,
                capacity: Some(1 << 40),
                degraded: None,
            },
            rules: (0..rules).map(|number| rule(number, now)).collect(),
            copies: CopiesStatus::default(),
            webhooks: Vec::new(),
            warnings: Vec::new(),
        },
        counters: Counters {
            started_at_ms: 1,
            requests: 100 * sequence,
            hits: 90 * sequence,
            fills: 10 * sequence,
            ..Counters::default()
        },
        events: Vec::new(),
        used: Vec::new(),
    };
    node_service::Report {
        sequence,
        report: serde_json::to_vec(&report).expect("a report is JSON"),
    }
}

fn rule(number: usize, now: WallTime) -> RuleStatus {
    RuleStatus {
        name: format!("rule-{number}").parse().expect("a rule's name"),
        source: format!("registry.example.com/team-{number}/*"),
        target: format!("team-{number}/*").parse().expect("a pattern"),
        identity: None,
        status: RuleState::Active,
        refusal: None,
        reason: None,
        last_success: Some(now),
        last_error: None,
        unstored_pulls: 0,
        fills: 7,
        copies: 7,
    }
}
