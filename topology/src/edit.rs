//! One resource of a document read, set or removed by kind and name, from and to JSON.
//!
//! Problems must be readable though there is no file: each resource counts as a text of its own, named `KIND/NAME`, its JSON the
//! text. A resource that is set is read from there at once; `check` gives the others such places only when something is wrong, since
//! that costs more than the check. A role assignment has no name in a document: its name is made of what it says, and moves with it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use wire::{api::resource::Kind, digest::Digest};

use crate::{
    document::{Access, Document, Entries},
    model::Topology,
    place::Sources,
    problem::{Code, Findings, Problem},
    read::{Read, Reading},
    validate::{self, Scope},
    yaml::{self, Yaml},
};

/// What differs in one resource between two documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it said, if it was there.
    pub before: Option<Value>,
    /// What it says, if it is there.
    pub after: Option<Value>,
}

/// What the document says of one resource; `None` when it has no such resource.
#[must_use]
pub fn get(document: &Document, kind: Kind, name: &str) -> Option<Value> {
    section(document, kind).get(name)
}

/// Every resource of a kind with its name, in order of name.
#[must_use]
pub fn list(document: &Document, kind: Kind) -> BTreeMap<String, Value> {
    section(document, kind).all()
}

/// Makes the resource say `spec`, whether it was there or not, and returns its name: another than `name` for a role assignment that
/// says something else now. The document may be nonsense afterwards: `check` it.
///
/// # Errors
/// Every misfit of `spec`, at places in the text `KIND/NAME`; the document is as it was.
pub fn set(
    document: &mut Document,
    kind: Kind,
    name: &str,
    spec: &Value,
) -> Result<String, Vec<Problem>> {
    let section = section_mut(document, kind);
    let (file, text) = (title(kind, name), section.text(name, spec));
    let sources = Sources::new(&[(file, text)]);
    let mut findings = Findings::default();
    let set = sources
        .texts()
        .next()
        .and_then(|(file, text)| read_one(section, file, text, name, &mut findings));
    match set {
        Some(name) if !findings.has_errors() => Ok(name),
        _ => Err(findings.finish(&sources)),
    }
}

/// Takes the resource out; `false` when it was not there.
pub fn remove(document: &mut Document, kind: Kind, name: &str) -> bool {
    section_mut(document, kind).remove(name)
}

/// A JSON merge patch (RFC 7396) applied to `target`.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Checks an edited document as a whole mesh.
///
/// # Errors
/// Every problem, warnings too, at places in texts `KIND/NAME`; `topology` stands for what belongs to no resource.
pub fn check(document: &Document) -> Result<Topology, Vec<Problem>> {
    let mut findings = Findings::default();
    validate::validate(document, Scope::Mesh, &mut findings).ok_or_else(|| placed(document))
}

/// Checks an edited document of which a right may have been taken that a rule needs: the rule is refused by its upstream from then on,
/// which is what was wanted, and no reason to leave the right where it is.
///
/// # Errors
/// Every other problem, as those of [`check`].
pub fn check_revoked(document: &Document) -> Result<Topology, Vec<Problem>> {
    let mut findings = Findings::putting_up_with(Code::NoReadAccess);
    validate::validate(document, Scope::Mesh, &mut findings).ok_or_else(|| placed(document))
}

/// The document as YAML, once that has been read back as the same document; `None` when it cannot be written so (it is longer than
/// a text may be).
#[must_use]
pub fn written(document: &Document) -> Option<String> {
    let text = document.to_yaml().ok()?;
    let mut findings = Findings::default();
    let again = read_whole(0, &text, &mut findings)?;
    (again == *document && !findings.has_errors()).then_some(text)
}

/// Every resource in which `new` differs from `old`, by kind and name.
#[must_use]
pub fn differences(old: &Document, new: &Document) -> Vec<Difference> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let (mut before, after) = (list(old, kind), list(new, kind));
        let mut of_kind = Vec::new();
        for (name, after) in after {
            let before = before.remove(&name);
            if before.as_ref() != Some(&after) {
                of_kind.push((name, before, Some(after)));
            }
        }
        of_kind.extend(
            before
                .into_iter()
                .map(|(name, gone)| (name, Some(gone), None)),
        );
        of_kind.sort_by(|one, other| one.0.cmp(&other.0));
        found.extend(of_kind.into_iter().map(|(name, before, after)| Difference {
            kind,
            name,
            before,
            after,
        }));
    }
    found
}

/// JSON with keys in order and without spaces: the same value is the same text.
#[must_use]
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let entries: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// The name of a role assignment: the first 16 hex digits of the SHA-256 of its canonical JSON.
#[must_use]
pub fn access_name(access: &Access) -> String {
    let text = canonical(&json(access));
    let mut name = Digest::sha256(text.as_bytes()).hex().to_owned();
    name.truncate(16);
    name
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("documents are maps of text, which JSON can say")
}

