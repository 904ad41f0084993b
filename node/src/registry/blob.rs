//! GET and HEAD of blobs: stored, on their way, or further up.
//!
//! What is stored and linked costs the upstream nothing. A GET of anything else is a fill: of what another repository has, stored or
//! on its way, one that is confirmed by one HEAD first, whoever waits for it; else without a HEAD before it. A HEAD is passed up and
//! stores nothing.

use wire::{
    cache_status::{Forward, Outcome as CacheOutcome},
    digest::Digest,
    range::{ByteRange, Part, Span},
    reference::Reference,
    repository::RepositoryName,
    route::ContentVerb,
};

use super::{
    BlobAnswer, BlobBody, Error, Outcome, Provenance, Registry,
    check::{CHAINS, Shared},
    place::{Place, Pull},
    remembered::Asked,
};
use crate::{
    fill::{self, Joined, Want},
    request::Request,
    rule::Covered,
    store::{self, blob::Content},
};

/// Up to this size nothing is answered before the digest is confirmed: then wrong bytes are a clean 502.
const VERIFIED_FIRST: u64 = 1 << 20;

/// A GET or a HEAD, of the whole or of a part.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    digest: &'a Digest,
    verb: ContentVerb,
    range: Option<ByteRange>,
}

impl Registry {
    /// A blob, or the part of it that `range` means.
    ///
    /// # Errors
    /// `BlobUnknown`, `NameUnknown`, `Recalled`, `RangeNotSatisfiable`, `Denied`, `Away`, `Wrong`, `Loop`, `Store`, `Overloaded`.
    pub async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        verb: ContentVerb,
        range: Option<ByteRange>,
        request: &Request,
    ) -> Result<BlobAnswer, Error> {
        self.not_recalled(digest)?;
        let wanted = Wanted {
            digest,
            verb,
            range,
        };
        match self.place(repository, request)? {
            Place::Local => {
                let found = self.found_blob(repository, digest).await?;
                let content = found.ok_or_else(|| blob_unknown(repository, digest));
                match content {
                    Ok(content) => wanted.stored(content, self.local()),
                    Err(unknown) => Err(self.unknown_name(repository).await.unwrap_or(unknown)),
                }
            }
            Place::Off(covered) => self.blob_while_off(&covered, repository, wanted).await,
            Place::Covered(covered) => {
                let pull = Pull {
                    covered: &covered,
                    repository,
                    request,
                };
                self.covered_blob(pull, wanted).await
            }
        }
    }

    async fn covered_blob(&self, pull: Pull<'_>, wanted: Wanted<'_>) -> Result<BlobAnswer, Error> {
        if let Some(content) = self
            .or_stream(self.found_blob(pull.repository, wanted.digest))
            .await
        {
            let provenance = self.provenance(pull.covered, Outcome::Hit, CacheOutcome::Hit);
            return wanted.stored(content, provenance);
        }
        if pull.request.only_stored {
            return Err(Error::Overloaded);
        }
        if wanted.verb == ContentVerb::Head {
            return self.head_blob(pull, wanted).await;
        }
        let mut left = CHAINS;
        loop {
            left = left.saturating_sub(1);
            let joined = self.fill(pull, wanted.digest).await?;
            let collapsed = joined.collapsed;
            match self.filling(pull, wanted, joined).await {
                // The chain of whoever began the fill went in a circle: see `share`.
                Err(Error::Loop { .. }) if collapsed && left > 0 => {}
                done => return done,
            }
        }
    }

    async fn found_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Content>, store::Error> {
        match self.linked(repository, digest).await? {
            Some(visible) => self.content(&visible).await,
            None => Ok(None),
        }
    }

    async fn head_blob(&self, pull: Pull<'_>, wanted: Wanted<'_>) -> Result<BlobAnswer, Error> {
        let Shared { answer, collapsed } = self.check_blob(pull, wanted.digest).await;
        let head = answer.map_err(|error| self.refuse_blob(pull, wanted.digest, &error))?;
        let mut provenance = self.forwarded(pull, filled(collapsed), Forward::Miss, collapsed);
        provenance.upstream_cache = head.cache_status;
        if let Some(cache) = &mut provenance.cache {
            cache.fwd_status = Some(200);
        }
        wanted.answer(head.size, BlobBody::None, provenance)
    }

    /// The fill of a blob, joined or started. That of another repository is joined only after this rule's upstream confirmed
    /// that it has the blob.
    async fn fill(&self, pull: Pull<'_>, digest: &Digest) -> Result<Joined, Error> {
        let reference = Reference::Digest(digest.clone());
        if let Some(absent) = self.absent(pull, &reference, Asked::GetBlob) {
            return Err(self.refuse_blob(pull, digest, &absent));
        }
        let want = Want {
            digest: digest.clone(),
            size: None,
            repository: pull.repository.clone(),
            source: pull.covered.source.clone(),
            active: std::sync::Arc::clone(&pull.covered.active),
            request: pull.request.clone(),
        };
        match self.inner.fills.begin(want) {
            Ok(joined) => Ok(joined),
            Err(want) => {
                let confirmed = self.check_blob(pull, digest).await.answer;
                confirmed.map_err(|error| self.refuse_blob(pull, digest, &error))?;
                Ok(self.inner.fills.join(*want))
            }
        }
    }

    async fn filling(
        &self,
        pull: Pull<'_>,
        wanted: Wanted<'_>,
        joined: Joined,
    ) -> Result<BlobAnswer, Error> {
        let Joined { fill, collapsed } = joined;
        let began = self.now();
        let opened = fill
            .opened()
            .await
            .map_err(|error| self.filled_badly(pull, wanted, error))?;
        if opened.linked
            && fill.stored().await.is_ok()
            && let Some(content) = self
                .or_stream(self.found_blob(pull.repository, wanted.digest))
                .await
        {
            let mut provenance = self.forwarded(pull, Outcome::Checked, Forward::Stale, collapsed);
            provenance.upstream_cache = opened.cache_status;
            if let Some(cache) = &mut provenance.cache {
                cache.fwd_status = Some(200);
                cache.stored = true;
            }
            return wanted.stored(content, provenance);
        }
        let mut stores = opened.stores;
        if opened.size <= VERIFIED_FIRST {
            match fill.verified().await {
                // Streamed through without storing: the reader itself verifies before it gives anything out.
                Ok(()) => {}
                Err(fill::Error::Store(_)) => stores = false,
                Err(error) => return Err(self.filled_badly(pull, wanted, error)),
            }
        }
        pull.covered.active.state.pulled(began);
        let mut provenance = self.forwarded(pull, filled(collapsed), Forward::Miss, collapsed);
        provenance.upstream_cache = opened.cache_status;
        if let Some(cache) = &mut provenance.cache {
            cache.fwd_status = Some(200);
            cache.stored = stores;
        }
        wanted.answer(opened.size, BlobBody::Filling(fill), provenance)
    }

    fn filled_badly(&self, pull: Pull<'_>, wanted: Wanted<'_>, error: fill::Error) -> Error {
        if let fill::Error::Upstream(error) = &error {
            let reference = Reference::Digest(wanted.digest.clone());
            self.heard(pull, &reference, Asked::GetBlob, Some(error));
        }
        self.refuse_fill(pull, wanted.digest, error)
    }

    async fn blob_while_off(
        &self,
        covered: &Covered,
        repository: &RepositoryName,
        wanted: Wanted<'_>,
    ) -> Result<BlobAnswer, Error> {
        let found = self.found_blob(repository, wanted.digest).await?;
        let content = found.ok_or_else(|| blob_unknown(repository, wanted.digest))?;
        let mut provenance = self.provenance(covered, Outcome::Hit, CacheOutcome::Hit);
        if let Some(cache) = &mut provenance.cache {
            cache.detail = Some("rule-disabled".to_owned());
        }
        wanted.stored(content, provenance)
    }
}

