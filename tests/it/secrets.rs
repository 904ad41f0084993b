//! A secret of a rule goes to that rule's upstream and its declared token service, nowhere else (T48, T53).

use tests::origin::Access;
use tests::server::Answer;
use tests::{Fault, Image, Mesh, Script, Thief, When, canary};

/// Every secret of the mesh.
fn secrets() -> Vec<String> {
    ["ci", "prod", "spoke", "reader", "nobody", "hub", "hook"]
        .map(canary::secret)
        .to_vec()
}

fn assert_clean(thief: &Thief, what: &str) {
    let all = secrets();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    canary::assert_absent(what, thief.record().text(), &all);
    for call in thief.record().all() {
        assert_eq!(call.header("authorization"), None, "{what}: {call:?}");
    }
}

async fn with_account() -> (Mesh, Image) {
    let mesh = Mesh::builder().tiers(1).origin_account().start().await;
    let image = Image::single(1).layer_of(2 << 20).build();
    mesh.origin.put("team/app", "1", &image);
    (mesh, image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_realm_elsewhere_gets_nothing_and_fails_closed() {
    let (mesh, _) = with_account().await;
    let thief = Thief::start().await;
    let port = thief.address().port();
    for realm in [
        thief.url(),
        format!("http://localhost:{port}/token"),
        format!("http://127.0.0.2:{port}/token"),
        format!("http://[::1]:{port}/token"),
        "http://169.254.169.254/latest".to_owned(),
        format!("http://{}@127.0.0.1:{port}/token", mesh.origin.host()),
        format!("https://127.0.0.1:{port}/token"),
    ] {
        let challenge = format!(
            "Bearer realm=\"{realm}\",service=\"origin\",scope=\"repository:team/app:pull\""
        );
        mesh.origin
            .play(Script::new(When::any(), [Fault::Challenge(challenge)]));
        let reply = mesh
            .client("dev")
            .get_manifest("up/team/app", "1")
            .await
            .unwrap();
        assert!(
            matches!(reply.status, 502 | 503 | 403),
            "{realm}: {reply:?}"
        );
        assert_clean(&thief, &realm);
        mesh.origin.heal();
    }
    thief.assert_silent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_carries_no_credentials_to_another_host() {
    let (mesh, image) = with_account().await;
    mesh.origin.tokens().require(Access::Basic);
    let (layer, content) = image.largest();
    let thief = Thief::answering(Answer::new(200, content.clone())).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/blob?signature=canary-presigned", thief.url());
        mesh.origin.play(Script::new(
            When::get().blob(layer),
            [Fault::Redirect(status, location)],
        ));
        // Loopback is allowed to the declared host alone, so the redirect may be refused; what counts is what travels.
        let _ = mesh
            .client("dev")
            .get_blob("up/team/app", layer)
            .await
            .unwrap();
        assert_clean(&thief, &format!("redirect {status}"));
        mesh.origin.heal();
        mesh.client("dev")
            .delete(&format!("/v2/up/team/app/blobs/{layer}"))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_or_a_location_elsewhere_is_not_followed_with_credentials() {
    let (mesh, _) = with_account().await;
    mesh.origin.tokens().require(Access::Basic);
    let thief = Thief::start().await;
    let link = format!("<{}/v2/team/app/tags/list?n=1>; rel=\"next\"", thief.url());
    mesh.origin.play(Script::new(
        When::get().path_ends("/tags/list"),
        [Fault::Header("link", link)],
    ));
    mesh.client("dev")
        .get("/v2/up/team/app/tags/list")
        .await
        .unwrap();
    assert_clean(&thief, "Link");
    mesh.origin.play(Script::new(
        When::any(),
        [Fault::Redirect(307, format!("{}/v2/", thief.url()))],
    ));
    mesh.client("dev")
        .get_manifest("up/team/app", "1")
        .await
        .unwrap();
    assert_clean(&thief, "Location");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_s_credentials_stay_with_the_node_it_called() {
    let mesh = Mesh::start().await;
    let image = Image::single(2).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.client("spoke")
        .with_header("cookie", "canary-cookie")
        .with_header("x-api-key", "canary-key")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    let text = mesh.origin.record().text();
    let all = secrets();
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.extend(["canary-cookie", "canary-key"]);
    canary::assert_absent("what the origin was asked", &text, &all);
    assert_eq!(
        mesh.origin
            .record()
            .count(|r| r.header("authorization").is_some()),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_an_answer_a_metric_a_status_or_a_file() {
    let mesh = Mesh::builder().origin_account().hooked().start().await;
    mesh.origin.tokens().require(Access::Bearer);
    let image = Image::multi(3).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("spoke");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let mut said = String::new();
    for fault in [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Html,
    ] {
        mesh.origin.play(Script::new(When::any(), [fault]));
        for repository in ["up/team/app", "up/team/new"] {
            let reply = client.get_manifest(repository, "1").await.unwrap();
            said.push_str(&format!(
                "{:?}\n{}\n",
                reply.headers,
                String::from_utf8_lossy(&reply.body)
            ));
        }
        mesh.origin.heal();
    }
    for node in mesh.nodes() {
        let running = mesh.running(&node.name);
        said.push_str(&running.metrics());
        said.push_str(&serde_json::to_string(&running.status()).unwrap());
    }
    said.push_str(
        &mesh
            .hook
            .events()
            .iter()
            .map(ToString::to_string)
            .collect::<String>(),
    );
    let all = secrets();
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.push("canary-token-");
    canary::assert_absent("what the mesh says", &said, &all);
    for node in mesh.nodes() {
        canary::assert_absent_below(node.data(), &all, &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_s_own_headers_are_not_handed_on() {
    let mesh = Mesh::start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    let private = [
        Fault::Header("set-cookie", "canary-cookie=1".to_owned()),
        Fault::Header("x-copy-source", "canary-private/repo".to_owned()),
        Fault::Header("ratelimit-remaining", "7;canary".to_owned()),
        Fault::Header("cache-control", "private, canary".to_owned()),
    ];
    mesh.origin.play(Script::new(When::any(), private));
    let client = mesh.anonymous("spoke");
    let pulled = client.pull("up/team/app", "1", "amd64").await.unwrap();
    assert!(
        !format!("{:?}", pulled.headers).contains("canary"),
        "{:?}",
        pulled.headers
    );
    let blob = client
        .get_blob("up/team/app", image.largest().0)
        .await
        .unwrap();
    assert!(
        !format!("{:?}", blob.headers).contains("canary"),
        "{:?}",
        blob.headers
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mesh = Mesh::builder().tiers(1).start().await;
    let keys = mesh.node("dev").data().join("token-keys.json");
    let mode = std::fs::metadata(keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
