//! The real program, built by `cargo test` so that tests can kill it: the same `main` as the binary of the package `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
