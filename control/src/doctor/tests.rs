//! TREE as a table; nodes asked at once; silence that does not look like health.

use serde_json::json;
use wire::generation::Generation;

use super::*;
use crate::{ask, asking::Seen, publish};

struct Nodes;

#[async_trait::async_trait]
impl Asking for Nodes {
    fn seen(&self) -> Seen {
        Seen::default()
    }

    async fn ask(
        &self,
        node: &NodeName,
        question: Question,
        _: Duration,
    ) -> Result<Answer, ask::Error> {
        let Question::Doctor { only, credentials } = question else {
            panic!("asked something else");
        };
        if node.as_str() == "away" {
            return Err(ask::Error::NotConnected(node.clone()));
        }
        if let Some(set) = credentials {
            return Ok(Answer::Doctor(of_set(&set)));
        }
        let ids = if only.is_empty() {
            vec![CheckId::StoreWrite, CheckId::Hooks]
        } else {
            only
        };
        let check = |id| Check {
            id,
            node: Some("somebody-else".parse().unwrap()),
            subject: None,
            outcome: if id == CheckId::Hooks {
                Outcome::Failed
            } else {
                Outcome::Ok
            },
            text: "found".into(),
            fix: None,
        };
        Ok(Answer::Doctor(ids.into_iter().map(check).collect()))
    }

    async fn recover(&self, _: &str) -> Result<Generation, publish::Error> {
        Err(publish::Error::NotFound)
    }
}

/// What a node says that does not know what it is asked about: of every set, and of all rules at once.
fn of_set(set: &CredentialName) -> Vec<Check> {
    let check = |subject: Option<String>, outcome| Check {
        id: CheckId::CredHealth,
        node: None,
        subject,
        outcome,
        text: "found".into(),
        fix: None,
    };
    vec![
        check(None, Outcome::Ok),
        check(Some(format!("rule a (credential set {set})")), Outcome::Ok),
        check(
            Some(format!("rule b (credential set {set}-2)")),
            Outcome::Failed,
        ),
        check(Some(format!("rule {set} (anonymous)")), Outcome::Failed),
    ]
}

#[tokio::test]
async fn the_health_of_a_credential_set_is_that_of_the_rules_that_use_it_and_of_no_others() {
    let set = "hub".parse().unwrap();
    let within = Duration::from_secs(1);
    let healthy = health(&set, vec!["dev".parse().unwrap()], &Nodes, within).await;
    let subjects: Vec<_> = healthy.checks.iter().map(|c| &c.subject).collect();
    assert_eq!(subjects, [&Some("rule a (credential set hub)".to_owned())]);
    assert_eq!(healthy.outcome, Outcome::Ok);
    let unused = health(&set, Vec::new(), &Nodes, within).await;
    assert!(unused.checks.is_empty(), "nobody vouches for it");
    let away = health(&set, vec!["away".parse().unwrap()], &Nodes, within).await;
    assert_eq!(away.outcome, Outcome::Failed, "silence is no health");
}

fn node(name: &str, parent: Option<&str>, health: &str) -> serde_json::Value {
    json!({
        "name": name, "parent": parent, "tier": 1, "endpoint": "http://x", "health": health, "reason": "as it is", "rules": 0,
        "instances": [{"id": "one", "connected": health != "absent", "generation": 3}],
    })
}

fn status(nodes: &[serde_json::Value], alarms: &[&str]) -> MeshStatus {
    let status =
        json!({"mesh": "one", "generation": 3, "version": "1", "alarms": alarms, "nodes": nodes});
    serde_json::from_value(status).unwrap()
}

async fn examined(status: &MeshStatus, only: &[CheckId]) -> Report {
    let request = Request {
        node: None,
        only: only.to_vec(),
    };
    examine(status, request, &Nodes, Duration::from_secs(1)).await
}

#[tokio::test]
async fn the_tree_says_what_is_wrong_with_each_node_and_what_to_do() {
    for (health, outcome, fix) in [
        ("healthy", Outcome::Ok, ""),
        ("refused", Outcome::Failed, "apply again"),
        ("ahead", Outcome::Failed, "regmesh control recover"),
        ("disconnected", Outcome::Failed, "node's log"),
        ("absent", Outcome::Warning, "regmesh node join-token a"),
        ("draining", Outcome::Warning, "start it"),
    ] {
        let report = examined(&status(&[node("a", None, health)], &[]), &[CheckId::Tree]).await;
        assert_eq!(report.outcome, outcome, "{health}: {:?}", report.checks);
        let check = &report.checks[0];
        assert_eq!(check.id, CheckId::Tree);
        assert!(
            check.fix.as_deref().unwrap_or_default().contains(fix),
            "{health}: {check:?}"
        );
    }
    let alarmed = examined(&status(&[], &["the disk is full"]), &[CheckId::Tree]).await;
    assert_eq!(
        (alarmed.outcome, alarmed.checks[0].text.as_str()),
        (Outcome::Failed, "the disk is full")
    );
}

#[tokio::test]
async fn loops_depth_lag_and_clocks_are_seen() {
    let round = [
        node("a", Some("b"), "healthy"),
        node("b", Some("a"), "healthy"),
    ];
    let report = examined(&status(&round, &[]), &[CheckId::Tree]).await;
    assert!(
        report
            .checks
            .iter()
            .any(|check| check.text.contains("back to itself"))
    );
    let mut deep = node("a", None, "degraded");
    deep["tier"] = json!(4);
    deep["instances"] = json!([{"id": "one", "connected": true, "generation": 2, "clockSkewMs": 90_000, "shutOut": "copied"}]);
    let report = examined(&status(&[deep], &[]), &[CheckId::Tree]).await;
    for word in [
        "tier 4",
        "generation 2, not 3",
        "off by 90 s",
        "may not come back: copied",
    ] {
        assert!(
            report.checks.iter().any(|check| check.text.contains(word)),
            "{word}: {report:?}"
        );
    }
}

#[tokio::test]
async fn nodes_speak_for_themselves_and_silence_leaves_a_line() {
    let mesh = status(
        &[
            node("a", None, "healthy"),
            node("away", None, "disconnected"),
        ],
        &[],
    );
    let report = examined(&mesh, &[CheckId::StoreWrite]).await;
    assert_eq!(
        report.outcome,
        Outcome::Failed,
        "a node that does not answer is not well"
    );
    let of = |name: &str| {
        report
            .checks
            .iter()
            .find(|c| c.node.as_ref().is_some_and(|n| n.as_str() == name))
            .unwrap()
    };
    assert_eq!(of("a").outcome, Outcome::Ok);
    assert_eq!(
        (of("away").id, of("away").outcome),
        (CheckId::Tree, Outcome::Failed)
    );
    assert!(of("away").text.contains("does not answer"));
    assert!(of("away").text.contains("STORE-WRITE"), "{:?}", of("away"));
    let all = examined(&mesh, &[]).await;
    assert_eq!(all.outcome, Outcome::Failed);
    assert!(
        all.checks.windows(2).all(|pair| pair[0].id <= pair[1].id),
        "grouped by id"
    );
}
