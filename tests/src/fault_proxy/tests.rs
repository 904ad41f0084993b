//! The path does to bytes and connections what it was told, and no more.

use super::*;
use crate::{Image, Origin};
use futures_util::FutureExt;

async fn far() -> (Origin, FaultProxy, String, u64) {
    let origin = Origin::start().await;
    let image = Image::single(1).layer_of(1 << 20).build();
    origin.put("a", "1", &image);
    let (digest, content) = image.largest();
    let proxy = FaultProxy::to(origin.address()).await;
    let url = format!("{}/v2/a/blobs/{digest}", proxy.url());
    (origin, proxy, url, content.len())
}

#[tokio::test]
async fn a_clear_path_changes_nothing() {
    let (_origin, proxy, url, size) = far().await;
    let body = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len() as u64, size);
    assert!(proxy.bytes_down() > size);
}

#[tokio::test]
async fn a_cut_leaves_a_prefix_and_the_next_connection_alone() {
    let (_origin, proxy, url, _) = far().await;
    for cut in [Cut::Fin, Cut::Reset] {
        proxy.cut_next(500_000, cut);
        let client = reqwest::Client::new();
        let answer = client.get(&url).send().await.unwrap();
        answer.bytes().await.unwrap_err();
        let client = reqwest::Client::new();
        client
            .get(&url)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_held_goes_on_when_released() {
    let (_origin, proxy, url, size) = far().await;
    proxy.change(|weather| weather.hold_down = true);
    let mut pull = Box::pin(async { reqwest::get(url).await.unwrap().bytes().await.unwrap() });
    assert!((&mut pull).now_or_never().is_none());
    proxy.clear();
    assert_eq!(pull.await.len() as u64, size);
}

#[tokio::test]
async fn a_refused_path_can_be_restored() {
    let (_origin, proxy, url, _) = far().await;
    proxy.refuse().await;
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());
    proxy.restore().await;
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_path_that_swallows_takes_no_connection_and_gives_back_what_was_under_way() {
    let (_origin, proxy, url, size) = far().await;
    let open = reqwest::get(&url).await.unwrap();
    proxy.swallow().await;
    let patience = Duration::from_millis(200);
    let clock = Clock::system();
    let knock = TcpStream::connect(proxy.address());
    assert!(clock.timeout(patience, knock).await.is_err());
    proxy.restore().await;
    assert_eq!(open.bytes().await.unwrap().len() as u64, size);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);
}
