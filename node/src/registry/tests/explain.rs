//! What `explain` promises: what it says a pull will do is what the pull then does, and asking changes nothing.

use std::time::Duration;

use topology::model::rule::{Authentication, Check, UpstreamRef};
use wire::{
    api::{
        explain::{Hop, Outcome as Will, Query},
        status::RuleState,
    },
    generation::Generation,
    refusal::Refusal,
    time::WallTime,
};

use super::rig::{Rig, check_after, index, publish, settled};
use crate::{
    registry::{Error, Outcome, explain::Standpoint},
    store::metadata::Op,
    upstream::{self, Reach, reach::Step, scripted::Verb},
};

async fn explain(rig: &Rig, repository: &str, reference: &str) -> Hop {
    explain_platform(rig, repository, reference, None).await
}

async fn explain_platform(
    rig: &Rig,
    repository: &str,
    reference: &str,
    platform: Option<&str>,
) -> Hop {
    let query = Query {
        repository: repository.parse().unwrap(),
        reference: reference.parse().unwrap(),
        platform: platform.map(|platform| platform.parse().unwrap()),
    };
    let at = Standpoint {
        tier: 2,
        generation: Generation(7),
        status: |error| crate::http::status(error).as_u16(),
    };
    rig.registry.explain(&query, &at).await
}

/// What a pull did, in the words of `explain`.
fn did(outcome: Outcome) -> Will {
    match outcome {
        Outcome::Hit => Will::Hit,
        Outcome::Checked => Will::Check,
        Outcome::Fill => Will::Fill,
        Outcome::Stale => Will::ServeStale,
        other @ (Outcome::Collapsed | Outcome::Local | Outcome::Denied | Outcome::Error) => {
            panic!("no word for {other:?}")
        }
    }
}

#[tokio::test]
async fn what_is_said_is_what_the_next_pull_does() {
    let rig = Rig::with(check_after(30));
    rig.publish("1", "a");
    let same = async |expected: Will| {
        let told = explain(&rig, "mirror/app", "1").await.next;
        let pulled = rig.get("1").await.unwrap();
        assert_eq!(
            (told.outcome, did(pulled.provenance.outcome)),
            (expected, expected)
        );
    };
    same(Will::Fill).await;
    same(Will::Hit).await;
    rig.later(31);
    same(Will::Check).await;
    rig.later(31);
    rig.publish("1", "b");
    same(Will::Fill).await;
    rig.later(31);
    rig.origin.fail_all(&upstream::Error::away("refused"));
    same(Will::ServeStale).await;
}

#[tokio::test]
async fn a_refusal_is_foretold_with_its_status_and_its_name() {
    use Refusal::{UpstreamDenied, UpstreamNotFound, UpstreamRateLimited, UpstreamUnavailable};
    let cases = [
        (
            upstream::Error::denied("no"),
            403,
            UpstreamDenied,
            Some(false),
        ),
        (upstream::Error::gone("none"), 404, UpstreamNotFound, None),
        (
            upstream::Error::away("refused"),
            503,
            UpstreamUnavailable,
            None,
        ),
        (
            upstream::Error::rate_limited(None, "slow"),
            503,
            UpstreamRateLimited,
            None,
        ),
        (
            upstream::Error::wrong("html"),
            502,
            UpstreamUnavailable,
            None,
        ),
    ];
    for (error, status, refusal, granted) in cases {
        let rig = Rig::new();
        rig.origin.fail_all(&error);
        let hop = explain(&rig, "mirror/app", "1").await;
        assert_eq!(hop.next.outcome, Will::Refuse, "{error}");
        assert_eq!(
            (hop.next.status, hop.next.refusal),
            (Some(status), Some(refusal))
        );
        let authentication = hop.authentication.unwrap();
        assert_eq!(authentication.granted, granted, "{error}");
        assert_eq!(authentication.refusal, Some(refusal));
        let pulled: Error = rig.get("1").await.unwrap_err();
        assert_eq!(crate::http::status(&pulled).as_u16(), status);
    }
}

