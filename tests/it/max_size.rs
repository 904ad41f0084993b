//! `storage.maxSize`: what is new is stored, the oldest leaves for it, and the origin does not notice (`spec/pull-through.md`
//! "Storage").

use tests::{Image, Mesh, When};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_image_leaves_for_the_fourth_of_which_three_fit() {
    let mesh = Mesh::builder()
        .tiers(1)
        .node("dev", "storage: {maxSize: 12MiB}")
        .start()
        .await;
    let client = mesh.client("dev");
    let images: Vec<Image> = (91..95)
        .map(|seed| Image::single(seed).layer_of(4_000_000).build())
        .collect();
    for (number, image) in images.iter().enumerate() {
        let tag = number.to_string();
        mesh.origin.put("team/app", &tag, image);
        client.pull("up/team/app", &tag, "amd64").await.unwrap();
        mesh.copied().await;
    }
    let layers = images.iter().map(|image| image.largest().0);
    assert_eq!(mesh.origin.blob_gets(layers), [1; 4]);
    let dev = mesh.running("dev").store();
    assert_eq!(dev.degraded(), None);
    let left = dev.evicted()[0].1;
    assert!((4_000_000..8_000_000).contains(&left), "one: {left}");
    mesh.origin.fail(When::any(), 503);
    for number in 1..4 {
        let tag = number.to_string();
        client.pull("up/team/app", &tag, "amd64").await.unwrap();
    }
    assert!(client.pull("up/team/app", "0", "amd64").await.is_err());
}
