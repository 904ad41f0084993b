//! `nodes`: registries, their place in the tree, their addresses, network and storage.

use super::{Entries, Text, value::Word};
use crate::{
    place::At,
    read::section::{choice, section},
};

section! {
    /// A node: one named registry of the mesh.
    Node = "a node" {
        /// Where clients reach it: an http or https URL without a path.
        endpoint: Text = "endpoint", required;
        /// Where mesh peers reach it with their certificates, if TLS ends before it at `endpoint`.
        peer_endpoint: Text = "peerEndpoint";
        /// The node above it in the tree; none for a hub.
        parent: Text = "parent";
        /// Labels for selectors.
        labels: Entries<At<String>> = "labels";
        /// Address to bind; default: the endpoint's host and port for `regmesh up`, `0.0.0.0:5000` for `regmesh node`.
        listen: Text = "listen";
        /// Address of the operational listener; default: `127.0.0.1:0` under `up`, `127.0.0.1:5080` for `node`.
        admin: Text = "admin";
        /// Certificate and key files, read again when they change.
        tls: Option<Tls> = "tls";
        /// Who may connect.
        network: Option<Network> = "network";
        /// Where and how it stores.
        storage: Option<Storage> = "storage";
        /// A registry host served at the root of this node, for dockerd's registry-mirrors.
        default_namespace: Text = "defaultNamespace";
    }
}

section! {
    /// A server certificate and its key.
    Tls = "`tls`" {
        /// PEM file of the certificate chain.
        cert: Text = "cert", required;
        /// PEM file of the private key.
        key: Text = "key", required;
    }
}

section! {
    /// Who may connect to a node, by address.
    Network = "`network`" {
        /// Everybody (`public`, the default), the networks in `allow` (`selected`), or loopback and mesh peers (`private`).
        access: Option<At<NetworkAccess>> = "access";
        /// Networks (CIDR) let in under `selected`.
        allow: Vec<At<String>> = "allow";
        /// Networks (CIDR) of proxies whose `X-Forwarded-For` counts.
        trusted_proxies: Vec<At<String>> = "trustedProxies";
        /// Whether mesh nodes that prove themselves by their certificate pass whatever their address; default: only under `public`.
        trust_mesh_peers: Option<At<bool>> = "trustMeshPeers";
    }
}

choice! {
    /// The three network policies.
    NetworkAccess {
        /// Everybody.
        Public = "public",
        /// The networks in `allow`.
        Selected = "selected",
        /// Loopback and mesh peers.
        Private = "private",
    }
}

section! {
    /// Where and how a node stores.
    Storage = "`storage`" {
        /// Directory, if not the one below the data directory.
        path: Text = "path";
        /// How much it may hold, for example `500GiB`; default: what the disk has.
        max_size: Option<At<Word>> = "maxSize";
        /// Within what time everything stored is hashed again; default `7d`.
        scrub: Option<At<Word>> = "scrub";
        /// `on` (default) or `off`: `off` stops all deletion.
        gc: Option<At<Word>> = "gc";
        /// `s3://…`, `az://…` or `gs://…` for blobs shared by replicas.
        blobs: Text = "blobs";
        /// `postgres://…` for metadata shared by replicas.
        metadata: Text = "metadata";
    }
}
