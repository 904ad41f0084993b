//! What a pull costs the upstream, and what it leaves behind.

use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    route::ContentVerb,
};

use super::rig::{
    Rig, check_after, forced, index, layer_of, publish, read, request, settled, soon, until,
};
use crate::{
    registry::{Error, Outcome},
    upstream::{self, scripted::Verb},
};

#[tokio::test]
async fn an_unchanged_tag_costs_one_head() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let first = rig.get("1").await.unwrap();
    assert_eq!(
        (first.digest, first.provenance.outcome),
        (image.digest.clone(), Outcome::Fill)
    );
    assert_eq!(
        (
            rig.origin.count(Verb::HeadManifest),
            rig.origin.count(Verb::GetManifest)
        ),
        (1, 1)
    );
    let again = rig.get("1").await.unwrap();
    assert_eq!(again.bytes.unwrap(), image.manifest);
    assert_eq!(again.provenance.outcome, Outcome::Checked);
    let cache = again.provenance.cache.unwrap();
    assert_eq!(
        (cache.outcome, cache.fwd_status),
        (CacheOutcome::Forward(Forward::Stale), Some(200))
    );
    assert_eq!(
        (
            rig.origin.count(Verb::HeadManifest),
            rig.origin.count(Verb::GetManifest)
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_stored_digest_costs_the_upstream_nothing() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    settled(&rig.blob("mirror/app", &image.layer, None).await.unwrap()).await;
    let calls = rig.origin.total();
    rig.origin.fail_all(&upstream::Error::away("503"));
    let manifest = rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(manifest.provenance.outcome, Outcome::Hit);
    let blob = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert_eq!(
        (read(&blob).await, blob.provenance.outcome),
        (layer_of("a").into(), Outcome::Hit)
    );
    assert_eq!(rig.origin.total(), calls);
}

#[tokio::test]
async fn a_fresh_record_answers_at_once_and_says_for_how_long() {
    let rig = Rig::with(check_after(30));
    rig.publish("1", "a");
    rig.origin.answer_with(10, None, None);
    assert_eq!(rig.get("1").await.unwrap().provenance.age, Some(10));
    rig.later(5);
    let hit = rig.get("1").await.unwrap().provenance;
    assert_eq!(
        (hit.outcome, hit.age, hit.cache.unwrap().ttl),
        (Outcome::Hit, Some(15), Some(15))
    );
    assert_eq!(rig.origin.count(Verb::HeadManifest), 1);
    rig.later(15);
    assert_eq!(
        rig.get("1").await.unwrap().provenance.outcome,
        Outcome::Checked
    );
    assert_eq!(rig.origin.count(Verb::HeadManifest), 2);
}

#[tokio::test]
async fn many_waiters_share_one_head_and_one_get() {
    let rig = Rig::new();
    rig.publish("1", "a");
    let gate = rig.origin.gate(Verb::HeadManifest);
    let mut pulls = Box::pin(join_all((0..20).map(|_| rig.get("1"))));
    assert!((&mut pulls).now_or_never().is_none());
    gate.open();
    let outcomes: Vec<_> = pulls
        .await
        .into_iter()
        .map(|a| a.unwrap().provenance.outcome)
        .collect();
    assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Fill).count(), 1);
    assert_eq!(
        outcomes
            .iter()
            .filter(|o| **o == Outcome::Collapsed)
            .count(),
        19
    );
    assert_eq!(rig.origin.total(), 2);
}

#[tokio::test]
async fn a_head_for_what_is_not_stored_is_passed_up_and_stores_nothing() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    for reference in ["1", image.digest.as_str()] {
        let answer = rig.head(reference).await.unwrap();
        assert_eq!(
            (answer.digest, answer.size),
            (image.digest.clone(), image.manifest.len() as u64)
        );
        assert!(answer.bytes.is_none());
    }
    let head = ContentVerb::Head;
    let repository = "mirror/app".parse().unwrap();
    let blob = rig
        .registry
        .blob(&repository, &image.layer, head, None, &request())
        .await
        .unwrap();
    assert_eq!(blob.size, layer_of("a").len() as u64);
    assert_eq!(
        rig.origin.count(Verb::GetManifest) + rig.origin.count(Verb::GetBlob),
        0
    );
    assert_eq!(rig.store.metadata().totals().await.unwrap().blobs, 0);
    assert_eq!(rig.tag("1").await, None);
}

