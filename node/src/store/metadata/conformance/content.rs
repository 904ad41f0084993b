//! Links, manifests, referrers, repositories, totals.

use wire::time::WallTime;

use super::make::{
    blob, blob_link, commit, digest, job, link, manifest, manifest_link, manifest_record, name,
    stored_link, stored_tag, tag,
};
use crate::store::metadata::{Extent, Link, LinkKind, Metadata, Op, Origin, Totals};

pub(super) async fn links_only_gain(metadata: &dyn Metadata) {
    assert_eq!(stored_link(metadata, "a", "m").await, None);
    let first = link("a", "m", LinkKind::Blob);
    commit(metadata, [Op::PutLink(first.clone())]).await;
    assert_eq!(stored_link(metadata, "a", "m").await, Some(first.clone()));
    let second = Link {
        kind: LinkKind::Manifest,
        complete: true,
        origin: Origin::Pushed,
        created_at: WallTime(9_000),
        used_at: WallTime(9_000),
        ..first.clone()
    };
    commit(metadata, [Op::PutLink(second.clone()), Op::PutLink(first)]).await;
    let gained = Link {
        created_at: WallTime(1_000),
        ..second
    };
    assert_eq!(stored_link(metadata, "a", "m").await, Some(gained));
}

pub(super) async fn a_manifest_is_known_while_stored_or_linked(metadata: &dyn Metadata) {
    let record = manifest_record("m", &["c", "l", "l"], Some("s"));
    let ops = [
        blob("m"),
        manifest("m", &["c", "l", "l"], Some("s")),
        manifest_link("a", "m"),
    ];
    commit(metadata, ops).await;
    let stored = metadata.manifest(&digest("m")).await.unwrap().unwrap();
    assert_eq!(*stored, record);
    commit(metadata, [manifest("m", &[], None)]).await;
    let stored = metadata.manifest(&digest("m")).await.unwrap().unwrap();
    assert_eq!(*stored, record, "the first record of a digest stays");
    commit(metadata, [Op::DeleteUnreferenced(digest("m"))]).await;
    assert!(metadata.blob(&digest("m")).await.unwrap().is_some());
    commit(metadata, [Op::DeleteBlob(digest("m"))]).await;
    assert!(metadata.blob(&digest("m")).await.unwrap().is_none());
    assert!(stored_link(metadata, "a", "m").await.is_some());
    assert!(metadata.manifest(&digest("m")).await.unwrap().is_some());
    commit(metadata, [Op::DeleteLink(name("a"), digest("m"))]).await;
    assert!(metadata.manifest(&digest("m")).await.unwrap().is_none());
    let parents = metadata.parents(&name("a"), &digest("c")).await.unwrap();
    assert!(parents.is_empty());
}

pub(super) async fn deleting_a_link_takes_its_tags_and_job(metadata: &dyn Metadata) {
    let mut moved = tag("a", "moved", "new", 5);
    moved.complete = Some(super::make::version("m"));
    let ops = [
        manifest_link("a", "m"),
        manifest_link("a", "new"),
        manifest_link("b", "m"),
        Op::PutTag(tag("a", "v1", "m", 5)),
        Op::PutTag(tag("b", "v1", "m", 5)),
        Op::PutTag(moved),
        Op::PutJob(job("a", "m", &["v1"], 5)),
    ];
    commit(metadata, ops).await;
    let tags = metadata.tags_of(&name("a"), &digest("m")).await.unwrap();
    assert_eq!(tags, [name("moved"), name("v1")]);
    let repositories = metadata.linked_by(&digest("m"), 9).await.unwrap();
    assert_eq!(repositories, [name("a"), name("b")]);
    commit(metadata, [Op::DeleteLink(name("a"), digest("m"))]).await;
    assert_eq!(stored_link(metadata, "a", "m").await, None);
    assert_eq!(stored_tag(metadata, "a", "v1").await, None);
    assert!(stored_tag(metadata, "b", "v1").await.is_some());
    let moved = stored_tag(metadata, "a", "moved").await.unwrap();
    assert_eq!(
        moved.complete, None,
        "what cannot be served is not complete"
    );
    let job = metadata.job(&name("a"), &digest("m")).await.unwrap();
    assert_eq!(job, None);
    let repositories = metadata.linked_by(&digest("m"), 9).await.unwrap();
    assert_eq!(repositories, [name("b")]);
}

pub(super) async fn a_manifest_that_lacks_something_is_complete_no_more(metadata: &dyn Metadata) {
    let whole = |repository| {
        let link = link(repository, "m", LinkKind::Manifest);
        let mut tag = tag(repository, "v1", "m", 5);
        tag.complete = Some(super::make::version("m"));
        let link = Op::PutLink(Link {
            complete: true,
            ..link
        });
        [link, Op::PutTag(tag)]
    };
    commit(metadata, [whole("a"), whole("b")].concat()).await;
    commit(metadata, [Op::Lacking(name("a"), digest("m"))]).await;
    for (repository, complete) in [("a", false), ("b", true)] {
        let link = stored_link(metadata, repository, "m").await.unwrap();
        let tag = stored_tag(metadata, repository, "v1").await.unwrap();
        assert_eq!(
            (link.complete, tag.complete.is_some()),
            (complete, complete)
        );
    }
}

