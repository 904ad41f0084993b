//! Blobs: their size, and their bytes from where they are wanted.
//!
//! A 206 is believed only when its `Content-Range` is the answer to the range asked for; a 200 to a range begins at 0 and says so.
//! The size of the whole is always known before the first byte: from the answer, else by asking for it. A registry that tells it
//! nowhere cannot be streamed from, because nobody would notice a body that ends early. Source: `reference/faults.md` 8.1, rule 30.

use http::{Method, header};
use tokio::time::Instant;
use wire::{
    digest::Digest,
    range::{ContentRange, Span},
    repository::RepositoryName,
    route::{ContentVerb, Route},
};

use super::{Remote, answer::Answer, body, manifest::refuse_encoding, send::Ask};
use crate::{
    request::Request,
    upstream::{BlobBody, BlobHead, BlobRange, Error},
};

pub(super) async fn head(
    remote: &Remote,
    repository: &RepositoryName,
    digest: &Digest,
    until: Option<Instant>,
    request: &Request,
) -> Result<BlobHead, Error> {
    let repository = remote.config.profile.repository(repository);
    let answer = remote
        .send(&Ask {
            until,
            ..ask(Method::HEAD, &repository, digest, None, request)
        })
        .await?;
    match answer.status().as_u16() {
        200 => {
            refuse_what_is_no_blob(&answer)?;
            match length(&answer) {
                Some(size) => Ok(told(size, &answer)),
                None => by_first_byte(remote, &repository, digest, until, request).await,
            }
        }
        405 | 501 => by_first_byte(remote, &repository, digest, until, request).await,
        _ => Err(remote.refusal(answer).await),
    }
}

pub(super) async fn get(
    remote: &Remote,
    repository: &RepositoryName,
    digest: &Digest,
    range: Option<BlobRange>,
    request: &Request,
) -> Result<BlobBody, Error> {
    let source = remote.config.profile.repository(repository);
    let answer = remote
        .send(&ask(Method::GET, &source, digest, range, request))
        .await?;
    let (offset, expected, size) = match (answer.status().as_u16(), range) {
        (200, _) => {
            refuse_what_is_no_blob(&answer)?;
            let size = match length(&answer) {
                Some(size) => size,
                None => head(remote, repository, digest, None, request).await?.size,
            };
            (0, size, size)
        }
        (206, Some(range)) => {
            refuse_what_is_no_blob(&answer)?;
            let (span, size) = part(&answer, range)?;
            let size = match size {
                Some(size) => size,
                None => head(remote, repository, digest, None, request).await?.size,
            };
            check_end(span, size, range)?;
            (span.first, span.length(), size)
        }
        (206, None) => return Err(Error::wrong("206, though no range was asked for")),
        _ => return Err(remote.refusal(answer).await),
    };
    Ok(BlobBody {
        size,
        offset,
        cache_status: answer.cache_status(),
        stream: body::exactly(remote, answer.response, expected),
    })
}

/// The size by a GET of the first byte: of a registry that has no HEAD, or whose HEAD says no length.
async fn by_first_byte(
    remote: &Remote,
    repository: &RepositoryName,
    digest: &Digest,
    until: Option<Instant>,
    request: &Request,
) -> Result<BlobHead, Error> {
    let range = BlobRange {
        start: 0,
        end: Some(0),
    };
    let answer = remote
        .send(&Ask {
            until,
            ..ask(Method::GET, repository, digest, Some(range), request)
        })
        .await?;
    let size = match answer.status().as_u16() {
        200 => length(&answer),
        206 => part(&answer, range)?.1,
        // Of an empty blob no first byte can be had.
        416 => unsatisfied(&answer).filter(|size| *size == 0),
        _ => return Err(remote.refusal(answer).await),
    };
    let wrong = || Error::wrong("the upstream does not say how large the blob is");
    size.map(|size| told(size, &answer)).ok_or_else(wrong)
}

