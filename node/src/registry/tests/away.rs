//! What is served while the upstream is not itself: `reference/faults.md` section 1, carried out.

use std::{future::pending, time::Duration};

use futures_util::{FutureExt, future::join};
use topology::model::rule::{Allowance, Authentication, Rule, WhenGone};
use wire::{event::Action, oci_error::Code, refusal::Refusal, route::ContentVerb};

use super::rig::{Rig, check_after, request, settled};
use crate::{
    registry::{Error, Outcome},
    request::Request,
    store,
    upstream::{self, Patience, scripted::Verb},
};

fn away() -> upstream::Error {
    upstream::Error::away("connection refused")
}

#[tokio::test]
async fn an_absent_upstream_gives_way_to_what_is_stored() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.later(7);
    rig.origin.fail_all(&away());
    let stale = rig.get("1").await.unwrap();
    assert_eq!(
        (stale.digest, stale.provenance.outcome),
        (image.digest, Outcome::Stale)
    );
    assert_eq!(stale.provenance.age, Some(7));
    let warning = stale.provenance.warning.unwrap();
    assert!(
        warning.contains("rule mirror") && warning.contains("7 s ago"),
        "{warning}"
    );
    assert_eq!(
        stale.provenance.cache.unwrap().detail.unwrap(),
        "serve-stale"
    );
    let patience: Vec<_> = rig
        .origin
        .calls()
        .iter()
        .filter_map(|call| call.patience)
        .collect();
    assert_eq!(patience, [Patience::Long, Patience::Short]);
    rig.origin.heal();
    assert_eq!(
        rig.get("1").await.unwrap().provenance.outcome,
        Outcome::Checked
    );
}

#[tokio::test]
async fn an_absent_upstream_is_a_503_for_what_is_not_stored_never_a_404() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let limited = upstream::Error::rate_limited(Some(Duration::from_secs(1_000_000)), "slow down");
    for (failure, seconds) in [(away(), 5), (limited, 300)] {
        rig.origin.heal();
        rig.origin.fail_all(&failure);
        let by_tag = rig.get("1").await.unwrap_err();
        let by_digest = rig.head(image.digest.as_str()).await.unwrap_err();
        let blob = rig
            .blob("mirror/app", &image.layer, None)
            .await
            .unwrap_err();
        for error in [by_tag, by_digest, blob] {
            assert!(matches!(error, Error::Away(_)), "{error}");
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        }
    }
}

#[tokio::test]
async fn serve_stale_ends_when_the_rule_says() {
    let rig =
        Rig::with(|rule| rule.freshness.serve_stale = Allowance::For(Duration::from_secs(60)));
    rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.origin.fail_all(&away());
    rig.later(60);
    rig.get("1").await.unwrap();
    rig.later(1);
    assert!(matches!(rig.get("1").await, Err(Error::Away(_))));
}

#[tokio::test]
async fn a_newer_version_that_is_not_complete_gives_way_to_the_last_complete_one() {
    let rig = Rig::new();
    let old = rig.publish("1", "old");
    rig.get("1").await.unwrap();
    rig.complete("1").await;
    rig.later(1);
    rig.publish("1", "new");
    rig.get("1").await.unwrap();
    rig.origin.fail_all(&away());
    let stale = rig.get("1").await.unwrap();
    assert_eq!(stale.digest, old.digest);
    assert!(
        stale
            .provenance
            .warning
            .unwrap()
            .contains("a newer version exists")
    );
}

#[tokio::test]
async fn a_lost_right_is_a_403_after_the_grace_and_digests_stay() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.origin
        .fail_all(&upstream::Error::denied("403 from origin"));
    let grace = rig.get("1").await.unwrap();
    assert_eq!(
        grace.provenance.cache.unwrap().detail.unwrap(),
        "denied-grace"
    );
    rig.later(599);
    rig.get("1").await.unwrap();
    rig.later(1);
    let error = rig.get("1").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Denied(_)), "{text}");
    assert!(
        text.contains("rule mirror") && text.contains("anonymous"),
        "{text}"
    );
    rig.get(image.digest.as_str()).await.unwrap();
    let other = rig.get("2").await.unwrap_err();
    assert!(
        matches!(other, Error::Denied(_)),
        "no grace for what is not stored"
    );
    rig.origin.heal();
    assert_eq!(
        rig.get("1").await.unwrap().provenance.outcome,
        Outcome::Checked
    );
    rig.origin
        .fail_all(&upstream::Error::denied("403 from origin"));
    rig.get("1").await.expect("a new refusal has its own grace");
}

