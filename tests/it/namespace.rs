//! `?ns=` chooses among rules, for whoever may ask and whatever they do; and nothing is said to an address that is not let in.

use reqwest::Method;
use tests::client::Reply;
use tests::{Client, Image, Mesh, canary};

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const UPLOAD: &str = "01920000-0000-7000-8000-000000000000";

/// Rules for one repository each, which have another name there.
const ONE: &str = "version: 1
mesh: rig
rules:
  one: {on: dev, source: \"{origin}/lib/one\", target: promoted/one}
  far: {on: dev, source: registry.test/lib/far, target: promoted/far}
";

/// All that can be told apart in an answer, without what was asked for.
fn shape(reply: &Reply, asked: &str) -> (u16, String, Vec<(String, String)>) {
    let clean = |text: &str| text.replace(asked, "ASKED");
    let own = ["x-request-id", "date", "content-length"];
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), clean(value.to_str().unwrap_or("?"))))
        .collect();
    headers.sort();
    let body = clean(&String::from_utf8_lossy(&reply.body));
    (reply.status, body, headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_does_not_find_out_which_upstream_a_rule_has() {
    let mesh = Mesh::builder().tiers(1).closed().with(ONE);
    let mesh = mesh.start().await;
    let image = Image::single(71).build();
    mesh.origin.put("team-a/app", "1", &image);
    let (right, other) = (mesh.origin.host(), "registry.example");
    let reader = Client::new(mesh.url("dev")).with_account("reader", &canary::secret("reader"));
    let ask = async |client: &Client, repository: &str, ns: &str| {
        let path = format!("/v2/{repository}/manifests/1?ns={ns}");
        client.get(&path).await.unwrap()
    };
    let far = "registry.test";
    for (client, repository, right, status) in [
        (&mesh.anonymous("dev"), "promoted/far", far, 401),
        (&reader, "promoted/far", far, 403),
        (&reader, "lib/far", far, 403),
        // It leads below `up/`, where this is not the reader's either.
        (&reader, "team-b/app", &right, 403),
    ] {
        let answers = [
            ask(client, repository, right).await,
            ask(client, repository, other).await,
        ];
        assert_eq!(answers[0].status, status, "{repository}: {answers:?}");
        assert_eq!(
            shape(&answers[0], right),
            shape(&answers[1], other),
            "{repository}"
        );
    }
    let pulled = ask(&reader, "team-a/app", &right).await;
    assert_eq!(pulled.verified().unwrap(), image.digest);
    assert_eq!(pulled.header("oci-namespace"), Some(right.as_str()));
    let unknown = ask(&reader, "up/team-a/app", other).await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (404, "NAME_UNKNOWN"),
        "{unknown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_let_in_gets_one_answer_whatever_it_asks() {
    let network = "network: {access: selected, allow: [10.0.0.0/8]}";
    let mesh = Mesh::builder().tiers(1).node("dev", network).start().await;
    for client in [mesh.client("dev"), mesh.anonymous("dev")] {
        for (method, path) in [
            ("GET", "/v2/"),
            ("GET", "/v2/up/app/manifests/1?ns=registry.example"),
            ("GET", "/v2/UP/app/manifests/1"),
            ("GET", "/v2/up/app/manifests/-"),
            ("TRACE", "/v2/up/app/manifests/1"),
            ("PUT", "/v2/_catalog"),
            ("GET", "/nothing/here"),
            ("GET", "/oauth2/token"),
            ("POST", "/v2/own/app/blobs/uploads/?ns=registry.example"),
        ] {
            let asked = client
                .send(method.parse().unwrap(), path, &[], None)
                .await
                .unwrap();
            let body = String::from_utf8_lossy(&asked.body);
            assert!(
                (asked.status, asked.code().as_str()) == (403, "DENIED")
                    && body.contains("NETWORK_REFUSED"),
                "{method} {path}: {asked:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_chooses_among_rules_for_writes_too() {
    let mesh = Mesh::builder().tiers(1).with(ONE).start().await;
    let image = Image::single(72).build();
    mesh.origin.put("lib/one", "1", &image);
    let (client, right) = (mesh.client("dev"), mesh.origin.host());
    let send = async |method: Method, path: &str, ns: &str| {
        let glue = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{glue}ns={ns}");
        client.send(method, &path, &[], None).await.unwrap()
    };
    let writes = [
        (Method::POST, "blobs/uploads/".to_owned()),
        (Method::POST, format!("blobs/uploads/?digest={SHA}")),
        (Method::PATCH, format!("blobs/uploads/{UPLOAD}")),
        (Method::PUT, format!("blobs/uploads/{UPLOAD}?digest={SHA}")),
        (Method::PUT, "manifests/2".to_owned()),
    ];
    let stored = async || {
        let reply = client.get_manifest("promoted/one", &image.digest).await;
        let reply = reply.unwrap();
        assert_eq!(reply.verified().unwrap(), image.digest);
        reply.header("cache-status").unwrap().contains("hit")
    };
    // By its name there, and with the target's path, as containerd's `override_path` has it.
    for repository in ["lib/one", "promoted/one"] {
        for (method, path) in &writes {
            let path = format!("/v2/{repository}/{path}");
            let covered = send(method.clone(), &path, &right).await;
            assert_eq!(
                (covered.status, covered.code().as_str()),
                (405, "UNSUPPORTED"),
                "{method} {path}: {covered:?}"
            );
            let other = send(method.clone(), &path, "registry.example").await;
            assert_eq!(
                (other.status, other.code().as_str()),
                (404, "NAME_UNKNOWN"),
                "{method} {path}: {other:?}"
            );
        }
    }
    client.pull("promoted/one", "1", "amd64").await.unwrap();
    mesh.copied().await;
    assert!(stored().await);
    let manifest = format!("/v2/lib/one/manifests/{}", image.digest);
    let other = send(Method::DELETE, &manifest, "registry.example").await;
    assert_eq!(other.status, 404, "{other:?}");
    assert!(stored().await);
    let evicted = send(Method::DELETE, &manifest, &right).await;
    assert_eq!(evicted.status, 202, "{evicted:?}");
    assert!(!stored().await, "evicted, so the upstream is asked");
}
