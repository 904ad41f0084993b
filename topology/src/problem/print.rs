//! A problem as text: like a compiler's, so that editors and terminals make its place a link.
//!
//! Long lines (a slice is one line of JSON) are cut to a window around the offending text. Control characters of the file are
//! never printed: a document is input from outside.

use std::fmt::Write as _;

use super::{Excerpt, Problem, Severity};
use crate::place::{Place, Sources};

const WINDOW: usize = 100;
/// Bytes of a line that are looked at on both sides: the window in the widest characters.
const REACH: usize = 4 * WINDOW;

/// The line around `place`, with every secret covered by stars.
pub(super) fn excerpt(place: Place, sources: &Sources, secrets: &[Place]) -> Excerpt {
    let Some((line, begin)) = sources.line(place, REACH) else {
        return Excerpt::default();
    };
    let start = place.start as usize;
    let end = (place.end as usize).min(begin + line.len()).max(start);
    let mut shown = Excerpt::default();
    let mut before = 0;
    let mut after = 0;
    for (offset, character) in line.char_indices() {
        let at = begin + offset;
        if at + WINDOW < start || after >= WINDOW {
            continue;
        }
        let covered = secrets.iter().any(|secret| {
            secret.file == place.file && (secret.start as usize..secret.end as usize).contains(&at)
        });
        shown.text.push(match character {
            _ if covered => '*',
            c if c.is_control() => ' ',
            c => c,
        });
        if at < start {
            before += 1;
        } else if at < end {
            shown.width += 1;
            after += usize::from(shown.width > WINDOW);
        } else {
            after += 1;
        }
    }
    shown.from = before;
    shown.width = shown.width.clamp(1, WINDOW);
    shown
}

pub(super) fn render(problem: &Problem, colour: bool) -> String {
    let paint = |style: &str, text: &str| {
        if colour {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let (word, style) = match problem.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let head = paint(style, &format!("{word}[{}]", problem.code));
    let mut out = format!("{head}: {}\n", printable(&problem.message));
    let gutter = " ".repeat(problem.line.to_string().len());
    let bar = paint("1;34", "|");
    if problem.line > 0 {
        let arrow = paint("1;34", "-->");
        let _ = writeln!(
            out,
            "{gutter}{arrow} {}:{}:{}",
            problem.file, problem.line, problem.column
        );
        let Excerpt { text, from, width } = &problem.excerpt;
        let marks = paint(style, &"^".repeat(*width));
        let _ = writeln!(out, "{gutter} {bar}");
        let _ = writeln!(
            out,
            "{} {bar} {}",
            paint("1;34", &problem.line.to_string()),
            text.trim_end()
        );
        let _ = writeln!(out, "{gutter} {bar} {}{marks}", " ".repeat(*from));
    }
    for other in &problem.related {
        let _ = writeln!(
            out,
            "{gutter} = note: {}:{}:{}: {}",
            other.file,
            other.line,
            other.column,
            printable(&other.message)
        );
    }
    if !problem.advice.is_empty() {
        let help = paint("1;36", "help:");
        let _ = writeln!(out, "{gutter} = {help} {}", printable(&problem.advice));
    }
    out
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
