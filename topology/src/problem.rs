//! What is wrong with a topology document, where, and what to do about it.
//!
//! A `Problem` stands alone: it holds the line it points at, so it can be printed or sent without the files. While passes run
//! they collect `Findings`, which only know places; `Findings::finish` turns them into problems, sorted by place, and covers
//! every secret that was found in the text, because a problem is printed into logs.

use std::fmt;

use serde::Serialize;
use wire::api::problem::DocumentProblem;

use crate::place::{Place, Sources};

pub mod code;
mod print;

pub use code::Code;

/// Whether a document with this problem is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is.
    Error,
    /// It is legal, and unwise.
    Warning,
}

/// A stretch of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A place that belongs to a problem, and what it has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// File name as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What stands there.
    pub message: String,
}

/// One thing that is wrong or unwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The stable code, as in `spec/topology.md`.
    pub code: &'static str,
    /// Whether the document is refused for it.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub advice: String,
    /// File name as it was given; empty when the value was not read from a file.
    pub file: String,
    /// Line, from 1; 0 when the value was not read from a file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The offending bytes of the file.
    pub span: Span,
    /// Other places that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// What is printed of the line, and which characters of it are underlined.
    #[serde(skip)]
    pub(crate) excerpt: Excerpt,
}

/// A piece of a line with the offending characters marked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) from: usize,
    pub(crate) width: usize,
}

impl Problem {
    /// Whether the document is refused for it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem for a terminal: code, message, place, the line with the offending text underlined, related places, advice.
    /// Several lines, ending in a line break; with ANSI colours when `colour` is set.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        print::render(self, colour)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problem {}

impl From<&Problem> for DocumentProblem {
    fn from(problem: &Problem) -> Self {
        let place = |number: usize| Some(number as u64).filter(|_| problem.line > 0);
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self {
            code: problem.code.to_owned(),
            severity: match problem.severity {
                Severity::Error => "error".to_owned(),
                Severity::Warning => "warning".to_owned(),
            },
            message: problem.message.clone(),
            advice: text(&problem.advice),
            file: text(&problem.file),
            line: place(problem.line),
            column: place(problem.column),
            rendered: Some(problem.render(false)),
        }
    }
}

/// A problem before its place has been turned into file, line and excerpt.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    code: Code,
    severity: Severity,
    place: Place,
    message: String,
    advice: String,
    related: Vec<(Place, String)>,
}

impl Finding {
    /// Something for which the document is refused.
    pub(crate) fn error(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            place,
            message: message.into(),
            advice: String::new(),
            related: Vec::new(),
        }
    }

    /// Something legal and unwise.
    pub(crate) fn warning(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, place, message)
        }
    }

    /// Says what to do.
    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Names another place that belongs to it.
    pub(crate) fn also(mut self, place: Place, message: impl Into<String>) -> Self {
        self.related.push((place, message.into()));
        self
    }
}

/// The most problems kept of one reading.
const MOST: usize = 20_000;

/// What the passes have found so far.
///
/// Bounded: a file can hold a million mistakes, and nobody reads more than the first `MOST`.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    /// Errors, those that were not kept too.
    errors: usize,
    secrets: Vec<Place>,
    /// What is only warned about.
    put_up_with: Option<Code>,
}

impl Findings {
    /// Where a document is not refused for this: it is only warned about.
    pub(crate) fn putting_up_with(code: Code) -> Self {
        Self {
            put_up_with: Some(code),
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, mut finding: Finding) {
        if self.put_up_with == Some(finding.code) {
            finding.severity = Severity::Warning;
        }
        self.errors += usize::from(finding.severity == Severity::Error);
        if self.found.len() < MOST {
            self.found.push(finding);
        }
    }

    /// Remembers that a secret stands there by value: no problem may show it.
    pub(crate) fn conceal(&mut self, place: Place) {
        self.secrets.push(place);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The problems, by file and line; problems without a place come first.
    pub(crate) fn finish(mut self, sources: &Sources) -> Vec<Problem> {
        self.found
            .sort_by_key(|finding| (finding.place, finding.severity, finding.code.as_str()));
        let secrets = self.secrets;
        self.found
            .into_iter()
            .map(|finding| problem(finding, sources, &secrets))
            .collect()
    }
}

fn problem(finding: Finding, sources: &Sources, secrets: &[Place]) -> Problem {
    let place = finding.place;
    Problem {
        code: finding.code.as_str(),
        severity: finding.severity,
        message: finding.message,
        advice: finding.advice,
        file: sources.name(place).to_owned(),
        line: place.line as usize,
        column: place.column as usize,
        span: Span {
            start: place.start as usize,
            end: place.end as usize,
        },
        related: finding
            .related
            .into_iter()
            .filter(|(place, _)| place.line > 0)
            .map(|(place, message)| Related {
                file: sources.name(place).to_owned(),
                line: place.line as usize,
                column: place.column as usize,
                message,
            })
            .collect(),
        excerpt: print::excerpt(place, sources, secrets),
    }
}