#[tokio::test]
async fn a_tag_deleted_upstream_stays_or_goes_as_the_rule_says_and_content_stays() {
    for (when_gone, served) in [(WhenGone::Keep, true), (WhenGone::Deny, false)] {
        let rig = Rig::with(|rule| rule.when_gone = when_gone);
        let image = rig.publish("1", "a");
        rig.get("1").await.unwrap();
        rig.origin.untag("library/app", "1");
        match rig.get("1").await {
            Ok(answer) => assert!(served && answer.provenance.warning.is_some()),
            Err(error) => assert!(
                !served && matches!(error, Error::ManifestUnknown { .. }),
                "{error}"
            ),
        }
        assert!(
            rig.tag("1").await.is_some(),
            "no answer of an upstream deletes"
        );
        rig.get(image.digest.as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_bytes_give_way_to_the_previous_digest_or_are_a_502() {
    let rig = Rig::new();
    let old = rig.publish("1", "old");
    rig.get("1").await.unwrap();
    rig.later(1);
    let new = rig.publish("1", "new");
    rig.origin.instead(&new.digest, "{}");
    let stale = rig.get("1").await.unwrap();
    assert_eq!(stale.digest, old.digest);
    assert!(
        stale
            .provenance
            .warning
            .unwrap()
            .contains("a newer version exists")
    );
    assert_eq!(rig.tag("1").await.unwrap().current.digest, old.digest);
    let error = rig.get(new.digest.as_str()).await.unwrap_err();
    assert!(matches!(error, Error::Wrong(_)), "{error}");
}

#[tokio::test]
async fn a_request_that_was_here_before_is_a_508_before_anything_is_asked() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    let calls = rig.origin.total();
    let hops = request()
        .hops
        .with(&"contoso".parse().unwrap(), &"prod".parse().unwrap());
    let again = Request { hops, ..request() };
    for reference in ["1", image.digest.as_str(), "2"] {
        let error = rig
            .ask("mirror/app", reference, ContentVerb::Get, &again)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Loop { nodes } if nodes[0] == "contoso/prod"),
            "{error}"
        );
    }
    assert_eq!(rig.origin.total(), calls);
}

/// `reference/protocols.md` 8.16: anybody can write a node's name into the header.
#[tokio::test]
async fn a_chain_that_goes_in_a_circle_fails_nobody_elses_wait() {
    let rig = Rig::new();
    let looped = upstream::Error::looped("region answers 508");
    for (verb, tag) in [(Verb::HeadManifest, "1"), (Verb::GetManifest, "2")] {
        let image = rig.publish(tag, tag);
        rig.origin.fail(verb, 1, looped.clone());
        let gate = rig.origin.gate(verb);
        let mut pulls = Box::pin(join(rig.get(tag), rig.get(tag)));
        assert!((&mut pulls).now_or_never().is_none());
        gate.open();
        let (forged, honest) = pulls.await;
        assert!(matches!(forged, Err(Error::Loop { .. })), "{verb:?}");
        assert_eq!(honest.unwrap().digest, image.digest, "{verb:?}");
    }
    let image = rig.publish("3", "3");
    rig.origin.fail(Verb::GetBlob, 1, looped);
    let gate = rig.origin.gate(Verb::GetBlob);
    let get = || rig.blob("mirror/app", &image.layer, None);
    let mut pulls = Box::pin(join(get(), get()));
    assert!((&mut pulls).now_or_never().is_none());
    gate.open();
    let (forged, honest) = pulls.await;
    assert!(matches!(forged, Err(Error::Loop { .. })));
    assert_eq!(honest.unwrap().digest, image.layer);
}

#[tokio::test]
async fn where_a_secret_should_be_is_for_the_status_and_not_for_whoever_pulls() {
    let rig = Rig::new();
    let detail = "the credential cannot be read: file /run/secrets/hub: entity not found";
    let kind = upstream::error::Kind::Away { retry_after: None };
    rig.origin.fail_all(&upstream::Error::new(
        kind,
        Refusal::SecretUnavailable,
        detail,
    ));
    let error = rig.get("1").await.unwrap_err();
    let told = String::from_utf8(error.envelope().to_body()).unwrap();
    assert!(
        told.contains("SECRET_UNAVAILABLE") && !told.contains("/run"),
        "{told}"
    );
    let rules = rig.rules.load();
    let active = rules.get(&"mirror".parse().unwrap()).unwrap();
    let known = format!("{:?}", active.state.facts());
    assert!(known.contains("/run/secrets/hub"), "{known}");
}

/// The row "no valid token of our own", cell by cell: cannot be asked, not a lost right.
#[tokio::test]
async fn t36_without_a_token_of_our_own_what_is_stored_is_served_and_the_rest_says_who_and_why() {
    let rig = Rig::with(as_reader);
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    let why = "no token of our own: the last rule grant ended, and the control plane cannot be asked for it: it is not connected";
    let kind = upstream::error::Kind::Away { retry_after: None };
    let failed = upstream::Error::new(kind, Refusal::IdentityTokenFailed, why);
    rig.origin.fail_all(&failed);
    rig.later(30);
    let stale = rig.get("1").await.unwrap();
    assert_eq!(stale.provenance.outcome, Outcome::Stale);
    assert_eq!(stale.provenance.age, Some(30));
    let asked = rig.origin.total();
    let by_digest = rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(by_digest.provenance.outcome, Outcome::Hit);
    assert_eq!(rig.origin.total(), asked, "a stored digest asks nobody");
    for _ in 0..2 {
        let error = rig.get("2").await.unwrap_err();
        assert!(matches!(error, Error::Away(_)), "{error}");
        let detail = error.envelope().detail.unwrap();
        assert_eq!(detail["refusal"], "IDENTITY_TOKEN_FAILED");
        assert_eq!(
            (&detail["rule"], &detail["identity"]),
            (&"mirror".into(), &"identity reader".into())
        );
        assert_eq!(
            detail["reason"],
            "no token of our own can be had; `regmesh explain` says who cannot be asked for it"
        );
        assert!(error.in_full().contains("control plane"), "{error}");
    }
    assert_eq!(rig.vault.total(), 0, "no other rule's identity is tried");
    let facts = rig.facts();
    assert_eq!(facts.denied_since, None, "no lost right");
    assert_eq!(
        facts.last_error.unwrap().refusal,
        Refusal::IdentityTokenFailed
    );
    rig.origin.heal();
    assert_eq!(
        rig.get("1").await.unwrap().provenance.outcome,
        Outcome::Checked
    );
}

