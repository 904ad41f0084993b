//! The client against the scripted upstream: it takes what is true and nothing else.

use std::future::Future;

use super::*;
use crate::origin::Access;
use crate::{Content, Cut, Fault, Image, Origin, Script, When};

async fn stocked() -> (Origin, Client, Image) {
    let origin = Origin::start().await;
    let image = Image::multi(1).layer_of(200_000).build();
    origin.put("team/app", "1", &image);
    let client = Client::new(origin.url());
    (origin, client, image)
}

async fn refuses<T: std::fmt::Debug>(attempt: impl Future<Output = Result<T>>) {
    attempt.await.expect_err("a lie was believed");
}

#[tokio::test]
async fn a_pull_takes_the_blobs_of_one_platform() {
    let (origin, client, image) = stocked().await;
    let pulled = client.pull("team/app", "1", "arm64").await.unwrap();
    assert_eq!(pulled.digest, image.digest);
    assert_eq!(pulled.blobs, image.blobs_of("arm64"));
    assert_eq!(origin.blob_gets(&image.blobs_of("arm64")), [1, 1]);
    assert_eq!(origin.blob_gets(&image.blobs_of("amd64")), [0, 0]);
}

#[tokio::test]
async fn no_lie_is_believed() {
    let (origin, client, image) = stocked().await;
    let layer = image.largest().0.clone();
    let lies = [
        vec![Fault::FlipBit(100)],
        vec![Fault::Cut(1000, Cut::Fin)],
        vec![Fault::Cut(1000, Cut::Reset)],
        vec![Fault::NoLength, Fault::Cut(1000, Cut::Fin)],
        vec![Fault::ChunkedWithoutEnd],
        vec![Fault::Body(Content::pattern(9, 200_000))],
        vec![Fault::Gzip],
        vec![Fault::Html],
        vec![Fault::NoAnswer(Cut::Reset)],
    ];
    for lie in lies {
        origin.play(Script::new(When::get().blob(&layer), lie).once());
        refuses(client.blob("team/app", &layer)).await;
        client.blob("team/app", &layer).await.unwrap();
    }
    for lie in [
        Fault::FlipBit(0),
        Fault::NoHeader("docker-content-digest"),
        Fault::Status(404),
    ] {
        origin.play(Script::new(When::get().manifests(), [lie]).once());
        refuses(client.manifest("team/app", "1")).await;
    }
}

#[tokio::test]
async fn the_token_dance_is_danced_once_per_repository() {
    let (origin, client, _) = stocked().await;
    origin.tokens().require(Access::Bearer);
    origin.tokens().account("ci", "canary-dance");
    assert_eq!(
        client.get_manifest("team/app", "1").await.unwrap().status,
        401
    );
    let client = Client::new(origin.url()).with_account("ci", "canary-dance");
    client.pull("team/app", "1", "amd64").await.unwrap();
    assert_eq!(origin.tokens().issued(), 1);
    origin.tokens().revoke();
    client.pull("team/app", "1", "amd64").await.unwrap();
    assert_eq!(origin.tokens().issued(), 2);
}

#[tokio::test]
async fn basic_is_shown_when_it_is_asked_for() {
    let (origin, _, _) = stocked().await;
    origin.tokens().require(Access::Basic);
    origin.tokens().account("ci", "canary-basic");
    let client = Client::new(origin.url()).with_account("ci", "canary-basic");
    client.pull("team/app", "1", "amd64").await.unwrap();
    let wrong = Client::new(origin.url()).with_account("ci", "wrong");
    assert_eq!(
        wrong.get_manifest("team/app", "1").await.unwrap().status,
        401
    );
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let (origin, client, image) = stocked().await;
    for tag in ["2", "3", "4"] {
        origin.shelf().tag("team/app", tag, &image.digest);
    }
    assert_eq!(client.tags("team/app").await.unwrap(), ["1", "2", "3", "4"]);
    let page = client.get("/v2/team/app/tags/list?n=3").await.unwrap();
    let next = page.next_page().unwrap();
    let rest = client.get(&next).await.unwrap();
    assert_eq!(rest.json().unwrap()["tags"], serde_json::json!(["4"]));
    let signature = Image::signature_of(image.top(), 1);
    origin.shelf().put("team/app", &signature);
    let (listed, _) = client.referrers("team/app", &image.digest).await.unwrap();
    assert_eq!(listed[0]["digest"], signature.digest.as_str());
}
