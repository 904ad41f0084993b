//! A node of the model as a node of the document.

use std::path::Path;

use super::{key, text};
use crate::{
    document::{self, node as written, value::Word},
    model::{
        Network, Node,
        network::Access,
        node::{Storage, Tls},
    },
    place::At,
    read::section::is_absent,
    value::{duration_text, size_text},
};

/// Everything about a node that stands under `nodes`.
pub(crate) fn node(node: &Node) -> document::Node {
    document::Node {
        parent: node.parent.as_ref().and_then(text),
        labels: node
            .labels
            .iter()
            .map(|(label, value)| (key(label), key(value)))
            .collect(),
        listen: node.listen.and_then(text),
        admin: node.admin.and_then(text),
        tls: node.tls.as_ref().map(tls),
        network: network(&node.network),
        storage: Some(storage(&node.storage)).filter(|storage| !is_absent(storage)),
        default_namespace: node.default_namespace.as_ref().and_then(text),
        ..bare(node)
    }
}

/// What others need to know of a node: where it is.
pub(crate) fn bare(node: &Node) -> document::Node {
    document::Node {
        endpoint: text(&node.endpoint),
        peer_endpoint: node.peer_endpoint.as_ref().and_then(text),
        ..document::Node::default()
    }
}

pub(crate) fn path(path: &Path) -> Option<At<String>> {
    text(path.display())
}

pub(crate) fn word(value: impl Into<String>) -> Option<At<Word>> {
    Some(At::made(Word(value.into())))
}

fn tls(tls: &Tls) -> written::Tls {
    written::Tls {
        cert: path(&tls.cert),
        key: path(&tls.key),
    }
}

fn network(network: &Network) -> Option<written::Network> {
    let access = match network.access {
        Access::Public => None,
        Access::Selected => Some(written::NetworkAccess::Selected),
        Access::Private => Some(written::NetworkAccess::Private),
    };
    let default = network.access == Access::Public;
    let trust = Some(network.trust_mesh_peers).filter(|trust| *trust != default);
    let section = written::Network {
        access: access.map(At::made),
        allow: network.allow.iter().map(key).collect(),
        trusted_proxies: network.trusted_proxies.iter().map(key).collect(),
        trust_mesh_peers: trust.map(At::made),
    };
    Some(section).filter(|section| !is_absent(section))
}

fn storage(storage: &Storage) -> written::Storage {
    let default = Storage::default();
    written::Storage {
        path: storage.path.as_deref().and_then(path),
        max_size: storage.max_size.and_then(|bytes| word(size_text(bytes))),
        scrub: Some(storage.scrub)
            .filter(|scrub| *scrub != default.scrub)
            .and_then(|scrub| word(duration_text(scrub))),
        gc: Some("off").filter(|_| !storage.gc).and_then(word),
        blobs: storage.blobs.as_ref().and_then(text),
        metadata: storage.metadata.as_ref().and_then(text),
    }
}
