//! The task of one fill: adopt what is stored already, else fetch, write, verify, commit, link.
//!
//! It belongs to `Tasks`. Its end is told exactly once and to everybody, also when it panics or is aborted (by the drop of
//! its `Flight`); before an end is told the fill has left the table, and before that its stage is in a final state, so that
//! a successor never meets it half-way.

use std::sync::Arc;

use wire::digest::{Digest, Hasher};

use super::{
    Error, Fill, Opened, adopt,
    fetch::Fetch,
    leftover,
    link::{self, Fresh},
    resume, small,
    table::Flight,
    through::Tail,
    write::{self, Stop, Writer},
};
use crate::{
    store::{
        self, Reservation,
        blob::{Content, ReadAt, Stage, StageName},
    },
    upstream::error::Kind,
};

/// How a fill can end, as `regmesh_fills_total` has it.
pub const RESULTS: [&str; 6] = [
    "stored", "linked", "through", "mismatch", "failed", "aborted",
];

/// What ran well: its word in `regmesh_fills_total`.
pub(super) type Done = &'static str;

/// Runs `fill` to its end.
pub(super) async fn run(fill: Arc<Fill>, flight: Flight) {
    let shared = Arc::clone(&fill.shared);
    let _held = shared.store.hold(&fill.origin.digest);
    let result = Box::pin(attempt(&fill, &flight)).await;
    let word = match &result {
        Ok(done) => done,
        Err(Error::Aborted) => "aborted",
        Err(error) if error.is_mismatch() => "mismatch",
        Err(_) => "failed",
    };
    flight.leave();
    if let Err(error) = result {
        tracing::debug!(digest = %fill.origin.digest, %error, "a fill failed");
        fill.spool.fail(error);
    }
    (shared.config.hooks.ended)(&fill.origin.active.rule.name, word);
}

async fn attempt(fill: &Arc<Fill>, flight: &Flight) -> Result<Done, Error> {
    if adopt::adopt(fill, flight).await? {
        return Ok("linked");
    }
    let (start, fetch) = open(fill).await?;
    let store = &fill.shared.store;
    let reserved = room(fill, fetch.size().saturating_sub(start.have)).await;
    fill.spool.open(Opened {
        size: fetch.size(),
        cache_status: fetch.cache_status(),
        stores: reserved.is_ok() && !store.is_failing(),
        linked: false,
    });
    if fill.is_small(fetch.size()) {
        return small::fill(fill, flight, fetch, reserved).await;
    }
    large(fill, flight, start, fetch, reserved).await
}

/// Room for what is to come. Where there is none, leftovers of other fills go, then what is least recently used; nothing of the image
/// that this is a part of, which would have to be fetched again.
async fn room(fill: &Fill, bytes: u64) -> Result<Reservation, store::Error> {
    let (shared, store) = (&fill.shared, &fill.shared.store);
    match store.reserve(bytes) {
        Err(store::Error::Full) if store.can_hold(bytes) => {}
        reserved => return reserved,
    }
    let making = async {
        shared.leftovers.drop_all(store).await;
        let metadata = store.metadata();
        let parents = metadata.parents(&fill.repository, &fill.origin.digest);
        let parents = parents.await?;
        let _held: Vec<_> = parents.iter().map(|parent| store.hold(parent)).collect();
        store.make_room(bytes).await
    };
    let made = shared.clock.timeout(shared.config.disk_patience, making);
    made.await
        .unwrap_or_else(|_| Err(store::Error::failed("the disk does not answer")))
}

/// What is left of an earlier fill and will be used.
struct Start {
    stage: Option<Arc<dyn Stage>>,
    have: u64,
}

/// Opens the transfer behind what is left over. A leftover that the upstream's answer does not fit goes.
async fn open(fill: &Fill) -> Result<(Start, Fetch), Error> {
    let start = begin(fill).await;
    let opened = Fetch::open(&fill.shared, &fill.origin, fill.expected, start.have, None).await;
    let fits = |fetch: &Fetch| start.have == 0 || start.have < fetch.size();
    let refused = match &opened {
        Ok(fetch) => !fits(fetch),
        Err(Error::Upstream(error)) => start.have > 0 && error.kind == Kind::Wrong,
        Err(_) => false,
    };
    if refused {
        let name = StageName::Fill(fill.origin.digest.clone());
        leftover::discard(&fill.shared.store, &name).await;
        let fetch = Fetch::open(&fill.shared, &fill.origin, fill.expected, 0, None).await?;
        return Ok((
            Start {
                stage: None,
                have: 0,
            },
            fetch,
        ));
    }
    match opened {
        Ok(fetch) => Ok((start, fetch)),
        Err(error) => {
            let kept = start.have > 0
                && !error.is_mismatch()
                && fill
                    .shared
                    .leftovers
                    .keep(&fill.origin.digest, start.have + 1);
            if start.stage.is_some() && !kept {
                leftover::discard(
                    &fill.shared.store,
                    &StageName::Fill(fill.origin.digest.clone()),
                )
                .await;
            }
            Err(error)
        }
    }
}

async fn begin(fill: &Fill) -> Start {
    let none = Start {
        stage: None,
        have: 0,
    };
    let shared = &fill.shared;
    let found = shared.leftovers.found();
    let looked = shared.clock.timeout(shared.config.disk_patience, found);
    if looked.await.is_err() || shared.leftovers.take(&fill.origin.digest).is_none() {
        return none;
    }
    let Ok(stage) = stage(fill).await else {
        return none;
    };
    let length = leftover::length(&stage).await.unwrap_or(0);
    Start {
        stage: Some(stage),
        have: resume::usable(length, fill.expected, fill.shared.config.small),
    }
}

