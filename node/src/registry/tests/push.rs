//! Pushing: uploads, manifests, deletes, and where they are not allowed.

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;
use uuid::Uuid;
use wire::{
    digest::{Algorithm, Digest},
    event::Action,
    media_type::{OCI_INDEX, OCI_MANIFEST},
    oci_error::Code,
    range::Span,
    reference::{Reference, Tag},
    route::ContentVerb,
};

use super::rig::{Image, Rig, config_of, image, index, layer_of, name, read, request, settled};
use crate::{
    registry::{Error, Outcome, PutAnswer, UploadStart, UploadStarted},
    rule::conflict,
    upstream::scripted::Verb,
};

const REPOSITORY: &str = "team/app";

fn body(text: &str) -> impl Stream<Item = Result<Bytes, String>> + Send + use<> {
    stream::iter([Ok(Bytes::from(text.to_owned()))])
}

fn broken(text: &str) -> impl Stream<Item = Result<Bytes, String>> + Send + use<> {
    stream::iter([Ok(Bytes::from(text.to_owned())), Err("reset".to_owned())])
}

fn empty() -> impl Stream<Item = Result<Bytes, String>> + Send {
    stream::empty()
}

impl Rig {
    async fn begin(&self) -> Uuid {
        let start = UploadStart {
            mount: None,
            algorithm: Algorithm::Sha256,
        };
        match self
            .registry
            .start_upload(&name(REPOSITORY), start, &request())
            .await
            .unwrap()
        {
            UploadStarted::Upload(upload) => upload.id,
            UploadStarted::Mounted(digest) => unreachable!("nothing to mount: {digest}"),
        }
    }

    async fn push_blob(&self, text: &str) -> Digest {
        let digest = Digest::sha256(text.as_bytes());
        self.registry
            .push_blob(&name(REPOSITORY), &digest, body(text))
            .await
            .unwrap()
    }

    async fn put(
        &self,
        reference: &str,
        tags: &[&str],
        media_type: &str,
        bytes: &str,
    ) -> Result<PutAnswer, Error> {
        let reference: Reference = reference.parse().unwrap();
        let tags: Vec<Tag> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let bytes = Bytes::from(bytes.to_owned());
        self.registry
            .put_manifest(
                &name(REPOSITORY),
                &reference,
                &tags,
                Some(media_type),
                bytes,
                &request(),
            )
            .await
    }

    async fn push(&self, tag: &str, of: &str) -> Image {
        self.push_blob(&config_of(of)).await;
        self.push_blob(&layer_of(of)).await;
        let image = image(of);
        self.put(tag, &[], OCI_MANIFEST, &image.manifest)
            .await
            .unwrap();
        image
    }

    async fn pushed(&self, reference: &str) -> Result<crate::registry::ManifestAnswer, Error> {
        self.ask(REPOSITORY, reference, ContentVerb::Get, &request())
            .await
    }
}

#[tokio::test]
async fn what_was_pushed_can_be_pulled() {
    let rig = Rig::new();
    let image = rig.push("1", "a").await;
    for reference in ["1", image.digest.as_str()] {
        let answer = rig.pushed(reference).await.unwrap();
        assert_eq!(answer.bytes.unwrap(), image.manifest);
        assert_eq!(
            (answer.provenance.outcome, answer.provenance.age),
            (Outcome::Local, None)
        );
    }
    let layer = rig
        .blob(REPOSITORY, &image.layer, Some("bytes=0-4"))
        .await
        .unwrap();
    assert_eq!(read(&layer).await, "layer");
    assert_eq!(rig.origin.total() + rig.vault.total(), 0);
}

#[tokio::test]
async fn every_step_of_an_upload_into_a_rules_repository_names_the_rule() {
    let rig = Rig::new();
    let (id, covered) = (rig.begin().await, name("mirror/app"));
    let registry = &rig.registry;
    let chunk = registry
        .append_upload(id, &covered, None, body("abc"))
        .await;
    let status = registry.upload_status(id, &covered).await;
    for answer in [chunk, status] {
        let error = answer.unwrap_err();
        assert!(matches!(&error, Error::FilledByRule { rule, .. } if rule.as_str() == "mirror"));
    }
}

/// So that a default namespace does not stand before it.
#[tokio::test]
async fn a_repository_that_clients_pushed_into_is_known() {
    let rig = Rig::new();
    let (repository, digest) = (name(REPOSITORY), Digest::sha256(b"abc"));
    assert!(!rig.registry.holds_pushed(&repository).await);
    let pushed = rig.registry.push_blob(&repository, &digest, body("abc"));
    pushed.await.unwrap();
    assert!(rig.registry.holds_pushed(&repository).await);
    assert!(!rig.registry.holds_pushed(&name("mirror/app")).await);
}

