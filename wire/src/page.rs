//! Pages of lists: `n`, `last`, and the `Link` header that leads to the next one.
//!
//! Nobody is refused for a bad `n`: a number too large is clamped and what is no number counts as absent, because clients
//! follow `Link` anyway and an allocation is never made from a stranger's number. `n=0` is an empty list without `Link`.
//! Source: OCI distribution-spec 1.1.1 "Listing tags"; RFC 8288; `reference/faults.md` T61.

use std::borrow::Cow;

use crate::{
    hops::split_outside_quotes,
    query::{self, Query},
};

/// The largest page given, in entries; also the size of one that was not asked for.
pub const MAX_ENTRIES: usize = 1000;
/// The longest `last` kept, in bytes; a longer one is cut, which moves the page's start by nothing that can exist.
pub const MAX_LAST: usize = 512;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Page {
    /// At most so many entries, already clamped; `None` when not said.
    pub n: Option<usize>,
    /// Only entries after this one, in lexical order.
    pub last: Option<String>,
}

impl Page {
    /// Reads `n` and `last`. Never fails.
    #[must_use]
    pub fn from_query(query: &Query<'_>) -> Self {
        Self {
            n: query.first("n").and_then(number),
            last: query
                .first("last")
                .filter(|last| !last.is_empty())
                .map(|last| cut(last).to_owned()),
        }
    }

    /// How many entries to give at most: what was asked for, or [`MAX_ENTRIES`].
    #[must_use]
    pub fn limit(&self) -> usize {
        self.n.unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES)
    }

    /// The page after this one, when this one ended with `last`.
    #[must_use]
    pub fn after(&self, last: &str) -> Self {
        Self {
            n: Some(self.limit()),
            last: Some(last.to_owned()),
        }
    }

    /// Its parameters, for a query.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let mut pairs = Vec::new();
        if let Some(n) = self.n {
            pairs.push(("n", Cow::Owned(n.to_string())));
        }
        if let Some(last) = &self.last {
            pairs.push(("last", Cow::Borrowed(last.as_str())));
        }
        pairs
    }
}

/// Digits only; a number beyond any machine's is the largest page.
fn number(text: &str) -> Option<usize> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(
        text.parse::<usize>()
            .map_or(MAX_ENTRIES, |n| n.min(MAX_ENTRIES)),
    )
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LAST))
        .unwrap_or(text)
}

/// The `Link` header's value that leads to `target`, a path with its query.
#[must_use]
pub fn link(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

/// The target with relation `next` among the values of all `Link` headers, as it came (absolute, or relative to the request).
///
/// Bounded: at most 16 KiB of header are read. What cannot be parsed is no link.
pub fn next<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut budget = query::MAX_LENGTH;
    for value in values {
        budget = budget.checked_sub(value.len())?;
        if let Some(target) = next_in(value) {
            return Some(target.to_owned());
        }
    }
    None
}

/// The page that a link's target asks for.
#[must_use]
pub fn of_target(target: &str) -> Option<Page> {
    let (_, raw) = target.split_once('?')?;
    Query::parse(Some(raw))
        .ok()
        .map(|query| Page::from_query(&query))
}

fn next_in(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        let (own, following) = split_at_comma(parameters);
        if is_next(own) {
            return Some(target).filter(|t| !t.is_empty());
        }
        rest = following?;
    }
}

/// What stands before the first comma outside quotes, and what after it.
fn split_at_comma(text: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let (own, rest) = text.split_at(at);
                return (own, rest.strip_prefix(','));
            }
            _ => {}
        }
    }
    (text, None)
}

fn is_next(parameters: &str) -> bool {
    let parameters = split_outside_quotes(parameters, ';');
    parameters.into_iter().any(|parameter| {
        let Some((key, value)) = parameter.split_once('=') else {
            return false;
        };
        key.trim().eq_ignore_ascii_case("rel")
            && value
                .trim()
                .trim_matches('"')
                .split_ascii_whitespace()
                .any(|rel| rel.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (
                &["</v2/a/tags/list?n=2&last=b>; rel=\"next\""],
                Some("/v2/a/tags/list?n=2&last=b"),
            ),
            (&["</x>; rel=next"], Some("/x")),
            (
                &["</x>;title=\"a, <y>; rel=\\\"next\\\"\";REL=\"prev NEXT\""],
                Some("/x"),
            ),
            (
                &["</first>; rel=\"first\", </x,y>; rel=\"next\""],
                Some("/x,y"),
            ),
            (
                &[
                    "</first>; rel=\"first\"",
                    "<https://other.example/x>; rel=\"next\"",
                ],
                Some("https://other.example/x"),
            ),
            (
                &[r#"</first>; title="a\", b"; rel="first", </x>; rel=next"#],
                Some("/x"),
            ),
            (
                &[r#"</first>; title="a; rel=next", </x>; rel=next"#],
                Some("/x"),
            ),
            (&["</x>; rel=\"nextish\""], None),
            (&["</x>"], None),
            (&["<>; rel=\"next\""], None),
            (&["</x; rel=\"next\""], None),
            (&["", "junk", "<<<>>>;;;,,,\""], None),
            (&[], None),
        ];
        for (values, wanted) in cases {
            assert_eq!(
                next(values.iter().copied()).as_deref(),
                *wanted,
                "{values:?}"
            );
        }
    }

    #[test]
    fn an_endless_header_is_not_read() {
        let long = format!("<{}>; rel=\"next\"", "x".repeat(query::MAX_LENGTH));
        assert_eq!(next([long.as_str()]), None);
    }

    #[test]
    fn a_page_leads_to_the_one_after_it() {
        let page = Page {
            n: Some(2),
            last: None,
        }
        .after("b");
        assert_eq!(
            page,
            Page {
                n: Some(2),
                last: Some("b".into())
            }
        );
        assert_eq!(of_target("/v2/a/tags/list?n=2&last=b"), Some(page));
        assert_eq!(of_target("/v2/a/tags/list"), None);
    }

    #[test]
    fn a_junk_last_is_cut_at_a_character() {
        let last = "é".repeat(MAX_LAST);
        let raw = format!("last={last}");
        let page = Page::from_query(&Query::parse(Some(&raw)).expect("a query"));
        let kept = page.last.expect("something is kept");
        assert!(kept.len() <= MAX_LAST && last.starts_with(&kept));
    }

    proptest! {
        #[test]
        fn a_link_reads_back(target in "/[!-;=?-~]{0,60}") {
            prop_assert_eq!(next([link(&target).as_str()]), Some(target));
        }

        #[test]
        fn whatever_arrives_is_a_link_or_none(values in prop::collection::vec("[<>;,=\"\\\\ a-z]{0,60}|.{0,60}", 0..4)) {
            let found = next(values.iter().map(String::as_str));
            prop_assert!(found.is_none_or(|target| values.iter().any(|value| value.contains(&target))));
        }

        #[test]
        fn every_page_is_bounded(raw in "(n|last)=.{0,40}&(n|last)=.{0,40}") {
            if let Ok(query) = Query::parse(Some(&raw)) {
                let page = Page::from_query(&query);
                prop_assert!(page.limit() <= MAX_ENTRIES);
                prop_assert!(page.last.is_none_or(|last| last.len() <= MAX_LAST));
            }
        }
    }
}