#[tokio::test]
async fn an_identity_that_is_not_attached_is_a_403_by_its_name() {
    let rig = Rig::with(as_reader);
    let kind = upstream::error::Kind::Denied;
    let gone = upstream::Error::new(kind, Refusal::IdentityNotAttached, "not on this node");
    rig.origin.fail_all(&gone);
    let error = rig.get("1").await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    let trouble = error.trouble().unwrap();
    assert_eq!(trouble.refusal, Refusal::IdentityNotAttached);
    assert_eq!(trouble.identity, "identity reader");
}

fn as_reader(rule: &mut Rule) {
    rule.authentication = Authentication::Identity("reader".parse().unwrap());
}

#[tokio::test]
async fn the_rules_state_follows_its_upstream() {
    let rig = Rig::new();
    rig.publish("1", "a");
    let facts = || {
        rig.rules
            .load()
            .get(&"mirror".parse().unwrap())
            .unwrap()
            .state
            .facts()
    };
    rig.get("1").await.unwrap();
    assert!(facts().last_success.is_some() && facts().away_since.is_none());
    rig.origin.fail(Verb::HeadManifest, 1, away());
    rig.get("1").await.unwrap();
    assert!(facts().away_since.is_some());
    rig.origin
        .fail(Verb::HeadManifest, 1, upstream::Error::denied("403"));
    rig.get("1").await.unwrap();
    assert!(facts().denied_since.is_some() && facts().away_since.is_none());
    rig.get("1").await.unwrap();
    assert!(facts().denied_since.is_none());
}

#[tokio::test]
async fn a_parents_warning_and_age_reach_the_client() {
    let rig = Rig::with(check_after(30));
    rig.publish("1", "a");
    rig.origin.answer_with(
        100,
        Some("regmesh; node=hub; hit"),
        Some("the hub serves stale"),
    );
    let first = rig.get("1").await.unwrap().provenance;
    assert_eq!(first.age, Some(100));
    assert_eq!(first.upstream_cache.unwrap(), "regmesh; node=hub; hit");
    assert_eq!(first.warning.unwrap(), "the hub serves stale");
    let second = rig.get("1").await.unwrap().provenance;
    assert_eq!(
        second.outcome,
        Outcome::Checked,
        "older than the rule allows, so it is asked for again"
    );
}

#[tokio::test]
async fn serving_stale_is_told_once_a_minute_for_each_tag() {
    let rig = Rig::new();
    rig.subscribe(&[Action::ServedStale]);
    rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.origin.fail_all(&away());
    for _ in 0..3 {
        rig.get("1").await.unwrap();
    }
    assert_eq!(rig.events().await, ["served_stale 1"]);
    rig.later(60);
    rig.get("1").await.unwrap();
    assert_eq!(rig.events().await.len(), 2);
}

#[tokio::test]
async fn a_rule_that_is_switched_off_asks_nobody() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    settled(&rig.blob("mirror/app", &image.layer, None).await.unwrap()).await;
    rig.switch_off();
    let calls = rig.origin.total();
    for reference in ["1", image.digest.as_str()] {
        let served = rig.get(reference).await.unwrap().provenance;
        assert_eq!(served.cache.unwrap().detail.unwrap(), "rule-disabled");
    }
    rig.blob("mirror/app", &image.layer, None).await.unwrap();
    let unknown = rig.get("2").await.unwrap_err();
    assert!(
        matches!(unknown, Error::ManifestUnknown { .. }),
        "{unknown}"
    );
    assert_eq!(rig.origin.total(), calls);
}

#[tokio::test]
async fn a_store_that_hangs_counts_as_one_that_holds_nothing() {
    let rig = Rig::new();
    let hung = pending::<Result<Option<u32>, store::Error>>();
    let mut read = Box::pin(rig.registry.or_stream(hung));
    assert!((&mut read).now_or_never().is_none());
    rig.later(5);
    assert_eq!(read.await, None);
    assert!(rig.store.degraded().is_some());
}

#[tokio::test]
async fn what_the_store_does_not_take_is_not_called_stored() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.store.report("fill", &store::Error::Full);
    let answer = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert!(!answer.provenance.cache.unwrap().stored);
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let answer = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert!(answer.provenance.cache.unwrap().stored);
}
