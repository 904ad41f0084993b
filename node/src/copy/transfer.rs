//! Brings one missing part of a closure here: a blob by a fill, a manifest by a shared GET. Content that is stored because of
//! another repository costs a HEAD.

use std::sync::Arc;

use runtime::telemetry::TraceContext;
use wire::{hops::Hops, reference::Reference, repository::RepositoryName};

use super::{Copies, describe::describe, record};
use crate::{
    fill::{self, ManifestWant, Want, keep, observe::observe},
    request::Request,
    rule::Covered,
    store::{
        self,
        metadata::{Child, ChildKind, ManifestRecord, record::RequestInfo},
    },
    upstream::{self, Patience, error::Kind},
};

/// Why a part did not come.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Error {
    #[error("{}: {}", .0.refusal, .0)]
    Upstream(upstream::Error),
    #[error("{0}")]
    Store(store::Error),
    /// There was no room for so many bytes.
    #[error("{}", store::Error::Full)]
    NoRoom(u64),
    /// The upstream sent something else than was asked for.
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    Other(String),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        match error.kind {
            Kind::Wrong => Self::Wrong(error.to_string()),
            Kind::Gone
            | Kind::Denied
            | Kind::Recalled
            | Kind::Away { .. }
            | Kind::Loop
            | Kind::Broken => Self::Upstream(error),
        }
    }
}

impl From<fill::Error> for Error {
    fn from(error: fill::Error) -> Self {
        match error {
            fill::Error::Upstream(error) => error.into(),
            fill::Error::Store(error) => Self::Store(error),
            wrong @ (fill::Error::Mismatch { .. } | fill::Error::Size { .. }) => {
                Self::Wrong(wrong.to_string())
            }
            other @ (fill::Error::Busy | fill::Error::Recalled(_) | fill::Error::Aborted) => {
                Self::Other(other.to_string())
            }
        }
    }
}

impl Error {
    fn is_gone(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.kind == Kind::Gone)
    }
}

/// For whom and from where parts come.
#[derive(Clone)]
pub(super) struct Errand {
    pub(super) repository: RepositoryName,
    pub(super) covered: Covered,
    pub(super) request: Request,
}

impl Errand {
    pub(super) fn new(
        repository: RepositoryName,
        covered: Covered,
        info: &RequestInfo,
        trace: TraceContext,
    ) -> Self {
        let request = Request {
            info: Arc::new(info.clone()),
            trace,
            hops: Hops::default(),
            no_cache: false,
            only_stored: false,
            began: None,
        };
        Self {
            repository,
            covered,
            request,
        }
    }
}

/// Brings `child` here; `false` when the upstream does not have it.
pub(super) async fn bring(copies: &Copies, errand: &Errand, child: &Child) -> Result<bool, Error> {
    let brought = match child.kind {
        ChildKind::Manifest => manifest(copies, errand, child).await,
        ChildKind::Config | ChildKind::Layer => blob(copies, errand, child).await,
    };
    match brought {
        Ok(()) => Ok(true),
        Err(error) if error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn blob(copies: &Copies, errand: &Errand, child: &Child) -> Result<(), Error> {
    room(copies, child).await?;
    let active = &errand.covered.active;
    let want = Want {
        digest: child.digest.clone(),
        size: Some(child.size),
        repository: errand.repository.clone(),
        source: errand.covered.source.clone(),
        active: Arc::clone(active),
        request: errand.request.clone(),
    };
    let fill = match copies.0.fills.begin(want) {
        Ok(joined) => joined.fill,
        Err(want) => {
            let answer = active
                .upstream
                .head_blob(&want.source, &want.digest, &want.request)
                .await;
            observe(active, &answer, &copies.0.clock);
            answer?;
            copies.0.fills.join(*want).fill
        }
    };
    match fill.stored().await {
        Err(fill::Error::Store(store::Error::Full)) => Err(Error::NoRoom(child.size)),
        stored => Ok(stored?),
    }
}

/// Makes room for a blob that is neither here nor on its way: the upstream is not asked for what could not be kept.
async fn room(copies: &Copies, child: &Child) -> Result<(), Error> {
    let store = &copies.0.store;
    let under_way = copies.0.fills.arrived(&child.digest).is_some();
    if under_way || store.blobs().size(&child.digest).await?.is_some() {
        return Ok(());
    }
    match store.make_room(child.size).await {
        Ok(room) => {
            room.give_back();
            Ok(())
        }
        Err(store::Error::Full) => Err(Error::NoRoom(child.size)),
        Err(error) => Err(error.into()),
    }
}

async fn manifest(copies: &Copies, errand: &Errand, child: &Child) -> Result<(), Error> {
    let store = &copies.0.store;
    let _hold = store.hold(&child.digest);
    let record = match stored(store, child).await? {
        Some(record) => {
            confirm(copies, errand, child).await?;
            record
        }
        None => fetch(copies, errand, child).await?,
    };
    let _gate = copies.gate(&errand.repository).await;
    let rule = &errand.covered.active.rule.name;
    let ops = record::manifest_ops(store, &errand.repository, rule, &record, copies.now()).await?;
    Ok(store.metadata().commit(ops).await?)
}

/// The manifest if it is stored, because of whatever repository.
async fn stored(
    store: &store::Store,
    child: &Child,
) -> Result<Option<Arc<ManifestRecord>>, store::Error> {
    let bytes = store.blobs().size(&child.digest).await?;
    if bytes.is_none() {
        return Ok(None);
    }
    store.metadata().manifest(&child.digest).await
}

/// Asks whether this rule's upstream has it, under this rule's identity.
async fn confirm(copies: &Copies, errand: &Errand, child: &Child) -> Result<(), upstream::Error> {
    let active = &errand.covered.active;
    let reference = Reference::Digest(child.digest.clone());
    let asked = active.upstream.head_manifest(
        &errand.covered.source,
        &reference,
        Patience::Long,
        &errand.request,
    );
    let answer = asked.await;
    observe(active, &answer, &copies.0.clock);
    answer.map(drop)
}

async fn fetch(
    copies: &Copies,
    errand: &Errand,
    child: &Child,
) -> Result<Arc<ManifestRecord>, Error> {
    let want = ManifestWant {
        digest: child.digest.clone(),
        source: errand.covered.source.clone(),
        active: Arc::clone(&errand.covered.active),
        request: errand.request.clone(),
    };
    let body = copies.0.fills.manifest(want).await?;
    let record = describe(&child.digest, &body.bytes, Some(&body.head.media_type));
    let record = record.map_err(|error| Error::Wrong(error.to_string()))?;
    keep::keep(&copies.0.store, &child.digest, body.bytes).await?;
    Ok(Arc::new(record))
}
