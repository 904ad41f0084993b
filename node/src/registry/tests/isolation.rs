//! T47: who may read one repository learns nothing about another's content.

use wire::{digest::Digest, reference::Reference, route::ContentVerb};

use super::rig::{Rig, layer_of, name, publish, read, request, settled, soon, until};
use crate::{
    registry::{Error, Mount, Outcome, UploadStart, UploadStarted},
    upstream::{self, scripted::Verb},
};

#[tokio::test]
async fn probing_another_repositorys_digest_looks_like_a_random_one() {
    let rig = Rig::new();
    let secret = publish(&rig.vault, "secret/app", Some("1"), "secret");
    rig.ask("other/app", "1", ContentVerb::Get, &request())
        .await
        .unwrap();
    settled(&rig.blob("other/app", &secret.layer, None).await.unwrap()).await;
    let vault = rig.vault.total();
    let random = Digest::sha256(b"random");
    for repository in ["mirror/app", "local/app"] {
        for verb in [ContentVerb::Head, ContentVerb::Get] {
            let probe = async |digest: &Digest| {
                let reference = Reference::Digest(digest.clone());
                let name = name(repository);
                let manifest = rig
                    .registry
                    .manifest(&name, &reference, verb, &request())
                    .await;
                let blob = rig
                    .registry
                    .blob(&name, digest, verb, None, &request())
                    .await;
                let referrers = rig
                    .registry
                    .referrers(&name, digest, None, &Default::default(), &request())
                    .await;
                let seen = [manifest.unwrap_err(), blob.unwrap_err()].map(|e| e.envelope());
                let seen = seen.map(|e| format!("{e:?}").replace(digest.as_str(), "DIGEST"));
                (seen, referrers.unwrap().index)
            };
            let expected = probe(&random).await;
            assert_eq!(
                probe(&secret.digest).await,
                expected,
                "{repository} {verb:?}"
            );
            assert_eq!(
                probe(&secret.layer).await,
                expected,
                "{repository} {verb:?}"
            );
        }
        let metadata = rig.store.metadata();
        assert!(
            metadata
                .link(&name(repository), &secret.layer)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            metadata
                .link(&name(repository), &secret.digest)
                .await
                .unwrap()
                .is_none()
        );
    }
    assert_eq!(
        rig.vault.total(),
        vault,
        "asked only as the rule that covers the repository"
    );
}

#[tokio::test]
async fn a_blob_of_another_repository_is_confirmed_once_and_not_transferred() {
    let rig = Rig::new();
    let image = publish(&rig.vault, "secret/app", Some("1"), "same");
    settled(&rig.blob("other/app", &image.layer, None).await.unwrap()).await;
    rig.publish("1", "same");
    let answer = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert_eq!(read(&answer).await, layer_of("same"));
    assert_eq!(answer.provenance.outcome, Outcome::Checked);
    assert_eq!(
        (
            rig.origin.count(Verb::HeadBlob),
            rig.origin.count(Verb::GetBlob)
        ),
        (1, 0)
    );
    let again = rig.blob("mirror/app", &image.layer, None).await.unwrap();
    assert_eq!(
        (again.provenance.outcome, rig.origin.total()),
        (Outcome::Hit, 1)
    );
}

#[tokio::test]
async fn a_copy_and_a_client_share_the_one_confirmation_of_a_blob() {
    let rig = Rig::copying();
    let image = publish(&rig.vault, "secret/app", Some("1"), "same");
    rig.ask("other/app", "1", ContentVerb::Get, &request())
        .await
        .unwrap();
    settled(&rig.blob("other/app", &image.layer, None).await.unwrap()).await;
    rig.publish("1", "same");
    let gate = rig.origin.gate(Verb::HeadBlob);
    rig.get(image.digest.as_str()).await.unwrap();
    let layer = image.layer.to_string();
    until(|| rig.origin.count_of(Verb::HeadBlob, &layer) == 1).await;
    let client = rig.blob("mirror/app", &image.layer, None);
    let opener = async {
        tokio::task::yield_now().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(client, opener);
    assert_eq!(read(&answer.unwrap()).await, layer_of("same"));
    assert_eq!(rig.origin.count_of(Verb::HeadBlob, &layer), 1);
    assert_eq!(rig.origin.count(Verb::GetBlob), 0);
}

#[tokio::test]
async fn a_manifest_of_another_repository_is_confirmed_once_and_not_transferred() {
    let rig = Rig::new();
    let image = publish(&rig.vault, "secret/app", Some("1"), "same");
    rig.ask("other/app", "1", ContentVerb::Get, &request())
        .await
        .unwrap();
    rig.publish("1", "same");
    rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(
        (
            rig.origin.count(Verb::HeadManifest),
            rig.origin.count(Verb::GetManifest)
        ),
        (1, 0)
    );
    rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(rig.origin.total(), 1);
}

#[tokio::test]
async fn a_confirmation_that_cannot_be_had_discloses_nothing() {
    let rig = Rig::new();
    let image = publish(&rig.vault, "secret/app", Some("1"), "same");
    settled(&rig.blob("other/app", &image.layer, None).await.unwrap()).await;
    rig.origin.fail_all(&upstream::Error::denied("403"));
    let error = rig
        .blob("mirror/app", &image.layer, None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error}");
    rig.origin.heal();
    rig.origin.fail_all(&upstream::Error::away("503"));
    let error = rig
        .blob("mirror/app", &image.layer, None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
}

#[tokio::test]
async fn anothers_fill_in_flight_is_joined_only_after_a_confirmation() {
    let rig = Rig::new();
    let image = publish(&rig.vault, "secret/app", Some("1"), "same");
    let gate = rig.vault.gate(Verb::GetBlob);
    let owner = rig.blob("other/app", &image.layer, None);
    let prober = async {
        until(|| rig.vault.count(Verb::GetBlob) > 0).await;
        let refused = rig
            .blob("mirror/app", &image.layer, None)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::BlobUnknown { .. }), "{refused}");
        rig.publish("1", "same");
        rig.later(11);
        let joined = rig.blob("mirror/app", &image.layer, None);
        let opened = async {
            until(|| rig.origin.count(Verb::HeadBlob) == 2).await;
            gate.open();
        };
        let (joined, ()) = tokio::join!(joined, opened);
        assert_eq!(read(&joined.unwrap()).await, layer_of("same"));
    };
    let (owned, ()) = soon(async { tokio::join!(owner, prober) }).await;
    assert_eq!(read(&owned.unwrap()).await, layer_of("same"));
    assert_eq!(
        (
            rig.vault.count(Verb::GetBlob),
            rig.origin.count(Verb::GetBlob)
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn mounting_needs_a_right_and_a_link() {
    let rig = Rig::new();
    let layer = rig
        .registry
        .push_blob(&name("local/a"), &Digest::sha256(b"layer"), body("layer"))
        .await
        .unwrap();
    let cases = [
        ("local/a", true, true),
        ("local/a", false, false),
        ("local/b", true, false),
    ];
    for (from, allowed, mounted) in cases {
        let mount = Mount {
            digest: layer.clone(),
            from: name(from),
            allowed,
        };
        let start = UploadStart {
            mount: Some(mount),
            algorithm: Default::default(),
        };
        let started = rig
            .registry
            .start_upload(&name("local/c"), start, &request())
            .await
            .unwrap();
        assert_eq!(
            matches!(started, UploadStarted::Mounted(_)),
            mounted,
            "{from} {allowed}"
        );
    }
}

fn body(
    text: &'static str,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, String>> + Send {
    futures_util::stream::iter([Ok(bytes::Bytes::from_static(text.as_bytes()))])
}
