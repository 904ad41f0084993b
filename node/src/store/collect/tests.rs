//! T08: a small world of images, pulled, pushed, tagged, deleted and held in any order, with the collector in between.

use std::sync::Arc;

use proptest::prelude::*;
use runtime::{
    Clock, Tasks,
    file::{Failing, Fault, Real},
};
use uuid::Uuid;

use super::*;
use crate::store::{
    Hold, Parts,
    blob::{self, Blobs, StageName, local::Local},
    metadata::{
        self, BlobRecord, Child, ChildKind, LinkKind, ManifestRecord, Metadata, TagRecord,
        UploadRecord, Version, sqlite::Sqlite,
    },
};

const HOUR: Duration = Duration::from_hours(1);
const ALL: Collect = Collect {
    gc: true,
    grace: HOUR,
    stage_ttl: HOUR,
};
/// Images and what they need; layers are 10 bytes or so, so that a maxSize of some tens of bytes bites.
const IMAGES: [(&str, &[&str]); 5] = [
    ("image-a", &["layer-0", "layer-1"]),
    ("image-b", &["layer-1", "layer-2"]),
    ("image-c", &["layer-2"]),
    ("index-ab", &["image-a", "image-b"]),
    ("index-all", &["index-ab", "image-c"]),
];
const REPOSITORIES: [&str; 2] = ["r", "s"];

fn digest(of: &str) -> Digest {
    Digest::sha256(of.as_bytes())
}

fn needs(of: &str) -> &'static [&'static str] {
    let image = IMAGES.iter().find(|(name, _)| *name == of);
    image.map_or(&[], |(_, needs)| needs)
}

fn store(
    blobs: Arc<dyn Blobs>,
    metadata: Arc<dyn Metadata>,
    clock: &Clock,
    max_size: Option<u64>,
) -> Store {
    Parts {
        blobs,
        metadata,
        clock: clock.clone(),
        tasks: Tasks::new("test"),
        max_size,
        gc: true,
        memory_cache_bytes: 1 << 20,
        lock: None,
    }
    .build()
}

fn in_memory(clock: &Clock, max_size: Option<u64>) -> Store {
    let blobs = Arc::new(blob::memory::Memory::new(clock.clone()));
    store(
        blobs,
        Arc::new(metadata::memory::Memory::new()),
        clock,
        max_size,
    )
}

/// Stores a content and links it, as a fill or a push does.
async fn put(store: &Store, repository: &str, of: &str, origin: &Origin) -> Result<(), Error> {
    let wanted = digest(of);
    let _hold = store.hold(&wanted);
    let name = StageName::Scratch(Uuid::now_v7());
    let stage = store.blobs().stage(name).await?;
    stage.write_at(of.as_bytes(), 0)?;
    store
        .blobs()
        .commit(stage, &wanted, of.len() as u64)
        .await?;
    let now = store.now();
    let is_manifest = !needs(of).is_empty();
    let mut ops = vec![Op::PutBlob(BlobRecord {
        digest: wanted.clone(),
        size: of.len() as u64,
        stored_at: now,
        verified_at: now,
    })];
    if is_manifest {
        ops.push(Op::PutManifest(Arc::new(manifest(of))));
    }
    ops.push(Op::PutLink(Link {
        repository: repository.parse().unwrap(),
        digest: wanted,
        kind: if is_manifest {
            LinkKind::Manifest
        } else {
            LinkKind::Blob
        },
        complete: is_manifest,
        origin: origin.clone(),
        created_at: now,
        used_at: now,
    }));
    store.metadata().commit(ops).await
}

