//! The command line: arguments in, an exit code out. Data goes to stdout, words to stderr.
//!
//! `args` says what there is; each command is a file in `command/`; `exit` holds the exit codes. The binary's `main` is a call
//! of [`main`], so that tests run the very same `up`.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub mod args;
pub mod command;
pub mod exit;
pub mod output;

use args::{Args, Command};
use exit::Exit;

/// Parses `arguments` (the program's name first), runs the command and says how it ended.
#[must_use]
pub fn main<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    runtime::tls::install_crypto();
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    match run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::failure(&error);
            Exit::Error.into()
        }
    }
}

fn run(args: Args) -> anyhow::Result<Exit> {
    let global = args.global;
    match args.command {
        Command::Plan(plan) => command::plan::run(&plan, &global),
        Command::Schema => command::schema::run(),
        Command::Verify(verify) => command::verify::run(&verify, &global),
        Command::ClientConfig(config) => command::client_config::run(&config, &global),
        Command::Completion(completion) => command::completion::run(&completion),
        Command::Up(up) => command::serve(command::up::run(up, global)),
        Command::Node(node) => command::serve(command::node::run(node, global)),
        Command::Demo(demo) => command::serve(command::demo::run(demo, global)),
    }
}

/// `--help` and `--version` are answers; anything else is a wrong call.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}
