//! The node service's rim: what nodes call, over TLS that asks for their certificates.
//!
//! Calls `enrol`, `distribute` and `issuer`; knows neither database nor topology. A certificate that has ended is let through the handshake, since
//! it may be renewed; each call decides what it is worth. The service is a tower service of our own listener, whose deadlines leave a
//! stream alone that beats.

use std::{io, net::SocketAddr, sync::Arc};

use identity::certificate::{At, verify};
use runtime::{Clock, listener, tls};
use tonic::{Request, Response, Status, Streaming};
use wire::{
    node_service::{
        EnrolRequest, Enrolment, FromNode, MAX_MESSAGE, RenewRequest, TokenRequest, Tokens,
        node_service_server::{NodeService, NodeServiceServer},
    },
    time::WallTime,
};

use crate::{
    ca::{Ca, Signer},
    distribute::Distribute,
    enrol::Enrol,
    issuer::Issuer,
};

mod connect;
mod enrol;
mod status;
#[cfg(test)]
pub(crate) mod test_node;
mod token;

/// What a node may send in one message: a report of a node with very many rules.
const MAX_RECEIVED: usize = 8 << 20;

/// Opens the node service's socket; it is not served yet, but has its address.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(
    addr: SocketAddr,
    ca: &Arc<Ca>,
    signer: &Signer,
    clock: &Clock,
) -> io::Result<listener::Bound> {
    let mut config = listener::Config::new(addr);
    config.clock = clock.clone();
    config.tls = Some(signer.live().server(Some(trust(ca, clock))));
    listener::bind(config).await
}

/// Certificates of the mesh, ended or not; others count as none.
fn trust(ca: &Arc<Ca>, clock: &Clock) -> tls::Trust {
    let (ca, clock) = (Arc::clone(ca), clock.clone());
    Arc::new(move |chain| verify(chain, &ca.roots(), At::Begun(WallTime(clock.wall_ms()))).is_ok())
}

/// The node service, for [`listener::Bound::serve`].
pub fn service(
    enrol: Arc<Enrol>,
    distribute: Distribute,
    issuer: Issuer,
    clock: Clock,
) -> NodeServiceServer<Service> {
    NodeServiceServer::new(Service {
        enrol,
        distribute,
        issuer,
        clock,
    })
    .max_decoding_message_size(MAX_RECEIVED)
    .max_encoding_message_size(MAX_MESSAGE)
}

/// The calls.
#[derive(Debug, Clone)]
pub struct Service {
    enrol: Arc<Enrol>,
    distribute: Distribute,
    issuer: Issuer,
    clock: Clock,
}

#[async_trait::async_trait]
impl NodeService for Service {
    type ConnectStream = connect::Outgoing;

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<Enrolment>, Status> {
        enrol::enrol(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Enrolment>, Status> {
        let peer = peer(&request)?;
        enrol::renew(self, &peer, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn token(&self, request: Request<TokenRequest>) -> Result<Response<Tokens>, Status> {
        let peer = peer(&request)?;
        token::token(self, &peer, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn connect(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = peer(&request)?;
        connect::connect(self, &peer, request.into_inner()).map(Response::new)
    }
}

fn peer<T>(request: &Request<T>) -> Result<listener::Peer, Status> {
    let peer = request.extensions().get::<listener::Peer>().cloned();
    peer.ok_or_else(|| Status::internal("the listener did not say who calls"))
}
