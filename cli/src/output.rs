//! Data on stdout, words on stderr; the only place that prints.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    os::fd::{AsFd, OwnedFd},
};

use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    args::{Format, Global},
    exit::Exit,
    fault,
};

/// Prints a line of data.
pub fn data(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints a line of words, unless quiet.
pub fn words(global: &Global, text: &str) {
    if !global.quiet {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Prints an object as the format says; `table` is what people get.
///
/// # Errors
/// When the object cannot be written as text.
pub fn object<T: Serialize>(
    global: &Global,
    value: &T,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match global.output {
        Format::Table => data(&table()),
        Format::Json => data(&serde_json::to_string_pretty(value)?),
        Format::Yaml => data(serde_saphyr::to_string(value)?.trim_end()),
    }
    Ok(())
}

/// So many of something whose plural ends in `s`: `1 problem`, `2 problems`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Prints what is wrong, even when quiet.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints an error: its code, what was done, and the causes.
pub fn failure(error: &anyhow::Error) {
    wrong(fault::code(error), &fault::told(error));
}

/// Prints what went wrong by its code.
pub fn wrong(code: impl Display, text: &str) {
    complain(&format!("regmesh: {code}: {text}"));
}

/// Ends when nobody reads what is printed any more: the other end of a pipe is closed. Never ends where nobody can.
pub async fn closed() {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(out) => closed_at(out).await,
        Err(_) => std::future::pending().await,
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for descriptors that somebody else may close; this one is owned"
)]
async fn closed_at(out: OwnedFd) {
    if let Ok(out) = AsyncFd::with_interest(out, Interest::ERROR)
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    // A file has no reader who could go.
    std::future::pending().await
}

/// Carries out a command that goes on until somebody ends it: by Ctrl-C, or by closing the pipe that it prints to.
///
/// # Errors
/// What the command says.
pub async fn watching(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::select! {
        biased;
        () = closed() => Ok(Exit::Ok),
        exit = command => exit,
    }
}

/// Whether colours and bars make sense on stderr.
#[must_use]
pub fn is_lively(global: &Global) -> bool {
    !global.quiet && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Write, pipe},
        time::Duration,
    };

    use runtime::clock::Clock;

    use super::closed_at;

    #[test]
    fn one_is_no_plural() {
        let counts = [0, 1, 2].map(|number| super::count(number, "problem"));
        assert_eq!(counts, ["0 problems", "1 problem", "2 problems"]);
    }

    #[tokio::test]
    async fn a_closed_pipe_is_noticed_while_nothing_is_printed() {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"a look").unwrap();
        let mut closed = std::pin::pin!(closed_at(writer.into()));
        let open = futures_util::poll!(&mut closed);
        assert!(open.is_pending());
        drop(reader);
        let patience = Duration::from_secs(30);
        Clock::system().timeout(patience, closed).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_never_closed_by_its_reader() {
        let file = tempfile::tempfile().unwrap();
        let mut closed = std::pin::pin!(closed_at(file.into()));
        assert!(futures_util::poll!(&mut closed).is_pending());
    }
}