pub(super) async fn referrers_and_parents_stay_within_the_repository(metadata: &dyn Metadata) {
    let ops = [
        blob("sig"),
        manifest("sig", &["payload"], Some("m")),
        manifest_link("a", "sig"),
        blob("other"),
        manifest("other", &["payload"], Some("m")),
        manifest_link("b", "other"),
    ];
    commit(metadata, ops).await;
    let referrers = metadata.referrers(&name("a"), &digest("m")).await.unwrap();
    let digests: Vec<_> = referrers.iter().map(|m| m.digest.clone()).collect();
    assert_eq!(digests, [digest("sig")]);
    let none = metadata.referrers(&name("c"), &digest("m")).await.unwrap();
    assert!(none.is_empty());
    let parents = metadata
        .parents(&name("a"), &digest("payload"))
        .await
        .unwrap();
    assert_eq!(parents, [digest("sig")]);
}

pub(super) async fn pushed_content_is_found_by_pattern(metadata: &dyn Metadata) {
    let pushed = Link {
        origin: Origin::Pushed,
        ..link("team/x/y", "m", LinkKind::Manifest)
    };
    commit(
        metadata,
        [manifest_link("team/a", "m"), Op::PutLink(pushed)],
    )
    .await;
    for (pattern, found) in [
        ("team/*", true),
        ("team/x/*", true),
        ("*", true),
        ("team/x/y", true),
        ("team/x", false),
        ("team/a", false),
        ("tea/*", false),
        ("team/x/y/*", false),
    ] {
        let expected = found.then(|| name("team/x/y"));
        let answer = metadata.pushed_repository(&name(pattern)).await.unwrap();
        assert_eq!(answer, expected, "{pattern}");
    }
}

pub(super) async fn repositories_are_listed_in_order(metadata: &dyn Metadata) {
    assert!(metadata.repositories(None, 5).await.unwrap().is_empty());
    for repository in ["b", "a/b", "a", "c"] {
        let ops = [blob_link(repository, "x"), blob_link(repository, "y")];
        commit(metadata, ops).await;
    }
    let all = metadata.repositories(None, 3).await.unwrap();
    assert_eq!(all, [name("a"), name("a/b"), name("b")]);
    let rest = metadata.repositories(Some("b"), 3).await.unwrap();
    assert_eq!(rest, [name("c")]);
    let gone = ["x", "y"].map(|of| Op::DeleteLink(name("c"), digest(of)));
    commit(metadata, gone).await;
    assert!(
        metadata
            .repositories(Some("b"), 3)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn totals_count_what_is_there(metadata: &dyn Metadata) {
    assert_eq!(metadata.totals().await.unwrap(), Totals::default());
    let ops = || {
        [
            blob("four"),
            blob("three"),
            manifest("four", &[], None),
            manifest_link("a", "four"),
            blob_link("b", "three"),
            Op::PutTag(tag("a", "v1", "four", 1)),
            Op::PutJob(job("a", "four", &[], 1)),
        ]
    };
    commit(metadata, ops()).await;
    commit(metadata, ops()).await;
    let totals = Totals {
        blobs: 2,
        bytes: 9,
        manifests: 1,
        tags: 1,
        repositories: 2,
        jobs: 1,
        ..Totals::default()
    };
    assert_eq!(metadata.totals().await.unwrap(), totals);
    let gone = [
        Op::DeleteLink(name("a"), digest("four")),
        Op::DeleteLink(name("b"), digest("three")),
        Op::DeleteUnreferenced(digest("four")),
        Op::DeleteBlob(digest("three")),
        Op::DeleteBlob(digest("three")),
    ];
    commit(metadata, gone).await;
    assert_eq!(metadata.totals().await.unwrap(), Totals::default());
}

pub(super) async fn a_repository_says_how_much_it_has(metadata: &dyn Metadata) {
    let (a, b) = (name("a"), name("b"));
    assert_eq!(metadata.extent(&a).await.unwrap(), Extent::default());
    let ops = [
        blob("m"),
        blob("n"),
        blob("l"),
        manifest_link("a", "m"),
        manifest_link("a", "n"),
        blob_link("a", "l"),
        blob_link("a", "gone"),
        manifest_link("b", "m"),
        Op::PutTag(tag("a", "v1", "m", 5)),
    ];
    commit(metadata, ops).await;
    let size = metadata.blob(&digest("m")).await.unwrap().unwrap().size;
    let extent = Extent {
        tags: 1,
        manifests: 2,
        bytes: 3 * size,
    };
    assert_eq!(metadata.extent(&a).await.unwrap(), extent);
    let all = metadata.manifests(&a, None, 9).await.unwrap();
    let mut expected = [digest("m"), digest("n")];
    expected.sort();
    let listed = |links: &[Link]| links.iter().map(|l| l.digest.clone()).collect::<Vec<_>>();
    assert_eq!(listed(&all), expected);
    let first = metadata.manifests(&a, None, 1).await.unwrap();
    assert_eq!(listed(&first), expected[..1]);
    let rest = metadata.manifests(&a, Some(expected[0].as_str()), 9);
    assert_eq!(listed(&rest.await.unwrap()), expected[1..]);
    assert_eq!(metadata.manifests(&b, None, 9).await.unwrap().len(), 1);
}
