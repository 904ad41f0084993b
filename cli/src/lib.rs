//! The command line: arguments in, an exit code out. Data goes to stdout, words to stderr.
//!
//! `args` says what there is; each command is a file in `command/`; `exit` holds the exit codes. The binary's `main` is a call
//! of [`main`], so that tests run the very same `up`.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub mod args;
pub mod client;
pub mod command;
pub mod docker_config;
pub mod exit;
pub mod fault;
pub mod login;
pub mod mesh;
pub mod output;
pub mod registry;
pub mod table;
pub mod target;
pub mod unverified;

use args::{Args, Command};
use exit::{Exit, Wrong};

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
            match error.is::<Wrong>() {
                true => Exit::Usage.into(),
                false => Exit::Error.into(),
            }
        }
    }
}

fn run(args: Args) -> anyhow::Result<Exit> {
    let global = &args.global;
    match args.command {
        Command::Schema => command::schema::run(),
        Command::Verify(verify) => command::verify::run(&verify, global),
        Command::Completion(completion) => command::completion::run(&completion),
        Command::Import(import) => command::import::run(&import, global),
        Command::Logout => command::login::forget(global),
        Command::Token => command::login::print(global),
        Command::Keys(keys) => command::talk(command::keys::run(keys, global)),
        Command::Up(up) => started(command::serve(command::up::run(up, global.clone()))),
        Command::Control(control) => match control.action {
            Some(action) => command::talk(command::control::act(action, global)),
            None => started(command::serve(command::control::run(
                control,
                global.clone(),
            ))),
        },
        Command::Node(node) => match node.action {
            Some(action) => command::talk(command::nodes::run(action, global)),
            None => started(command::serve(command::node::run(node, global.clone()))),
        },
        Command::Demo(demo) => command::serve(command::demo::run(demo, global.clone()))
            .map_err(|error| fault::Code::DemoFailed.unless_known(error)),
        Command::Plan(plan) => command::talk(command::plan::run(&plan, global)),
        Command::ClientConfig(config) => {
            command::talk(command::client_config::run(&config, global))
        }
        Command::Apply(apply) => command::talk(command::apply::run(apply, global)),
        Command::Export(export) => command::talk(command::export::run(&export, global)),
        Command::Status(status) => command::talk(command::status::run(status, global)),
        Command::Explain(explain) => command::talk(command::explain::run(explain, global)),
        Command::Doctor(doctor) => command::talk(command::doctor::run(doctor, global)),
        Command::Pull(pull) => command::talk(command::pull::run(pull, global)),
        Command::Wait(wait) => command::talk(command::wait::run(wait, global)),
        Command::Cache(cache) => command::talk(command::cache::run(cache, global)),
        Command::CredentialSet(set) => command::talk(command::credential_set::run(set, global)),
        Command::Identity(identity) => command::talk(command::identity::run(identity, global)),
        Command::Role(role) => command::talk(command::role::run(role, global)),
        Command::Webhook(webhook) => command::talk(command::webhook::run(webhook, global)),
        Command::Repository(repository) => {
            command::talk(command::repository::run(repository, global))
        }
        Command::Manifest(manifest) => command::talk(command::manifest::run(manifest, global)),
        Command::Event(event) => command::talk(command::event::run(event, global)),
        Command::Audit(audit) => command::talk(command::audit::run(audit, global)),
        Command::Recall(recall) => command::talk(command::recall::run(recall, global)),
        Command::CredentialProvider(provider) => {
            command::talk(command::credential_provider::run(&provider, global))
        }
        Command::Login(sign_in) => command::talk(command::login::run(sign_in, global)),
    }
}

/// What a server says that cannot start, or not go on.
fn started(ended: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    ended.map_err(|error| fault::Code::CannotStart.unless_known(error))
}

/// `--help` and `--version` are answers; anything else is a wrong call, told like every other error.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => output::wrong(fault::Code::Usage, text.trim_end()),
        None => drop(error.print()),
    }
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}
