//! The scripted upstream does what its scripts say, and says what it did.

use super::*;
use crate::{Client, Content, Cut, Fault, Gate};

async fn stocked() -> (Origin, Client, Image) {
    let origin = Origin::start().await;
    let image = Image::single(1).layer_of(300_032).build();
    origin.put("a", "1", &image);
    let client = Client::new(origin.url());
    (origin, client, image)
}

#[tokio::test]
async fn ranges_are_exact() {
    let (_origin, client, image) = stocked().await;
    let (digest, content) = image.largest();
    let bytes = content.to_bytes();
    for (range, expected) in [
        ("bytes=0-99", 0..100),
        ("bytes=-100", 299_932..300_032),
        ("bytes=299990-", 299_990..300_032),
        ("bytes=1-999999", 1..300_032),
    ] {
        let reply = client.get_range("a", digest, range).await.unwrap();
        assert_eq!(reply.status, 206);
        let shown = format!("bytes {}-{}/300032", expected.start, expected.end - 1);
        assert_eq!(reply.header("content-range"), Some(shown.as_str()));
        assert_eq!(reply.body, bytes[expected]);
    }
    let past = client
        .get_range("a", digest, "bytes=300032-")
        .await
        .unwrap();
    assert_eq!(
        (past.status, past.header("content-range")),
        (416, Some("bytes */300032"))
    );
}

#[tokio::test]
async fn a_script_plays_as_often_as_it_says() {
    let (origin, client, _) = stocked().await;
    let script = origin.play(
        Script::new(
            When::head().manifest("1"),
            [Fault::TooMany(Some("7".to_owned()))],
        )
        .skip(1)
        .times(2),
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.head_manifest("a", "1").await.unwrap().status);
    }
    assert_eq!(statuses, [200, 429, 429, 200]);
    assert_eq!(script.met(), 4);
    assert_eq!(client.get_manifest("a", "1").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_tag_can_move_between_head_and_get() {
    let (origin, client, image) = stocked().await;
    let next = Image::single(2).build();
    origin.shelf().put("a", &next);
    let moved = next.digest.clone();
    let move_tag =
        Script::new(When::head().manifest("1"), []).then(move |shelf| shelf.tag("a", "1", &moved));
    origin.play(move_tag);
    let head = client.head_manifest("a", "1").await.unwrap();
    assert_eq!(
        head.header("docker-content-digest"),
        Some(image.digest.as_str())
    );
    let (got, _) = client.manifest("a", "1").await.unwrap();
    assert_eq!(got, next.digest);
}

#[tokio::test]
async fn a_gate_stops_a_body_where_it_stands() {
    let (origin, client, image) = stocked().await;
    let (digest, content) = image.largest();
    let gate = Gate::closed();
    origin.play(Script::new(
        When::get().blob(digest),
        [Fault::HoldAt(150_000, gate.clone())],
    ));
    let path = format!("/v2/a/blobs/{digest}");
    let mut answer = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    let mut seen = 0;
    while seen < 150_000 {
        seen += answer.chunk().await.unwrap().unwrap().len();
    }
    gate.reached().await;
    let recorded = origin.record().all().pop().unwrap();
    assert_eq!(
        (seen, recorded.bytes_sent(), recorded.is_finished()),
        (150_000, 150_000, false)
    );
    gate.open();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        seen += chunk.len();
    }
    assert_eq!(seen as u64, content.len());
}

#[tokio::test]
async fn what_it_sent_and_what_it_was_asked_is_on_record() {
    let (origin, client, image) = stocked().await;
    let digest = image.largest().0;
    origin.play(Script::new(
        When::get().blob(digest),
        [Fault::Cut(1234, Cut::Fin)],
    ));
    let reply = client
        .with_header("x-canary", "seen")
        .get_blob("a", digest)
        .await
        .unwrap();
    assert_eq!(reply.body.len(), 1234);
    assert!(reply.cut.is_some());
    let recorded = origin.record().all().pop().unwrap();
    assert_eq!(recorded.bytes_sent(), 1234);
    assert_eq!(recorded.header("x-canary"), Some("seen"));
    assert_eq!(origin.record().blob_gets(digest), 1);
}

#[tokio::test]
async fn an_endless_body_is_endless_and_gone_with_its_reader() {
    let (origin, client, image) = stocked().await;
    let digest = image.largest().0;
    origin.play(Script::new(When::get().blob(digest), [Fault::Endless]));
    let path = format!("/v2/a/blobs/{digest}");
    let mut answer = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    let mut seen = 0;
    while seen < 2_000_000 {
        seen += answer.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn trailing_garbage_follows_the_promised_length() {
    let (origin, _client, image) = stocked().await;
    let digest = image.largest().0;
    origin.play(Script::new(
        When::get().blob(digest),
        [Fault::Longer(b"garbage")],
    ));
    let mut stream = tokio::net::TcpStream::connect(origin.address())
        .await
        .unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: a\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    let mut all = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all)
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&all).contains("content-length: 300032\r\n"));
    assert!(all.ends_with(b"garbage"));
}

#[tokio::test]
async fn it_goes_away_and_comes_back_on_its_port() {
    let (origin, client, _) = stocked().await;
    origin.stop().await;
    client.get("/v2/").await.unwrap_err();
    origin.resume().await;
    assert_eq!(client.get("/v2/").await.unwrap().status, 200);
}

#[tokio::test]
async fn large_content_costs_no_memory_until_it_is_sent() {
    let (origin, client, _) = stocked().await;
    let digest = origin.shelf().put_blob("a", &Content::pattern(5, 32 << 20));
    assert_eq!(client.blob("a", &digest).await.unwrap(), 32 << 20);
}

#[tokio::test]
async fn the_token_service_knows_passwords_and_refresh_tokens() {
    let (origin, _, _) = stocked().await;
    let tokens = origin.tokens();
    tokens.account("ci", "canary-pw");
    tokens.refresh_tokens(true);
    let http = reqwest::Client::new();
    let url = format!("{}/token", origin.url());
    let ask = async |form: &str| {
        let request = http.post(&url).body(form.to_owned());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<serde_json::Value>().await.unwrap(),
        )
    };
    let scope = "service=origin&scope=repository%3Aa%3Apull";
    let (status, body) = ask(&format!(
        "grant_type=password&username=ci&password=canary-pw&{scope}"
    ))
    .await;
    assert_eq!(
        (status, &body["expires_in"]),
        (200, &serde_json::json!(300))
    );
    let refresh = body["refresh_token"].as_str().unwrap();
    let (status, body) = ask(&format!(
        "grant_type=refresh_token&refresh_token={refresh}&{scope}"
    ))
    .await;
    assert_eq!(status, 200);
    tokens.require(Access::Bearer);
    let pull = |token: String| {
        http.get(format!("{}/v2/a/manifests/1", origin.url()))
            .bearer_auth(token)
            .send()
    };
    assert_eq!(
        pull(body["token"].as_str().unwrap().to_owned())
            .await
            .unwrap()
            .status(),
        200
    );
    let other = "grant_type=password&username=ci&password=canary-pw&scope=repository%3Ab%3Apull";
    let (_, body) = ask(other).await;
    assert_eq!(
        pull(body["token"].as_str().unwrap().to_owned())
            .await
            .unwrap()
            .status(),
        401
    );
    assert_eq!(
        ask("grant_type=password&username=ci&password=wrong")
            .await
            .0,
        401
    );
}
