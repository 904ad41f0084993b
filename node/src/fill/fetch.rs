//! A blob's bytes from an upstream, from some offset on, through breaks.
//!
//! Used by the fill itself, by reads far ahead of its front and by readers that go on without storing, so that all of them
//! continue a broken transfer in the same way. Yields exactly the bytes asked for or an error; hashing is the caller's.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream::BoxStream};
use wire::{digest::Digest, repository::RepositoryName};

use super::{
    Error, Shared,
    observe::observe,
    resume::{self, Policy, Step},
};
use crate::{
    request::Request,
    rule::ActiveRule,
    upstream::{self, BlobBody, BlobRange},
};

/// Where a content comes from and on whose behalf.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) active: Arc<ActiveRule>,
    pub(super) source: RepositoryName,
    pub(super) digest: Digest,
    pub(super) request: Request,
}

/// A transfer under way.
pub(super) struct Fetch {
    shared: Arc<Shared>,
    origin: Origin,
    stream: Option<BoxStream<'static, Result<Bytes, upstream::Error>>>,
    /// Bytes that were taken out and given back.
    unread: VecDeque<Bytes>,
    cache_status: Option<String>,
    size: u64,
    /// The offset of the next byte from the upstream that is yielded.
    at: u64,
    /// Where it ends, exclusive.
    end: u64,
    /// How many bytes of the stream come before `at`.
    skip: u64,
    resumed: u32,
}

impl Fetch {
    /// Asks for the bytes from `start` to `end` (exclusive; `None` for all that follow). A size other than `known` is refused.
    pub(super) async fn open(
        shared: &Arc<Shared>,
        origin: &Origin,
        known: Option<u64>,
        start: u64,
        end: Option<u64>,
    ) -> Result<Self, Error> {
        let body = ask(shared, origin, start, end).await?;
        let skip = resume::skip(start, body.offset, body.size, known)?;
        Ok(Self {
            shared: Arc::clone(shared),
            origin: origin.clone(),
            stream: Some(body.stream),
            unread: VecDeque::new(),
            cache_status: body.cache_status,
            size: body.size,
            at: start,
            end: end.unwrap_or(body.size).min(body.size),
            skip,
            resumed: 0,
        })
    }

    /// The size of the whole blob.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The upstream's `Cache-Status`.
    pub(super) fn cache_status(&self) -> Option<String> {
        self.cache_status.clone()
    }

    /// Gives bytes back that were taken last, to be yielded again.
    pub(super) fn put_back(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        self.unread.extend(pieces);
    }

    /// The next bytes; `None` when all were yielded. When dropped half-way, the next call goes on.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(piece) = self.unread.pop_front() {
            return Ok(Some(piece));
        }
        while self.at < self.end {
            let item = match self.stream.as_mut() {
                Some(stream) => stream.next().await,
                None => None,
            };
            match item {
                Some(Ok(bytes)) => {
                    if let Some(piece) = self.take(bytes)? {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => self.resume(error).await?,
                None => {
                    self.resume(upstream::Error::broken("the body ended early"))
                        .await?
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<Option<Bytes>, Error> {
        let skip = self.skip.min(bytes.len() as u64);
        self.skip -= skip;
        bytes.advance(usize::try_from(skip).unwrap_or(usize::MAX));
        let left = self.end - self.at;
        if bytes.len() as u64 > left {
            if self.end == self.size {
                return Err(Error::Size {
                    expected: self.size,
                    got: self.at.saturating_add(bytes.len() as u64),
                });
            }
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.at += bytes.len() as u64;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    async fn resume(&mut self, mut error: upstream::Error) -> Result<(), Error> {
        self.stream = None;
        let policy = Policy {
            resumes: self.shared.config.resumes,
            backoff: self.shared.config.backoff,
        };
        loop {
            let Step::Continue { after } =
                resume::after(&error, self.resumed, policy, rand::random())
            else {
                return Err(error.into());
            };
            self.resumed += 1;
            tracing::info!(digest = %self.origin.digest, at = self.at, %error, "a transfer broke and is continued");
            self.shared.clock.sleep(after).await;
            let end = Some(self.end).filter(|end| *end < self.size);
            match ask(&self.shared, &self.origin, self.at, end).await {
                Ok(body) => {
                    self.skip = resume::skip(self.at, body.offset, body.size, Some(self.size))?;
                    self.stream = Some(body.stream);
                    return Ok(());
                }
                Err(again) => error = again,
            }
        }
    }
}

async fn ask(
    shared: &Shared,
    origin: &Origin,
    start: u64,
    end: Option<u64>,
) -> Result<BlobBody, upstream::Error> {
    let whole = start == 0 && end.is_none();
    let range = (!whole).then(|| BlobRange {
        start,
        end: end.map(|end| end.saturating_sub(1)),
    });
    let answer = origin
        .active
        .upstream
        .get_blob(&origin.source, &origin.digest, range, &origin.request)
        .await;
    observe(&origin.active, &answer, &shared.clock);
    answer
}
