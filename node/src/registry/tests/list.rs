//! Tag lists, the catalog, referrers: local and upstream in one, and never falsely empty.

use serde_json::{Value, json};
use topology::model::rule::{Referrers, WhenGone};
use wire::{digest::Digest, manifest::referrers_index, media_type::OCI_MANIFEST, page::Page};

use super::rig::{Rig, check_after, name, request};
use crate::{
    registry::{Error, TagsAnswer},
    upstream::{self, Patience, scripted::Verb},
};

fn page(n: usize, last: Option<&str>) -> Page {
    Page {
        n: Some(n),
        last: last.map(str::to_owned),
    }
}

impl Rig {
    async fn tags(&self, page: &Page) -> Result<TagsAnswer, Error> {
        self.registry
            .tags(&name("mirror/app"), page, &request())
            .await
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let answer = self
            .registry
            .referrers(
                &name("mirror/app"),
                subject,
                artifact_type,
                &Page::default(),
                &request(),
            )
            .await?;
        let index: Value = serde_json::from_slice(&answer.index).unwrap();
        let manifests = index["manifests"].as_array().unwrap().clone();
        let types = manifests
            .iter()
            .map(|m| m["artifactType"].as_str().unwrap_or("-").to_owned());
        Ok((types.collect(), answer.provenance.warning))
    }
}

/// A manifest that refers to `subject`.
fn signature(subject: &Digest, artifact_type: &str) -> String {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": Digest::sha256(b"{}")},
        "layers": [], "subject": {"mediaType": OCI_MANIFEST, "size": 1, "digest": subject},
    })
    .to_string()
}

#[tokio::test]
async fn who_has_something_to_tell_waits_less_for_the_upstream() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let origin = || rig.origin.calls().last().unwrap().patience;
    rig.tags(&Page::default()).await.unwrap();
    assert_eq!(origin(), Some(Patience::Long));
    rig.referrers(&image.digest, None).await.unwrap();
    assert_eq!(origin(), Some(Patience::Long));
    rig.get("1").await.unwrap();
    let signature = signature(&image.digest, "type/sig");
    let signature = rig
        .origin
        .manifest("library/app", None, OCI_MANIFEST, signature);
    rig.get(signature.as_str()).await.unwrap();
    rig.tags(&Page::default()).await.unwrap();
    assert_eq!(origin(), Some(Patience::Short));
    rig.referrers(&image.digest, None).await.unwrap();
    assert_eq!(origin(), Some(Patience::Short));
}

#[tokio::test]
async fn a_list_that_was_asked_for_shows_where_it_came_through() {
    let rig = Rig::with(check_after(60));
    rig.publish("1", "a");
    rig.origin
        .answer_with(0, Some("regmesh; node=dev; hit"), None);
    let through = |answer: TagsAnswer| answer.provenance.upstream_cache;
    let asked = rig.tags(&Page::default()).await.unwrap();
    assert_eq!(through(asked).unwrap(), "regmesh; node=dev; hit");
    let fresh = rig.tags(&Page::default()).await.unwrap();
    assert_eq!(through(fresh), None);
    let subject = Digest::sha256(b"x");
    let referrers = rig
        .registry
        .referrers(
            &name("mirror/app"),
            &subject,
            None,
            &Page::default(),
            &request(),
        )
        .await
        .unwrap();
    assert!(referrers.provenance.upstream_cache.is_some());
}

#[tokio::test]
async fn both_lists_are_one_order_page_by_page() {
    let rig = Rig::new();
    for tag in ["b", "d", "gone"] {
        rig.publish(tag, tag);
        rig.get(tag).await.unwrap();
    }
    rig.origin.untag("library/app", "gone");
    for tag in ["a", "c", "e", "z"] {
        rig.publish(tag, tag);
    }
    let mut all = Vec::new();
    let mut next = page(2, None);
    for _ in 0..10 {
        let answer = rig.tags(&next).await.unwrap();
        assert!(answer.tags.len() <= 2);
        all.extend(answer.tags);
        match answer.next {
            Some(last) => next = page(2, Some(&last)),
            None => break,
        }
    }
    assert_eq!(all, ["a", "b", "c", "d", "e", "gone", "z"]);
    let none = rig.tags(&page(0, None)).await.unwrap();
    assert_eq!((none.tags.len(), none.next), (0, None));
}

#[tokio::test]
async fn a_list_is_local_with_a_warning_while_the_upstream_is_away() {
    let rig = Rig::new();
    rig.publish("1", "a");
    rig.publish("2", "b");
    rig.get("1").await.unwrap();
    rig.origin.fail_all(&upstream::Error::away("503"));
    let answer = rig.tags(&Page::default()).await.unwrap();
    assert_eq!(answer.tags, ["1"]);
    assert!(
        answer
            .provenance
            .warning
            .unwrap()
            .contains("tags of this node only")
    );
    let nothing = rig
        .registry
        .tags(&name("mirror/b"), &Page::default(), &request())
        .await
        .unwrap_err();
    assert!(matches!(nothing, Error::Away(_)), "{nothing}");
}

#[tokio::test]
async fn a_list_is_asked_for_under_the_freshness_of_a_tag() {
    let rig = Rig::with(check_after(30));
    rig.publish("1", "a");
    for _ in 0..3 {
        rig.tags(&Page::default()).await.unwrap();
    }
    assert_eq!(rig.origin.count(Verb::Tags), 1);
    rig.later(30);
    rig.tags(&Page::default()).await.unwrap();
    assert_eq!(rig.origin.count(Verb::Tags), 2);
}

