//! Bodies as they arrive: whole within a bound, or as a stream that knows how long it has to be.
//!
//! A body that has no length of its own and ends early looks complete to HTTP; only the length that we know finds it
//! (`reference/faults.md` 8.1).

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream, stream::BoxStream};
use reqwest::Response;
use runtime::Clock;

use super::{Remote, seconds};
use crate::upstream::{Error, Patience, observer::Observer};

/// Reads all of a body, at most `limit` bytes. Somebody waits for it to its end, so silence may last no longer than until
/// the answer itself.
pub(super) async fn whole(
    remote: &Remote,
    mut response: Response,
    limit: usize,
    patience: Patience,
) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    let deadlines = &remote.config.deadlines;
    let progress = deadlines.progress.min(match patience {
        Patience::Short => deadlines.short,
        Patience::Long => deadlines.long,
    });
    while let Some(piece) = piece(&remote.parts.clock, progress, &mut response).await? {
        if body.len() + piece.len() > limit {
            return Err(Error::wrong(format!(
                "the answer is longer than {limit} bytes"
            )));
        }
        body.extend_from_slice(&piece);
    }
    let observer = &remote.parts.observer;
    observer.received(&remote.config.name, body.len() as u64);
    Ok(body.freeze())
}

/// The beginning of a body, as far as it can be had: for what an upstream says about a refusal.
pub(super) async fn beginning(remote: &Remote, mut response: Response, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    let patience = remote.config.deadlines.progress.min(Duration::from_secs(5));
    while body.len() < limit {
        match piece(&remote.parts.clock, patience, &mut response).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(limit);
    body.freeze()
}

/// Streams a body that has to be exactly `expected` bytes long.
pub(super) fn exactly(
    remote: &Remote,
    response: Response,
    expected: u64,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let transfer = Transfer {
        response,
        left: Some(expected),
        clock: remote.parts.clock.clone(),
        progress: remote.config.deadlines.progress,
        name: remote.config.name.clone(),
        observer: Arc::clone(&remote.parts.observer),
    };
    stream::unfold(transfer, Transfer::next).boxed()
}

struct Transfer {
    response: Response,
    /// How many bytes are to come; `None` after the end.
    left: Option<u64>,
    clock: Clock,
    progress: Duration,
    name: String,
    observer: Arc<dyn Observer>,
}

impl Transfer {
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        let left = self.left.take()?;
        let piece = match piece(&self.clock, self.progress, &mut self.response).await {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error), self)),
        };
        let Some(piece) = piece else {
            let short = (left > 0).then(|| Error::broken(format!("{left} bytes are missing")));
            return short.map(|error| (Err(error), self));
        };
        let Some(left) = left.checked_sub(piece.len() as u64) else {
            let error = Error::wrong("more bytes than the size that was stated");
            return Some((Err(error), self));
        };
        self.observer.received(&self.name, piece.len() as u64);
        self.left = Some(left);
        Some((Ok(piece), self))
    }
}

async fn piece(
    clock: &Clock,
    progress: Duration,
    response: &mut Response,
) -> Result<Option<Bytes>, Error> {
    match clock.timeout(progress, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(Error::broken(format!(
            "the transfer broke off: {}",
            super::send::cause(&error.without_url())
        ))),
        Err(_) => Err(Error::broken(format!("no byte for {}", seconds(progress)))),
    }
}
