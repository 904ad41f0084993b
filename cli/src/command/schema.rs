//! `regmesh schema`: the JSON Schema of the topology document, from the types that parse it.

use crate::{exit::Exit, output};

/// Prints it.
///
/// # Errors
/// When it cannot be written as text.
pub fn run() -> anyhow::Result<Exit> {
    output::data(&serde_json::to_string_pretty(&topology::schema::schema())?);
    Ok(Exit::Ok)
}
