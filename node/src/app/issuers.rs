//! The OIDC issuers of a slice, as identity takes them.
//!
//! By hand, because identity and topology do not know each other. An issuer that stays the same from one slice to the next keeps its
//! keys and what was verified by them. Nothing is asked here: a node is ready, and stays ready, whatever its issuers do.

use std::sync::Arc;

use identity::{
    authenticate::oidc::{Declared, Issuers},
    keys::discovery::{Keys, Place},
};
use topology::model::{Issuer, IssuerKeys, Node, Topology};
use wire::name::IssuerName;

use super::Shared;

impl Shared {
    /// The issuers that a slice declares.
    pub(super) fn issuers(&self, topology: &Topology, own: &Node) -> Arc<Issuers> {
        let login_server = own.endpoint.login_server();
        let declared = topology.issuers.iter();
        let declared = declared.map(|(name, issuer)| declare(name, issuer, &login_server));
        let previous = self.issuers.load();
        let issuers = Arc::new(Issuers::new(declared, &self.around, Some(&previous)));
        self.issuers.store(Arc::clone(&issuers));
        self.around
            .keep_only(topology.issuers.keys().cloned().collect());
        issuers
    }
}

/// Without an audience of its own its tokens must be for this very node.
fn declare(name: &IssuerName, issuer: &Issuer, login_server: &str) -> Declared {
    let audiences = match issuer.audience.is_empty() {
        true => vec![login_server.to_owned()],
        false => issuer.audience.clone(),
    };
    let keys = issuer.keys.as_ref().map(|keys| match keys {
        IssuerKeys::Uri(uri) => Keys::Uri(uri.clone()),
        IssuerKeys::File(path) => Keys::File(path.clone()),
    });
    Declared {
        name: name.clone(),
        place: Place {
            url: issuer.url.clone(),
            keys,
            ca: issuer.ca.clone(),
            token: issuer.discovery_token.clone(),
        },
        audiences,
        client_id: issuer.client_id.clone(),
        algorithms: issuer.algorithms.clone(),
    }
}
