//! Several documents -> one. A name declared twice is a problem that names both places; lists are joined.

use std::collections::BTreeMap;

use crate::{
    document::{Document, Entries},
    place::At,
    problem::Findings,
    yaml::duplicate,
};

/// Puts documents together, in order; of what is declared twice the first stays.
pub(crate) fn merge(documents: Vec<Document>, findings: &mut Findings) -> Document {
    let mut whole = Document::default();
    for mut part in documents {
        whole.version = whole.version.or(part.version);
        one("mesh", &mut whole.mesh, part.mesh, findings);
        if whole.control.is_none() {
            whole.control = part.control;
        } else if let Some(control) = part.control.filter(|c| whole.control.as_ref() != Some(c)) {
            let place = |c: &crate::document::Control| {
                c.endpoint.as_ref().map(|e| e.place).unwrap_or_default()
            };
            let first = whole.control.as_ref().map(place).unwrap_or_default();
            let key = At {
                value: "control".to_owned(),
                place: place(&control),
            };
            findings.push(duplicate(&key, first));
        }
        entries(&mut whole.nodes, part.nodes, findings);
        entries(&mut whole.identities, part.identities, findings);
        entries(&mut whole.credentials, part.credentials, findings);
        entries(&mut whole.rules, part.rules, findings);
        entries(&mut whole.issuers, part.issuers, findings);
        entries(&mut whole.accounts, part.accounts, findings);
        entries(&mut whole.upstreams, part.upstreams, findings);
        entries(&mut whole.webhooks, part.webhooks, findings);
        whole.access.append(&mut part.access);
        whole.slice = whole.slice.or(part.slice);
    }
    whole
}

/// The name of the mesh may be repeated, so that each file says what it belongs to; it must be the same.
fn one(
    name: &str,
    whole: &mut Option<At<String>>,
    part: Option<At<String>>,
    findings: &mut Findings,
) {
    match (whole.as_ref(), part) {
        (None, part) => *whole = part,
        (Some(first), Some(second)) if *first != second => {
            let key = At {
                value: name.to_owned(),
                place: second.place,
            };
            findings.push(duplicate(&key, first.place));
        }
        (Some(_), _) => {}
    }
}

fn entries<T>(whole: &mut Entries<T>, part: Entries<T>, findings: &mut Findings) {
    if whole.is_empty() {
        *whole = part;
        return;
    }
    let mut second = BTreeMap::new();
    for (name, value) in part {
        match whole.get_key_value(name.value.as_str()) {
            Some((first, _)) => findings.push(duplicate(&name, first.place)),
            None => drop(second.insert(name, value)),
        }
    }
    whole.append(&mut second);
}
