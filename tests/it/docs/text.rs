//! A document as text: sections by their heading, tables by the first cell of a row, the rest by its backquotes.
//!
//! As much of Markdown as the documents use; a heading that is not there is a failed test.

use serde_json::Value;

use super::Names;

/// The part of a document below a heading, up to the next one of the same or a higher rank.
pub(super) fn below<'a>(document: &'a str, heading: &str) -> &'a str {
    let begin = document
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"))
        + heading.len()
        + 2;
    let rank = heading.bytes().take_while(|b| *b == b'#').count();
    let (mut end, mut fenced) = (begin, false);
    for line in document[begin..].split_inclusive('\n') {
        fenced ^= line.starts_with("```");
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        if !fenced && (1..=rank).contains(&hashes) {
            break;
        }
        end += line.len();
    }
    &document[begin..end]
}

/// What stands in backquotes, fences left out.
pub(super) fn quoted(text: &str) -> Names {
    let mut found = Names::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// What stands in fences.
pub(super) fn fenced(text: &str) -> String {
    let parts = text.split("```").skip(1).step_by(2);
    parts.collect()
}

/// The rows of a table whose first cell is one backquoted text: that text and the other cells.
pub(super) fn rows(text: &str) -> Vec<(String, Vec<&str>)> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.trim_end_matches(" |").split(" | ");
            let first = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            (!first.contains('`')).then(|| (first.to_owned(), cells.collect()))
        })
        .collect()
}

/// The keys of all objects in a value.
pub(super) fn keys(value: &Value) -> Names {
    match value {
        Value::Object(map) => {
            let inner = map.values().flat_map(keys);
            map.keys().cloned().chain(inner).collect()
        }
        Value::Array(list) => list.iter().flat_map(keys).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Names::new(),
    }
}

/// The first example of JSON in a text.
pub(super) fn example(text: &str) -> Value {
    let begin = text.find("```json\n").expect("an example") + "```json\n".len();
    let end = text[begin..].find("```").expect("its end") + begin;
    serde_json::from_str(&text[begin..end]).expect("JSON")
}

/// The anchors of a document, as its renderers make them.
pub(super) fn anchors(document: &str) -> Names {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| slug(line.trim_start_matches('#').trim()))
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
