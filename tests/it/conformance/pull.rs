//! Pull: manifests and blobs by GET and HEAD, and what is not there.

use super::registry;
use tests::{Client, Image, Mesh};

const REPOSITORY: &str = "up/conformance/pull";

/// Every pull case against a repository that holds `image` under `tag` and nothing else.
async fn pull_cases(client: &Client, repository: &str, tag: &str, image: &Image) {
    let amd = image.platform("amd64");
    let layer = &amd.blobs()[1];
    for (path, digest) in [
        (format!("/v2/{repository}/manifests/{tag}"), &image.digest),
        (
            format!("/v2/{repository}/manifests/{}", image.digest),
            &image.digest,
        ),
        (
            format!("/v2/{repository}/manifests/{}", amd.digest),
            &amd.digest,
        ),
        (format!("/v2/{repository}/blobs/{layer}"), layer),
    ] {
        let head = client
            .send(
                reqwest::Method::HEAD,
                &path,
                &[("accept", wire::media_type::ACCEPT_MANIFESTS)],
                None,
            )
            .await
            .unwrap();
        assert_eq!(head.status, 200, "HEAD {path}: {head:?}");
        assert_eq!(
            head.header("docker-content-digest"),
            Some(digest.as_str()),
            "HEAD {path}"
        );
        assert!(head.body.is_empty(), "HEAD {path}");
        let get = client
            .send(
                reqwest::Method::GET,
                &path,
                &[("accept", wire::media_type::ACCEPT_MANIFESTS)],
                None,
            )
            .await
            .unwrap();
        assert_eq!(get.verified().unwrap(), *digest, "GET {path}");
        assert_eq!(
            head.header("content-length"),
            get.header("content-length"),
            "{path}"
        );
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
    }
    let nothing = wire::digest::Digest::sha256(b"not there");
    for (path, code) in [
        (
            format!("/v2/{repository}/manifests/no-such-tag"),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/{repository}/manifests/{nothing}"),
            "MANIFEST_UNKNOWN",
        ),
        (format!("/v2/{repository}/blobs/{nothing}"), "BLOB_UNKNOWN"),
    ] {
        let get = client.get(&path).await.unwrap();
        assert_eq!((get.status, get.code().as_str()), (404, code), "GET {path}");
        assert_eq!(
            get.header("content-type"),
            Some("application/json"),
            "GET {path}"
        );
        let head = client.head(&path).await.unwrap();
        assert_eq!((head.status, head.body.len()), (404, 0), "HEAD {path}");
    }
    let bad = client
        .get(&format!("/v2/{repository}/blobs/sha256:short"))
        .await
        .unwrap();
    assert!(
        matches!(
            (bad.status, bad.code().as_str()),
            (400, "DIGEST_INVALID") | (404, _)
        ),
        "{bad:?}"
    );
    client.pull(repository, tag, "arm64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_three_cold_tiers() {
    let mesh = Mesh::start().await;
    let image = Image::multi(1).build();
    mesh.origin.put("conformance/pull", "1", &image);
    pull_cases(&mesh.anonymous("spoke"), REPOSITORY, "1", &image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_its_own_repository() {
    let (_mesh, client) = registry().await;
    let image = Image::multi(2).build();
    client.push("own/pull", &["1"], &image).await.unwrap();
    pull_cases(&client, "own/pull", "1", &image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_repository_is_name_unknown_or_manifest_unknown() {
    let (_mesh, client) = registry().await;
    let reply = client.get_manifest("own/never-pushed", "1").await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(
        matches!(reply.code().as_str(), "NAME_UNKNOWN" | "MANIFEST_UNKNOWN"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_says_that_it_is_a_registry() {
    let mesh = Mesh::start().await;
    let client = mesh.client("dev");
    let root = client.get("/v2/").await.unwrap();
    assert_eq!(root.status, 200);
    assert_eq!(
        root.header("docker-distribution-api-version"),
        Some("registry/2.0")
    );
    let anonymous = mesh.anonymous("dev").get("/v2/").await.unwrap();
    assert_eq!(
        (anonymous.status, anonymous.code().as_str()),
        (401, "UNAUTHORIZED")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_names_are_refused_by_name() {
    let (_mesh, client) = registry().await;
    for name in [
        "UPPER/case",
        "a//b",
        "a/-b",
        "a/b_",
        "a..b",
        &"a/".repeat(130)[..259],
    ] {
        let reply = client
            .get(&format!("/v2/{name}/manifests/1"))
            .await
            .unwrap();
        assert!(matches!(reply.status, 400 | 404), "{name}: {reply:?}");
        assert!(
            matches!(reply.code().as_str(), "NAME_INVALID" | "NAME_UNKNOWN"),
            "{name}: {reply:?}"
        );
    }
    for tag in [".dot", "-dash", &"t".repeat(129), "a%20b"] {
        let reply = client
            .get(&format!("/v2/own/app/manifests/{tag}"))
            .await
            .unwrap();
        assert!(matches!(reply.status, 400 | 404), "{tag}: {reply:?}");
    }
}