fn title(kind: Kind, name: &str) -> String {
    match name {
        "" => kind.to_string(),
        name => format!("{kind}/{name}"),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Resources of one kind.
trait Section {
    fn get(&self, name: &str) -> Option<Value>;
    fn all(&self) -> BTreeMap<String, Value>;
    /// The text that `put` reads.
    fn text(&self, name: &str, spec: &Value) -> String;
    /// Reads the tree of `text` and keeps it in the place of `name`; `None` when it was reported, and then nothing changed.
    fn put(&mut self, name: &str, tree: &Yaml, reading: &mut Reading<'_>) -> Option<String>;
    fn remove(&mut self, name: &str) -> bool;
}

impl<T: Read + Serialize> Section for Entries<T> {
    fn get(&self, name: &str) -> Option<Value> {
        self.get(name).map(json)
    }

    fn all(&self) -> BTreeMap<String, Value> {
        self.iter()
            .map(|(name, entry)| (name.value.clone(), json(entry)))
            .collect()
    }

    fn text(&self, name: &str, spec: &Value) -> String {
        pretty(&serde_json::json!({ name: spec }))
    }

    fn put(&mut self, name: &str, tree: &Yaml, reading: &mut Reading<'_>) -> Option<String> {
        let (key, entry) = Self::read(tree, reading)?.pop_first()?;
        if reading.findings.has_errors() {
            return None;
        }
        Section::remove(self, name);
        self.insert(key, entry);
        Some(name.to_owned())
    }

    fn remove(&mut self, name: &str) -> bool {
        self.remove(name).is_some()
    }
}

impl Section for Vec<Access> {
    fn get(&self, name: &str) -> Option<Value> {
        self.iter()
            .find(|access| access_name(access) == name)
            .map(json)
    }

    fn all(&self) -> BTreeMap<String, Value> {
        self.iter()
            .map(|access| (access_name(access), json(access)))
            .collect()
    }

    fn text(&self, _: &str, spec: &Value) -> String {
        pretty(spec)
    }

    fn put(&mut self, name: &str, tree: &Yaml, reading: &mut Reading<'_>) -> Option<String> {
        let access = Access::read(tree, reading)?;
        if reading.findings.has_errors() {
            return None;
        }
        let now = access_name(&access);
        let at = |name: &str| self.iter().position(|other| access_name(other) == name);
        let place = at(name).or_else(|| at(&now));
        self.retain(|other| {
            let other = access_name(other);
            other != name && other != now
        });
        self.insert(place.unwrap_or(self.len()).min(self.len()), access);
        Some(now)
    }

    fn remove(&mut self, name: &str) -> bool {
        let before = self.len();
        self.retain(|access| access_name(access) != name);
        self.len() < before
    }
}

fn section(document: &Document, kind: Kind) -> &dyn Section {
    match kind {
        Kind::Nodes => &document.nodes,
        Kind::Identities => &document.identities,
        Kind::Credentials => &document.credentials,
        Kind::Rules => &document.rules,
        Kind::Issuers => &document.issuers,
        Kind::Accounts => &document.accounts,
        Kind::Access => &document.access,
        Kind::Upstreams => &document.upstreams,
        Kind::Webhooks => &document.webhooks,
    }
}

fn section_mut(document: &mut Document, kind: Kind) -> &mut dyn Section {
    match kind {
        Kind::Nodes => &mut document.nodes,
        Kind::Identities => &mut document.identities,
        Kind::Credentials => &mut document.credentials,
        Kind::Rules => &mut document.rules,
        Kind::Issuers => &mut document.issuers,
        Kind::Accounts => &mut document.accounts,
        Kind::Access => &mut document.access,
        Kind::Upstreams => &mut document.upstreams,
        Kind::Webhooks => &mut document.webhooks,
    }
}

fn read_one(
    section: &mut dyn Section,
    file: u32,
    text: &str,
    name: &str,
    findings: &mut Findings,
) -> Option<String> {
    let tree = yaml::parse(file, text, findings)?;
    let mut reading = Reading {
        findings,
        newer: None,
    };
    section.put(name, &tree, &mut reading)
}

/// The problems of a document, with places in texts made of its resources.
fn placed(document: &Document) -> Vec<Problem> {
    let head = Document {
        version: document.version,
        mesh: document.mesh.clone(),
        control: document.control.clone(),
        ..Document::default()
    };
    let mut of = vec![None];
    let mut files = vec![("topology".to_owned(), pretty(&json(&head)))];
    for kind in Kind::ALL {
        let section = section(document, kind);
        for (name, spec) in section.all() {
            files.push((title(kind, &name), section.text(&name, &spec)));
            of.push(Some((kind, name)));
        }
    }
    let sources = Sources::new(&files);
    let mut findings = Findings::default();
    let mut whole = Document::default();
    for ((file, text), of) in sources.texts().zip(of) {
        match of {
            None => {
                if let Some(read) = read_whole(file, text, &mut findings) {
                    whole = read;
                }
            }
            Some((kind, name)) => {
                let section = section_mut(&mut whole, kind);
                read_one(section, file, text, &name, &mut findings);
            }
        }
    }
    validate::validate(&whole, Scope::Mesh, &mut findings);
    findings.finish(&sources)
}

fn read_whole(file: u32, text: &str, findings: &mut Findings) -> Option<Document> {
    let tree = yaml::parse(file, text, findings)?;
    let mut reading = Reading {
        findings,
        newer: None,
    };
    Document::read(&tree, &mut reading)
}

#[cfg(test)]
mod tests;
