//! Server-sent events: a bounded channel between a task that knows what comes next and a client that may be slow.
//!
//! A line of comment now and then tells both ends that the other is there. A stream ends with the control plane, with its client, or when
//! its task has said everything; a client reconnects with the id it saw last.

use std::{fmt::Display, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use runtime::limit::Permit;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wire::api::problem::Problem;

use super::Api;

/// Events that wait for a slow client; then the task waits, too.
const WAITING: usize = 64;

/// The task's end of a stream.
pub(super) struct Stream {
    api: Arc<Api>,
    client: mpsc::Sender<Bytes>,
    _place: Permit,
}

/// The stream has no client any more, or the control plane ends.
#[derive(Debug)]
pub(super) struct Ended;

impl Stream {
    /// Opens a stream and lets `tell` write it.
    pub(super) fn open<F, Fut>(api: &Arc<Api>, tell: F) -> Result<Response, Problem>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Result<(), Ended>> + Send + 'static,
    {
        let place = api
            .streams
            .try_acquire()
            .ok_or_else(|| Problem::new(429, "too-often", "too many streams of events are open"))?;
        let (client, told) = mpsc::channel(WAITING);
        let telling = tell(Self {
            api: Arc::clone(api),
            client,
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
        self.client
            .send(Bytes::from(event))
            .await
            .map_err(|_| Ended)
    }

    /// Waits for `news`, with a sign of life as often as needed.
    pub(super) async fn wait<T>(&self, news: impl Future<Output = T>) -> Result<T, Ended> {
        let mut news = std::pin::pin!(news);
        loop {
            let beat = self.api.clock.sleep(self.api.settings.heartbeat);
            tokio::select! {
                biased;
                () = self.client.closed() => return Err(Ended),
                news = &mut news => return Ok(news),
                () = beat => self.alive().await?,
            }
        }
    }

    /// A comment that clients pass over.
    pub(super) async fn alive(&self) -> Result<(), Ended> {
        let line = Bytes::from_static(b": here\n\n");
        self.client.send(line).await.map_err(|_| Ended)
    }

    /// What it works with.
    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }
}
