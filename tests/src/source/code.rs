//! A source file without what is not code: comments, contents of literals, and test modules.

/// `text` with comments and literals blanked and everything from the first inline `#[cfg(test)]` module on cut off.
pub(super) fn code(text: &str) -> String {
    let blanked = blank(text);
    match blanked.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => blanked[..tests].to_owned(),
        None => blanked,
    }
}

/// Whether a file is tests and nothing else.
pub(super) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest, out.chars().next_back()));
        match skipped {
            Some(length) => {
                out.extend(rest[..length].chars().filter(|c| *c == '\n'));
                out.push(' ');
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// The length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    Some(text.find("*/").map_or(text.len(), |end| end + 2))
}

/// The length of the string or character literal that begins here.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    let word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with('r') && !word {
        let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
        if text[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            return Some(
                text[from..]
                    .find(&end)
                    .map_or(text.len(), |at| from + at + end.len()),
            );
        }
    }
    if text.starts_with('"') {
        return Some(escaped_end(text, '"'));
    }
    // A lifetime has no closing quote two or more characters on.
    let character =
        text.starts_with("'\\") || (text.starts_with('\'') && text.chars().nth(2) == Some('\''));
    character.then(|| escaped_end(text, '\''))
}

/// Where the literal that begins with `quote` ends.
fn escaped_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text = "a // tokio\n/* tokio */ b \"tok\\\"io\" c r#\"tokio\"# '\"' d<'x> '\\'' e\n#[cfg(test)]\nmod tests {\n tokio }";
        let left: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
        assert_eq!(left, ["a", "b", "c", "d<'x>", "e"]);
    }

    #[test]
    fn tests_are_known_by_their_place() {
        assert!(is_test_file("wire/src/route/tests/refused.rs"));
        assert!(is_test_file("wire/src/manifest/tests.rs"));
        assert!(!is_test_file("wire/src/route.rs"));
    }
}