fn told(size: u64, answer: &Answer) -> BlobHead {
    BlobHead {
        size,
        cache_status: answer.cache_status(),
    }
}

fn ask<'a>(
    method: Method,
    repository: &'a RepositoryName,
    digest: &Digest,
    range: Option<BlobRange>,
    request: &'a Request,
) -> Ask<'a> {
    let route = Route::Blob {
        repository: repository.clone(),
        digest: digest.clone(),
        verb: ContentVerb::Get,
    };
    Ask {
        method,
        target: route.path_and_query(),
        repository,
        accept: "*/*",
        range,
        until: None,
        request,
    }
}

fn refuse_what_is_no_blob(answer: &Answer) -> Result<(), Error> {
    refuse_encoding(answer)?;
    let content_type = answer.header(header::CONTENT_TYPE).unwrap_or_default();
    if wire::media_type::essence(content_type) == "text/html" {
        return Err(Error::wrong("a web page instead of a blob"));
    }
    Ok(())
}

fn length(answer: &Answer) -> Option<u64> {
    let text = answer.header(header::CONTENT_LENGTH)?.trim();
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn unsatisfied(answer: &Answer) -> Option<u64> {
    match answer.header(header::CONTENT_RANGE)?.parse() {
        Ok(ContentRange::Unsatisfied { length }) => Some(length),
        Ok(ContentRange::Part { .. }) | Err(_) => None,
    }
}

/// What a 206 holds, if it is the answer to `range`, and the size of the whole if it says so.
fn part(answer: &Answer, range: BlobRange) -> Result<(Span, Option<u64>), Error> {
    let stated = answer.header(header::CONTENT_RANGE).unwrap_or_default();
    matching(stated, length(answer), range).ok_or_else(|| {
        Error::wrong(format!(
            "206 with '{stated}', which is not the range asked for"
        ))
    })
}

/// Whether a `Content-Range` with this body length answers `range`: from its start, and never beyond its end.
fn matching(stated: &str, body: Option<u64>, range: BlobRange) -> Option<(Span, Option<u64>)> {
    let Ok(ContentRange::Part { span, length }) = stated.parse() else {
        return None;
    };
    let starts = span.first == range.start;
    let ends = range.end.is_none_or(|end| span.last <= end);
    let fits = body.is_none_or(|body| body == span.length());
    (starts && ends && fits).then_some((span, length))
}

/// A part has to reach to the end asked for, or to the blob's.
fn check_end(span: Span, size: u64, range: BlobRange) -> Result<(), Error> {
    let wanted = range.end.unwrap_or(u64::MAX).min(size.saturating_sub(1));
    if span.last == wanted {
        Ok(())
    } else {
        Err(Error::wrong("206 with less than the range asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_206_is_believed_only_as_the_answer_to_its_range() {
        let open = BlobRange {
            start: 4,
            end: None,
        };
        let closed = BlobRange {
            start: 4,
            end: Some(6),
        };
        let cases = [
            ("bytes 4-9/10", Some(6), open, true),
            ("bytes 4-9/*", None, open, true),
            ("bytes 4-6/10", Some(3), closed, true),
            ("bytes 4-5/10", Some(2), closed, true),
            ("bytes 4-9/10", Some(6), closed, false),
            ("bytes 0-9/10", Some(10), open, false),
            ("bytes 5-9/10", Some(5), open, false),
            ("bytes 4-9/10", Some(5), open, false),
            ("bytes 4-9/9", None, open, false),
            ("bytes */10", None, open, false),
            ("items 4-9/10", None, open, false),
            ("", None, open, false),
        ];
        for (stated, body, range, wanted) in cases {
            assert_eq!(matching(stated, body, range).is_some(), wanted, "{stated}");
        }
        let span = |last| Span::new(4, last).unwrap();
        assert!(check_end(span(9), 10, open).is_ok());
        assert!(check_end(span(8), 10, open).is_err());
        assert!(check_end(span(6), 10, closed).is_ok());
        assert!(check_end(span(5), 10, closed).is_err());
    }
}
