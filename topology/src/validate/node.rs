//! `nodes`: every value of every node, and that no two share an endpoint. Rules, access and webhooks are put in by later passes.

use std::collections::{BTreeMap, HashMap};

use wire::name::NodeName;

use super::{reference::Declared, value};
use crate::{
    document::{Document, node as written},
    model::{
        Endpoint, Network, Node,
        network::Access,
        node::{Storage, Tls},
    },
    place::{At, Place},
    problem::{Code, Finding, Findings},
};

/// What no node may be called: `regmesh up` keeps the control plane in a folder of that name beside the nodes' (`spec/operations.md`).
const CONTROL: &str = "control";

pub(super) fn all(
    document: &Document,
    declared: &Declared<'_>,
    findings: &mut Findings,
) -> BTreeMap<NodeName, Node> {
    let mut nodes = BTreeMap::new();
    let mut endpoints: HashMap<(String, u16), (NodeName, Place)> = HashMap::new();
    for (key, section) in &document.nodes {
        let name: Option<NodeName> = value::name(key, findings);
        let node = one(name.as_ref(), section, declared, findings);
        let Some(name) = name else { continue };
        if name.as_str() == CONTROL {
            let message =
                "a node cannot be named `control`: that is the control plane's own folder";
            let told = Finding::error(Code::InvalidName, key.place, message);
            findings.push(told.advice("give the node another name"));
        }
        if let Some(at) = section
            .endpoint
            .as_ref()
            .filter(|_| is_known(&node.endpoint))
        {
            let address = (node.endpoint.host.clone(), node.endpoint.port);
            if let Some((other, first)) = endpoints.get(&address) {
                let message = format!("`{name}` and `{other}` have the same endpoint");
                findings.push(
                    Finding::error(Code::DuplicateEndpoint, at.place, message)
                        .also(*first, format!("the endpoint of `{other}`"))
                        .advice("give each node a host or a port of its own"),
                );
            } else {
                endpoints.insert(address, (name.clone(), at.place));
            }
        }
        nodes.insert(name, node);
    }
    nodes
}

/// Whether an endpoint is more than the placeholder for one that did not parse.
pub(super) fn is_known(endpoint: &Endpoint) -> bool {
    !endpoint.host.is_empty()
}

fn one(
    name: Option<&NodeName>,
    section: &written::Node,
    declared: &Declared<'_>,
    findings: &mut Findings,
) -> Node {
    let endpoint = section.endpoint.as_ref();
    let nowhere = Endpoint {
        secure: true,
        host: String::new(),
        port: 0,
    };
    let placeholder = || "invalid".parse().expect("a legal node name");
    Node {
        name: name.cloned().unwrap_or_else(placeholder),
        endpoint: endpoint
            .and_then(|at| value::endpoint(at, findings))
            .unwrap_or(nowhere),
        peer_endpoint: section
            .peer_endpoint
            .as_ref()
            .and_then(|at| value::endpoint(at, findings)),
        parent: section
            .parent
            .as_ref()
            .and_then(|at| declared.node(at, findings)),
        labels: section
            .labels
            .iter()
            .map(|(label, value)| (label.value.clone(), value.value.clone()))
            .collect(),
        listen: value::socket(&section.listen, findings),
        admin: value::socket(&section.admin, findings),
        tls: section.tls.as_ref().and_then(|tls| {
            let (cert, key) = value::path(&tls.cert).zip(value::path(&tls.key))?;
            Some(Tls { cert, key })
        }),
        network: network(section.network.as_ref(), findings),
        storage: storage(section.storage.as_ref(), findings),
        default_namespace: section
            .default_namespace
            .as_ref()
            .and_then(|at| value::host(at, findings)),
        rules: Vec::new(),
        access: Vec::new(),
        webhooks: Vec::new(),
    }
}

fn network(section: Option<&written::Network>, findings: &mut Findings) -> Network {
    let Some(section) = section else {
        return Network {
            trust_mesh_peers: true,
            ..Network::default()
        };
    };
    let access = match section.access.map(|at| at.value) {
        None | Some(written::NetworkAccess::Public) => Access::Public,
        Some(written::NetworkAccess::Selected) => Access::Selected,
        Some(written::NetworkAccess::Private) => Access::Private,
    };
    let mut cidrs = |list: &[At<String>]| {
        list.iter()
            .filter_map(|at| value::cidr(at, findings))
            .collect()
    };
    Network {
        access,
        allow: cidrs(&section.allow),
        trusted_proxies: cidrs(&section.trusted_proxies),
        trust_mesh_peers: section
            .trust_mesh_peers
            .map_or(access == Access::Public, |at| at.value),
    }
}

fn storage(section: Option<&written::Storage>, findings: &mut Findings) -> Storage {
    let Some(section) = section else {
        return Storage::default();
    };
    let default = Storage::default();
    Storage {
        path: value::path(&section.path),
        max_size: section
            .max_size
            .as_ref()
            .and_then(|at| value::size(at, findings)),
        scrub: section
            .scrub
            .as_ref()
            .and_then(|at| value::duration(at, findings))
            .unwrap_or(default.scrub),
        gc: section.gc.as_ref().is_none_or(|at| switch(at, findings)),
        blobs: section
            .blobs
            .as_ref()
            .and_then(|at| value::url(at, &["s3", "az", "gs"], findings)),
        metadata: section
            .metadata
            .as_ref()
            .and_then(|at| value::url(at, &["postgres", "postgresql"], findings)),
    }
}

fn switch(at: &At<crate::document::value::Word>, findings: &mut Findings) -> bool {
    match at.value.0.as_str() {
        "on" | "true" => true,
        "off" | "false" => false,
        other => {
            let message = format!("`{other}` is neither on nor off");
            findings.push(
                Finding::error(Code::WrongType, at.place, message)
                    .advice("write `gc: on` or `gc: off`"),
            );
            true
        }
    }
}