#[tokio::test]
async fn chunks_come_in_order_and_make_the_blob() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    let registry = &rig.registry;
    assert_eq!(
        registry
            .append_upload(id, &repository, Span::new(0, 2), body("abc"))
            .await
            .unwrap()
            .length,
        3
    );
    let ahead = registry
        .append_upload(id, &repository, Span::new(5, 6), body("fg"))
        .await
        .unwrap_err();
    assert!(matches!(ahead, Error::UploadOutOfOrder { length: 3 }));
    assert_eq!(
        registry
            .append_upload(id, &repository, None, body("de"))
            .await
            .unwrap()
            .length,
        5
    );
    assert_eq!(
        registry
            .upload_status(id, &repository)
            .await
            .unwrap()
            .length,
        5
    );
    let digest = Digest::sha256(b"abcdef");
    registry
        .finish_upload(id, &repository, &digest, None, body("f"))
        .await
        .unwrap();
    let blob = rig.blob(REPOSITORY, &digest, None).await.unwrap();
    assert_eq!(read(&blob).await, "abcdef");
    let over = registry.upload_status(id, &repository).await.unwrap_err();
    assert!(matches!(over, Error::UploadUnknown));
}

#[tokio::test]
async fn a_chunk_of_another_length_than_it_says_does_not_count() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    let append = async |span, text| {
        let appended = rig
            .registry
            .append_upload(id, &repository, span, body(text));
        appended.await
    };
    append(Span::new(0, 2), "abc").await.unwrap();
    let error = append(Span::new(3, 9), "wrong").await.unwrap_err();
    assert!(
        matches!(error, Error::UploadInvalid { length: 3, .. }),
        "{error}"
    );
    append(Span::new(3, 5), "def").await.unwrap();
    let digest = Digest::sha256(b"abcdef");
    let finished = rig
        .registry
        .finish_upload(id, &repository, &digest, None, empty());
    assert_eq!(finished.await.unwrap(), digest);
}

#[tokio::test]
async fn what_came_before_a_break_is_kept_and_the_client_goes_on() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    let error = rig
        .registry
        .append_upload(id, &repository, None, broken("abc"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::UploadInvalid { length: 3, .. }),
        "{error}"
    );
    let digest = Digest::sha256(b"abcdef");
    rig.registry
        .finish_upload(id, &repository, &digest, Span::new(3, 5), body("def"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upload_whose_hash_was_lost_is_hashed_again() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    rig.registry
        .append_upload(id, &repository, None, body("abc"))
        .await
        .unwrap();
    rig.registry.inner.uploads.forget(id);
    let digest = Digest::of(Algorithm::Sha512, b"abcdef");
    rig.registry
        .finish_upload(id, &repository, &digest, None, body("def"))
        .await
        .unwrap();
    assert_eq!(
        read(&rig.blob(REPOSITORY, &digest, None).await.unwrap()).await,
        "abcdef"
    );
}

#[tokio::test]
async fn an_upload_whose_record_could_not_be_written_is_finished_by_asking_again() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    let (digest, registry) = (Digest::sha256(b"abc"), &rig.registry);
    registry
        .append_upload(id, &repository, None, body("abc"))
        .await
        .unwrap();
    rig.metadata.read_only(true);
    let refused = registry.finish_upload(id, &repository, &digest, None, empty());
    assert!(matches!(refused.await, Err(Error::Store(_))));
    rig.metadata.read_only(false);
    let again = registry.finish_upload(id, &repository, &digest, None, empty());
    assert_eq!(again.await.unwrap(), digest);
    let blob = rig.blob(REPOSITORY, &digest, None).await.unwrap();
    assert_eq!(read(&blob).await, "abc");
    assert!(registry.upload_status(id, &repository).await.is_err());
}