/// A GET by tag as podman sends it, and a HEAD by tag with a GET by digest as docker does.
#[tokio::test]
async fn an_upstream_whose_heads_do_not_say_the_digest_is_asked_by_one_get_in_all() {
    for by_head in [false, true] {
        let rig = Rig::new();
        rig.origin.tell_by_get(true);
        let image = rig.publish("1", "a");
        if by_head {
            let seen = rig.head("1").await.unwrap();
            assert_eq!(seen.digest, image.digest);
            assert_eq!(rig.store.metadata().totals().await.unwrap().blobs, 0);
        }
        let reference = if by_head { image.digest.as_str() } else { "1" };
        let got = rig.get(reference).await.unwrap();
        assert_eq!(got.bytes.unwrap(), image.manifest, "{by_head}");
        let asked = || {
            let origin = &rig.origin;
            (
                origin.count(Verb::HeadManifest),
                origin.count(Verb::GetManifest),
            )
        };
        assert_eq!(asked(), (1, 1), "{by_head}");
        let record = rig.tag("1").await.unwrap();
        assert_eq!(record.current.digest, image.digest);
        rig.get(image.digest.as_str()).await.unwrap();
        assert_eq!(asked(), (1, 1), "stored");
    }
}

#[tokio::test]
async fn the_bytes_of_a_check_are_good_for_a_minute_and_for_one_rule() {
    let rig = Rig::new();
    rig.origin.tell_by_get(true);
    let image = rig.publish("1", "a");
    rig.head("1").await.unwrap();
    rig.later(61);
    rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(rig.origin.count(Verb::GetManifest), 2);
    let other = rig.publish("2", "b");
    rig.head("2").await.unwrap();
    rig.same_rules_anew();
    rig.get(other.digest.as_str()).await.unwrap();
    assert_eq!(rig.origin.count(Verb::GetManifest), 4);
}

#[tokio::test]
async fn a_parents_cache_status_reaches_whoever_asks_head_or_links_a_blob() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.origin
        .answer_with(0, Some("regmesh; node=hub; hit"), None);
    let (repository, request) = ("mirror/app".parse().unwrap(), request());
    let verb = ContentVerb::Head;
    let head = rig
        .registry
        .blob(&repository, &image.layer, verb, None, &request);
    let told = head.await.unwrap().provenance.upstream_cache;
    assert_eq!(told.as_deref(), Some("regmesh; node=hub; hit"));
    publish(&rig.vault, "secret/app", Some("1"), "a");
    settled(&rig.blob("other/app", &image.layer, None).await.unwrap()).await;
    let linked = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert_eq!(linked.provenance.outcome, Outcome::Checked);
    assert_eq!(linked.provenance.upstream_cache, told);
}

#[tokio::test]
async fn a_head_by_tag_and_a_get_by_digest_make_the_tags_record() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let began = rig.clock.wall_ms();
    rig.head("1").await.unwrap();
    rig.later(2);
    rig.get(image.digest.as_str()).await.unwrap();
    let record = rig.tag("1").await.unwrap();
    assert_eq!(
        (record.current.digest, record.observed_at.0),
        (image.digest, began)
    );
    rig.origin.fail_all(&upstream::Error::away("503"));
    assert_eq!(
        rig.head("1").await.unwrap().provenance.outcome,
        Outcome::Stale
    );
}

/// T66: what was stored is compared with a time that nobody can set.
#[tokio::test]
async fn a_wall_clock_that_is_set_back_keeps_no_tag_where_it_was() {
    let rig = Rig::new();
    rig.publish("1", "old");
    rig.get("1").await.unwrap();
    rig.later(1);
    rig.clock.set_wall(-30_000);
    let new = rig.publish("1", "new");
    assert_eq!(rig.get("1").await.unwrap().digest, new.digest);
    assert_eq!(rig.tag("1").await.unwrap().current.digest, new.digest);
}

#[tokio::test]
async fn a_moved_tag_is_fetched_by_digest_and_the_old_one_stays() {
    let rig = Rig::new();
    let old = rig.publish("1", "old");
    rig.get("1").await.unwrap();
    rig.later(1);
    let new = rig.publish("1", "new");
    let moved = rig.get("1").await.unwrap();
    assert_eq!(
        (moved.digest, moved.provenance.outcome),
        (new.digest.clone(), Outcome::Fill)
    );
    assert_eq!(
        rig.origin.count_of(Verb::GetManifest, new.digest.as_str()),
        1
    );
    assert_eq!(rig.tag("1").await.unwrap().current.digest, new.digest);
    assert_eq!(
        rig.get(old.digest.as_str())
            .await
            .unwrap()
            .provenance
            .outcome,
        Outcome::Hit
    );
}