fn manifest(of: &str) -> ManifestRecord {
    let children = needs(of).iter().map(|child| Child {
        kind: if needs(child).is_empty() {
            ChildKind::Layer
        } else {
            ChildKind::Manifest
        },
        digest: digest(child),
        size: child.len() as u64,
        media_type: String::new(),
        platform: None,
        foreign: false,
    });
    ManifestRecord {
        digest: digest(of),
        media_type: "m".to_owned(),
        size: of.len() as u64,
        children: children.collect(),
        subject: None,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

/// Everything an image needs, children first; what is there already is linked again.
async fn put_image(
    store: &Store,
    repository: &str,
    of: &str,
    origin: &Origin,
) -> Result<(), Error> {
    for child in needs(of) {
        Box::pin(put_image(store, repository, child, origin)).await?;
    }
    put(store, repository, of, origin).await
}

async fn put_tag(store: &Store, repository: &str, tag: &str, of: &str) {
    let repository: RepositoryName = repository.parse().unwrap();
    if store
        .metadata()
        .link(&repository, &digest(of))
        .await
        .unwrap()
        .is_none()
    {
        return;
    }
    let now = store.now();
    let record = TagRecord {
        repository,
        tag: tag.parse().unwrap(),
        current: Version {
            digest: digest(of),
            media_type: "m".to_owned(),
            size: of.len() as u64,
        },
        complete: None,
        checked_at: now,
        observed_at: now,
        origin: filled(),
    };
    store
        .metadata()
        .commit(vec![Op::PutTag(record)])
        .await
        .unwrap();
}

fn filled() -> Origin {
    Origin::Filled("golden".parse().unwrap())
}

/// I2 and I3: every link has its bytes, every manifest has its children in its repository, every record has its file.
async fn assert_whole(store: &Store) {
    for repository in REPOSITORIES {
        for (image, _) in IMAGES {
            let name: RepositoryName = repository.parse().unwrap();
            if store
                .metadata()
                .link(&name, &digest(image))
                .await
                .unwrap()
                .is_none()
            {
                continue;
            }
            assert_stored(store, image).await;
            for child in needs(image) {
                let link = store.metadata().link(&name, &digest(child)).await.unwrap();
                assert!(link.is_some(), "{repository}/{image} lost {child}");
                assert_stored(store, child).await;
            }
        }
    }
    for (stored, _) in store.blobs().list(None, 100).await.unwrap() {
        let record = store.metadata().blob(&stored).await.unwrap();
        assert!(record.is_some(), "a file without a record: {stored}");
    }
}

async fn assert_stored(store: &Store, of: &str) {
    let content = store.blobs().open(&digest(of)).await.unwrap();
    assert!(content.is_some(), "{of} is linked and not there");
    let record = store.metadata().blob(&digest(of)).await.unwrap();
    assert!(record.is_some(), "{of} is linked and has no record");
}

#[derive(Debug, Clone)]
enum Step {
    Pull(usize, usize),
    Push(usize, usize),
    Tag(usize, usize),
    Untag(usize, usize),
    Delete(usize, usize),
    Use(usize, usize),
    Hold(usize),
    Release,
    Pass,
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (0..REPOSITORIES.len(), 0..IMAGES.len());
    prop_oneof![
        4 => pair().prop_map(|(r, i)| Step::Pull(r, i)),
        1 => pair().prop_map(|(r, i)| Step::Push(r, i)),
        2 => pair().prop_map(|(r, i)| Step::Tag(r, i)),
        1 => pair().prop_map(|(r, i)| Step::Untag(r, i)),
        1 => pair().prop_map(|(r, i)| Step::Delete(r, i)),
        2 => pair().prop_map(|(r, i)| Step::Use(r, i)),
        1 => (0..IMAGES.len()).prop_map(Step::Hold),
        1 => Just(Step::Release),
        1 => Just(Step::Pass),
        3 => Just(Step::Collect),
    ]
}

async fn play(steps: Vec<Step>) {
    let clock = Clock::manual(1_000_000_000);
    let store = in_memory(&clock, Some(60));
    let mut holds: Vec<Hold> = Vec::new();
    let mut pushed = BTreeSet::new();
    for step in steps {
        clock.advance(Duration::from_secs(60));
        match step {
            Step::Pull(r, i) => {
                let (repository, image) = (REPOSITORIES[r], IMAGES[i].0);
                put_image(&store, repository, image, &filled())
                    .await
                    .unwrap();
            }
            Step::Push(r, i) => {
                let (repository, image) = (REPOSITORIES[r], IMAGES[i].0);
                put_image(&store, repository, image, &Origin::Pushed)
                    .await
                    .unwrap();
                pushed.insert((r, i));
            }
            Step::Tag(r, i) => put_tag(&store, REPOSITORIES[r], IMAGES[i].0, IMAGES[i].0).await,
            Step::Untag(r, i) => {
                let (of, tag) = (REPOSITORIES[r], IMAGES[i].0);
                let delete = Op::DeleteTag(of.parse().unwrap(), tag.parse().unwrap());
                store.metadata().commit(vec![delete]).await.unwrap();
            }
            Step::Delete(r, i) => delete(&store, REPOSITORIES[r], IMAGES[i].0, &mut pushed).await,
            Step::Use(r, i) => {
                store.used(&REPOSITORIES[r].parse().unwrap(), &digest(IMAGES[i].0));
                config::flush_used(&store).await.unwrap();
            }
            Step::Hold(i) => holds.push(store.hold(&digest(IMAGES[i].0))),
            Step::Release => drop(holds.pop()),
            Step::Pass => clock.advance(2 * HOUR),
            Step::Collect => collect_and_check(&store, &holds, &pushed).await,
        }
        assert_whole(&store).await;
    }
}

/// A client deletes a manifest that nothing else in the repository needs.
async fn delete(store: &Store, of: &str, image: &str, pushed: &mut BTreeSet<(usize, usize)>) {
    let repository: RepositoryName = of.parse().unwrap();
    let parents = store
        .metadata()
        .parents(&repository, &digest(image))
        .await
        .unwrap();
    if !parents.is_empty() {
        return;
    }
    pushed.retain(|(r, i)| REPOSITORIES[*r] != of || IMAGES[*i].0 != image);
    let delete = Op::DeleteLink(repository, digest(image));
    store.metadata().commit(vec![delete]).await.unwrap();
}

async fn collect_and_check(store: &Store, holds: &[Hold], pushed: &BTreeSet<(usize, usize)>) {
    let mut held = Vec::new();
    for hold in holds {
        if store.blobs().size(hold.digest()).await.unwrap().is_some() {
            held.push(hold.digest().clone());
        }
    }
    ALL.run(store).await.unwrap();
    for digest in held {
        assert!(
            store.blobs().open(&digest).await.unwrap().is_some(),
            "held and gone"
        );
    }
    for (r, i) in pushed {
        let (repository, root) = (REPOSITORIES[*r].parse().unwrap(), digest(IMAGES[*i].0));
        let link = store.metadata().link(&repository, &root).await.unwrap();
        assert!(link.is_some(), "pushed and gone");
    }
    let stored = store.metadata().totals().await.unwrap().bytes;
    let roots = store.metadata().least_used(100).await.unwrap();
    if holds.is_empty() && pushed.is_empty() && stored > 58 {
        // What is left over is unreferenced and within its grace.
        assert!(
            roots.is_empty(),
            "{stored} bytes, and {roots:?} may still leave"
        );
    }
    let loose = store
        .metadata()
        .unreferenced(store.now().minus(HOUR), 100)
        .await
        .unwrap();
    assert!(
        loose
            .iter()
            .all(|blob| holds.iter().any(|hold| *hold.digest() == blob.digest))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_reachable_held_or_pushed_is_removed(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test]
async fn the_least_recently_used_closure_leaves_first_and_shared_layers_stay() {
    let clock = Clock::manual(1_000_000_000);
    // Each image is 7 bytes, each layer too; both together share layer-1.
    let store = in_memory(&clock, Some(50));
    put_image(&store, "r", "image-a", &filled()).await.unwrap();
    clock.advance(HOUR);
    put_image(&store, "s", "image-b", &filled()).await.unwrap();
    ALL.run(&store).await.unwrap();
    assert_eq!(store.metadata().totals().await.unwrap().bytes, 35);
    clock.advance(HOUR);
    // Room for 20 more is wanted: 35 + 20 > 50.
    let room = store.make_room(20).await.unwrap();
    assert_eq!(room.bytes(), 20);
    let gone = ["image-a", "layer-0"];
    for of in gone {
        assert!(
            store.blobs().open(&digest(of)).await.unwrap().is_none(),
            "{of}"
        );
    }
    for of in ["image-b", "layer-1", "layer-2"] {
        assert_stored(&store, of).await;
    }
    assert_eq!(store.evicted()[0], ("full", 14));
}

#[tokio::test]
async fn no_more_leaves_than_the_room_takes_and_nothing_for_what_never_fits() {
    let clock = Clock::manual(1_000_000_000);
    // Each with its layers: 21 bytes and 14.
    let store = in_memory(&clock, Some(50));
    put_image(&store, "r", "image-a", &filled()).await.unwrap();
    clock.advance(HOUR);
    put_image(&store, "s", "image-c", &filled()).await.unwrap();
    clock.advance(HOUR);
    look(&store).await.unwrap();
    // Used lately, though nothing is written down of it yet.
    store.used(&"r".parse().unwrap(), &digest("image-a"));
    assert!(matches!(store.make_room(51).await, Err(Error::Full)));
    assert_eq!(store.evicted()[0], ("full", 0));
    store.make_room(20).await.unwrap().give_back();
    assert_eq!(store.evicted()[0], ("full", 14));
    assert_stored(&store, "image-a").await;
    let _held = store.hold(&digest("image-a"));
    assert!(matches!(store.make_room(40).await, Err(Error::Full)));
    assert_stored(&store, "image-a").await;
}

#[tokio::test]
async fn two_that_want_room_at_once_get_it_one_after_the_other() {
    let clock = Clock::manual(1_000_000_000);
    let store = in_memory(&clock, Some(50));
    put_image(&store, "r", "image-a", &filled()).await.unwrap();
    look(&store).await.unwrap();
    let (one, two) = tokio::join!(store.make_room(20), store.make_room(20));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.bytes() + two.bytes(), 40);
    assert_eq!(store.evicted()[0], ("full", 21));
    assert!(matches!(store.make_room(20).await, Err(Error::Full)));
}

#[tokio::test]
async fn with_gc_off_nothing_is_ever_deleted() {
    let clock = Clock::manual(1_000_000_000);
    let store = in_memory(&clock, Some(10));
    put_image(&store, "r", "image-a", &filled()).await.unwrap();
    let delete = Op::DeleteLink("r".parse().unwrap(), digest("image-a"));
    store.metadata().commit(vec![delete]).await.unwrap();
    clock.advance(9 * HOUR);
    Collect { gc: false, ..ALL }.run(&store).await.unwrap();
    assert_stored(&store, "image-a").await;
    ALL.run(&store).await.unwrap();
    assert!(
        store
            .blobs()
            .open(&digest("image-a"))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn what_nothing_links_stays_through_its_grace_and_while_the_metadata_are_in_doubt() {
    let clock = Clock::manual(1_000_000_000);
    let store = in_memory(&clock, None);
    put(&store, "r", "layer-0", &filled()).await.unwrap();
    let delete = Op::DeleteLink("r".parse().unwrap(), digest("layer-0"));
    store.metadata().commit(vec![delete]).await.unwrap();
    ALL.run(&store).await.unwrap();
    assert_stored(&store, "layer-0").await;
    keep(&store).await.unwrap();
    clock.advance(3 * HOUR);
    ALL.run(&store).await.unwrap();
    assert_stored(&store, "layer-0").await;
    clock.advance(KEEP);
    ALL.run(&store).await.unwrap();
    assert!(
        store
            .blobs()
            .open(&digest("layer-0"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(store.evicted()[1], ("unreferenced", 7));
}

#[tokio::test]
async fn abandoned_uploads_go_with_their_bytes() {
    let clock = Clock::manual(1_000_000_000);
    let store = in_memory(&clock, None);
    let id = Uuid::now_v7();
    let upload = UploadRecord {
        id,
        repository: "r".parse().unwrap(),
        algorithm: wire::digest::Algorithm::Sha256,
        length: 3,
        created_at: store.now(),
        touched_at: store.now(),
    };
    store
        .metadata()
        .commit(vec![Op::PutUpload(upload)])
        .await
        .unwrap();
    let stage = store.blobs().stage(StageName::Upload(id)).await.unwrap();
    stage.write_at(b"abc", 0).unwrap();
    ALL.run(&store).await.unwrap();
    assert_eq!(store.blobs().stages().await.unwrap().len(), 1);
    clock.advance(2 * HOUR);
    ALL.run(&store).await.unwrap();
    assert!(store.blobs().stages().await.unwrap().is_empty());
    assert_eq!(store.metadata().upload(id).await.unwrap(), None);
}

/// A disk that fails at any call of a collection leaves every link with its bytes, and the next run finishes the work.
#[tokio::test]
async fn a_collection_that_fails_anywhere_breaks_nothing() {
    let mut untouched = false;
    for at in 1..300 {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000_000);
        let metadata = Arc::new(Sqlite::open(&dir.path().join("m.db"), 100).unwrap());
        let healthy = Arc::new(Local::new(dir.path(), Arc::new(Real)));
        let sound = store(
            healthy,
            Arc::clone(&metadata) as Arc<dyn Metadata>,
            &clock,
            Some(50),
        );
        for image in ["image-a", "image-b"] {
            put_image(&sound, "r", image, &filled()).await.unwrap();
        }
        put(&sound, "s", "image-c", &filled()).await.unwrap();
        let gone = Op::DeleteLink("s".parse().unwrap(), digest("image-c"));
        sound.metadata().commit(vec![gone]).await.unwrap();
        clock.advance(2 * HOUR);
        let files = Failing::new(Arc::new(Real), Fault::Stop, at);
        let broken = Arc::new(Local::new(dir.path(), Arc::new(files.clone())));
        let failing = store(broken, metadata, &clock, Some(30));
        let result = ALL.run(&failing).await;
        assert_eq!(result.is_err(), files.calls() >= at);
        for image in ["image-a", "image-b"] {
            let (repository, root) = ("r".parse().unwrap(), digest(image));
            let link = sound.metadata().link(&repository, &root).await.unwrap();
            if link.is_some() {
                assert_stored(&sound, image).await;
                for child in needs(image) {
                    assert_stored(&sound, child).await;
                }
            }
        }
        crate::store::adopt::scan(&sound).await.unwrap();
        assert_whole(&sound).await;
        if files.calls() < at {
            untouched = true;
            break;
        }
    }
    assert!(untouched);
}