#[tokio::test]
async fn asking_changes_nothing() {
    let rig = Rig::with(check_after(30));
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.later(60);
    let (before, facts) = (rig.tag("1").await, rig.facts());
    rig.publish("1", "b");
    let calls = rig.origin.total();
    let hop = explain(&rig, "mirror/app", "1").await;
    assert_eq!(hop.tag.unwrap().digest, image.digest);
    assert_ne!(hop.upstream_digest.unwrap(), image.digest);
    rig.origin.fail_all(&upstream::Error::denied("no"));
    explain(&rig, "mirror/app", "1").await;
    explain(&rig, "mirror/none", "1").await;
    assert_eq!(rig.tag("1").await, before);
    assert_eq!(rig.facts(), facts);
    let asked = rig.origin.calls();
    let fetched = |verb| matches!(verb, Verb::GetManifest | Verb::GetBlob);
    assert!(!asked[calls..].iter().any(|call| fetched(call.verb)));
    assert_eq!(asked.len() - calls, 3, "one HEAD each");
}

#[tokio::test]
async fn a_node_further_up_is_asked_for_the_right_alone() {
    let rig = Rig::with(|rule| rule.source.upstream = UpstreamRef::Node("dev".parse().unwrap()));
    rig.publish("1", "a");
    let hop = explain(&rig, "mirror/app", "1").await;
    assert_eq!((rig.origin.count(Verb::Tags), rig.origin.total()), (1, 1));
    assert_eq!(hop.next.outcome, Will::Fill);
    assert_eq!(
        (hop.upstream_digest, hop.authentication.unwrap().granted),
        (None, Some(true))
    );
    assert_eq!(hop.rule.unwrap().upstream_node.unwrap().as_str(), "dev");
    rig.get("1").await.unwrap();
    assert_eq!(
        explain(&rig, "mirror/app", "1").await.next.outcome,
        Will::Check
    );
}

#[tokio::test]
async fn a_list_of_no_tags_asks_nobody() {
    let rig = Rig::new();
    let page = wire::page::Page {
        n: Some(0),
        last: None,
    };
    let (name, request) = (super::rig::name("mirror/app"), super::rig::request());
    let listed = rig.registry.tags(&name, &page, &request).await;
    assert!(listed.unwrap().tags.is_empty());
    assert_eq!(rig.origin.total(), 0);
}

#[tokio::test]
async fn every_platform_says_what_of_it_is_here() {
    let rig = Rig::new();
    let arm = publish(&rig.origin, "library/app", None, "arm");
    let amd = publish(&rig.origin, "library/app", None, "amd");
    let list = index(&[("linux/arm64", &arm), ("linux/amd64", &amd)]);
    let media_type = wire::media_type::OCI_INDEX;
    rig.origin
        .manifest("library/app", Some("1"), media_type, list);
    assert!(
        explain(&rig, "mirror/app", "1").await.stored[0]
            .of
            .is_none()
    );
    rig.get("1").await.unwrap();
    rig.get(amd.digest.as_str()).await.unwrap();
    let layer = rig.blob("mirror/app", &amd.layer, None).await.unwrap();
    super::rig::read(&layer).await;
    settled(&layer).await;

    let hop = explain(&rig, "mirror/app", "1").await;
    let seen: Vec<_> = hop
        .stored
        .iter()
        .map(|s| (s.contents, s.of, s.complete))
        .collect();
    assert_eq!(seen, [(0, None, false), (2, Some(3), false)]);
    assert_eq!(
        hop.stored[1].platform.as_ref().unwrap().to_string(),
        "linux/amd64"
    );
    assert!(hop.stored[1].bytes < hop.stored[1].total_bytes.unwrap());
    assert_eq!(hop.copy.unwrap().state, "waiting");
    let one = explain_platform(&rig, "mirror/app", "1", Some("linux/amd64")).await;
    assert_eq!(one.stored.len(), 1);
    assert_eq!(one.next.outcome, Will::Check);
    let none = explain_platform(&rig, "mirror/app", "1", Some("linux/s390x")).await;
    assert_eq!(
        (none.next.outcome, none.next.status),
        (Will::Refuse, Some(404))
    );
    assert!(none.next.reason.contains("linux/s390x"));
}

