//! One resource set or removed; the rest of the topology stays as it is.

use serde_json::Value;
use topology::{document::Document, edit};
use wire::api::resource::{Kind, Resource};

use super::{
    Current, Error,
    apply::unwritable,
    draft::{Draft, Next, Stamp},
};
use crate::state::NewEntry;

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
    let next = Some(next(current, document, entry, stamp)?);
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
    let next = Some(next(current, document, entry, stamp)?);
    answer.generation = stamp.generation;
    Ok(Draft { answer, next })
}

fn next(
    current: &Current,
    document: Document,
    entry: NewEntry,
    stamp: &Stamp,
) -> Result<Next, Error> {
    let topology = edit::check(&document).map_err(Error::Invalid)?;
    let text = edit::written(&document).ok_or_else(unwritable)?;
    Ok(Next {
        current: stamp.with_topology(current, text, document, topology),
        audit: vec![entry],
    })
}
