//! `regmesh completion SHELL`: the completion script, made from the same arguments that are parsed.

use clap::CommandFactory;

use crate::{args, exit::Exit, output};

/// Prints it.
///
/// # Errors
/// Never; commands have one shape.
pub fn run(completion: &args::Completion) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(
        completion.shell,
        &mut args::Args::command(),
        "regmesh",
        &mut script,
    );
    output::data(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Ok)
}
