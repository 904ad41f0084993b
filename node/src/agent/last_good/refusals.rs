//! What the newest slice takes away (recalls, revocations, withdrawn grants, keys, roles), in a file of its own: `refused.json`.
//!
//! A node whose newest slice is damaged, or did not fit on the disk, starts on the one before it, which may not know yet what was
//! recalled. This file says it; it is not signed, because all that it can do is refuse. It is written before the slice, and only when it
//! changes.

use std::io;

use crate::{
    agent::home::Home,
    app::{Slice, Taken},
};

const NAME: &str = "refused.json";

/// Writes down what `slice` takes away.
pub(super) fn keep(home: &Home, slice: &Slice) -> io::Result<()> {
    let taken = Taken::of(slice);
    let before = read(home).ok().flatten();
    // Where it takes the same as the slice before did, that one has it.
    if before.is_some_and(|before| taken.is_as(&before)) {
        return Ok(());
    }
    let bytes = serde_json::to_vec(&taken).map_err(io::Error::other)?;
    home.write(NAME, &bytes)
}

/// Takes from a slice what is written down of a newer one, and says when that cannot be read. Of the `previous` slice also where its
/// generation is not known, as in files of an earlier release.
pub(super) fn take(home: &Home, previous: bool, slice: &mut Slice, damage: &mut Vec<String>) {
    match read(home) {
        Ok(Some(taken)) if previous || taken.generation > slice.generation => {
            taken.take_from(slice);
        }
        Ok(_) => {}
        Err(why) if previous => damage.push(format!(
            "what the newest slice recalls and revokes is not known, agent/{NAME} cannot be read: {why}"
        )),
        // The next slice that is stored mends it.
        Err(_) => {}
    }
}

fn read(home: &Home) -> Result<Option<Taken>, String> {
    let bytes = home.read(NAME).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let taken = serde_json::from_slice(bytes.expose());
    taken.map(Some).map_err(|_| "it is damaged".to_owned())
}
