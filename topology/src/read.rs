//! Positioned YAML -> `Document`, with every misfit reported and none of them final.
//!
//! Each type of `document` implements `Read` (the `section!` and `choice!` macros write most of it from the same declaration
//! that makes the type and its JSON Schema). A value that does not fit is reported and left out, so that the passes over what
//! did fit still run. In the manner of `newer`, keys of a later release are put up with where that is safe.

use std::collections::BTreeMap;

use crate::{
    document::Document,
    newer::Newer,
    place::{At, Place, Sources},
    problem::{Code, Finding, Findings},
    yaml::{self, Value, Yaml},
};

mod scalar;
pub(crate) mod section;

/// What reading has at hand: where findings go, and what is done about keys that are not known.
pub(crate) struct Reading<'f> {
    pub(crate) findings: &'f mut Findings,
    /// Set when the text may come from a newer release.
    pub(crate) newer: Option<Newer>,
}

/// A type of the document, read from the tree. `None` means that it was reported.
pub(crate) trait Read: Sized {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self>;
}

/// Reads every text of `sources` into a document of its own; an empty text is an empty document. `None` when a text is no YAML
/// map: without what it declares, everything that refers to it would be reported too.
pub(crate) fn read(sources: &Sources, findings: &mut Findings) -> Option<Vec<Document>> {
    let mut documents = Vec::new();
    let mut whole = true;
    for (file, text) in sources.texts() {
        let document = yaml::parse(file, text, findings).and_then(|tree| {
            let mut reading = Reading {
                findings,
                newer: None,
            };
            Document::read(&tree, &mut reading)
        });
        whole &= document.is_some();
        documents.extend(document);
    }
    whole.then_some(documents)
}

/// Reads a slice, whose text may come from a newer release.
pub(crate) fn read_slice(text: &str, findings: &mut Findings) -> Option<(Document, Newer)> {
    let tree = yaml::parse(0, text, findings)?;
    let mut reading = Reading {
        findings,
        newer: Some(Newer::default()),
    };
    let document = Document::read(&tree, &mut reading)?;
    Some((document, reading.newer.unwrap_or_default()))
}

impl Reading<'_> {
    /// Reports a value of another shape than the wanted one.
    pub(crate) fn wrong(&mut self, node: &Yaml, wanted: &str) {
        let found = match &node.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { .. } if node.is_null() => "nothing",
            Value::Scalar { plain: true, .. } => "a plain value",
            Value::Scalar { plain: false, .. } => "text",
        };
        self.findings.push(
            Finding::error(
                Code::WrongType,
                node.place,
                format!("expected {wanted}, found {found}"),
            )
            .advice(format!(
                "write {wanted} here; `regmesh schema` prints every key and its type"
            )),
        );
    }

    /// The entries of a map whose keys are fixed; those it does not have are reported.
    pub(crate) fn entries<'y>(
        &mut self,
        node: &'y Yaml,
        what: &str,
        keys: &[&'static str],
    ) -> Option<&'y [(At<String>, Yaml)]> {
        let Value::Map(entries) = &node.value else {
            if node.is_null() {
                return Some(&[]);
            }
            self.wrong(node, &format!("a map of {what}"));
            return None;
        };
        for (key, _) in entries {
            if !keys.contains(&key.value.as_str()) {
                self.unknown(key, what, keys);
            }
        }
        Some(entries)
    }

    fn unknown(&mut self, key: &At<String>, what: &str, keys: &[&'static str]) {
        let message = format!("`{}` is not a key of {what}", key.value);
        if let Some(newer) = &mut self.newer {
            let finding = newer.unknown(key.place, message);
            self.findings.push(finding);
            return;
        }
        let advice = match nearest(&key.value, keys) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its keys are {}", keys.join(", ")),
        };
        self.findings
            .push(Finding::error(Code::UnknownKey, key.place, message).advice(advice));
    }

    /// Reports a key that must be there.
    pub(crate) fn missing(&mut self, place: Place, what: &str, key: &str) {
        self.findings.push(
            Finding::error(
                Code::WrongType,
                place,
                format!("`{key}` is missing in {what}"),
            )
            .advice(format!("add `{key}: …`")),
        );
    }

    /// Reads an element of a collection; `None` too when a newer release's key makes it unsafe to use.
    fn element<T: Read>(&mut self, node: &Yaml) -> Option<T> {
        if let Some(newer) = &mut self.newer {
            newer.begin_element();
        }
        let value = T::read(node, self);
        let refused = self.newer.as_mut().is_some_and(Newer::end_element);
        value.filter(|_| !refused)
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        let value = T::read(node, reading)?;
        let place = node.place;
        Some(Self { value, place })
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        if node.is_null() {
            return Some(None);
        }
        T::read(node, reading).map(Some)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .filter_map(|item| reading.element(item))
                    .collect(),
            ),
            Value::Map(_) | Value::Scalar { .. } if node.is_null() => Some(Self::new()),
            Value::Map(_) | Value::Scalar { .. } => {
                reading.wrong(node, "a list");
                None
            }
        }
    }
}

impl<T: Read> Read for BTreeMap<At<String>, T> {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                let mut map = Self::new();
                for (key, value) in entries {
                    match reading.element(value) {
                        Some(value) => drop(map.insert(key.clone(), value)),
                        None => {
                            if let Some(newer) = &mut reading.newer {
                                newer.left_out(&key.value);
                            }
                        }
                    }
                }
                // Nothing of what was written fits: not the same as an empty map.
                (entries.is_empty() || !map.is_empty()).then_some(map)
            }
            Value::List(_) | Value::Scalar { .. } if node.is_null() => Some(Self::new()),
            Value::List(_) | Value::Scalar { .. } => {
                reading.wrong(node, "a map of names");
                None
            }
        }
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(word);
    let limit = 1 + wanted.chars().count() / 4;
    known
        .iter()
        .map(|near| (distance(&wanted, &plain(near)), *near))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, near)| near)
}

/// How many characters must be put in, taken out or replaced (or two neighbours swapped) to make `a` of `b`; words longer than
/// 64 characters are never near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
