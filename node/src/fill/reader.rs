//! One reader of a fill: follows the front, by positioned reads in the blocking pool, one chunk ahead of its client.
//!
//! Memory is two chunks per reader, whatever the client's speed; nobody waits for a reader. Far ahead of the front, and where
//! storing stopped, it reads from the upstream by itself (`through.rs`).

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use runtime::limit::Permit;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Error, Fill,
    range::{self, Choice, Facts},
    spool::{Phase, State},
    through::{Direct, Tail},
};
use crate::store::{
    self,
    blob::{Content, ReadAt, buffer},
};

/// The largest chunk.
const CHUNK: u64 = 1 << 20;

/// The bytes of `range` of `fill`.
pub(super) fn stream(
    fill: Arc<Fill>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let reader = Reader {
        states: fill.spool.follow(),
        presence: Presence::new(fill),
        at: range.start,
        end: range.end,
        mode: Mode::New,
    };
    let items = stream::unfold(Some(reader), |reader: Option<Reader>| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    });
    items.boxed()
}

/// That somebody reads; without a reader, a stopping node need not go on.
struct Presence(Arc<Fill>);

impl Presence {
    fn new(fill: Arc<Fill>) -> Self {
        fill.spool.reader_came();
        Self(fill)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.spool.reader_left();
    }
}

struct Reader {
    presence: Presence,
    states: watch::Receiver<State>,
    at: u64,
    end: u64,
    mode: Mode,
}

enum Mode {
    New,
    Following {
        size: u64,
        ahead: Option<JoinHandle<io::Result<Bytes>>>,
    },
    Direct(Box<Direct>),
}

/// What can be done at a position now.
enum View {
    Read(Content, u64),
    Wait,
    Direct(Arc<Tail>, Option<Content>),
    End(Error),
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if matches!(self.mode, Mode::New) {
            self.begin().await?;
        }
        loop {
            let size = match &mut self.mode {
                Mode::Direct(direct) => return direct.next().await,
                Mode::New => return Err(Error::Aborted),
                Mode::Following { .. } if self.at >= self.end => return Ok(None),
                Mode::Following { size, ahead } => {
                    if let Some(read) = ahead.take() {
                        return self.finish(read.await).map(Some);
                    }
                    *size
                }
            };
            let view = self.view(size);
            match view {
                View::Read(Content::Memory(bytes), until) => {
                    return Ok(Some(self.slice(&bytes, until)));
                }
                View::Read(Content::File(file, _), until) => {
                    let permit = self.presence.0.shared.reads.acquire().await;
                    self.read(file, until, permit);
                }
                View::Wait => self.states.changed().await.map_err(|_| Error::Aborted)?,
                View::Direct(tail, content) => self.go_direct(&tail, content, size).await?,
                View::End(error) => return Err(error),
            }
        }
    }

    /// Waits for the size, of a small blob for its end, and decides where the bytes come from.
    async fn begin(&mut self) -> Result<(), Error> {
        let fill = &self.presence.0;
        let known = |state: &State| match state.phase {
            Phase::Growing => state.size().is_some_and(|size| !fill.is_small(size)),
            Phase::Verified
            | Phase::Stored
            | Phase::Unstored(_)
            | Phase::Through(..)
            | Phase::Failed(_) => true,
        };
        let state = self
            .states
            .wait_for(known)
            .await
            .map_err(|_| Error::Aborted)?
            .clone();
        let size = match (state.size(), state.phase.failure()) {
            (Some(size), None) => size,
            (Some(size), Some(_)) if !fill.is_small(size) => size,
            (_, error) => return Err(error.unwrap_or(Error::Aborted)),
        };
        self.end = self.end.min(size);
        let growing = matches!(state.phase, Phase::Growing);
        let facts = Facts {
            front: state.front,
            size,
            near: fill.shared.config.near,
            growing,
        };
        self.mode = match range::decide(self.at, self.end, facts) {
            Choice::Ahead { hold } if self.at < self.end => Mode::Direct(Box::new(
                Direct::ahead(fill, size, self.at..self.end, hold).await?,
            )),
            Choice::Ahead { .. } | Choice::Follow => Mode::Following { size, ahead: None },
        };
        Ok(())
    }

    fn view(&mut self, size: u64) -> View {
        let held_from = self.presence.0.held_from(size);
        let state = self.states.borrow_and_update();
        let until = state.readable(held_from).min(self.end);
        let wrong = matches!(&state.phase, Phase::Failed(error) if error.is_mismatch());
        match (&state.content, &state.phase) {
            (Some(content), _) if self.at < until && !wrong => View::Read(content.clone(), until),
            (content, Phase::Through(tail, _)) => View::Direct(Arc::clone(tail), content.clone()),
            (_, Phase::Growing) => View::Wait,
            (_, Phase::Failed(error)) => View::End(error.clone()),
            (_, Phase::Verified | Phase::Stored | Phase::Unstored(_)) => View::End(Error::Aborted),
        }
    }

    /// Takes a chunk that was read, and begins to read the next one if it is there.
    fn finish(
        &mut self,
        read: Result<io::Result<Bytes>, tokio::task::JoinError>,
    ) -> Result<Bytes, Error> {
        let bytes = read
            .map_err(|_| Error::Aborted)?
            .map_err(store::Error::from)?;
        self.at += bytes.len() as u64;
        let Mode::Following { size, .. } = self.mode else {
            return Ok(bytes);
        };
        if self.at < self.end
            && let View::Read(Content::File(file, _), until) = self.view(size)
            && let Some(permit) = self.presence.0.shared.reads.try_acquire()
        {
            self.read(file, until, permit);
        }
        Ok(bytes)
    }

    fn read(&mut self, file: Arc<dyn ReadAt>, until: u64, permit: Permit) {
        let at = self.at;
        let count = usize::try_from((until - at).min(CHUNK)).unwrap_or_default();
        let read = self
            .presence
            .0
            .shared
            .tasks
            .spawn_blocking("fill-read", move || {
                let _permit = permit;
                buffer::read_exact(&*file, at, count)
            });
        if let Mode::Following { ahead, .. } = &mut self.mode {
            *ahead = Some(read);
        }
    }

    fn slice(&mut self, bytes: &Bytes, until: u64) -> Bytes {
        let place = |offset: u64| {
            usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(bytes.len())
        };
        let piece = bytes.slice(place(self.at)..place(until));
        self.at = until;
        piece
    }

    /// Goes on where storing stopped. What the spool holds of the end is not lost: it waits for the digest with the rest.
    async fn go_direct(
        &mut self,
        tail: &Tail,
        content: Option<Content>,
        size: u64,
    ) -> Result<(), Error> {
        let fill = Arc::clone(&self.presence.0);
        let mut held = Bytes::new();
        if let Some(Content::File(file, _)) = content.filter(|_| self.at < tail.front()) {
            let (at, count) = (
                self.at,
                usize::try_from(tail.front() - self.at).unwrap_or(usize::MAX),
            );
            let read = fill
                .shared
                .tasks
                .spawn_blocking("fill-read", move || buffer::read_exact(&*file, at, count));
            held = read
                .await
                .map_err(|_| Error::Aborted)?
                .map_err(store::Error::from)?;
        }
        self.mode = Mode::Direct(Box::new(
            Direct::after(&fill, tail, size, self.at..self.end, held).await?,
        ));
        Ok(())
    }
}
