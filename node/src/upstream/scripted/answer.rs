//! The scripted registry's answers.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use wire::{
    digest::Digest, manifest, page::Page, range::Span, reference::Reference,
    repository::RepositoryName, time::WallTime,
};

use super::{Call, Scripted, State, Verb, lock};
use crate::{
    request::Request,
    upstream::{
        BlobBody, BlobHead, BlobRange, Error, ManifestBody, ManifestHead, Patience, Reach,
        Referrers, TagPage, Upstream,
    },
};

impl Scripted {
    /// Notes the call, waits at its gate, and fails if that is due.
    async fn arrive(&self, call: Call) -> Result<(), Error> {
        let verb = call.verb;
        let gate = {
            let mut state = self.lock();
            state.calls.push(call);
            state.gates.get(&verb).cloned()
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        self.lock().due(verb).map_or(Ok(()), Err)
    }

    /// The manifest with what its headers promise, and the bytes that really come.
    fn find(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestBody, Error> {
        let state = self.lock();
        let (digest, content) = state.content(repository, reference).ok_or_else(gone)?;
        let bytes = state.instead.get(&digest).unwrap_or(&content.bytes).clone();
        let head = ManifestHead {
            digest,
            media_type: content.media_type.clone(),
            size: content.bytes.len() as u64,
            age: state.age,
            cache_status: state.cache_status.clone(),
            warning: state.warning.clone(),
            body: None,
        };
        Ok(ManifestBody { head, bytes })
    }

    fn blob_bytes(&self, repository: &RepositoryName, digest: &Digest) -> Result<Bytes, Error> {
        let state = self.lock();
        let known = state.repositories.get(repository);
        let bytes = known.and_then(|r| r.blobs.get(digest)).ok_or_else(gone)?;
        Ok(state.instead.get(digest).unwrap_or(bytes).clone())
    }

    /// Where a transfer begins and ends.
    fn span(&self, range: Option<BlobRange>, size: u64) -> Result<(u64, u64), Error> {
        let Some(range) = range.filter(|_| !self.lock().ignores_ranges) else {
            return Ok((0, size));
        };
        let last = range.end.unwrap_or(u64::MAX).min(size.saturating_sub(1));
        let span = Span::new(range.start, last).filter(|_| range.start < size);
        let span = span.ok_or_else(|| Error::wrong("416: the range lies beyond the blob"))?;
        Ok((span.first, span.last + 1))
    }
}

fn gone() -> Error {
    Error::gone("the scripted upstream has no such thing")
}

/// A blob's transfer: what is left of it.
struct Transfer {
    state: Arc<Mutex<State>>,
    digest: Digest,
    bytes: Bytes,
    at: u64,
    end: u64,
}

impl Transfer {
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        if self.at >= self.end {
            return None;
        }
        let gate = {
            let state = lock(&self.state);
            let gate = state.blob_gates.get(&self.digest);
            gate.filter(|(offset, _)| *offset == self.at)
                .map(|(_, gate)| gate.clone())
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        let (stop, breaks) = lock(&self.state).next_stop(&self.digest, self.at, self.end);
        if breaks {
            self.end = self.at;
            return Some((Err(Error::broken("the script breaks here")), self));
        }
        let piece = self.bytes.slice(self.at as usize..stop as usize);
        self.at = stop;
        Some((Ok(piece), self))
    }
}

#[async_trait]
impl Upstream for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn token_ends(&self) -> Option<WallTime> {
        self.lock().token_ends
    }

    async fn reach(&self) -> Reach {
        let open = || Reach {
            at: format!("{}:443", self.name),
            status: Some(200),
            ..Reach::default()
        };
        self.lock().reach.clone().unwrap_or_else(open)
    }

    async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        patience: Patience,
        request: &Request,
    ) -> Result<ManifestHead, Error> {
        let mut call = Call::new(Verb::HeadManifest, repository, reference, request);
        call.patience = Some(patience);
        self.arrive(call).await?;
        if self.lock().tells_by_get {
            let body = self.get_manifest(repository, reference, request).await?;
            return Ok(ManifestHead {
                body: Some(body.bytes),
                ..body.head
            });
        }
        self.find(repository, reference).map(|body| body.head)
    }

    async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<ManifestBody, Error> {
        let call = Call::new(Verb::GetManifest, repository, reference, request);
        self.arrive(call).await?;
        let mut body = self.find(repository, reference)?;
        let computed = Digest::of(body.head.digest.algorithm(), &body.bytes);
        if computed != body.head.digest {
            let promised = &body.head.digest;
            return Err(Error::wrong(format!(
                "asked for {promised}, got {computed}"
            )));
        }
        body.head.size = body.bytes.len() as u64;
        Ok(body)
    }

    async fn head_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<BlobHead, Error> {
        let call = Call::new(Verb::HeadBlob, repository, digest, request);
        self.arrive(call).await?;
        let bytes = self.blob_bytes(repository, digest)?;
        Ok(BlobHead {
            size: bytes.len() as u64,
            cache_status: self.lock().cache_status.clone(),
        })
    }

    async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<BlobRange>,
        request: &Request,
    ) -> Result<BlobBody, Error> {
        let mut call = Call::new(Verb::GetBlob, repository, digest, request);
        call.range = range;
        self.arrive(call).await?;
        let bytes = self.blob_bytes(repository, digest)?;
        let size = bytes.len() as u64;
        let (at, end) = self.span(range, size)?;
        let transfer = Transfer {
            state: Arc::clone(&self.state),
            digest: digest.clone(),
            bytes,
            at,
            end,
        };
        let cache_status = self.lock().cache_status.clone();
        Ok(BlobBody {
            size,
            offset: at,
            cache_status,
            stream: stream::unfold(transfer, Transfer::next).boxed(),
        })
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &Page,
        patience: Patience,
        request: &Request,
    ) -> Result<TagPage, Error> {
        let mut call = Call::new(Verb::Tags, repository, "", request);
        call.patience = Some(patience);
        self.arrive(call).await?;
        let state = self.lock();
        let known = state.repositories.get(repository).ok_or_else(gone)?;
        let after = |tag: &&String| page.last.as_ref().is_none_or(|last| *tag > last);
        let rest: Vec<&String> = known.tags.keys().filter(after).collect();
        let tags: Vec<String> = rest
            .iter()
            .take(page.limit())
            .map(|t| (*t).clone())
            .collect();
        let more = rest.len() > tags.len();
        let next = tags.last().filter(|_| more).map(|last| page.after(last));
        let (cache_status, warning) = (state.cache_status.clone(), state.warning.clone());
        Ok(TagPage {
            tags,
            next,
            cache_status,
            warning,
        })
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        patience: Patience,
        request: &Request,
    ) -> Result<Referrers, Error> {
        let mut call = Call::new(Verb::Referrers, repository, subject, request);
        call.patience = Some(patience);
        self.arrive(call).await?;
        let state = self.lock();
        let known = state.repositories.get(repository);
        let index = known.and_then(|r| r.referrers.get(subject)).cloned();
        Ok(Referrers {
            index: index.unwrap_or_else(|| Bytes::from(manifest::referrers_index(&[]))),
            cache_status: state.cache_status.clone(),
            warning: state.warning.clone(),
        })
    }
}
