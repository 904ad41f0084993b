//! From the upstream to the spool: receive into a bounded channel, write and hash in the blocking pool, publish the front.
//!
//! What has arrived is written together, up to 1 MiB at once; the first bytes are written alone, because somebody waits for
//! them. Bytes are hashed once, here, after they were written, so that the hash always stands at the front. A disk that fails
//! or hangs gives everything back that is not behind the front.

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use wire::digest::Hasher;

use super::{Error, Fill, Shared, fetch::Fetch};
use crate::store::{self, blob::Stage};

/// The most that is written at once.
const BATCH: usize = 1 << 20;
/// So much is not waited upon for more.
const ENOUGH: usize = 256 << 10;
/// How long less than that waits for more.
const PAUSE: Duration = Duration::from_millis(4);
/// The largest piece in the channel, and how many there may be.
const PIECE: usize = 64 << 10;
const PIECES: usize = 32;
/// Small pieces are written together through a buffer of this size.
const BUFFER: usize = 256 << 10;

/// The writing end of a spool.
pub(super) struct Writer {
    shared: Arc<Shared>,
    stage: Arc<dyn Stage>,
    hasher: Hasher,
}

/// Why a transfer did not reach its end.
pub(super) enum Stop {
    /// The upstream's side.
    Upstream(Error),
    /// The disk's side; these bytes came and are not written.
    Store(store::Error, Vec<Bytes>),
}

impl Writer {
    pub(super) fn new(shared: &Arc<Shared>, stage: Arc<dyn Stage>, hasher: Hasher) -> Self {
        Self {
            shared: Arc::clone(shared),
            stage,
            hasher,
        }
    }

    /// How far it is written, which is how far it is hashed.
    pub(super) fn front(&self) -> u64 {
        self.hasher.length()
    }

    /// The hash of everything up to the front.
    pub(super) fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    pub(super) fn stage(&self) -> &Arc<dyn Stage> {
        &self.stage
    }

    /// Cuts the stage to the `keep` bytes that it holds already, and hashes those.
    pub(super) async fn take_over(
        &mut self,
        keep: u64,
        mut advance: impl FnMut(u64),
    ) -> Result<(), store::Error> {
        self.blocking(move |stage, hasher| stage.truncate(keep).map(|()| hasher))
            .await?;
        while self.front() < keep {
            let count = (keep - self.front()).min(BATCH as u64);
            self.blocking(move |stage, mut hasher| {
                let bytes = store::blob::buffer::read_exact(
                    &*stage,
                    hasher.length(),
                    usize::try_from(count).map_err(io::Error::other)?,
                )?;
                hasher.update(&bytes);
                Ok(hasher)
            })
            .await?;
            advance(self.front());
        }
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Vec<Bytes>>) -> Result<(), store::Error> {
        self.blocking(move |stage, mut hasher| {
            write_all(&*stage, &batch, hasher.length())?;
            batch.iter().for_each(|piece| hasher.update(piece));
            Ok(hasher)
        })
        .await
    }

    /// One step on the disk, by the blocking pool. The hasher is replaced only when the step is done.
    async fn blocking<F>(&mut self, step: F) -> Result<(), store::Error>
    where
        F: FnOnce(Arc<dyn Stage>, Hasher) -> io::Result<Hasher> + Send + 'static,
    {
        let (stage, hasher) = (Arc::clone(&self.stage), self.hasher.clone());
        let limit = self.shared.writes.clone();
        let tasks = self.shared.tasks.clone();
        let work = async move {
            let permit = limit.acquire().await;
            let work = tasks.spawn_blocking("fill-write", move || {
                let _permit = permit;
                step(stage, hasher)
            });
            work.await
        };
        let done = self
            .shared
            .clock
            .timeout(self.shared.config.disk_patience, work)
            .await;
        let Ok(done) = done else {
            return Err(store::Error::failed("the disk does not answer"));
        };
        self.hasher = done.map_err(|_| store::Error::Closed)??;
        Ok(())
    }
}

