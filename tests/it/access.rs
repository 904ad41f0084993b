//! Nobody sees what he may not read, whatever is stored and however he asks (T47, T51).

use reqwest::Method;
use tests::client::Reply;
use tests::{Client, Image, Mesh, canary};
use wire::digest::Digest;

/// `reader` may read `up/team-a/*`; `team-b` holds what he must not see.
async fn two_teams() -> (Mesh, Image, Image) {
    let mesh = Mesh::start().await;
    let (a, b) = (Image::multi(1).build(), Image::multi(2).build());
    mesh.origin.put("team-a/app", "1", &a);
    mesh.origin.put("team-b/app", "1", &b);
    let everybody = mesh.client("spoke");
    for repository in ["up/team-a/app", "up/team-b/app"] {
        everybody.pull(repository, "1", "amd64").await.unwrap();
    }
    mesh.copied().await;
    (mesh, a, b)
}

fn reader(mesh: &Mesh, node: &str) -> Client {
    Client::new(mesh.url(node)).with_account("reader", &canary::secret("reader"))
}

/// What can be told apart: status, code, and whether there is a body.
fn shape(reply: &Reply) -> (u16, String, bool) {
    (reply.status, reply.code(), reply.body.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_one_repository_learns_nothing_of_another() {
    let (mesh, _, b) = two_teams().await;
    // Not at the spoke, where anonymous may read everything below `up/`.
    let client = reader(&mesh, "prod");
    let nothing = Digest::sha256(b"nothing has this digest");
    let secret = [
        b.digest.clone(),
        b.platform("amd64").digest.clone(),
        b.blobs_of("amd64")[1].clone(),
    ];
    for digest in &secret {
        for repository in ["up/team-a/app", "up/team-b/app", "up/team-c/app", "own/app"] {
            for kind in ["manifests", "blobs", "referrers"] {
                for method in [Method::GET, Method::HEAD, Method::DELETE] {
                    let path = |digest: &Digest| format!("/v2/{repository}/{kind}/{digest}");
                    let real = client
                        .send(
                            method.clone(),
                            &path(digest),
                            &[("range", "bytes=0-9")],
                            None,
                        )
                        .await
                        .unwrap();
                    let random = client
                        .send(
                            method.clone(),
                            &path(&nothing),
                            &[("range", "bytes=0-9")],
                            None,
                        )
                        .await
                        .unwrap();
                    assert_eq!(shape(&real), shape(&random), "{method} {}", path(digest));
                    assert!(
                        real.status >= 400 || kind == "referrers",
                        "{method} {}: {real:?}",
                        path(digest)
                    );
                }
            }
        }
    }
    for path in ["tags/list", "manifests/1"] {
        let there = client
            .get(&format!("/v2/up/team-b/app/{path}"))
            .await
            .unwrap();
        let not_there = client
            .get(&format!("/v2/up/team-x/app/{path}"))
            .await
            .unwrap();
        assert_eq!(shape(&there), shape(&not_there), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_in_vain_is_not_linked() {
    let (mesh, a, b) = two_teams().await;
    let client = reader(&mesh, "prod");
    let secret = &b.blobs_of("amd64")[1];
    for _ in 0..2 {
        let reply = client.get_blob("up/team-a/app", secret).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "BLOB_UNKNOWN"),
            "{reply:?}"
        );
    }
    client
        .pull("up/team-a/app", &a.digest, "amd64")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_needs_the_right_to_read_where_it_comes_from() {
    let (mesh, _, b) = two_teams().await;
    let more = "version: 1\nmesh: rig\naccess:\n  - {allow: repository-writer, to: \"account:reader\", on: dev, repositories: [\"own/*\"]}\n  - {allow: repository-reader, to: \"account:reader\", on: dev, repositories: [\"own/*\"]}\n";
    let mut mesh = mesh;
    mesh.apply(|builder| builder.with(more)).await;
    let client = reader(&mesh, "dev");
    let blob = &b.blobs_of("amd64")[1];
    let path = format!("/v2/own/app/blobs/uploads/?mount={blob}&from=up/team-b/app");
    let reply = client
        .send(Method::POST, &path, &[], Some(bytes::Bytes::new()))
        .await
        .unwrap();
    assert_eq!(reply.status, 202, "{reply:?}");
    let there = client
        .head(&format!("/v2/own/app/blobs/{blob}"))
        .await
        .unwrap();
    assert_eq!(there.status, 404);
    // Knowing a digest is not having the bytes.
    let location = reply.location().unwrap();
    let finished = client.finish_upload(&location, blob, None).await.unwrap();
    assert_eq!(
        (finished.status, finished.code().as_str()),
        (400, "DIGEST_INVALID"),
        "{finished:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_role() {
    let (mesh, a, _) = two_teams().await;
    let routes = [
        (
            Method::GET,
            format!("/v2/up/team-a/app/manifests/{}", a.digest),
        ),
        (Method::HEAD, "/v2/up/team-a/app/manifests/1".to_owned()),
        (
            Method::GET,
            format!("/v2/up/team-a/app/blobs/{}", a.blobs_of("amd64")[1]),
        ),
        (Method::GET, "/v2/up/team-a/app/tags/list".to_owned()),
        (
            Method::GET,
            format!("/v2/up/team-a/app/referrers/{}", a.digest),
        ),
        (Method::POST, "/v2/own/app/blobs/uploads/".to_owned()),
        (Method::PUT, "/v2/own/app/manifests/1".to_owned()),
        (
            Method::DELETE,
            format!("/v2/up/team-a/app/manifests/{}", a.digest),
        ),
        (Method::DELETE, "/v2/up/team-a/app/manifests/1".to_owned()),
        (
            Method::DELETE,
            format!("/v2/up/team-a/app/blobs/{}", a.blobs_of("amd64")[1]),
        ),
        (Method::GET, "/v2/_catalog".to_owned()),
    ];
    for (method, path) in &routes {
        let anonymous = mesh
            .anonymous("dev")
            .send(method.clone(), path, &[], None)
            .await
            .unwrap();
        assert_eq!(anonymous.status, 401, "{method} {path}: {anonymous:?}");
        let challenge = anonymous.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.starts_with("Bearer realm=\"http://") && challenge.contains("service="),
            "{challenge}"
        );
        let nobody = Client::new(mesh.url("dev")).with_account("nobody", &canary::secret("nobody"));
        let nobody = nobody.send(method.clone(), path, &[], None).await.unwrap();
        assert!(
            matches!(nobody.status, 401 | 403),
            "{method} {path}: {nobody:?}"
        );
        let wrong = Client::new(mesh.url("dev")).with_account("ci", "wrong");
        assert_eq!(
            wrong
                .send(method.clone(), path, &[], None)
                .await
                .unwrap()
                .status,
            401,
            "{method} {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_may_neither_write_nor_delete_and_a_rule_s_repository_takes_no_push() {
    let (mesh, a, _) = two_teams().await;
    let client = reader(&mesh, "dev");
    let top = a.top();
    let denied = [
        client
            .put_manifest("up/team-a/app", "1", &top.media_type, top.bytes.clone())
            .await
            .unwrap(),
        client
            .send(Method::POST, "/v2/up/team-a/app/blobs/uploads/", &[], None)
            .await
            .unwrap(),
        client
            .delete(&format!("/v2/up/team-a/app/manifests/{}", a.digest))
            .await
            .unwrap(),
        client
            .delete("/v2/up/team-a/app/manifests/1")
            .await
            .unwrap(),
    ];
    for reply in denied {
        assert!(matches!(reply.status, 401 | 403), "{reply:?}");
    }
    let writer = mesh.client("dev");
    for reply in [
        writer
            .put_manifest("up/team-a/app", "1", &top.media_type, top.bytes.clone())
            .await
            .unwrap(),
        writer
            .send(Method::POST, "/v2/up/team-a/app/blobs/uploads/", &[], None)
            .await
            .unwrap(),
    ] {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (405, "UNSUPPORTED"),
            "{reply:?}"
        );
        assert!(
            String::from_utf8_lossy(&reply.body).contains("dev-up"),
            "{reply:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_was_taken_ends_at_once_also_on_an_open_connection_and_a_memory_hit() {
    let (mut mesh, a, _) = two_teams().await;
    let more = "version: 1\nmesh: rig\naccess:\n  - {allow: repository-reader, to: \"account:nobody\", on: dev, repositories: [\"up/team-a/*\"]}\n";
    mesh.apply(|builder| builder.with(more)).await;
    let client = Client::new(mesh.url("dev")).with_account("nobody", &canary::secret("nobody"));
    client
        .pull("up/team-a/app", &a.digest, "amd64")
        .await
        .unwrap();
    mesh.apply(|builder| builder.without_more()).await;
    let reply = client
        .get_manifest("up/team-a/app", &a.digest)
        .await
        .unwrap();
    assert!(matches!(reply.status, 401 | 403), "{reply:?}");
    let blob = client
        .get_blob("up/team-a/app", &a.blobs_of("amd64")[1])
        .await
        .unwrap();
    assert!(matches!(blob.status, 401 | 403), "{blob:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_shows_what_may_be_read() {
    let (mut mesh, _, _) = two_teams().await;
    let more = "version: 1\nmesh: rig\naccess:\n  - {allow: catalog-lister, to: \"account:reader\", on: dev}\n";
    mesh.apply(|builder| builder.with(more)).await;
    let list = reader(&mesh, "dev").get("/v2/_catalog").await.unwrap();
    assert_eq!(list.status, 200, "{list:?}");
    assert_eq!(
        list.json().unwrap()["repositories"],
        serde_json::json!(["up/team-a/app"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_policy_is_asked_before_anybody_s_name() {
    let mesh = Mesh::builder()
        .tiers(1)
        .node("dev", "network: {access: selected, allow: [10.0.0.0/8]}")
        .start()
        .await;
    let reply = mesh.client("dev").get("/v2/").await.unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "DENIED"),
        "{reply:?}"
    );
    assert!(
        String::from_utf8_lossy(&reply.body).contains("NETWORK_REFUSED"),
        "{reply:?}"
    );
}
