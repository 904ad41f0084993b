//! Server-sent events: a bounded channel between a task that knows what comes next and a client that may be slow.
//!
//! A line of comment now and then tells both ends that the other is there. A stream ends with the control plane, with its client, when
//! its task has said everything, and with the caller's right to it, which is asked about again before anything is said: with each
//! generation at once, else every few seconds. A client reconnects with the id it saw last.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use runtime::limit::Permit;
use serde::Serialize;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use wire::{api::problem::Problem, generation::Generation};

use super::{Api, call::Call, endpoint::Needs, serve};

/// Events that wait for a slow client; then the task waits, too.
const WAITING: usize = 64;
/// For how long a caller's right to a stream is believed while nothing is published: sessions end, and passwords change.
const BELIEVED: Duration = Duration::from_secs(5);

/// The task's end of a stream.
pub(super) struct Stream {
    api: Arc<Api>,
    client: mpsc::Sender<Bytes>,
    said: Mutex<Instant>,
    caller: Asked,
    _place: Permit,
}

/// By what a caller was let in, and when that was looked at.
struct Asked {
    headers: HeaderMap,
    needs: Needs,
    path: BTreeMap<String, String>,
    looked: Mutex<(Generation, Instant)>,
}

/// The stream has no client any more, or the control plane ends.
#[derive(Debug)]
pub(super) struct Ended;

impl Stream {
    /// Opens a stream for the caller and lets `tell` write it.
    pub(super) fn open<F, Fut>(api: &Arc<Api>, call: &Call, tell: F) -> Result<Response, Problem>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<(), Ended>> + Send + 'static,
    {
        let place = api
            .streams
            .try_acquire()
            .ok_or_else(|| Problem::new(429, "too-often", "too many streams of events are open"))?;
        let (client, told) = mpsc::channel(WAITING);
        // Looked at again before anything is said: the generation may have been another one when the caller was let in.
        let looked = Mutex::new((Generation(0), api.clock.now()));
        let telling = tell(Self {
            api: Arc::clone(api),
            client,
            said: Mutex::new(api.clock.now()),
            caller: Asked {
                headers: call.headers.clone(),
                needs: call.needs,
                path: call.path.clone(),
                looked,
            },
            _place: place,
        });
        let token = api.tasks.token();
        api.tasks.spawn("event-stream", async move {
            tokio::select! {
                _ = telling => {}
                () = token.cancelled() => {}
            }
        });
        let body =
            Body::from_stream(ReceiverStream::new(told).map(Ok::<_, std::convert::Infallible>));
        Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
    }

    /// Sends one event.
    pub(super) async fn event(&self, id: impl Display, data: &impl Serialize) -> Result<(), Ended> {
        let data = serde_json::to_string(data).expect("API objects are always JSON");
        let event = format!("id: {id}\ndata: {data}\n\n");
        self.say(Bytes::from(event)).await
    }

    async fn say(&self, text: Bytes) -> Result<(), Ended> {
        if !self.caller.may_hear(&self.api).await {
            return Err(Ended);
        }
        self.client.send(text).await.map_err(|_| Ended)?;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = self.api.clock.now();
        Ok(())
    }

    /// Waits for `news`, with a sign of life whenever nothing was said for so long: also when news keep coming that are nothing to this
    /// client.
    pub(super) async fn wait<T>(&self, news: impl Future<Output = T>) -> Result<T, Ended> {
        let mut news = std::pin::pin!(news);
        loop {
            let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let silent = self.api.clock.now().saturating_duration_since(said);
            let Some(left) = self
                .api
                .settings
                .heartbeat
                .checked_sub(silent)
                .filter(|left| !left.is_zero())
            else {
                self.alive().await?;
                continue;
            };
            tokio::select! {
                biased;
                () = self.client.closed() => return Err(Ended),
                news = &mut news => return Ok(news),
                () = self.api.clock.sleep(left) => {}
            }
        }
    }

    /// A comment that clients pass over.
    pub(super) async fn alive(&self) -> Result<(), Ended> {
        self.say(Bytes::from_static(b": here\n\n")).await
    }

    /// What it works with.
    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }
}

impl Asked {
    async fn may_hear(&self, api: &Api) -> bool {
        let (generation, now) = (api.publisher.current().generation(), api.clock.now());
        let (of, at) = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if of == generation && now.saturating_duration_since(at) < BELIEVED {
            return true;
        }
        if !serve::is_still_allowed(api, &self.headers, self.needs, &self.path).await {
            return false;
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = (generation, now);
        true
    }
}
