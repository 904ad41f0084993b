//! What the collector, the evictor and the scrubber ask.

use wire::time::WallTime;

use super::make::{
    blob, blob_at, blob_link, commit, digest, link, manifest, manifest_link, name, stored_link,
};
use crate::store::metadata::{Link, LinkKind, Metadata, Op, Origin};

pub(super) async fn roots_leave_in_the_order_of_last_use(metadata: &dyn Metadata) {
    let pushed = Link {
        origin: Origin::Pushed,
        ..link("a", "pushed", LinkKind::Manifest)
    };
    let ops = [
        blob("index"),
        manifest("index", &["image"], None),
        blob("image"),
        manifest("image", &["layer"], None),
        manifest_link("a", "index"),
        manifest_link("a", "image"),
        manifest_link("b", "image"),
        manifest_link("a", "lone"),
        blob_link("a", "layer"),
        Op::PutLink(pushed),
    ];
    commit(metadata, ops).await;
    let used = |repository: &str, of: &str, at| {
        Op::Used(vec![(name(repository), digest(of))], WallTime(at))
    };
    let roots = || async {
        let links = metadata.least_used(9).await.unwrap();
        let roots = links.into_iter();
        roots.map(|l| (l.repository, l.digest)).collect::<Vec<_>>()
    };
    let expect = |roots: &[(&str, &str)]| {
        let pairs = roots.iter().map(|(of, root)| (name(of), digest(root)));
        pairs.collect::<Vec<_>>()
    };
    commit(
        metadata,
        [used("a", "lone", 3_000), used("b", "image", 2_000)],
    )
    .await;
    assert_eq!(
        roots().await,
        expect(&[("a", "index"), ("b", "image"), ("a", "lone")])
    );
    commit(
        metadata,
        [used("a", "image", 5_000), used("a", "image", 4_000)],
    )
    .await;
    assert_eq!(
        roots().await,
        expect(&[("b", "image"), ("a", "lone"), ("a", "index")])
    );
    let index = stored_link(metadata, "a", "index").await.unwrap();
    assert_eq!(
        index.used_at,
        WallTime(5_000),
        "who uses a child uses its index"
    );
    commit(metadata, [Op::DeleteLink(name("a"), digest("index"))]).await;
    assert_eq!(
        roots().await,
        expect(&[("b", "image"), ("a", "lone"), ("a", "image")])
    );
    assert_eq!(metadata.least_used(1).await.unwrap().len(), 1);
}

pub(super) async fn only_what_nobody_links_is_unreferenced(metadata: &dyn Metadata) {
    let ops = [
        blob_at("loose", 2_000),
        blob_at("old", 1_000),
        blob_at("young", 9_000),
        blob_at("linked", 1_000),
        blob_link("a", "linked"),
        blob_link("b", "linked"),
        blob_link("a", "later"),
        blob_at("later", 1_000),
    ];
    commit(metadata, ops).await;
    let loose = |limit| async move {
        let blobs = metadata.unreferenced(WallTime(9_000), limit).await.unwrap();
        blobs.into_iter().map(|b| b.digest).collect::<Vec<_>>()
    };
    assert_eq!(loose(9).await, [digest("old"), digest("loose")]);
    assert_eq!(loose(1).await, [digest("old")]);
    let unlink = |of: &str, d: &str| Op::DeleteLink(name(of), digest(d));
    commit(metadata, [unlink("a", "linked"), unlink("a", "linked")]).await;
    assert_eq!(loose(9).await, [digest("old"), digest("loose")]);
    commit(metadata, [unlink("b", "linked"), unlink("a", "later")]).await;
    let mut found = loose(9).await;
    found.sort();
    let mut expected = ["old", "loose", "linked", "later"].map(digest);
    expected.sort();
    assert_eq!(found, expected);
    commit(metadata, [Op::DeleteUnreferenced(digest("old"))]).await;
    assert!(metadata.blob(&digest("old")).await.unwrap().is_none());
}

pub(super) async fn the_least_verified_comes_first(metadata: &dyn Metadata) {
    commit(
        metadata,
        [blob_at("a", 10), blob_at("b", 20), blob_at("c", 30)],
    )
    .await;
    commit(metadata, [Op::Verified(digest("a"), WallTime(25))]).await;
    commit(metadata, [Op::Verified(digest("gone"), WallTime(25))]).await;
    let least = metadata.least_verified(2).await.unwrap();
    let digests: Vec<_> = least.into_iter().map(|blob| blob.digest).collect();
    assert_eq!(digests, [digest("b"), digest("a")]);
    let stored = metadata.blob(&digest("a")).await.unwrap().unwrap();
    assert_eq!(
        (stored.stored_at, stored.verified_at),
        (WallTime(10), WallTime(25))
    );
}