#[tokio::test]
async fn a_wrong_digest_commits_nothing_and_ends_the_upload() {
    let rig = Rig::new();
    let (id, repository) = (rig.begin().await, name(REPOSITORY));
    let digest = Digest::sha256(b"other");
    let error = rig
        .registry
        .finish_upload(id, &repository, &digest, None, body("abc"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DigestInvalid);
    assert!(matches!(
        rig.blob(REPOSITORY, &digest, None).await,
        Err(Error::NameUnknown { .. })
    ));
    assert!(rig.registry.upload_status(id, &repository).await.is_err());
    assert!(rig.store.blobs().stages().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_can_be_cancelled() {
    let rig = Rig::new();
    let id = rig.begin().await;
    let other = name("team/other");
    assert!(matches!(
        rig.registry
            .append_upload(id, &other, None, body("x"))
            .await,
        Err(Error::UploadUnknown)
    ));
    assert!(matches!(
        rig.registry.cancel_upload(id, &other).await,
        Err(Error::UploadUnknown)
    ));
    rig.registry
        .cancel_upload(id, &name(REPOSITORY))
        .await
        .unwrap();
    assert!(matches!(
        rig.registry
            .append_upload(id, &name(REPOSITORY), None, empty())
            .await,
        Err(Error::UploadUnknown)
    ));
}

#[tokio::test]
async fn a_rules_repository_takes_no_pushes() {
    let rig = Rig::new();
    let covered = name("mirror/app");
    let start = UploadStart {
        mount: None,
        algorithm: Algorithm::Sha256,
    };
    let upload = rig
        .registry
        .start_upload(&covered, start, &request())
        .await
        .unwrap_err();
    let manifest = Bytes::from(image("a").manifest);
    let put = rig
        .registry
        .put_manifest(
            &covered,
            &"1".parse().unwrap(),
            &[],
            None,
            manifest,
            &request(),
        )
        .await
        .unwrap_err();
    for error in [upload, put] {
        assert_eq!(error.code(), Code::Unsupported);
        assert!(
            error.to_string().contains("filled by rule mirror"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_manifest_needs_its_blobs_in_its_own_repository() {
    let rig = Rig::new();
    let image = image("a");
    rig.push_blob(&config_of("a")).await;
    let elsewhere = Digest::sha256(layer_of("a").as_bytes());
    rig.registry
        .push_blob(&name("team/other"), &elsewhere, body(&layer_of("a")))
        .await
        .unwrap();
    let error = rig
        .put("1", &[], OCI_MANIFEST, &image.manifest)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::ChildrenMissing { missing, .. } if *missing == [image.layer.clone()]),
        "{error}"
    );
    assert_eq!(error.code(), Code::ManifestBlobUnknown);
    rig.push_blob(&layer_of("a")).await;
    rig.put("1", &[], OCI_MANIFEST, &image.manifest)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sparse_index_and_an_absent_subject_are_taken() {
    let rig = Rig::new();
    let sparse = index(&[("linux/amd64", &image("elsewhere"))]);
    rig.put("1", &[], OCI_INDEX, &sparse).await.unwrap();
    let subject = image("not here");
    let mut signature: serde_json::Value = serde_json::from_str(&sparse).unwrap();
    signature["subject"] = json!({"mediaType": OCI_MANIFEST, "size": 1, "digest": subject.digest});
    let put = rig
        .put("2", &[], OCI_INDEX, &signature.to_string())
        .await
        .unwrap();
    assert_eq!(put.subject, Some(subject.digest));
}

#[tokio::test]
async fn a_push_by_digest_gives_several_tags_and_must_hash_to_it() {
    let rig = Rig::new();
    let index = index(&[]);
    let digest = Digest::sha256(index.as_bytes());
    let put = rig
        .put(digest.as_str(), &["a", "b", "a"], OCI_INDEX, &index)
        .await
        .unwrap();
    assert_eq!(
        put.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(rig.pushed("b").await.unwrap().digest, digest);
    let other = Digest::sha256(b"other");
    let error = rig
        .put(other.as_str(), &[], OCI_INDEX, &index)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DigestInvalid);
}

#[tokio::test]
async fn bad_manifests_change_nothing() {
    let rig = Rig::new();
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(wire::manifest::MAX_BYTES));
    let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
    for (bytes, code) in [
        ("no json", Code::ManifestInvalid),
        (both, Code::ManifestInvalid),
        (&huge, Code::SizeInvalid),
    ] {
        assert_eq!(
            rig.put("1", &[], OCI_INDEX, bytes)
                .await
                .unwrap_err()
                .code(),
            code
        );
    }
    assert!(matches!(
        rig.pushed("1").await,
        Err(Error::NameUnknown { .. })
    ));
}

#[tokio::test]
async fn a_manifest_whose_layer_was_deleted_claims_no_more_to_be_complete() {
    let rig = Rig::new();
    let image = rig.push("1", "a").await;
    let repository = name(REPOSITORY);
    let whole = async || {
        let link = rig.store.metadata().link(&repository, &image.digest).await;
        link.unwrap().unwrap().complete
    };
    assert!(whole().await);
    rig.registry
        .delete_blob(&repository, &image.layer, &request())
        .await
        .unwrap();
    assert!(!whole().await);
}

#[tokio::test]
async fn a_manifest_cannot_be_mounted_as_a_blob() {
    let rig = Rig::new();
    let image = rig.push("1", "a").await;
    let start = UploadStart {
        mount: Some(crate::registry::Mount {
            digest: image.digest.clone(),
            from: name(REPOSITORY),
            allowed: true,
        }),
        algorithm: Default::default(),
    };
    let started = rig
        .registry
        .start_upload(&name("team/elsewhere"), start, &request())
        .await;
    assert!(matches!(started, Ok(UploadStarted::Upload(_))));
}

#[tokio::test]
async fn deletes_take_away_a_tag_a_manifest_or_a_blob() {
    let rig = Rig::new();
    let image = rig.push("1", "a").await;
    let repository = name(REPOSITORY);
    let delete = async |reference: &str| {
        rig.registry
            .delete_manifest(&repository, &reference.parse().unwrap(), &request())
            .await
    };
    delete("1").await.unwrap();
    assert!(matches!(
        delete("1").await,
        Err(Error::ManifestUnknown { .. })
    ));
    rig.pushed(image.digest.as_str())
        .await
        .expect("a tag's manifest stays");
    delete(image.digest.as_str()).await.unwrap();
    assert!(matches!(
        rig.pushed(image.digest.as_str()).await,
        Err(Error::ManifestUnknown { .. })
    ));
    rig.registry
        .delete_blob(&repository, &image.layer, &request())
        .await
        .unwrap();
    let again = rig
        .registry
        .delete_blob(&repository, &image.layer, &request())
        .await;
    assert!(matches!(again, Err(Error::BlobUnknown { .. })));
}

#[tokio::test]
async fn deleting_in_a_rules_repository_evicts_and_the_next_pull_fills_again() {
    let rig = Rig::new();
    let image = rig.publish("1", "a");
    rig.get("1").await.unwrap();
    settled(&rig.blob("mirror/app", &image.layer, None).await.unwrap()).await;
    let reference = Reference::Digest(image.digest.clone());
    rig.registry
        .delete_manifest(&name("mirror/app"), &reference, &request())
        .await
        .unwrap();
    assert_eq!(rig.tag("1").await, None);
    let metadata = rig.store.metadata();
    assert!(
        metadata
            .link(&name("mirror/app"), &image.layer)
            .await
            .unwrap()
            .is_none(),
        "its closure goes too"
    );
    rig.get("1").await.unwrap();
    assert!(rig.tag("1").await.is_some());
}

#[tokio::test]
async fn a_rule_over_pushed_content_does_not_take_effect_until_it_is_gone() {
    let rig = Rig::new();
    // Pushed before the rule: by going around the registry, which would refuse it.
    let pushed = rig.push("1", "a").await;
    let link = crate::registry::push::pushed_link(
        &name("mirror/app"),
        &pushed.digest,
        crate::store::metadata::LinkKind::Manifest,
        rig.registry.now(),
    );
    rig.store
        .metadata()
        .commit(vec![crate::store::metadata::Op::PutLink(link)])
        .await
        .unwrap();
    conflict::detect(&rig.rules.load(), rig.store.metadata().as_ref())
        .await
        .unwrap();
    assert_eq!(
        rig.get(pushed.digest.as_str())
            .await
            .unwrap()
            .provenance
            .outcome,
        Outcome::Local
    );
    rig.publish("2", "b");
    assert!(rig.get("2").await.is_err());
    assert_eq!(rig.origin.total(), 0);
    let reference = Reference::Digest(pushed.digest.clone());
    rig.registry
        .delete_manifest(&name("mirror/app"), &reference, &request())
        .await
        .unwrap();
    rig.get("2").await.unwrap();
    assert_eq!(rig.origin.count(Verb::HeadManifest), 1);
}

#[tokio::test]
async fn a_push_is_told_once_for_each_tag_and_a_delete_once() {
    let rig = Rig::new();
    rig.subscribe(&[Action::Push, Action::Delete]);
    let image = rig.push("1", "a").await;
    assert_eq!(rig.events().await, ["push 1"]);
    let tags = ["2", "3"];
    let digest = image.digest.as_str();
    rig.put(digest, &tags, OCI_MANIFEST, &image.manifest)
        .await
        .unwrap();
    rig.put(digest, &[], OCI_MANIFEST, &image.manifest)
        .await
        .unwrap();
    assert_eq!(rig.events().await[1..], ["push 2", "push 3", "push -"]);
    for reference in ["1", digest] {
        let reference = reference.parse().unwrap();
        let (repository, request) = (name(REPOSITORY), request());
        let deleted = rig
            .registry
            .delete_manifest(&repository, &reference, &request);
        deleted.await.unwrap();
    }
    assert_eq!(rig.events().await[4..], ["delete 1", "delete -"]);
    // Whoever hears of it cannot ask any more what it was.
    let size = image.manifest.len() as u64;
    for body in &rig.bodies().await[4..] {
        let target = &body["target"];
        assert_eq!(target["mediaType"], OCI_MANIFEST, "{body}");
        assert_eq!(target["size"], size, "{body}");
        assert_eq!(target["length"], size, "{body}");
        assert_eq!(target["digest"], digest, "{body}");
    }
}
