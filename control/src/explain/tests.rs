//! The way across tiers: as nodes answer, as the topology says of those that cannot be asked, and never longer than the tree.

use std::sync::Mutex;

use serde_json::json;
use wire::api::problem::Problem;

use super::*;
use crate::{asking::Seen, publish};

const MESH: &str = "version: 1\nmesh: one\nnodes:\n  dev: {endpoint: 'https://dev.example'}\n  \
    prod: {parent: dev, endpoint: 'https://prod.example', network: {access: private, trustMeshPeers: true}}\n  \
    edge: {parent: prod, endpoint: 'https://edge.example'}\n\
    identities:\n  i: {kind: managed, on: [prod, edge]}\n\
    access:\n  - {allow: repository-reader, to: 'identity:i', on: [dev, prod]}\n\
    rules:\n  one: {on: prod, source: 'node://dev/a/*', target: b/*, identity: i}\n  \
    two: {on: edge, source: 'node://prod/b/*', target: c/*, identity: i}\n";

/// Answers by node; the others are away.
struct Nodes(Mutex<Vec<(&'static str, Result<Hop, ask::Error>)>>);

#[async_trait::async_trait]
impl Asking for Nodes {
    fn seen(&self) -> Seen {
        Seen::default()
    }

    async fn ask(&self, node: &NodeName, _: Question, _: Duration) -> Result<Answer, ask::Error> {
        let mut answers = self.0.lock().unwrap();
        let at = answers.iter().position(|(name, _)| *name == node.as_str());
        match at {
            Some(at) => answers
                .remove(at)
                .1
                .map(|hop| Answer::Explain(Box::new(hop))),
            None => Err(ask::Error::NotConnected(node.clone())),
        }
    }

    async fn recover(&self, _: &str) -> Result<Generation, publish::Error> {
        Err(publish::Error::NotFound)
    }
}

fn hop(
    node: &str,
    generation: u64,
    repository: &str,
    outcome: &str,
    upstream: Option<(&str, &str)>,
) -> Hop {
    let mut hop = json!({
        "node": node, "tier": 1, "generation": generation, "repository": repository, "reference": "1",
        "next": {"outcome": outcome, "reason": "because"},
    });
    if let Some((upstream, mapped)) = upstream {
        hop["rule"] = json!({
            "name": "r", "source": format!("node://{upstream}/x"), "target": "x", "status": "Active",
            "upstreamNode": upstream, "upstream": format!("{upstream}.example"), "mapped": mapped,
        });
    }
    serde_json::from_value(hop).unwrap()
}

async fn explained(
    node: &str,
    repository: &str,
    answers: Vec<(&'static str, Result<Hop, ask::Error>)>,
) -> Explanation {
    let topology = topology::load(&[("t".into(), MESH.into())])
        .unwrap()
        .topology;
    let request = json!({"node": node, "repository": repository, "reference": "1"});
    let request = serde_json::from_value(request).unwrap();
    explain(
        &topology,
        request,
        &Nodes(Mutex::new(answers)),
        Duration::from_secs(1),
    )
    .await
}

#[tokio::test]
async fn every_tier_is_asked_by_the_name_it_has_there() {
    let told = explained(
        "edge",
        "c/x",
        vec![
            (
                "edge",
                Ok(hop("edge", 2, "c/x", "fill", Some(("prod", "b/x")))),
            ),
            (
                "prod",
                Ok(hop("prod", 2, "b/x", "fill", Some(("dev", "a/x")))),
            ),
            ("dev", Ok(hop("dev", 1, "a/x", "hit", None))),
        ],
    )
    .await;
    let way: Vec<_> = told
        .hops
        .iter()
        .map(|hop| (hop.node.as_str(), hop.repository.as_str()))
        .collect();
    assert_eq!(way, [("edge", "c/x"), ("prod", "b/x"), ("dev", "a/x")]);
    assert_eq!(
        told.summary,
        "edge/c/x:1 is fetched from prod/b/x, which fetches it from dev/a/x, which serves it from storage. \
         The tiers decide by different generations: edge by 2, dev by 1."
    );
    let policy = &told.hops[0].network.as_ref().unwrap().detail;
    assert!(policy.contains("private, and mesh nodes"), "{policy}");
}

#[tokio::test]
async fn a_node_that_is_away_is_a_hop_and_the_way_goes_on_behind_it() {
    let told = explained(
        "edge",
        "c/x",
        vec![
            (
                "edge",
                Ok(hop("edge", 1, "c/x", "fill", Some(("prod", "b/x")))),
            ),
            ("dev", Ok(hop("dev", 1, "a/x", "refuse", None))),
        ],
    )
    .await;
    assert_eq!(told.hops.len(), 3);
    assert!(
        told.hops[1]
            .unreachable
            .as_deref()
            .unwrap()
            .contains("not connected")
    );
    assert_eq!(told.hops[2].repository.as_str(), "a/x");
    assert!(
        told.summary.contains("prod could not be asked"),
        "{}",
        told.summary
    );
    let refused = Err(ask::Error::Refused(Problem::new(
        409,
        "busy",
        "it is starting",
    )));
    let told = explained("dev", "a/x", vec![("dev", refused)]).await;
    assert_eq!(
        told.summary,
        "What dev will do with dev/a/x:1 is not known: it is starting."
    );
}

#[tokio::test]
async fn nodes_that_send_each_other_round_end() {
    let round = || hop("dev", 1, "a/x", "fill", Some(("dev", "a/x")));
    let answers = (0..9).map(|_| ("dev", Ok(round()))).collect();
    assert_eq!(explained("dev", "a/x", answers).await.hops.len(), HOPS);
}

#[tokio::test]
async fn a_refusal_names_its_status_and_reason() {
    let mut refusing = hop("dev", 1, "a/x", "refuse", None);
    refusing.next.status = Some(404);
    let told = explained("dev", "a/x", vec![("dev", Ok(refusing))]).await;
    assert_eq!(told.summary, "dev/a/x:1 is refused with 404: because.");
}
