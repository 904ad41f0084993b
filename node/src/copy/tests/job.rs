//! Jobs are durable, retried for ever, visible, and parked rather than lost.

use std::sync::Arc;

use topology::model::rule::{Platforms, Referrers};
use wire::{digest::Digest, time::WallTime};

use super::world::{Node, again};
use crate::{
    fill::world::{Fault, app, noise, within},
    rule::{ActiveRule, RuleState, Rules},
    store::{
        self,
        metadata::{Job, Op},
    },
    upstream::{self, scripted::Verb},
};

#[tokio::test]
async fn a_copy_goes_on_after_a_restart_without_a_client_and_tells_of_it_once() {
    let mut node = Node::new();
    let layer = noise(50_000);
    let image = node.image("x", &[b"small", &layer]);
    node.tag("1", &image);
    let gate = node.world.upstream.gate_at(&Digest::sha256(&layer), 20_000);
    node.pull("1").await;
    within(gate.reached()).await;
    assert!(node.events().await.is_empty() && !node.is_complete(&image).await);
    node.restart().await;
    assert_eq!(node.jobs().await.len(), 1);
    gate.open();
    node.settle().await;
    assert!(node.is_complete(&image).await && node.world.has(&app(), &layer).await);
    assert_eq!(node.events().await.len(), 2);
    assert_eq!(node.world.upstream.count(Verb::GetManifest), 1);
}