#[tokio::test]
async fn a_copy_that_fails_says_how_often_and_why() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    let (metadata, name) = (rig.store.metadata(), super::rig::name("mirror/app"));
    let mut job = metadata.job(&name, &image.digest).await.unwrap().unwrap();
    (job.attempts, job.last_error) = (3, Some("the store is full".into()));
    metadata.commit(vec![Op::PutJob(job)]).await.unwrap();
    let copy = explain(&rig, "mirror/app", "1").await.copy.unwrap();
    assert_eq!((copy.state.as_str(), copy.attempts), ("failing", 3));
    assert_eq!(copy.last_error.unwrap().text, "the store is full");
}

#[tokio::test]
async fn where_nobody_is_asked_it_says_so() {
    let rig = Rig::new();
    rig.publish("1", "a");
    let hop = explain(&rig, "mine/app", "1").await;
    assert_eq!(
        (hop.next.outcome, hop.next.status),
        (Will::Refuse, Some(404))
    );
    assert!(hop.rule.is_none() && hop.authentication.is_none() && hop.network.is_none());
    rig.get("1").await.unwrap();
    rig.switch_off();
    let (calls, hop) = (rig.origin.total(), explain(&rig, "mirror/app", "1").await);
    assert_eq!(hop.next.outcome, Will::Hit);
    assert_eq!(hop.rule.unwrap().status, RuleState::Disabled);
    let absent = explain(&rig, "mirror/app", "2").await.next;
    assert_eq!((absent.outcome, absent.status), (Will::Refuse, Some(404)));
    assert_eq!(rig.origin.total(), calls);
}

#[tokio::test]
async fn the_name_upstream_the_way_there_and_near_misses_are_told() {
    let rig = Rig::with(|rule| rule.freshness.check = Check::After(Duration::from_secs(5)));
    let blocked = Reach::blocked("origin:443".into(), Step::LetIn, "403 NETWORK_REFUSED");
    rig.origin.seen_as(blocked);
    let hop = explain(&rig, "mirror/app", "1").await;
    let rule = hop.rule.unwrap();
    assert_eq!(
        (rule.mapped.as_str(), rule.upstream.as_str()),
        ("library/app", "origin:443")
    );
    let network = hop.network.unwrap();
    assert!(
        !network.reachable
            && network
                .detail
                .contains("does not let this node's address in")
    );
    let hop = explain(&rig, "mirror", "1").await;
    assert_eq!(hop.almost[0].rule.as_str(), "mirror");
    assert!(hop.almost[0].why.contains("below 'mirror'"));
}

#[tokio::test]
async fn what_is_recalled_is_foretold_as_refused() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let recall = |digest: &wire::digest::Digest| {
        let recalls = [(digest.clone(), "a key leaked".to_owned())];
        rig.recalls.replace(recalls.into_iter().collect());
    };
    recall(&image.digest);
    let unstored = explain(&rig, "mirror/app", "1").await.next;
    assert_eq!(
        (unstored.outcome, unstored.status),
        (Will::Refuse, Some(403))
    );
    rig.recalls.replace(std::collections::HashMap::new());
    rig.get("1").await.unwrap();
    recall(&image.layer);
    let stored = explain(&rig, "mirror/app", image.digest.as_str())
        .await
        .next;
    assert_eq!((stored.outcome, stored.status), (Will::Refuse, Some(403)));
    assert!(stored.reason.contains("a key leaked"), "{}", stored.reason);
}

#[tokio::test]
async fn as_whom_until_when_and_whether_it_is_granted_are_told() {
    let rig = Rig::with(|rule| {
        rule.authentication = Authentication::Identity("reader".parse().unwrap());
    });
    rig.publish("1", "a");
    rig.origin.token_ends(Some(WallTime(1_800_000_000_000)));
    let told = explain(&rig, "mirror/app", "1")
        .await
        .authentication
        .unwrap();
    assert_eq!((told.kind.as_str(), told.granted), ("identity", Some(true)));
    assert_eq!(told.name.as_deref(), Some("reader"));
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["tokenEnds"], "2027-01-15T08:00:00.000Z");
    rig.origin
        .fail_all(&upstream::Error::denied("origin answers 403").with_status(403));
    let told = explain(&rig, "mirror/app", "1")
        .await
        .authentication
        .unwrap();
    assert_eq!(
        (told.granted, told.refusal, told.status),
        (Some(false), Some(Refusal::UpstreamDenied), Some(403))
    );
}
