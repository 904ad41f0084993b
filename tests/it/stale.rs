//! What is stored is served while the upstream cannot be asked, marked and in time; what is not is a 503, never a 404 (T19, T20, T21).

use std::time::Duration;

use futures_util::join;
use runtime::Clock;
use tests::origin::Access;
use tests::{Client, Cut, Fault, Image, Mesh, Script, When};
use wire::digest::Digest;

async fn stocked(mesh: &Mesh) -> Image {
    let image = Image::multi(1).build();
    mesh.origin.put("team/app", "1", &image);
    mesh.anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    image
}

async fn served_stale(client: &Client, image: &Image, what: &str) {
    let pulled = client
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(pulled.digest, image.digest, "{what}");
    let header = |name: &str| {
        pulled
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    assert!(
        header("warning").starts_with("299 "),
        "{what}: {:?}",
        pulled.headers
    );
    assert!(!header("age").is_empty(), "{what}: {:?}", pulled.headers);
    assert!(
        header("cache-status").contains("stale"),
        "{what}: {:?}",
        pulled.headers
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_being_away_serves_the_copy() {
    for fault in [
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::TooMany(Some("7".to_owned())),
        Fault::TooMany(None),
        Fault::TooMany(Some("1000000000".to_owned())),
        Fault::NoAnswer(Cut::Reset),
        Fault::NoAnswer(Cut::Fin),
    ] {
        let mesh = Mesh::start().await;
        let image = stocked(&mesh).await;
        let what = format!("{fault:?}");
        mesh.origin.play(Script::new(When::any(), [fault]));
        served_stale(&mesh.anonymous("spoke"), &image, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_upstream_costs_a_stored_tag_no_more_than_the_check() {
    let mesh = Mesh::builder()
        .set(|s| s.tag_check = Duration::from_millis(500))
        .start()
        .await;
    let image = stocked(&mesh).await;
    mesh.origin.play(Script::new(When::any(), [Fault::Hang]));
    let clock = Clock::system();
    let start = clock.now();
    served_stale(&mesh.anonymous("spoke"), &image, "hanging").await;
    let took = clock.now() - start;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_upstream_is_given_up_in_time_and_by_the_node_next_to_it() {
    let mesh = Mesh::builder()
        .set(|s| {
            s.tag_check = Duration::from_millis(1500);
            s.unstored_check = Duration::from_secs(4);
            s.breaker_failures = 1000;
        })
        .start()
        .await;
    let image = stocked(&mesh).await;
    mesh.origin.play(Script::new(When::any(), [Fault::Hang]));
    let client = mesh.anonymous("spoke");
    let clock = Clock::system();
    let start = clock.now();
    let absent = Digest::sha256(b"nobody has this");
    let referrers = format!("/v2/up/team/app/referrers/{}", image.digest);
    let blob = format!("/v2/up/team/app/blobs/{absent}");
    let (tags, no_tags, no_referrers, no_manifest, no_blob) = join!(
        client.get("/v2/up/team/app/tags/list"),
        client.get("/v2/up/team/new/tags/list"),
        client.get(&referrers),
        client.get_manifest("up/team/new", "1"),
        client.head(&blob),
    );
    let took = clock.now() - start;
    assert!(took < Duration::from_secs(9), "{took:?}");
    let tags = tags.unwrap();
    assert_eq!(tags.status, 200, "{tags:?}");
    assert!(
        tags.header("warning")
            .is_some_and(|w| w.starts_with("299 ")),
        "{tags:?}"
    );
    for reply in [no_tags, no_referrers, no_manifest, no_blob] {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert_eq!(reply.header("x-regmesh-failed"), Some("dev"), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_digest_asks_nobody_while_everybody_is_away() {
    let mut mesh = Mesh::start().await;
    let image = stocked(&mesh).await;
    mesh.origin.stop().await;
    mesh.stop("dev").await;
    let connections = mesh.node("prod").path.connections();
    mesh.stop("prod").await;
    let client = mesh.anonymous("spoke");
    client
        .pull("up/team/app", &image.digest, "amd64")
        .await
        .unwrap();
    served_stale(&client, &image, "all upstreams stopped").await;
    assert_eq!(mesh.node("prod").path.connections(), connections);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_stored_is_503_with_a_time_to_come_back() {
    for fault in [
        Fault::Status(500),
        Fault::TooMany(Some("7".to_owned())),
        Fault::TooMany(Some("1000000000".to_owned())),
        Fault::NoAnswer(Cut::Reset),
    ] {
        let mesh = Mesh::start().await;
        let image = Image::multi(2).build();
        mesh.origin.put("team/app", "1", &image);
        let what = format!("{fault:?}");
        mesh.origin.play(Script::new(When::any(), [fault]));
        for reference in ["1".to_owned(), image.digest.to_string()] {
            let reply = mesh
                .anonymous("spoke")
                .get_manifest("up/team/app", &reference)
                .await
                .unwrap();
            assert_eq!(reply.status, 503, "{what}: {reply:?}");
            let seconds: u64 = reply
                .header("retry-after")
                .expect("Retry-After")
                .parse()
                .expect("seconds");
            assert!((1..=300).contains(&seconds), "{what}: {seconds}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_that_is_missing_is_503_and_named() {
    let mesh = Mesh::start().await;
    let image = stocked(&mesh).await;
    mesh.origin.stop().await;
    let client = mesh.anonymous("spoke");
    served_stale(&client, &image, "the platform that is stored").await;
    let arm = &image.platform("arm64").digest;
    let reply = client.get_manifest("up/team/app", arm).await.unwrap();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(
        String::from_utf8_lossy(&reply.body).contains("arm64"),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_upstream_is_left_alone_and_found_alive_again() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(3).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let failing = mesh.origin.fail(When::any(), 500);
    for _ in 0..50 {
        assert_eq!(
            client.manifest("up/team/app", "1").await.unwrap().0,
            image.digest
        );
    }
    assert!(
        failing.met() < 30,
        "{} requests for 50 pulls at a dead upstream",
        failing.met()
    );
    mesh.origin.heal();
    let next = Image::single(4).build();
    mesh.origin.put("team/app", "1", &next);
    tests::eventually::eventually_async(
        Duration::from_secs(5),
        "the upstream is found alive",
        async || match client.manifest("up/team/app", "1").await.unwrap().0 {
            digest if digest == next.digest => Ok(()),
            old => Err(old),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_not_hammered() {
    let mesh = Mesh::builder().tiers(1).start().await;
    let image = Image::single(5).build();
    for tag in ["1", "2", "3"] {
        mesh.origin.put("team/app", tag, &image);
        mesh.client("dev")
            .pull("up/team/app", tag, "amd64")
            .await
            .unwrap();
    }
    mesh.copied().await;
    mesh.origin.record().clear();
    mesh.origin.play(Script::new(
        When::any(),
        [Fault::TooMany(Some("60".to_owned()))],
    ));
    for _ in 0..30 {
        for tag in ["1", "2", "3"] {
            let (digest, _) = mesh
                .client("dev")
                .manifest("up/team/app", tag)
                .await
                .unwrap();
            assert_eq!(digest, image.digest);
        }
    }
    assert!(
        mesh.origin.record().len() <= 5,
        "{:#?}",
        mesh.origin.record()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_stale_never_means_never() {
    let mesh = Mesh::builder()
        .tiers(1)
        .rules("freshness: {serveStale: never}")
        .start()
        .await;
    let image = Image::single(6).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.stop().await;
    assert_eq!(
        client
            .get_manifest("up/team/app", "1")
            .await
            .unwrap()
            .status,
        503
    );
    client
        .pull("up/team/app", &image.digest, "amd64")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_service_that_is_away_is_an_upstream_that_cannot_be_asked() {
    let mesh = Mesh::builder().tiers(1).origin_account().start().await;
    mesh.origin.tokens().require(Access::Bearer);
    let image = Image::single(7).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    mesh.origin.tokens().revoke();
    mesh.origin.fail(When::any().token(), 500);
    served_stale(&client, &image, "no token").await;
    assert_eq!(
        client
            .get_manifest("up/team/new", "1")
            .await
            .unwrap()
            .status,
        503
    );
}
