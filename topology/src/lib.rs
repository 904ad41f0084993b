//! The topology document, and every rule that makes one valid. Pure: text in, values out; reads no file and no clock.
//!
//! Text -> `yaml` -> `read` -> `document` -> `merge` -> `validate` -> `model`. `resolve`, `slice` and `change` work on the model; `edit` on one
//! resource of a document.
//! `load` does it for what people write, `load_slice` for what the control plane sends to a node, which may come from a newer
//! release. Every problem is found in one go and stands alone (`problem`).
#![warn(missing_docs)]

pub mod change;
pub mod document;
pub mod edit;
pub mod glob;
mod merge;
pub mod model;
mod newer;
pub mod place;
pub mod problem;
mod read;
pub mod resolve;
pub mod schema;
mod selector;
pub mod slice;
pub mod source;
mod validate;
pub mod value;
pub mod yaml;

use document::Document;
use model::Topology;
use place::Sources;
use problem::{Findings, Problem};
use validate::Scope;

/// A valid topology and the document that it was made of.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Valid by construction.
    pub topology: Topology,
    /// As it was written, of several files put together.
    pub document: Document,
    /// What is legal and unwise, by place.
    pub warnings: Vec<Problem>,
}

/// Reads one or several texts, `(file name, text)`, as one topology.
///
/// # Errors
/// Every problem of all of them, warnings too, by file and line; at least one is an error.
pub fn load(files: &[(String, String)]) -> Result<Loaded, Vec<Problem>> {
    let sources = Sources::new(files);
    let mut findings = Findings::default();
    let Some(documents) = read::read(&sources, &mut findings) else {
        return Err(findings.finish(&sources));
    };
    let document = merge::merge(documents, &mut findings);
    finish(document, Scope::Mesh, findings, &sources)
}

/// Reads a topology that was published before, from which a right may have been taken since that a rule needs ([`edit::check_revoked`]).
///
/// # Errors
/// Every problem, warnings too; at least one is an error.
pub fn load_published(name: &str, text: &str) -> Result<Loaded, Vec<Problem>> {
    let sources = Sources::new(&[(name.to_owned(), text.to_owned())]);
    let mut findings = Findings::putting_up_with(problem::Code::NoReadAccess);
    let Some(documents) = read::read(&sources, &mut findings) else {
        return Err(findings.finish(&sources));
    };
    let document = merge::merge(documents, &mut findings);
    finish(document, Scope::Mesh, findings, &sources)
}

/// Checks a document that was made or changed by code; places of what was read from `sources` stay known.
///
/// # Errors
/// Every problem, warnings too; at least one is an error.
pub fn check(document: Document, sources: &Sources) -> Result<Loaded, Vec<Problem>> {
    finish(document, Scope::Mesh, Findings::default(), sources)
}

/// Reads what one node was given of a topology (`slice`). Keys of a newer release are put up with where that is safe, and are
/// among the warnings.
///
/// # Errors
/// Every problem, warnings too; at least one is an error.
pub fn load_slice(name: &str, text: &str) -> Result<Loaded, Vec<Problem>> {
    let sources = Sources::new(&[(name.to_owned(), text.to_owned())]);
    let mut findings = Findings::default();
    let Some((mut document, newer)) = read::read_slice(text, &mut findings) else {
        return Err(findings.finish(&sources));
    };
    newer.settle(&mut document);
    finish(document, Scope::Slice, findings, &sources)
}

fn finish(
    document: Document,
    scope: Scope,
    mut findings: Findings,
    sources: &Sources,
) -> Result<Loaded, Vec<Problem>> {
    let topology = validate::validate(&document, scope, &mut findings);
    let problems = findings.finish(sources);
    match topology {
        Some(topology) => Ok(Loaded {
            topology,
            document,
            warnings: problems,
        }),
        None => Err(problems),
    }
}
