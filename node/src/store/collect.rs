//! Deletes what nobody needs: closures when room runs out, contents that nothing links, abandoned uploads, old deliveries.
//!
//! A reconciler: it runs now and then. Whoever finds no room for what is about to be stored evicts by itself (`room_for`), so that it
//! is stored at once. Deleted is only under a claim, after looking again; any error ends the run with nothing more deleted.
//! `storage.gc: off` keeps anything from being deleted, for ever if need be.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::atomic::Ordering,
    time::Duration,
};

use wire::{digest::Digest, repository::RepositoryName, time::WallTime};

use super::{
    Error, Reservation, Store, config,
    evict::{self, Leaving, Need, Node},
    metadata::{Link, Op, Origin},
    stale,
};

/// How many records are looked at in one query.
const PAGE: usize = 256;
/// How long the history of deliveries goes back.
const HISTORY: Duration = Duration::from_hours(7 * 24);
/// Until when nothing unreferenced is deleted, in milliseconds since 1970: set when the metadata were lost or look older than the
/// contents, because then *unreferenced* only means *not known any more*.
const KEEP_UNTIL: &str = "store/keep-until";
const KEEP: Duration = Duration::from_hours(7 * 24);
/// How often room is made for one wish, when others take what was made.
const TRIES: usize = 3;

/// What may be deleted and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Collect {
    /// `storage.gc`.
    pub gc: bool,
    /// How old a content that nothing links must be.
    pub grace: Duration,
    /// How long an upload or a partial fill may rest.
    pub stage_ttl: Duration,
}

impl Collect {
    /// One run. Errors end it; what was done stays done.
    pub(crate) async fn run(self, store: &Store) -> Result<(), Error> {
        look(store).await?;
        if !self.gc {
            return Ok(());
        }
        let now = store.now();
        make_room(store).await?;
        stale::drop_stages(store, now, self.stage_ttl).await?;
        drop_unreferenced(store, now, self.grace).await?;
        let forget = Op::ForgetDeliveries(now.minus(HISTORY));
        store.0.metadata.commit(vec![forget]).await
    }
}

/// Looks at disk and totals, so that `reserve` decides by what is true.
pub(crate) async fn look(store: &Store) -> Result<(), Error> {
    let space = store.0.raw_blobs.space().await?;
    let stored = store.0.raw_metadata.totals().await?.bytes;
    store.0.room.look(space, stored);
    Ok(())
}

/// Whether eviction has something to do.
pub(crate) fn is_nearly_full(store: &Store) -> bool {
    let room = &store.0.room;
    !evict::need(&room.seen(), room.max_size()).is_none()
}

/// Deletes nothing unreferenced for a while.
pub(crate) async fn keep(store: &Store) -> Result<(), Error> {
    let until = store.now().plus(KEEP).0.to_string().into_bytes();
    let put = Op::PutValue(KEEP_UNTIL.to_owned(), Some(until));
    store.0.metadata.commit(vec![put]).await
}

async fn is_kept(store: &Store, now: WallTime) -> Result<bool, Error> {
    let Some(value) = store.0.raw_metadata.value(KEEP_UNTIL).await? else {
        return Ok(false);
    };
    let until = String::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(until.is_none_or(|until: i64| now.0 < until))
}

/// Evicts while the store is nearly full.
async fn make_room(store: &Store) -> Result<(), Error> {
    let room = &store.0.room;
    let _turn = room.turn().await;
    evict(store, evict::need(&room.seen(), room.max_size())).await?;
    look(store).await
}

/// Room for `bytes` that are about to be stored: what is least recently used leaves, and no more of it than that takes. `Full` when
/// nothing more may leave, or `bytes` are too many in any case.
pub(crate) async fn room_for(store: &Store, bytes: u64) -> Result<Reservation, Error> {
    let room = &store.0.room;
    if !store.0.gc || !room.can_hold(bytes) {
        return room.reserve(bytes);
    }
    let _turn = room.turn().await;
    for _ in 0..TRIES {
        look(store).await?;
        if let Ok(reserved) = room.reserve(bytes) {
            return Ok(reserved);
        }
        let need = evict::need_for(&room.seen(), room.max_size(), bytes);
        evict(store, need).await?;
    }
    look(store).await?;
    room.reserve(bytes)
}

