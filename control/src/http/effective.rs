//! Who may do what in a repository of a node, as its role assignments work out. Nobody is asked: it follows from the topology.

use std::sync::Arc;

use axum::response::Response;
use wire::api::{
    effective::Effective,
    problem::Problem,
    resource::{Kind, Resource},
};

use super::{
    Api,
    call::{Call, absent},
    json, resource, tagged,
};
use crate::effective;

/// `GET …/effective`
pub(super) async fn show(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let (name, repository) = (call.segment("name")?, call.needed("repository")?);
    let current = api.publisher.current();
    let found = current.topology.as_deref();
    let found = found.and_then(|topology| Some((topology, topology.node(&name)?)));
    let (topology, node) = found.ok_or_else(|| {
        absent(&format!(
            "there is no node '{name}' in the topology in force"
        ))
    })?;
    let generation = current.generation();
    let access = topology::edit::list(&current.document, Kind::Access).into_iter();
    let access = access.map(|(name, spec)| Resource {
        kind: Kind::Access,
        name,
        spec,
        generation,
    });
    let here: Vec<Resource> = access
        .filter(|assignment| resource::selects(assignment, node))
        .collect();
    let answer = Effective {
        holders: effective::holders(topology, &name, &here, &repository),
        node: name,
        repository,
        generation,
    };
    Ok(tagged(json(200, &answer), generation))
}
