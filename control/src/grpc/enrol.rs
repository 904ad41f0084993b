//! Enrol and Renew: messages to and from `crate::enrol`.

use runtime::{Secret, listener::Peer};
use tonic::Status;
use wire::node_service::{EnrolRequest, Enrolment, RenewRequest, enrol_request::Proof};

use super::{Service, status};
use crate::enrol::{Enrolled, Refused};

pub(super) async fn enrol(service: &Service, request: EnrolRequest) -> Result<Enrolment, Status> {
    let (node, instance, csr) = (&request.node, &request.instance, &request.csr);
    let enrolled = match request.proof {
        Some(Proof::JoinToken(token)) => service.enrol.enrol(&token, node, instance, csr).await,
        Some(Proof::OidcToken(token)) => {
            let token = Secret::new(token);
            let enrolled = service.enrol.enrol_by_oidc(&token, node, instance, csr);
            enrolled.await
        }
        None => {
            return Err(status::refused(&Refused::Bad(
                "it shows no token".to_owned(),
            )));
        }
    };
    enrolled.map(message).map_err(|error| status::of(&error))
}

pub(super) async fn renew(
    service: &Service,
    peer: &Peer,
    request: RenewRequest,
) -> Result<Enrolment, Status> {
    let (chain, instance) = (&peer.certificates, &request.instance);
    let enrolled = service
        .enrol
        .renew(chain, instance, &request.csr, request.counter)
        .await;
    enrolled.map(message).map_err(|error| status::of(&error))
}

fn message(enrolled: Enrolled) -> Enrolment {
    Enrolment {
        mesh: enrolled.mesh.to_string(),
        node: enrolled.node.to_string(),
        chain: enrolled.chain.iter().map(|der| der.to_vec()).collect(),
        roots: enrolled.roots.iter().map(|der| der.to_vec()).collect(),
        not_after_ms: enrolled.ends.0,
        counter: enrolled.counter,
    }
}
