//! Connect: a stream is admitted by its certificate, then by its hello, and handed to `distribute`.
//!
//! The answer begins at once, so that a node may wait for it before it says hello; whoever says none in time is let go.

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use identity::certificate::Shown;
use runtime::listener::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::{
    name::NodeName,
    node_service::{FromNode, Hello, ToNode, from_node},
};

use super::{Service, status};
use crate::{distribute::link::Farewell, enrol::Refused};

/// What is sent to a node.
pub(super) type Outgoing = BoxStream<'static, Result<ToNode, Status>>;

/// Messages that were handed to a node's connection and not taken yet.
const UNREAD: usize = 4;
/// How long a stream may stay without its hello.
const HELLO: Duration = Duration::from_secs(10);

pub(super) fn connect(
    service: &Service,
    peer: &Peer,
    incoming: Streaming<FromNode>,
) -> Result<Outgoing, Status> {
    let admitted = service.enrol.admit(&peer.certificates);
    let admitted = admitted.map_err(|refused| status::refused(&refused))?;
    let (outgoing, answer) = mpsc::channel(UNREAD);
    let service = service.clone();
    let tasks = service.distribute.tasks();
    tasks.spawn("node-hello", async move {
        let mut incoming = incoming;
        match greet(&service, &admitted, &mut incoming).await {
            Ok(hello) => {
                // A connection that broke and one that was closed are the same to who listens: the node went.
                let incoming = tokio_stream::StreamExt::map_while(incoming, Result::ok);
                let distribute = service.distribute;
                distribute
                    .connect(admitted, hello, incoming.boxed(), outgoing)
                    .await;
            }
            // Who does not listen is not told.
            Err(farewell) => drop(outgoing.try_send(Err(farewell))),
        }
    });
    let said = ReceiverStream::new(answer)
        .map(|said: Result<_, Farewell>| said.map_err(|farewell| status::farewell(&farewell)));
    Ok(said.boxed())
}

async fn greet(
    service: &Service,
    (shown, node): &(Shown, NodeName),
    incoming: &mut Streaming<FromNode>,
) -> Result<Hello, Farewell> {
    let wrong = |what: &str| Farewell::Wrong(what.to_owned());
    let first = service.clock.timeout(HELLO, incoming.message()).await;
    let first = first.map_err(|_| Farewell::NoHello)?;
    let first = first.map_err(|_| Farewell::NoHello)?;
    let Some(from_node::Kind::Hello(hello)) = first.and_then(|message| message.kind) else {
        return Err(wrong("a stream begins with a hello"));
    };
    if shown.instance.as_deref() != Some(hello.instance.as_str()) {
        return Err(Farewell::Refused(Refused::OtherInstance(node.clone())));
    }
    if !matches!(hello.document_digest.len(), 0 | 32) {
        return Err(wrong("a document's digest is SHA-256"));
    }
    Ok(hello)
}
