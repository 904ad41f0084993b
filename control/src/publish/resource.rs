//! One resource set or removed; the rest of the topology stays as it is.

use serde_json::Value;
use topology::{document::Document, edit, model::Topology, problem::Problem};
use wire::api::resource::{Kind, Resource};

use super::{
    Current, Error,
    apply::unwritable,
    draft::{Draft, Next, Stamp},
};
use crate::state::NewEntry;

/// The problem of a rule whose identity may not read its source.
const NO_READ_ACCESS: &str = "no-read-access";

pub(super) fn put(
    current: &Current,
    kind: Kind,
    name: &str,
    spec: &Value,
    stamp: &Stamp,
) -> Result<Draft<Resource>, Error> {
    let known = edit::get(&current.document, kind, name).is_some();
    let draft = set(current, kind, name, spec, stamp)?;
    if !known && draft.answer.name != name {
        return Err(Error::Bad(format!(
            "the name of a role assignment is made of what it says: this one is {kind}/{}",
            draft.answer.name
        )));
    }
    Ok(draft)
}

pub(super) fn create(
    current: &Current,
    kind: Kind,
    name: Option<&str>,
    spec: &Value,
    stamp: &Stamp,
) -> Result<Draft<Resource>, Error> {
    let name = match (kind, name) {
        (Kind::Access, _) => "",
        (_, Some(name)) => name,
        (_, None) => return Err(Error::Bad("a name is needed".to_owned())),
    };
    if edit::get(&current.document, kind, name).is_some() {
        return Err(Error::Exists);
    }
    let draft = set(current, kind, name, spec, stamp)?;
    if draft.next.is_none() {
        return Err(Error::Exists);
    }
    Ok(draft)
}

pub(super) fn patch(
    current: &Current,
    kind: Kind,
    name: &str,
    merge: &Value,
    stamp: &Stamp,
) -> Result<Draft<Resource>, Error> {
    let mut spec = edit::get(&current.document, kind, name).ok_or(Error::NotFound)?;
    edit::merge(&mut spec, merge);
    set(current, kind, name, &spec, stamp)
}

pub(super) fn delete(
    current: &Current,
    kind: Kind,
    name: &str,
    stamp: &Stamp,
) -> Result<Draft<()>, Error> {
    let before = edit::get(&current.document, kind, name).ok_or(Error::NotFound)?;
    let mut document = Document::clone(&current.document);
    edit::remove(&mut document, kind, name);
    let entry = NewEntry {
        before: Some(before),
        ..stamp.entry("delete", format!("{kind}/{name}"))
    };
    let next = Some(next(current, kind, document, entry, stamp)?);
    Ok(Draft { answer: (), next })
}

fn set(
    current: &Current,
    kind: Kind,
    name: &str,
    spec: &Value,
    stamp: &Stamp,
) -> Result<Draft<Resource>, Error> {
    if current.topology.is_none() {
        let advice = "there is no topology yet: `regmesh apply` one first";
        return Err(Error::Bad(advice.to_owned()));
    }
    let mut document = Document::clone(&current.document);
    let before = edit::get(&document, kind, name);
    let name = edit::set(&mut document, kind, name, spec).map_err(Error::Invalid)?;
    let spec = edit::get(&document, kind, &name).ok_or(Error::NotFound)?;
    let mut answer = Resource {
        kind,
        name,
        spec,
        generation: current.generation(),
    };
    if document == *current.document {
        return Ok(Draft::nothing(answer));
    }
    let entry = NewEntry {
        before,
        after: Some(answer.spec.clone()),
        ..stamp.entry("put", format!("{kind}/{}", answer.name))
    };
    let next = Some(next(current, kind, document, entry, stamp)?);
    answer.generation = stamp.generation;
    Ok(Draft { answer, next })
}

fn next(
    current: &Current,
    kind: Kind,
    document: Document,
    entry: NewEntry,
    stamp: &Stamp,
) -> Result<Next, Error> {
    let topology = checked(current, kind, &document).map_err(Error::Invalid)?;
    let text = edit::written(&document).ok_or_else(unwritable)?;
    Ok(Next {
        current: stamp.with_topology(current, text, document, topology),
        audit: vec![entry],
    })
}

/// A right is taken away whoever needs it, for the way of a revocation must be open at all times; and what needs it and lacks it since
/// does not stand in the way of other changes. Nothing new may need what it has not.
fn checked(current: &Current, kind: Kind, document: &Document) -> Result<Topology, Vec<Problem>> {
    let problems = match edit::check(document) {
        Ok(topology) => return Ok(topology),
        Err(problems) => problems,
    };
    let before = edit::check(&current.document).err().unwrap_or_default();
    let known = |problem: &Problem| before.iter().any(|each| each.message == problem.message);
    let bearable = problems
        .iter()
        .filter(|problem| problem.is_error())
        .all(|problem| problem.code == NO_READ_ACCESS && (kind == Kind::Access || known(problem)));
    if !bearable {
        return Err(problems);
    }
    edit::check_revoked(document)
}
