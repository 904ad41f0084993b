//! The last good slice on disk, `slice.json`, and the one before it, `slice.previous.json`.
//!
//! What is read is checked as if it had just arrived (signature, signer, node, document); only that its signer has ended since, or that
//! our clock stands before its signing (a machine that boots in 1970), means nothing. A damaged file gives way to the previous one (without
//! what the newest one took away) and that to nothing: then the node waits for the control plane, deletes nothing, and says what it met. Source:
//! `spec/control-plane.md` "Distribution", `reference/faults.md` T14, 10.37-10.38.

use std::io;

use identity::certificate;
use rustls_pki_types::CertificateDer;
use wire::{api::slice::Envelope, name::NodeName, time::WallTime};

use super::home::Home;
use crate::app::Slice;

mod refusals;

const CURRENT: &str = "slice.json";
const PREVIOUS: &str = "slice.previous.json";
const NEXT: &str = "slice.json.new";

/// A slice from disk, believed and read.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) slice: Slice,
    pub(crate) document_digest: String,
    pub(crate) signed_at: WallTime,
}

/// The newest slice on disk that is whole, and what was wrong with those that are not.
pub(crate) fn load(
    home: &Home,
    node: &NodeName,
    roots: &[CertificateDer<'_>],
    now: WallTime,
) -> (Option<Good>, Vec<String>) {
    let mut damage = Vec::new();
    for name in [CURRENT, PREVIOUS] {
        match read(home, name, node, roots, now) {
            Ok(Some(mut good)) => {
                refusals::take(home, name == PREVIOUS, &mut good.slice, &mut damage);
                return (Some(good), damage);
            }
            Ok(None) => {}
            Err(why) => damage.push(format!("the slice in agent/{name} cannot be used: {why}")),
        }
    }
    (None, damage)
}

fn read(
    home: &Home,
    name: &str,
    node: &NodeName,
    roots: &[CertificateDer<'_>],
    now: WallTime,
) -> Result<Option<Good>, String> {
    let Some(bytes) = home.read(name).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let envelope: Envelope =
        serde_json::from_slice(bytes.expose()).map_err(|_| "it is damaged".to_owned())?;
    let now = now.max(envelope.signed_at);
    let document =
        certificate::open(&envelope, node, None, roots, now).map_err(|error| error.to_string())?;
    let slice = Slice::read(envelope.generation, node.clone(), document).map_err(|problems| {
        format!(
            "{} problems, the first: {}",
            problems.len(),
            first(&problems)
        )
    })?;
    Ok(Some(Good {
        slice,
        document_digest: envelope.document_digest,
        signed_at: envelope.signed_at,
    }))
}

fn first(problems: &[topology::problem::Problem]) -> String {
    problems
        .first()
        .map(|p| p.message.clone())
        .unwrap_or_default()
}

/// The document of the slice on disk, for an envelope that comes without the very same one.
pub(crate) fn document(home: &Home) -> io::Result<Option<String>> {
    let bytes = home.read(CURRENT)?;
    let envelope = bytes.and_then(|bytes| serde_json::from_slice::<Envelope>(bytes.expose()).ok());
    Ok(envelope.and_then(|envelope| envelope.document))
}

/// Puts a slice in the place of the newest, which becomes the previous one. `envelope` has its document, which `slice` was read from.
pub(crate) fn put(home: &Home, envelope: &Envelope, slice: &Slice) -> io::Result<()> {
    refusals::keep(home, slice)?;
    let bytes = serde_json::to_vec(envelope).map_err(io::Error::other)?;
    home.write_beside(NEXT, &bytes)?;
    // Between the two renames the previous one is the newest that is whole.
    if home.has(CURRENT)? {
        home.rename(CURRENT, PREVIOUS)?;
    }
    home.rename(NEXT, CURRENT)
}

/// Takes back what `put` did: the node could not start on it.
pub(crate) fn undo(home: &Home) -> io::Result<()> {
    match home.has(PREVIOUS)? {
        true => home.rename(PREVIOUS, CURRENT),
        false => home.remove(CURRENT),
    }
}

#[cfg(test)]
mod tests;