#[tokio::test]
async fn a_tag_that_moves_to_a_stored_digest_costs_no_get() {
    let rig = Rig::new();
    let (one, _two) = (rig.publish("1", "a"), rig.publish("2", "b"));
    rig.get("1").await.unwrap();
    rig.get("2").await.unwrap();
    rig.later(1);
    rig.origin.tag("library/app", "2", &one.digest);
    assert_eq!(rig.head("2").await.unwrap().digest, one.digest);
    assert_eq!(rig.tag("2").await.unwrap().current.digest, one.digest);
    assert_eq!(rig.origin.count(Verb::GetManifest), 2);
}

#[tokio::test]
async fn a_later_observation_is_never_replaced_by_an_earlier_one() {
    let rig = Rig::new();
    let old = rig.publish("1", "old");
    rig.get("1").await.unwrap();
    rig.later(2);
    // A check sees `late` and is slow to fetch it; meanwhile a second one sees the tag back at `old`.
    let late = rig.publish("1", "late");
    let gate = rig.origin.gate(Verb::GetManifest);
    let slow = rig.get("1").boxed_local();
    let meanwhile = Box::pin(async {
        until(|| rig.origin.count_of(Verb::GetManifest, late.digest.as_str()) > 0).await;
        rig.later(2);
        rig.origin.tag("library/app", "1", &old.digest);
        assert_eq!(rig.get("1").await.unwrap().digest, old.digest);
        gate.open();
    });
    let (slow, ()) = soon(join(slow, meanwhile)).await;
    assert_eq!(slow.unwrap().digest, late.digest, "what was seen is served");
    assert_eq!(
        rig.tag("1").await.unwrap().current.digest,
        old.digest,
        "but the record does not go back"
    );
}

#[tokio::test]
async fn a_tag_whose_digest_vanishes_between_head_and_get_is_fetched_by_tag() {
    let rig = Rig::new();
    let first = rig.publish("1", "first");
    let gate = rig.origin.gate(Verb::GetManifest);
    let pull = rig.get("1").boxed_local();
    let meanwhile = Box::pin(async {
        until(|| rig.origin.count(Verb::GetManifest) > 0).await;
        let second = rig.publish("1", "second");
        rig.origin.remove("library/app", &first.digest);
        gate.open();
        second
    });
    let (pull, second) = soon(join(pull, meanwhile)).await;
    assert_eq!(pull.unwrap().digest, second.digest);
}

#[tokio::test]
async fn a_forced_check_happens_at_most_once_a_second_and_is_passed_on() {
    let rig = Rig::with(check_after(3600));
    rig.publish("1", "a");
    rig.get("1").await.unwrap();
    let force = || async {
        let answer = rig
            .ask("mirror/app", "1", ContentVerb::Get, &forced())
            .await;
        answer.unwrap().provenance.outcome
    };
    assert_eq!(force().await, Outcome::Checked);
    assert_eq!(force().await, Outcome::Hit);
    rig.later(1);
    assert_eq!(force().await, Outcome::Checked);
    let calls = rig.origin.calls();
    let heads: Vec<bool> = calls
        .iter()
        .filter(|c| c.verb == Verb::HeadManifest)
        .map(|c| c.request.no_cache)
        .collect();
    assert_eq!(heads, [false, true, true]);
}