#[tokio::test]
async fn tags_that_a_rule_denies_once_gone_are_not_listed() {
    let rig = Rig::with(|rule| rule.when_gone = WhenGone::Deny);
    rig.publish("1", "a");
    rig.publish("2", "b");
    rig.get("1").await.unwrap();
    rig.origin.untag("library/app", "1");
    assert_eq!(rig.tags(&Page::default()).await.unwrap().tags, ["2"]);
}

#[tokio::test]
async fn the_catalog_shows_what_the_caller_may_see() {
    let rig = Rig::new();
    for repository in ["a/1", "a/2", "b/1", "b/2", "b/3"] {
        let digest = Digest::sha256(b"x");
        let body = futures_util::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(b"x"))]);
        rig.registry
            .push_blob(&name(repository), &digest, body)
            .await
            .unwrap();
    }
    let ours = |name: &wire::repository::RepositoryName| name.as_str().starts_with("b/");
    let first = rig.registry.catalog(&page(2, None), ours).await.unwrap();
    assert_eq!(first.repositories, [name("b/1"), name("b/2")]);
    assert_eq!(first.next.as_deref(), Some("b/2"));
    let last = rig
        .registry
        .catalog(&page(2, Some("b/2")), ours)
        .await
        .unwrap();
    assert_eq!((last.repositories, last.next), (vec![name("b/3")], None));
}

#[tokio::test]
async fn referrers_are_merged_and_filtered() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let local = signature(&image.digest, "type/sbom");
    let stored = rig
        .origin
        .manifest("library/app", None, OCI_MANIFEST, local);
    rig.get(stored.as_str()).await.unwrap();
    let upstream =
        wire::manifest::Manifest::parse(signature(&image.digest, "type/sig").as_bytes(), None)
            .unwrap();
    let listed = upstream.as_referrer(Digest::sha256(b"sig"), 3);
    rig.origin
        .refer("library/app", &image.digest, referrers_index(&[listed]));
    let (mut types, warning) = rig.referrers(&image.digest, None).await.unwrap();
    types.sort();
    assert_eq!(
        (types, warning),
        (vec!["type/sbom".into(), "type/sig".into()], None)
    );
    assert_eq!(
        rig.referrers(&image.digest, Some("type/sig"))
            .await
            .unwrap()
            .0,
        ["type/sig"]
    );
}

#[tokio::test]
async fn could_not_ask_is_never_an_empty_list() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    let stored = rig.origin.manifest(
        "library/app",
        None,
        OCI_MANIFEST,
        signature(&image.digest, "type/sbom"),
    );
    rig.origin
        .fail(Verb::Referrers, usize::MAX, upstream::Error::away("503"));
    let error = rig.referrers(&image.digest, None).await.unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    rig.get(stored.as_str()).await.unwrap();
    let (types, warning) = rig.referrers(&image.digest, None).await.unwrap();
    assert_eq!(types, ["type/sbom"]);
    assert!(warning.is_some());
    rig.origin.heal();
    rig.origin.refer("library/app", &image.digest, "<html>");
    let other = Digest::sha256(b"other");
    rig.origin.refer("library/app", &other, "<html>");
    assert!(matches!(
        rig.referrers(&other, None).await,
        Err(Error::Wrong(_))
    ));
}

#[tokio::test]
async fn a_parents_warning_about_its_list_reaches_everybody_who_is_served_from_it() {
    let rig = Rig::with(check_after(30));
    let image = rig.publish("1", "a");
    let said = Some("tags of the hub only".to_owned());
    rig.origin.answer_with(0, None, said.as_deref());
    for _ in 0..2 {
        let tags = rig.tags(&Page::default()).await.unwrap();
        assert_eq!(tags.provenance.warning, said, "asked for, then kept");
    }
    let (_, warning) = rig.referrers(&image.digest, None).await.unwrap();
    assert_eq!(warning, said);
}

#[tokio::test]
async fn a_rule_that_never_asks_for_referrers_says_so() {
    let rig = Rig::with(|rule| rule.referrers = Referrers::None);
    let (types, warning) = rig.referrers(&Digest::sha256(b"x"), None).await.unwrap();
    assert!(types.is_empty() && warning.is_some());
    assert_eq!(rig.origin.total(), 0);
}

#[tokio::test]
async fn a_pushed_fallback_tag_is_heard() {
    let rig = Rig::new();
    let subject = Digest::sha256(b"subject");
    let upstream =
        wire::manifest::Manifest::parse(signature(&subject, "type/sig").as_bytes(), None).unwrap();
    let list = referrers_index(&[upstream.as_referrer(Digest::sha256(b"sig"), 3)]);
    let tag = wire::reference::Reference::Tag(wire::reference::Tag::referrers_fallback(&subject));
    let (repository, page) = (name("team/app"), Page::default());
    rig.registry
        .put_manifest(
            &repository,
            &tag,
            &[],
            Some(wire::media_type::OCI_INDEX),
            list.into(),
            &request(),
        )
        .await
        .unwrap();
    let answer = rig
        .registry
        .referrers(&repository, &subject, None, &page, &request())
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&answer.index).contains("type/sig"));
}
