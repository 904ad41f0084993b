//! YAML text -> a tree in which every key and value has a place.
//!
//! serde stops at the first error, and a document's problems must all be shown at once; so the parser's events are kept as a
//! tree and the document is read from it, collecting (`read`). Bounded against hostile text: its size, its depth, the number
//! of values, and how many values aliases may add. `serde_saphyr` and its parser appear here and in `document.rs` alone.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use crate::{
    place::{At, Place},
    problem::{Code, Finding, Findings},
};

/// The longest text read, in bytes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_VALUES: usize = 2_000_000;
const MAX_ALIASED: usize = 100_000;

/// A value and where it stands. A block collection stands at its key, which is what a reader looks for.
#[derive(Debug, Clone)]
pub(crate) struct Yaml {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// `plain` when it was written without quotes, so that it may be a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Yaml>),
    /// Without duplicates: those have been reported.
    Map(Vec<(At<String>, Yaml)>),
}

impl Yaml {
    /// Whether nothing is said (`key:`, `~`, `null`).
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, value)| value.size()).sum(),
        }
    }
}

/// The tree of text number `file`, an empty map when nothing is in it; `None` when it is no YAML, which is then a finding.
pub(crate) fn parse(file: u32, text: &str, findings: &mut Findings) -> Option<Yaml> {
    let start = Place {
        file,
        line: 1,
        column: 1,
        start: 0,
        end: 0,
    };
    if text.len() > MAX_BYTES {
        findings.push(
            Finding::error(
                Code::WrongType,
                start,
                format!("the file has {} bytes", text.len()),
            )
            .advice("a topology file has at most 16 MiB; split it into several files"),
        );
        return None;
    }
    let mut builder = Builder {
        file,
        text,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        values: 0,
        aliased: 0,
        documents: 0,
    };
    let mut options = Options::default();
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, &span, findings),
            Err(error) => {
                let at = *error.marker();
                let place = builder.place(&Span::empty(at));
                Err(Finding::error(
                    Code::WrongType,
                    place,
                    format!("this is not YAML: {}", error.info()),
                )
                .advice("look at indentation, quotes and brackets on this line and the one before"))
            }
        };
        if let Err(finding) = step {
            findings.push(finding);
            return None;
        }
    }
    Some(builder.root.filter(|root| !root.is_null()).unwrap_or(Yaml {
        value: Value::Map(Vec::new()),
        place: start,
    }))
}

enum Open {
    List(Vec<Yaml>),
    Map {
        entries: Vec<(At<String>, Yaml)>,
        key: Option<At<String>>,
    },
}

struct Frame {
    open: Open,
    place: Place,
    flow: bool,
    anchor: usize,
}

struct Builder<'t> {
    file: u32,
    text: &'t str,
    open: Vec<Frame>,
    root: Option<Yaml>,
    anchors: HashMap<usize, Yaml>,
    values: usize,
    aliased: usize,
    documents: usize,
}

impl Builder<'_> {
    fn take(
        &mut self,
        event: Event<'_>,
        span: &Span,
        findings: &mut Findings,
    ) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain
                    && tag.is_none_or(|tag| tag.core_suffix() != Some("str"));
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                let place = self.place(span);
                self.add(Yaml { value, place }, anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.begin(Open::List(Vec::new()), style, span, anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                let entries = Vec::new();
                self.begin(Open::Map { entries, key: None }, style, span, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span, findings),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document in one file";
                    return Err(Finding::error(Code::WrongType, self.place(span), message)
                        .advice("put it into a file of its own and give both files"));
                }
                Ok(())
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | Event::Comment(..)
            | _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        open: Open,
        style: StructureStyle,
        span: &Span,
        anchor: usize,
    ) -> Result<(), Finding> {
        let own = self.place(span);
        if self.open.len() >= MAX_DEPTH {
            return Err(Finding::error(
                Code::WrongType,
                own,
                format!("values are nested more than {MAX_DEPTH} deep"),
            )
            .advice("no section of a topology is nested so deep"));
        }
        let place = match self.open.last() {
            Some(Frame {
                open: Open::Map { key: Some(key), .. },
                ..
            }) if style == StructureStyle::Block => key.place,
            _ => own,
        };
        self.open.push(Frame {
            open,
            place,
            flow: style == StructureStyle::Flow,
            anchor,
        });
        Ok(())
    }

    fn end(&mut self, span: &Span, findings: &mut Findings) -> Result<(), Finding> {
        let Some(mut frame) = self.open.pop() else {
            return Ok(());
        };
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(unique(entries, findings)),
        };
        if frame.flow {
            frame.place.end = self.place(span).end.max(frame.place.end);
        }
        let place = frame.place;
        self.add(Yaml { value, place }, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<(), Finding> {
        let place = self.place(span);
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(Finding::error(
                Code::WrongType,
                place,
                "an alias inside what it stands for",
            )
            .advice("write the value out"));
        };
        let size = target.size();
        let value = target.value.clone();
        self.spend(size, place)?;
        self.add(Yaml { value, place }, 0)
    }

    /// Counts values that are copied for anchors and aliases.
    fn spend(&mut self, copies: usize, place: Place) -> Result<(), Finding> {
        self.aliased += copies;
        if self.aliased <= MAX_ALIASED {
            return Ok(());
        }
        Err(Finding::error(
            Code::WrongType,
            place,
            format!("anchors and aliases stand for more than {MAX_ALIASED} values"),
        )
        .advice("write the values out"))
    }

    fn add(&mut self, node: Yaml, anchor: usize) -> Result<(), Finding> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Finding::error(
                Code::WrongType,
                node.place,
                format!("the file has more than {MAX_VALUES} values"),
            )
            .advice("split the mesh"));
        }
        if anchor > 0 {
            self.spend(node.size(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(as_key(node)?),
            },
        }
        Ok(())
    }

    fn place(&self, span: &Span) -> Place {
        let start = span.start.byte_offset().unwrap_or_default();
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        let shown = self.text.get(start..end).unwrap_or_default();
        let cut = u32::try_from(start + shown.trim_end().len()).unwrap_or(u32::MAX);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            file: self.file,
            line: number(span.start.line()),
            column: number(span.start.col() + 1),
            start: number(start),
            end: cut,
        }
    }
}

fn as_key(node: Yaml) -> Result<At<String>, Finding> {
    let place = node.place;
    match node.value {
        Value::Scalar { text, .. } => Ok(At { value: text, place }),
        Value::List(_) | Value::Map(_) => {
            Err(Finding::error(Code::WrongType, place, "a key must be text").advice("write a name"))
        }
    }
}

fn unique(entries: Vec<(At<String>, Yaml)>, findings: &mut Findings) -> Vec<(At<String>, Yaml)> {
    let mut seen: HashMap<String, Place> = HashMap::with_capacity(entries.len());
    let mut kept = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        if let Some(first) = seen.get(&key.value) {
            findings.push(duplicate(&key, *first));
        } else {
            seen.insert(key.value.clone(), key.place);
            kept.push((key, value));
        }
    }
    kept
}

/// A key that stands a second time.
pub(crate) fn duplicate(key: &At<String>, first: Place) -> Finding {
    Finding::error(
        Code::DuplicateKey,
        key.place,
        format!("`{}` is declared twice", key.value),
    )
    .also(first, "declared here first")
    .advice("remove one of the two, or give one another name")
}