#[tokio::test]
async fn a_404_is_remembered_for_ten_seconds_and_a_signatures_never() {
    let rig = Rig::new();
    for (tag, heads) in [("1", 1), ("sha256-abc.sig", 2)] {
        for _ in 0..2 {
            let error = rig.head(tag).await.unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::ManifestUnknown {
                        trouble: Some(_),
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert_eq!(rig.origin.count_of(Verb::HeadManifest, tag), heads, "{tag}");
    }
    rig.publish("1", "a");
    assert!(rig.head("1").await.is_err());
    rig.later(10);
    rig.head("1").await.unwrap();
}

#[tokio::test]
async fn only_a_404_is_remembered() {
    for error in [
        upstream::Error::denied("403"),
        upstream::Error::away("503"),
        upstream::Error::wrong("html"),
    ] {
        let rig = Rig::new();
        rig.publish("1", "a");
        rig.origin.fail(Verb::HeadManifest, 1, error);
        rig.get("1").await.unwrap_err();
        rig.get("1").await.unwrap();
    }
}

#[tokio::test]
async fn a_404_of_the_upstream_is_asked_for_once() {
    let rig = Rig::new();
    let error = rig.get("1").await.unwrap_err();
    assert!(matches!(error, Error::ManifestUnknown { .. }), "{error}");
    assert_eq!(
        (rig.origin.count(Verb::HeadManifest), rig.origin.total()),
        (1, 1),
        "a second opinion is the upstream's own to ask for"
    );
}

#[tokio::test]
async fn a_digest_that_vanishes_between_head_and_get_is_looked_for_by_its_tag() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.origin
        .fail(Verb::GetManifest, 1, upstream::Error::gone("404"));
    assert_eq!(rig.get("1").await.unwrap().digest, image.digest);
    assert_eq!(rig.tag("1").await.unwrap().current.digest, image.digest);
    assert_eq!(rig.origin.count_of(Verb::GetManifest, "1"), 1);
}

#[tokio::test]
async fn a_cold_blob_is_filled_without_a_head_and_ranges_are_exact() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let whole = layer_of("a");
    for (range, expected) in [
        ("bytes=2-4", &whole[2..5]),
        ("bytes=-3", &whole[whole.len() - 3..]),
        ("bytes=6-", &whole[6..]),
    ] {
        let part = rig
            .blob("mirror/app", &image.layer, Some(range))
            .await
            .unwrap();
        assert!(part.part.is_some());
        assert_eq!(read(&part).await, expected);
    }
    let beyond = rig
        .blob("mirror/app", &image.layer, Some("bytes=99-"))
        .await;
    assert!(
        matches!(beyond, Err(Error::RangeNotSatisfiable { size }) if size == whole.len() as u64)
    );
    assert_eq!(
        (
            rig.origin.count(Verb::HeadBlob),
            rig.origin.count(Verb::GetBlob)
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn wrong_bytes_of_a_blob_are_a_clean_error_and_leave_nothing() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.origin.instead(&image.layer, "layer of b");
    let error = rig
        .blob("mirror/app", &image.layer, None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Wrong(_)), "{error}");
    assert_eq!(rig.store.blobs().size(&image.layer).await.unwrap(), None);
}

#[tokio::test]
async fn a_stored_manifest_whose_bytes_are_gone_is_filled_again() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    rig.store.blobs().delete(&image.digest).await.unwrap();
    assert_eq!(
        rig.get(image.digest.as_str()).await.unwrap().bytes.unwrap(),
        image.manifest
    );
    assert_eq!(rig.origin.count(Verb::GetManifest), 2);
    assert_eq!(
        rig.get(image.digest.as_str())
            .await
            .unwrap()
            .provenance
            .outcome,
        Outcome::Hit
    );
}

#[tokio::test]
async fn an_image_of_a_stored_index_names_its_platform_when_it_cannot_be_had() {
    let rig = Rig::new();
    let image = publish(&rig.origin, "library/app", None, "arm");
    let index = index(&[("linux/arm64", &image)]);
    rig.origin
        .manifest("library/app", Some("1"), wire::media_type::OCI_INDEX, index);
    rig.get("1").await.unwrap();
    rig.origin.fail_all(&upstream::Error::away("503"));
    let error = rig.get(image.digest.as_str()).await.unwrap_err();
    let platform = error.trouble().and_then(|trouble| trouble.platform.clone());
    assert!(matches!(error, Error::Away(_)));
    assert_eq!(platform.unwrap().to_string(), "linux/arm64");
}

#[tokio::test]
async fn what_can_be_read_as_two_things_is_not_taken() {
    let rig = Rig::new();
    let both = r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#;
    rig.origin
        .manifest("library/app", Some("1"), wire::media_type::OCI_INDEX, both);
    let error = rig.get("1").await.unwrap_err();
    assert!(matches!(error, Error::Wrong(_)), "{error}");
    assert_eq!(rig.tag("1").await, None);
}

/// T04: the tag moves while many pull it. Every answer is whole (`Rig::ask` hashes it), every observation is one that was true
/// while its pull ran, and in the end the record is where the tag is.
#[tokio::test]
async fn a_tag_that_moves_under_many_pulls_is_never_torn_and_settles() {
    const MOVES: usize = 100;
    let rig = Rig::new();
    let history = std::cell::RefCell::new(vec![rig.publish("1", "0").digest]);
    let mover = async {
        for at in 1..=MOVES {
            rig.clock.advance(std::time::Duration::from_millis(3));
            let moved = rig.publish("1", &(at % 7).to_string());
            history.borrow_mut().push(moved.digest);
            for _ in 0..at % 5 {
                tokio::task::yield_now().await;
            }
        }
    };
    let client = async || {
        while history.borrow().len() <= MOVES {
            let from = history.borrow().len() - 1;
            let digest = rig.get("1").await.unwrap().digest;
            // Shared work may have begun a little before this pull did.
            let from = from.saturating_sub(10);
            assert!(history.borrow()[from..].contains(&digest));
        }
    };
    soon(async { tokio::join!(mover, join_all((0..20).map(|_| client()))) }).await;
    rig.later(1);
    let last = rig.get("1").await.unwrap().digest;
    assert_eq!(Some(&last), history.borrow().last());
    assert_eq!(rig.tag("1").await.unwrap().current.digest, last);
}
