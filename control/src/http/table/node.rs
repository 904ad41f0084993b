//! The rows of one node: what it says when it is asked, and what is done to it.

use http::Method;
use wire::{
    api::{
        effective::Effective,
        inventory,
        mesh::{HistoryPoint, JoinToken, JoinTokenRequest, Published},
        status::NodeStatus,
    },
    assignment::Role,
    name::NodeName,
    reference::Reference,
    repository::RepositoryName,
};

use super::{CHANGE, READ};
use crate::http::{
    effective,
    endpoint::{Endpoint, Needs},
    node::{self, Draining},
};

/// The largest part of a list, where a node makes it.
const PAGE: u64 = 10_000;

pub(super) fn nodes() -> Vec<Endpoint> {
    let page = |endpoint: Endpoint| {
        endpoint
            .number("limit", PAGE, "Items at most; 0 for the node's own limit.")
            .query::<String>("after", "What comes after this one.")
    };
    let rows = vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/status",
            READ,
            "A node's status, asked now",
            node::status,
        )
        .gives::<NodeStatus>(200, "Its status."),
        Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/history",
            READ,
            "A node's counters over time",
            node::history,
        )
        .number("hours", 24 * 31, "How far back; 24 without.")
        .gives::<inventory::Listed<HistoryPoint>>(200, "Oldest first."),
        Endpoint::new(
            Method::POST,
            "/api/v1/nodes/{name}/join-token",
            Needs::OnNode(Role::NodeEnroller),
            "A token with which instances join as this node",
            node::join_token,
        )
        .takes::<JoinTokenRequest>()
        .gives::<JoinToken>(201, "The token, shown once."),
        Endpoint::new(
            Method::POST,
            "/api/v1/nodes/{name}/revoke",
            CHANGE,
            "End every certificate of a node",
            node::revoke,
        )
        .gives::<Published>(200, "The generation that brings it."),
        Endpoint::new(
            Method::POST,
            "/api/v1/nodes/{name}/drain",
            CHANGE,
            "Have a node finish what is under way and end",
            node::drain,
        )
        .gives::<Draining>(202, "It has begun."),
        page(Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/repositories",
            READ,
            "A node's repositories",
            node::repositories,
        ))
        .gives::<inventory::Listed<inventory::Repository>>(200, "In order."),
        page(Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/tags",
            READ,
            "The tags of a repository on a node",
            node::tags,
        ))
        .query::<RepositoryName>("repository", "Which.")
        .required()
        .gives::<inventory::Listed<inventory::Tag>>(200, "In order."),
        page(Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/manifests",
            READ,
            "The manifests of a repository on a node",
            node::manifests,
        ))
        .query::<RepositoryName>("repository", "Which.")
        .required()
        .gives::<inventory::Listed<inventory::Manifest>>(200, "In order."),
        of_reference(Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/manifest",
            READ,
            "One manifest on a node",
            node::manifest,
        ))
        .gives::<inventory::ManifestBody>(200, "With its bytes."),
        of_reference(Endpoint::new(
            Method::DELETE,
            "/api/v1/nodes/{name}/manifest",
            CHANGE,
            "Delete a tag or manifest from a node's storage",
            node::delete_manifest,
        ))
        .gives::<inventory::Deleted>(200, "What is gone."),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/nodes/{name}/repository",
            CHANGE,
            "Delete a repository from a node's storage",
            node::delete_repository,
        )
        .query::<RepositoryName>("repository", "Which.")
        .required()
        .gives::<inventory::Deleted>(200, "What is gone."),
        Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/effective",
            READ,
            "Who may read, write and delete in a repository of a node, and through which role assignment",
            effective::show,
        )
        .query::<RepositoryName>("repository", "Which.")
        .required()
        .gives::<Effective>(200, "In order of name, everybody first.")
        .tagged(),
        Endpoint::new(
            Method::GET,
            "/api/v1/nodes/{name}/holds",
            READ,
            "What a node holds of a reference",
            node::holds,
        )
        .query::<RepositoryName>(
            "repository",
            "Where; a digest is looked for in all without.",
        )
        .query::<Reference>("reference", "Tag or digest.")
        .required()
        .gives::<inventory::Holding>(200, "What is there."),
    ];
    rows.into_iter()
        .map(|row| row.segment::<NodeName>("name"))
        .collect()
}

fn of_reference(endpoint: Endpoint) -> Endpoint {
    endpoint
        .query::<RepositoryName>("repository", "Where.")
        .required()
        .query::<Reference>("reference", "Tag or digest.")
        .required()
}