/// Moves all bytes of `fetch` into the spool.
pub(super) async fn pump(fill: &Fill, fetch: &mut Fetch, writer: &mut Writer) -> Result<(), Stop> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let received = receive(fill, fetch, sender);
    let written = write(fill, writer, receiver);
    let (received, written) = tokio::join!(received, written);
    match (written, received) {
        (Ok(()), Ok(_)) => Ok(()),
        (Ok(()), Err(error)) => Err(Stop::Upstream(error)),
        (Err((error, mut unwritten)), received) => {
            unwritten.extend(received.unwrap_or_default());
            Err(Stop::Store(error, unwritten))
        }
    }
}

/// Sends pieces until the end; returns those that nobody took any more.
async fn receive(
    fill: &Fill,
    fetch: &mut Fetch,
    sender: mpsc::Sender<Bytes>,
) -> Result<Vec<Bytes>, Error> {
    let mut abandoned = std::pin::pin!(abandoned(fill));
    loop {
        let next = tokio::select! {
            biased;
            next = fetch.next() => next?,
            () = sender.closed() => return Ok(Vec::new()),
            () = &mut abandoned => return Err(Error::Aborted),
        };
        let Some(mut bytes) = next else {
            return Ok(Vec::new());
        };
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            if let Err(refused) = sender.send(piece).await {
                return Ok(vec![refused.0, bytes]
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .collect());
            }
        }
    }
}

/// Ends when the node is stopping and nobody reads.
fn abandoned(fill: &Fill) -> impl Future<Output = ()> + '_ {
    let token = fill.shared.tasks.token();
    async move {
        token.cancelled().await;
        while fill.spool.readers() > 0 {
            fill.shared.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn write(
    fill: &Fill,
    writer: &mut Writer,
    mut receiver: mpsc::Receiver<Bytes>,
) -> Result<(), (store::Error, Vec<Bytes>)> {
    let mut first = true;
    loop {
        let batch = gather(&fill.shared, &mut receiver, first).await;
        if batch.is_empty() {
            return Ok(());
        }
        first = false;
        let batch = Arc::new(batch);
        if let Err(error) = writer.write(Arc::clone(&batch)).await {
            receiver.close();
            let mut unwritten = batch.to_vec();
            while let Some(piece) = receiver.recv().await {
                unwritten.push(piece);
            }
            return Err((error, unwritten));
        }
        fill.spool.advance(writer.front());
    }
}

/// What is to be written next; nothing at the end.
async fn gather(shared: &Shared, receiver: &mut mpsc::Receiver<Bytes>, first: bool) -> Vec<Bytes> {
    let mut batch: Vec<Bytes> = receiver.recv().await.into_iter().collect();
    let mut size: usize = batch.iter().map(Bytes::len).sum();
    let until = shared.clock.now() + PAUSE;
    while !batch.is_empty() && size < BATCH {
        let piece = match receiver.try_recv() {
            Ok(piece) => Some(piece),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) if first || size >= ENOUGH => None,
            Err(mpsc::error::TryRecvError::Empty) => {
                let left = until.saturating_duration_since(shared.clock.now());
                shared
                    .clock
                    .timeout(left, receiver.recv())
                    .await
                    .ok()
                    .flatten()
            }
        };
        let Some(piece) = piece else { break };
        size += piece.len();
        batch.push(piece);
    }
    batch
}

/// Writes `batch` from `at` on: large pieces as they are, small ones together.
fn write_all(stage: &dyn Stage, batch: &[Bytes], at: u64) -> io::Result<()> {
    let (mut buffer, mut at) = (Vec::new(), at);
    for (index, piece) in batch.iter().enumerate() {
        let alone = buffer.is_empty() && (piece.len() >= PIECE || index + 1 == batch.len());
        if alone {
            stage.write_at(piece, at)?;
            at += piece.len() as u64;
            continue;
        }
        buffer.extend_from_slice(piece);
        if buffer.len() >= BUFFER || index + 1 == batch.len() {
            stage.write_at(&buffer, at)?;
            at += buffer.len() as u64;
            buffer.clear();
        }
    }
    Ok(())
}