async fn stage(fill: &Fill) -> Result<Arc<dyn Stage>, store::Error> {
    let name = StageName::Fill(fill.origin.digest.clone());
    let opened = fill.shared.clock.timeout(
        fill.shared.config.disk_patience,
        fill.shared.store.blobs().stage(name),
    );
    opened
        .await
        .unwrap_or_else(|_| Err(store::Error::failed("the disk does not answer")))
}

/// Fills a blob that does not fit into memory.
async fn large(
    fill: &Arc<Fill>,
    flight: &Flight,
    start: Start,
    mut fetch: Fetch,
    reserved: Result<Reservation, store::Error>,
) -> Result<Done, Error> {
    let size = fetch.size();
    let hasher = Hasher::new(fill.origin.digest.algorithm());
    let (stage, _reserved) = match prepare(fill, start.stage, reserved).await {
        Ok(prepared) => prepared,
        // Behind a leftover that nobody has hashed the open transfer is of no use to a reader.
        Err(error) => {
            return Ok(through(
                fill,
                flight,
                error,
                hasher,
                Some(fetch).filter(|_| start.have == 0),
            )
            .await);
        }
    };
    let mut writer = Writer::new(&fill.shared, stage, hasher);
    fill.spool.attach(
        Content::File(Arc::clone(writer.stage()) as Arc<dyn ReadAt>, size),
        0,
    );
    let taken = writer
        .take_over(start.have, |front| fill.spool.advance(front))
        .await;
    if let Err(error) = taken {
        return Ok(through(fill, flight, error, writer.hasher(), None).await);
    }
    match write::pump(fill, &mut fetch, &mut writer).await {
        Ok(()) => {}
        Err(Stop::Upstream(error)) => return Err(broken(fill, &writer, start.have, error).await),
        Err(Stop::Store(error, unwritten)) => {
            fetch.put_back(unwritten);
            return Ok(through(fill, flight, error, writer.hasher(), Some(fetch)).await);
        }
    }
    let computed = writer.hasher().finish();
    if computed != fill.origin.digest {
        let error = Error::Mismatch {
            expected: fill.origin.digest.clone(),
            computed,
        };
        return Err(broken(fill, &writer, start.have, error).await);
    }
    fill.spool.verified();
    fill.shared.distrusted.clear(&fill.origin.digest);
    let stage = Arc::clone(writer.stage());
    let committed = fill
        .shared
        .store
        .blobs()
        .commit(stage, &fill.origin.digest, size)
        .await;
    Ok(finish(fill, flight, size, committed).await)
}

/// Room and a stage.
async fn prepare(
    fill: &Fill,
    stage_at_hand: Option<Arc<dyn Stage>>,
    reserved: Result<Reservation, store::Error>,
) -> Result<(Arc<dyn Stage>, Reservation), store::Error> {
    let reserved = reserved?;
    let stage = match stage_at_hand {
        Some(stage) => stage,
        None => stage(fill).await?,
    };
    Ok((stage, reserved))
}

/// Links verified bytes that were committed, or tells that they were not. Readers are served either way.
pub(super) async fn finish(
    fill: &Fill,
    flight: &Flight,
    size: u64,
    committed: Result<(), store::Error>,
) -> Done {
    let linked = match committed {
        Ok(()) => link::link(fill, flight, size, Fresh::Verified).await,
        Err(error) => Err(error),
    };
    match linked {
        Ok(()) => {
            fill.spool.stored();
            fill.origin.active.state.stored(fill.shared.now());
            fill.origin.active.state.counted(1, 0);
            "stored"
        }
        Err(error) => {
            failing(fill, "commit", size, &error);
            flight.leave();
            fill.spool.unstored(error);
            "through"
        }
    }
}

/// The store took no more: readers go on from the upstream, from where the store stopped.
async fn through(
    fill: &Fill,
    flight: &Flight,
    error: store::Error,
    hasher: Hasher,
    fetch: Option<Fetch>,
) -> Done {
    let size = fill.spool.follow().borrow().size().unwrap_or(0);
    failing(fill, "fill", size, &error);
    // The file is unlinked; who reads it has it open.
    leftover::discard(
        &fill.shared.store,
        &StageName::Fill(fill.origin.digest.clone()),
    )
    .await;
    flight.leave();
    fill.spool
        .through(Arc::new(Tail::new(hasher, fetch)), error);
    "through"
}

fn failing(fill: &Fill, op: &'static str, needs: u64, error: &store::Error) {
    let origin = &fill.origin;
    tracing::warn!(digest = %origin.digest, rule = %origin.active.rule.name, %error, "streamed through without storing");
    origin
        .active
        .state
        .store_failed(&error.to_string(), needs, fill.shared.now());
    let store = &fill.shared.store;
    // That it keeps to its limit is no failure of the store.
    if !(matches!(error, store::Error::Full) && store.exceeds_max_size(needs)) {
        store.report(op, error);
    }
}

/// What becomes of the spool of a transfer that did not end well: wrong bytes go at once, the rest is kept to be continued.
async fn broken(fill: &Fill, writer: &Writer, leftover: u64, error: Error) -> Error {
    let digest: &Digest = &fill.origin.digest;
    if error.is_mismatch() && leftover == 0 {
        fill.shared.mismatch(&fill.origin, &error);
    } else if error.is_mismatch() {
        tracing::warn!(%digest, %error, "what an earlier fill left over, or what followed it, was wrong");
    }
    let worth = !error.is_mismatch() && writer.front() > fill.shared.config.small;
    if !(worth && fill.shared.leftovers.keep(digest, writer.front())) {
        leftover::discard(&fill.shared.store, &StageName::Fill(digest.clone())).await;
    }
    error
}