impl Wanted<'_> {
    fn stored(self, content: Content, provenance: Provenance) -> Result<BlobAnswer, Error> {
        let size = content.size();
        let body = match self.verb {
            ContentVerb::Get => BlobBody::Stored(content),
            ContentVerb::Head => BlobBody::None,
        };
        self.answer(size, body, provenance)
    }

    fn answer(
        self,
        size: u64,
        body: BlobBody,
        provenance: Provenance,
    ) -> Result<BlobAnswer, Error> {
        Ok(BlobAnswer {
            digest: self.digest.clone(),
            size,
            part: self.part(size)?,
            body,
            provenance,
        })
    }

    /// The part that is meant; a HEAD has none (RFC 9110 14.2).
    fn part(self, size: u64) -> Result<Option<Span>, Error> {
        match (self.verb, self.range) {
            (ContentVerb::Head, _) | (ContentVerb::Get, None) => Ok(None),
            (ContentVerb::Get, Some(range)) => match range.of(size) {
                Part::Bytes(span) => Ok(Some(span)),
                Part::Unsatisfiable => Err(Error::RangeNotSatisfiable { size }),
            },
        }
    }
}

fn filled(collapsed: bool) -> Outcome {
    if collapsed {
        Outcome::Collapsed
    } else {
        Outcome::Fill
    }
}

fn blob_unknown(repository: &RepositoryName, digest: &Digest) -> Error {
    Error::BlobUnknown {
        repository: repository.clone(),
        digest: digest.clone(),
        trouble: None,
    }
}