/// Evicts the least recently used closures until there is room again or nothing may leave.
async fn evict(store: &Store, mut need: Need) -> Result<(), Error> {
    if need.is_none() {
        return Ok(());
    }
    // Else what was used since the last time could be taken for old.
    config::flush_used(store).await?;
    let mut passed = BTreeSet::new();
    while !need.is_none() {
        let roots = store.0.raw_metadata.least_used(PAGE + passed.len()).await?;
        let before = need;
        for root in roots {
            let key = (root.repository.clone(), root.digest.clone());
            if need.is_none() || passed.contains(&key) {
                continue;
            }
            match evict_root(store, &root).await? {
                Some(left) => need = need.less(&left),
                None => {
                    passed.insert(key);
                }
            }
        }
        if need == before || passed.len() > PAGE * 16 {
            let Need { bytes, files } = need;
            tracing::warn!(
                bytes,
                files,
                "the store is nearly full and nothing more may leave"
            );
            break;
        }
    }
    Ok(())
}

/// `None` when it may not leave now.
async fn evict_root(store: &Store, root: &Link) -> Result<Option<Leaving>, Error> {
    let planned = closure(store, root, &BTreeSet::new()).await?;
    let Some(planned) = planned else {
        return Ok(None);
    };
    let claims: Option<Vec<_>> = planned
        .unlink
        .iter()
        .map(|digest| store.0.holds.claim(digest))
        .collect();
    let Some(_claims) = claims else {
        return Ok(None);
    };
    // Nobody can take hold of these now and find them; whoever did so before is seen by looking again.
    if closure(store, root, &planned.unlink).await?.as_ref() != Some(&planned) {
        return Ok(None);
    }
    let repository = &root.repository;
    let unlink = planned
        .unlink
        .iter()
        .map(|digest| Op::DeleteLink(repository.clone(), digest.clone()));
    let delete = planned.delete.iter().cloned().map(Op::DeleteUnreferenced);
    store
        .0
        .metadata
        .commit(unlink.chain(delete).collect())
        .await?;
    for digest in &planned.delete {
        store.0.blobs.delete(digest).await?;
    }
    store
        .0
        .evicted
        .full
        .fetch_add(planned.bytes, Ordering::Relaxed);
    tracing::info!(%repository, digest = %root.digest, bytes = planned.bytes, "evicted");
    Ok(Some(planned))
}

/// What leaves with `root`; those in `claimed` are ours, so nobody else can have them.
async fn closure(
    store: &Store,
    root: &Link,
    claimed: &BTreeSet<Digest>,
) -> Result<Option<Leaving>, Error> {
    let mut nodes = BTreeMap::new();
    let mut ahead = VecDeque::from([root.digest.clone()]);
    while let Some(digest) = ahead.pop_front() {
        if nodes.contains_key(&digest) {
            continue;
        }
        let Some(mut node) = node(store, &root.repository, &digest).await? else {
            continue;
        };
        node.tagged &= digest != root.digest;
        node.held &= !claimed.contains(&digest);
        if let Some(manifest) = store.0.raw_metadata.manifest(&digest).await? {
            ahead.extend(manifest.children.iter().map(|child| child.digest.clone()));
        }
        nodes.insert(digest, node);
    }
    Ok(evict::closure(&root.digest, &nodes))
}

/// `None` when the repository does not link it.
async fn node(
    store: &Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Node>, Error> {
    let metadata = &store.0.raw_metadata;
    let Some(link) = metadata.link(repository, digest).await? else {
        return Ok(None);
    };
    let parents = metadata.parents(repository, digest).await?;
    let linked_by = metadata.linked_by(digest, 2).await?;
    Ok(Some(Node {
        size: metadata.blob(digest).await?.map_or(0, |blob| blob.size),
        parents: parents.into_iter().collect(),
        pushed: link.origin == Origin::Pushed,
        tagged: !metadata.tags_of(repository, digest).await?.is_empty(),
        held: store.0.holds.is_held(digest),
        elsewhere: linked_by.len() > 1,
    }))
}

async fn drop_unreferenced(store: &Store, now: WallTime, grace: Duration) -> Result<(), Error> {
    if is_kept(store, now).await? {
        return Ok(());
    }
    loop {
        let before = now.minus(grace);
        let loose = store.0.raw_metadata.unreferenced(before, PAGE).await?;
        let mut dropped = 0;
        for blob in &loose {
            if drop_one(store, &blob.digest).await? {
                dropped += 1;
                let counter = &store.0.evicted.unreferenced;
                counter.fetch_add(blob.size, Ordering::Relaxed);
            }
        }
        if dropped == 0 || loose.len() < PAGE {
            return Ok(());
        }
    }
}

/// Deletes a content that nothing links and nobody holds; whether it did.
async fn drop_one(store: &Store, digest: &Digest) -> Result<bool, Error> {
    let Some(_claim) = store.0.holds.claim(digest) else {
        return Ok(false);
    };
    let delete = Op::DeleteUnreferenced(digest.clone());
    store.0.metadata.commit(vec![delete]).await?;
    if store.0.raw_metadata.blob(digest).await?.is_some() {
        return Ok(false);
    }
    store.0.blobs.delete(digest).await
}

#[cfg(test)]
mod tests;