#[tokio::test]
async fn an_upstream_that_is_away_is_tried_again_until_it_is_back_and_says_why() {
    let node = Node::new();
    let image = node.image("x", &[b"a"]);
    node.tag("1", &image);
    node.world.upstream.fail(
        Verb::GetBlob,
        usize::MAX,
        upstream::Error::away("connection refused"),
    );
    node.pull("1").await;
    node.until(async || node.jobs().await[0].attempts >= 6)
        .await;
    assert!(
        node.jobs().await[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("connection refused")
    );
    assert!(node.world.active.state.facts().away_since.is_some());
    node.until(async || node.events().await.len() == 1).await;
    assert_eq!(node.events().await[0].0, "copy_failed");
    node.world.upstream.heal();
    node.settle().await;
    assert!(node.is_complete(&image).await);
    assert_eq!(node.events().await.len(), 3);
    assert!(node.world.active.state.facts().away_since.is_none());
}

#[tokio::test]
async fn a_store_that_takes_nothing_makes_the_rule_not_storing_until_it_heals() {
    let node = Node::new();
    let image = node.image("x", &[&noise(50_000)]);
    let gate = node.world.upstream.gate(Verb::GetBlob);
    node.pull(image.as_str()).await;
    within(gate.reached()).await;
    node.world.disk.fault(Fault::Commit);
    gate.open();
    node.until(async || node.jobs().await[0].attempts >= 2)
        .await;
    let facts = node.world.active.state.facts();
    assert!(facts.store_error.is_some() && node.world.store.degraded().is_some());
    assert!(node.jobs().await[0].last_error.is_some() && !node.is_complete(&image).await);
    node.world.disk.fault(Fault::None);
    node.settle().await;
    assert!(node.is_complete(&image).await);
    assert!(node.world.active.state.facts().store_error.is_none());
}

#[tokio::test]
async fn what_could_not_be_recorded_completes_by_itself_when_the_store_heals_and_is_told_of_once() {
    let node = Node::new();
    let image = node.image("x", &[b"a"]);
    node.tag("1", &image);
    node.world.disk.fault(Fault::Stage);
    let arrival = node.arrival(&app(), "1").await;
    let error = node.copies.record(arrival.clone()).await.unwrap_err();
    node.world
        .active
        .state
        .store_failed(&error.to_string(), 1, WallTime(0));
    node.copies.owe(vec![arrival], &error);
    node.until(async || {
        node.copies.pay().await;
        !node.events().await.is_empty()
    })
    .await;
    for _ in 0..5 {
        node.copies.pay().await;
    }
    assert_eq!(node.events().await.len(), 1);
    assert_eq!(node.events().await[0].0, "copy_failed");
    assert!(node.jobs().await.is_empty());
    assert!(node.world.active.state.facts().store_error.is_some());
    node.world.disk.fault(Fault::None);
    node.until(async || {
        node.copies.pay().await;
        node.is_complete(&image).await
    })
    .await;
    node.settle().await;
    assert_eq!(node.served("1").await, Some(image));
    assert!(node.world.active.state.facts().store_error.is_none());
    assert_eq!(node.events().await.len(), 3);
}

#[tokio::test]
async fn a_job_that_cannot_be_put_off_rests_all_the_same_and_is_told_of() {
    let node = Node::new();
    let image = node.image("x", &[b"a"]);
    let gate = node.world.upstream.gate(Verb::GetBlob);
    node.pull(image.as_str()).await;
    within(gate.reached()).await;
    node.world.metadata.read_only(true);
    gate.open();
    let all = "all".parse().unwrap();
    node.until(async || !node.recorder.due_from_memory(&all).is_empty())
        .await;
    assert_eq!(node.jobs().await[0].attempts, 0, "nothing is written down");
    node.world.metadata.read_only(false);
    node.settle().await;
    assert!(node.is_complete(&image).await);
    assert!(node.world.active.state.facts().store_error.is_none());
}

#[tokio::test]
async fn a_rule_of_which_nothing_waits_stores_again_when_the_store_does() {
    let node = Node::new();
    let state = &node.world.active.state;
    state.pulled(WallTime(0));
    state.store_failed("the store is full", 1, WallTime(0));
    node.copies.pay().await;
    assert!(state.facts().store_error.is_none());
    assert_eq!(state.facts().unstored_pulls, 0);
    state.store_failed("the store is full", 1, WallTime(0));
    let full = store::Error::Full;
    node.world.store.report("fill", &full);
    node.copies.pay().await;
    assert!(state.facts().store_error.is_some());
}

#[tokio::test]
async fn wrong_bytes_are_never_committed_and_are_told_at_once() {
    let node = Node::new();
    let image = node.image("x", &[b"right"]);
    node.world
        .upstream
        .instead(&Digest::sha256(b"right"), "wrong");
    node.pull(image.as_str()).await;
    node.until(async || node.jobs().await[0].attempts >= 2)
        .await;
    assert!(
        !node.is_complete(&image).await
            && node.world.has_nothing_of(&Digest::sha256(b"right")).await
    );
    assert_eq!(node.events().await[0].0, "copy_failed");
    node.world
        .upstream
        .instead(&Digest::sha256(b"right"), "right");
    node.settle().await;
    assert!(node.is_complete(&image).await);
}

#[tokio::test]
async fn a_job_waits_for_its_rule_and_goes_when_nothing_covers_its_repository() {
    let mut node = Node::new();
    let image = node.image("x", &[b"a"]);
    let mut off = (*node.world.active.rule).clone();
    off.enabled = false;
    let mut renamed = (*node.world.active.rule).clone();
    renamed.name = "another".parse().unwrap();
    let mut elsewhere = renamed.clone();
    elsewhere.target = "elsewhere/*".parse().unwrap();
    let with = |rule| {
        let state = Arc::new(RuleState::default());
        Rules::new(vec![ActiveRule {
            rule: Arc::new(rule),
            state,
            ..again(&node.world.active)
        }])
    };
    let (off, renamed, elsewhere) = (with(off), with(renamed), with(elsewhere));
    node.rules.store(Arc::new(off));
    node.pull(image.as_str()).await;
    for (rules, why) in [(None, "disabled"), (Some(renamed), "another rule")] {
        if let Some(rules) = rules {
            node.rules.store(Arc::new(rules));
            make_due(&node).await;
        }
        node.until(async || {
            node.jobs().await[0]
                .last_error
                .as_ref()
                .is_some_and(|error| error.contains(why))
        })
        .await;
        assert_eq!(node.jobs().await[0].attempts, 0);
    }
    node.rules.store(Arc::default());
    node.restart().await;
    make_due(&node).await;
    node.copies.nudge();
    assert_eq!(
        node.jobs().await.len(),
        1,
        "no slice is no reason to forget a job"
    );
    node.rules.store(Arc::new(elsewhere));
    node.until(async || node.jobs().await.is_empty()).await;
    assert!(node.events().await.is_empty());
}

async fn make_due(node: &Node) {
    let job = Job {
        due_at: WallTime(0),
        ..node.jobs().await.remove(0)
    };
    node.world
        .store
        .metadata()
        .commit(vec![Op::PutJob(job)])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_job_of_something_deleted_meanwhile_brings_nothing_back() {
    let node = Node::new();
    let image = node.image("x", &[b"a"]);
    let gate = node.world.upstream.gate(Verb::GetBlob);
    node.pull(image.as_str()).await;
    within(gate.reached()).await;
    node.world
        .store
        .metadata()
        .commit(vec![Op::DeleteLink(app(), image.clone())])
        .await
        .unwrap();
    gate.open();
    node.world.idle().await;
    node.settle().await;
    assert!(
        node.world
            .store
            .metadata()
            .link(&app(), &image)
            .await
            .unwrap()
            .is_none()
    );
    assert!(node.events().await.is_empty());
}

#[tokio::test]
async fn a_child_that_the_upstream_lacks_keeps_no_copy_open_and_is_asked_for_when_the_tag_is_checked()
 {
    let node = Node::with(Platforms::All, Referrers::OnDemand);
    let (amd, arm) = (node.image("amd", &[b"a"]), node.image("arm", &[b"b"]));
    let index = node.index(&[(&amd, "linux/amd64"), (&arm, "linux/arm64")]);
    node.tag("1", &index);
    node.world.upstream.remove("team/app", &arm);
    node.pull("1").await;
    node.until(async || node.is_complete(&index).await).await;
    assert_eq!(node.served("1").await.as_ref(), Some(&index));
    let job = node.jobs().await.remove(0);
    assert_eq!(
        (job.missing.as_slice(), job.tags.len()),
        ([arm.clone()].as_slice(), 0)
    );
    assert_eq!(node.events().await.len(), 3);
    assert_eq!(node.image("arm", &[b"b"]), arm);
    node.copies.wanted(&app(), &index).await;
    assert!(
        node.jobs().await[0].due_at > job.created_at,
        "not at every check"
    );
    let old = Job {
        created_at: WallTime(0),
        ..job
    };
    node.world
        .store
        .metadata()
        .commit(vec![Op::PutJob(old)])
        .await
        .unwrap();
    node.copies.wanted(&app(), &index).await;
    node.settle().await;
    assert!(node.is_complete(&arm).await);
    assert_eq!(node.events().await.len(), 4);
}

#[tokio::test]
async fn an_image_whose_layer_the_upstream_lacks_is_not_complete_and_waits() {
    let node = Node::new();
    let image = node.image("x", &[b"a", b"b"]);
    node.tag("1", &image);
    node.world
        .upstream
        .remove("team/app", &Digest::sha256(b"b"));
    node.pull("1").await;
    node.until(async || !node.jobs().await[0].missing.is_empty())
        .await;
    assert!(!node.is_complete(&image).await && node.events().await.is_empty());
    assert_eq!(node.served("1").await, None);
    assert!(node.world.has(&app(), b"a").await);
}
