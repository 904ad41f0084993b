//! Content discovery: tag lists with pages, referrers with filters.

use tests::{Client, Image};
use wire::digest::Digest;

use super::registry;

async fn tagged(client: &Client) -> Image {
    let image = Image::single(1).build();
    let tags: Vec<String> = (0..9).map(|n| format!("test{n}")).collect();
    let shown: Vec<&str> = tags.iter().map(String::as_str).collect();
    client.push("own/list", &shown, &image).await.unwrap();
    image
}

async fn tags(client: &Client, query: &str) -> Vec<String> {
    let reply = client
        .get(&format!("/v2/own/list/tags/list{query}"))
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{query}: {reply:?}");
    let value = reply.json().unwrap();
    assert_eq!(value["name"], "own/list");
    value["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_in_order_and_in_pages() {
    let (_mesh, client) = registry().await;
    tagged(&client).await;
    let all = tags(&client, "").await;
    assert_eq!(all.len(), 9);
    assert!(all.is_sorted());
    assert_eq!(tags(&client, "?n=4").await, all[..4]);
    assert_eq!(tags(&client, "?n=4&last=test3").await, all[4..8]);
    assert_eq!(tags(&client, "?last=test6").await, all[7..]);
    assert_eq!(tags(&client, "?n=100").await, all);
    assert!(tags(&client, "?n=0").await.is_empty());
    assert!(tags(&client, "?last=zzz").await.is_empty());
    assert_eq!(client.tags("own/list").await.unwrap(), all);
    let last = client
        .get("/v2/own/list/tags/list?n=4&last=test7")
        .await
        .unwrap();
    assert_eq!(last.header("link"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_repository_has_no_tags() {
    let (_mesh, client) = registry().await;
    let reply = client.get("/v2/own/unknown/tags/list").await.unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "NAME_UNKNOWN"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn referrers_are_listed_filtered_and_forgotten() {
    let (_mesh, client) = registry().await;
    let image = tagged(&client).await;
    let nothing = client
        .referrers("own/list", &Digest::sha256(b"nothing refers to this"))
        .await
        .unwrap();
    assert!(nothing.0.is_empty());
    assert_eq!(
        nothing.1.header("content-type"),
        Some(wire::media_type::OCI_INDEX)
    );
    let signatures = [
        Image::signature_of(image.top(), 1),
        Image::signature_of(image.top(), 2),
    ];
    for signature in &signatures {
        client.push("own/list", &[], signature).await.unwrap();
    }
    let (listed, _) = client.referrers("own/list", &image.digest).await.unwrap();
    let mut digests: Vec<&str> = listed
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap())
        .collect();
    let mut expected: Vec<&str> = signatures
        .iter()
        .map(|signature| signature.digest.as_str())
        .collect();
    digests.sort_unstable();
    expected.sort_unstable();
    assert_eq!(digests, expected);
    let entry = &listed[0];
    assert_eq!(
        entry["artifactType"],
        "application/vnd.dev.cosign.artifact.sig.v1+json"
    );
    assert!(
        entry["size"].is_u64()
            && entry["mediaType"].is_string()
            && entry["annotations"]["seed"].is_string()
    );
    for (artifact_type, count) in [
        ("application%2Fvnd.dev.cosign.artifact.sig.v1%2Bjson", 2),
        ("text%2Fplain", 0),
    ] {
        let path = format!(
            "/v2/own/list/referrers/{}?artifactType={artifact_type}",
            image.digest
        );
        let reply = client.get(&path).await.unwrap();
        assert_eq!(
            reply.header("oci-filters-applied"),
            Some("artifactType"),
            "{reply:?}"
        );
        assert_eq!(
            reply.json().unwrap()["manifests"].as_array().unwrap().len(),
            count,
            "{artifact_type}"
        );
    }
    let path = format!("/v2/own/list/manifests/{}", signatures[0].digest);
    assert_eq!(client.delete(&path).await.unwrap().status, 202);
    assert_eq!(
        client
            .referrers("own/list", &image.digest)
            .await
            .unwrap()
            .0
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referrer_may_come_before_its_subject() {
    let (_mesh, client) = registry().await;
    let image = Image::single(2).build();
    client
        .push("own/list", &[], &Image::signature_of(image.top(), 1))
        .await
        .unwrap();
    assert_eq!(
        client
            .referrers("own/list", &image.digest)
            .await
            .unwrap()
            .0
            .len(),
        1
    );
    client.push("own/list", &["1"], &image).await.unwrap();
    assert_eq!(
        client
            .referrers("own/list", &image.digest)
            .await
            .unwrap()
            .0
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_digest_is_refused() {
    let (_mesh, client) = registry().await;
    let reply = client
        .get("/v2/own/list/referrers/sha256:nonsense")
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "DIGEST_INVALID"),
        "{reply:?}"
    );
}
