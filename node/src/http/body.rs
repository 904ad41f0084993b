//! Stored or growing bytes as a response body, cut short when it cannot be whole.
//!
//! Files are read by positioned reads of up to 1 MiB in the blocking pool, one chunk ahead of the client and no more: no
//! thread waits for a slow reader, and memory per reader is two chunks. The length is announced beforehand, so a body that
//! ends early is seen by every client as broken; nothing is ever appended. Measured in `reference/dependencies.md` 4.1.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::store::blob::{Content, ReadAt, buffer};

/// The size of a read.
const CHUNK: u64 = buffer::CHUNK as u64;

/// What a body counts as it is sent, and how it ends; told exactly once, when the body is dropped.
pub(super) trait Meter: Send + Sync + 'static {
    /// `sent` bytes went out of the `expected` ones.
    fn ended(&self, sent: u64, expected: u64);
}

/// The body of stored content in `range`. Small ones are read before the first byte leaves, so that a failing disk is still a
/// clean error. Beside it: how many bytes are sent with the headers, when nothing is left for the meter to count.
///
/// # Errors
/// When the first read fails or the file is shorter than it should be.
pub(super) async fn stored(
    content: Content,
    range: Range<u64>,
    meter: Arc<dyn Meter>,
) -> io::Result<(Body, Option<u64>)> {
    let (file, length) = match content {
        Content::Memory(bytes) => {
            let start = usize::try_from(range.start)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let end = usize::try_from(range.end)
                .unwrap_or(usize::MAX)
                .clamp(start, bytes.len());
            return Ok(whole(bytes.slice(start..end)));
        }
        Content::File(file, _) => (file, range.end.saturating_sub(range.start)),
    };
    let first = read(Arc::clone(&file), range.start, length.min(CHUNK))
        .await
        .map_err(io::Error::other)??;
    if first.len() as u64 == length {
        return Ok(whole(first));
    }
    let next = range.start + first.len() as u64;
    let ahead = Some(read(Arc::clone(&file), next, (range.end - next).min(CHUNK)));
    let source = Source::File(FileSource {
        file,
        next,
        end: range.end,
        ready: Some(first),
        ahead,
    });
    Ok((
        Body::new(Exact {
            source,
            left: length,
            expected: length,
            meter: Some(meter),
        }),
        None,
    ))
}

/// The body of a stream that should yield exactly `length` bytes.
pub(super) fn streamed<S, E>(stream: S, length: u64, meter: Arc<dyn Meter>) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let stream = stream.map(|item| item.map_err(io::Error::other)).boxed();
    Body::new(Exact {
        source: Source::Stream(stream),
        left: length,
        expected: length,
        meter: Some(meter),
    })
}

fn whole(bytes: Bytes) -> (Body, Option<u64>) {
    let sent = bytes.len() as u64;
    (Body::from(bytes), Some(sent))
}

fn read(file: Arc<dyn ReadAt>, offset: u64, length: u64) -> JoinHandle<io::Result<Bytes>> {
    tokio::task::spawn_blocking(move || {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        buffer::read_exact(&*file, offset, length)
    })
}

enum Source {
    File(FileSource),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

struct FileSource {
    file: Arc<dyn ReadAt>,
    next: u64,
    end: u64,
    ready: Option<Bytes>,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileSource {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(bytes) = self.ready.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let Some(ahead) = &mut self.ahead else {
            return Poll::Ready(None);
        };
        let done = ready!(Pin::new(ahead).poll(cx))
            .map_err(io::Error::other)
            .and_then(|read| read);
        self.ahead = None;
        if let Ok(bytes) = &done {
            self.next += bytes.len() as u64;
            if self.next < self.end {
                self.ahead = Some(read(
                    Arc::clone(&self.file),
                    self.next,
                    (self.end - self.next).min(CHUNK),
                ));
            }
        }
        Poll::Ready(Some(done))
    }
}

/// A body of an announced length: what its source yields beyond is an error, and so is less.
struct Exact {
    source: Source,
    left: u64,
    expected: u64,
    meter: Option<Arc<dyn Meter>>,
}

impl http_body::Body for Exact {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let item = match &mut self.source {
            Source::File(file) => ready!(file.poll(cx)),
            Source::Stream(stream) => ready!(stream.as_mut().poll_next(cx)),
        };
        Poll::Ready(match item {
            Some(Ok(bytes)) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Some(Ok(Frame::data(bytes)))
            }
            Some(Ok(_)) => Some(Err(io::Error::other("more bytes than announced"))),
            Some(Err(error)) => Some(Err(error)),
            None if self.left == 0 => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        if let Some(meter) = self.meter.take() {
            meter.ended(self.expected - self.left, self.expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    struct Short(u64);

    #[derive(Default)]
    struct Count(std::sync::Mutex<Vec<(u64, u64)>>);

    impl Meter for Count {
        fn ended(&self, sent: u64, expected: u64) {
            self.0.lock().expect("no panic").push((sent, expected));
        }
    }

    impl ReadAt for Short {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let n = self
                .0
                .saturating_sub(offset)
                .min(buffer.len() as u64)
                .min(700_000);
            buffer[..n as usize].fill(b'x');
            Ok(n as usize)
        }
    }

    #[tokio::test]
    async fn a_file_is_sent_in_its_range_and_no_further() {
        let file = Content::File(Arc::new(Short(5_000_000)), 5_000_000);
        let count = Arc::new(Count::default());
        let meter = Arc::clone(&count);
        let (body, sent) = stored(file, 1_000..4_000_000, meter)
            .await
            .expect("readable");
        assert_eq!(
            body.collect().await.expect("whole").to_bytes().len(),
            3_999_000
        );
        assert_eq!(
            (sent, count.0.lock().expect("no panic").as_slice()),
            (None, &[(3_999_000, 3_999_000)][..])
        );
    }

    #[tokio::test]
    async fn a_file_that_ends_early_breaks_the_body() {
        let file = Content::File(Arc::new(Short(2_000_000)), 5_000_000);
        let count = Arc::new(Count::default());
        let meter = Arc::clone(&count);
        let (body, _) = stored(file, 0..5_000_000, meter)
            .await
            .expect("the first chunk is there");
        assert!(body.collect().await.is_err());
        assert_eq!(
            count.0.lock().expect("no panic").len(),
            1,
            "its end is told once"
        );
    }

    #[tokio::test]
    async fn a_stream_with_less_or_more_than_announced_breaks_the_body() {
        for (yielded, announced, whole) in [(3, 3, true), (2, 3, false), (4, 3, false)] {
            let items = vec![Ok::<_, io::Error>(Bytes::from(vec![0; yielded]))];
            let body = streamed(stream::iter(items), announced, Arc::new(Count::default()));
            assert_eq!(
                body.collect().await.is_ok(),
                whole,
                "{yielded} of {announced}"
            );
        }
    }
}
