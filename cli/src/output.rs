//! Data on stdout, words on stderr; the only place that prints.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::{Format, Global};

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

/// Prints an error with its causes.
pub fn failure(error: &anyhow::Error) {
    let _ = writeln!(io::stderr().lock(), "regmesh: {}", told(error));
}

/// The error and its causes, each said once: some errors name their cause in their own text.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whether colours and bars make sense on stderr.
#[must_use]
pub fn is_lively(global: &Global) -> bool {
    !global.quiet && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn one_is_no_plural() {
        let counts = [0, 1, 2].map(|number| super::count(number, "problem"));
        assert_eq!(counts, ["0 problems", "1 problem", "2 problems"]);
    }

    #[test]
    fn a_cause_is_said_once() {
        let error: anyhow::Result<()> = Err(anyhow::anyhow!("no such file"));
        let error = error.context("the store failed: no such file");
        let error = error.context("node hub cannot start").unwrap_err();
        let expected = "node hub cannot start: the store failed: no such file";
        assert_eq!(super::told(&error), expected);
    }
}
