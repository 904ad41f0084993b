//! A principal of one repository learns nothing of another, whichever way it asks (T47).

use reqwest::Method;
use tests::client::Reply;
use tests::issuer::{Issuer, kubernetes};
use wire::digest::Digest;

use super::{fleet, fresh};

/// What can be told apart, less what names the request itself.
fn shape(reply: &Reply) -> (u16, String, Vec<String>) {
    let names = reply.headers.keys().map(|name| name.as_str().to_owned());
    (reply.status, reply.code(), names.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_of_another_repository_answer_as_random_ones_do() {
    let mut fleet = fleet(1).await;
    let issuer = Issuer::github().await;
    fleet.topology.set(
        "issuers",
        "cluster",
        &format!("{{url: \"{}\"}}", issuer.url()),
    );
    fleet.topology.allow("{allow: repository-reader, to: {issuer: cluster, claims: {/kubernetes.io/namespace: a}}, on: dev, repositories: [\"up/team/a\", \"own/a\"]}");
    fleet.topology.allow("{allow: repository-writer, to: {issuer: cluster, claims: {/kubernetes.io/namespace: a}}, on: dev, repositories: [\"own/a\"]}");
    fleet
        .topology
        .deny("{allow: repository-reader, to: anonymous, on: dev}");
    fleet.topology.allow("{allow: repository-reader, to: {issuer: cluster, claims: {/kubernetes.io/namespace: b}}, on: dev, repositories: [\"up/team/b\"]}");
    fleet.apply().await.well();
    let (a, _) = fresh(&fleet, "a", 60);
    let (b, secret) = fresh(&fleet, "b", 61);
    let host = fleet.host("dev");
    let of = |namespace: &str| {
        let token = issuer.token(&kubernetes(namespace, "puller", &host));
        fleet.client("dev").with_account("oidc", &token)
    };
    let (reader, owner) = (of("a"), of("b"));
    reader.pull(&a, "1", "amd64").await.unwrap();
    owner.pull(&b, "1", "amd64").await.unwrap();
    let nothing = Digest::sha256(b"nothing has this digest");
    let asked = |path: String| {
        let count = fleet
            .origin
            .record()
            .count(|call| call.path.contains(&path));
        (path, count)
    };
    for (known, kind) in [
        (&secret.digest, "manifests"),
        (secret.largest().0, "blobs"),
        (&secret.digest, "referrers"),
    ] {
        for repository in [a.as_str(), b.as_str(), "own/a", "up/team/c", "elsewhere"] {
            for (method, headers) in [
                (Method::GET, &[][..]),
                (Method::HEAD, &[]),
                (Method::GET, &[("range", "bytes=0-0")]),
            ] {
                let ask = async |digest: &Digest| {
                    let path = format!("/v2/{repository}/{kind}/{digest}");
                    let reply = reader.send(method.clone(), &path, headers, None).await;
                    let mut reply = reply.unwrap();
                    reply.headers.remove("content-length");
                    reply
                };
                let (real, random) = (ask(known).await, ask(&nothing).await);
                assert_eq!(shape(&real), shape(&random), "{method} {repository}/{kind}");
                assert!(kind == "referrers" || real.status >= 400, "{real:?}");
            }
        }
    }
    // Mount, and an upload of what is known: as for anything else.
    for from in [b.as_str(), "up/team/c"] {
        let digest = secret.largest().0;
        let path = format!("/v2/own/a/blobs/uploads/?mount={digest}&from={from}");
        let reply = reader
            .send(Method::POST, &path, &[], Some(bytes::Bytes::new()))
            .await
            .unwrap();
        assert_eq!(reply.status, 202, "{reply:?}");
    }
    let tags = |repository: &'static str| reader.get(repository);
    let (there, absent) = (
        tags("/v2/up/team/b/tags/list").await.unwrap(),
        tags("/v2/up/team/c/tags/list").await.unwrap(),
    );
    assert_eq!((there.status, there.code()), (absent.status, absent.code()));
    let catalog = reader.get("/v2/_catalog").await.unwrap();
    assert!(
        !String::from_utf8_lossy(&catalog.body).contains("team/b"),
        "{catalog:?}"
    );
    // Whoever asked for B's digests through A's name asked A's upstream for A alone.
    let (_, count) = asked(format!("team/c/blobs/{}", secret.largest().0));
    assert_eq!(count, 0);
    // And nothing got linked on the way.
    for digest in [secret.largest().0, &secret.digest] {
        let reply = reader
            .get(&format!("/v2/{a}/blobs/{digest}"))
            .await
            .unwrap();
        assert_eq!(reply.status, 404, "{reply:?}");
    }
}
