//! The demo's webhook receiver: keeps what it is told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use runtime::{listener, tasks::Tasks};

type Events = Arc<Mutex<Vec<serde_json::Value>>>;

/// A receiver on loopback.
pub(super) struct Hook {
    address: SocketAddr,
    events: Events,
}

impl Hook {
    /// Listens on any free port.
    pub(super) async fn start(tasks: &Tasks) -> anyhow::Result<Self> {
        let bound =
            listener::bind(listener::Config::new(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let (address, events) = (bound.local_addr(), Events::default());
        let kept = Arc::clone(&events);
        let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let kept = Arc::clone(&kept);
            async move {
                if let Ok(body) = request.into_body().collect().await
                    && let Ok(event) = serde_json::from_slice(&body.to_bytes())
                {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(event);
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        bound.serve(service, tasks);
        Ok(Self { address, events })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// What it has been told so far.
    pub(super) fn events(&self) -> Vec<serde_json::Value> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
