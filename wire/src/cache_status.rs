//! What an answer says about where it came from: `Cache-Status`, `Age`, `Warning`.
//!
//! Each node appends its own `Cache-Status` member after its upstream's. Many clients drop `Warning`, so stale serving is
//! always in `Cache-Status` as well. Everything written here is legal in a header whatever the names and reasons contain.
//! Source: RFC 9211; RFC 9111 5.1; `spec/pull-through.md` "What the client sees".

use std::{fmt, time::Duration};

use crate::{
    challenge::quote,
    hops::split_outside_quotes,
    name::{NodeName, RuleName},
};

/// The longest value passed on from an upstream, in bytes; a longer one is left out.
pub const MAX_UPSTREAM: usize = 2048;
/// The longest `Warning`, in bytes. Source: OCI distribution-spec 1.1.1 "Warnings".
pub const MAX_WARNING: usize = 4096;

/// One node's member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStatus {
    /// Which node.
    pub node: NodeName,
    /// Under which rule; none for content that no rule covers.
    pub rule: Option<RuleName>,
    /// From the store, or from further up.
    pub outcome: Outcome,
    /// What the upstream answered.
    pub fwd_status: Option<u16>,
    /// Whether it is stored here now, or is being stored.
    pub stored: bool,
    /// Whether it shared a request that was under way.
    pub collapsed: bool,
    /// For how many seconds a tag stays fresh; negative when it no longer is.
    pub ttl: Option<i64>,
    /// One word or a few: `serve-stale`, …
    pub detail: Option<String>,
}

/// From the store, or from further up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Served from the store without asking.
    Hit,
    /// Asked, and why.
    Forward(Forward),
}

/// Why the upstream was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// It was not stored.
    Miss,
    /// It was stored and due for a check.
    Stale,
    /// It is not stored on purpose.
    Bypass,
}

impl CacheStatus {
    /// A member that says nothing but where and how.
    #[must_use]
    pub fn new(node: NodeName, rule: Option<RuleName>, outcome: Outcome) -> Self {
        Self {
            node,
            rule,
            outcome,
            fwd_status: None,
            stored: false,
            collapsed: false,
            ttl: None,
            detail: None,
        }
    }

    /// The whole header: the upstream's values as they came, then this member. Values that are too long or not printable
    /// are left out.
    pub fn after<'a>(&self, upstream: impl IntoIterator<Item = &'a str>) -> String {
        let mut out = String::new();
        for value in upstream {
            let legal = value.bytes().all(|b| matches!(b, b' '..=b'~'));
            let length = out.len().saturating_add(value.len());
            if legal && length <= MAX_UPSTREAM && !value.trim().is_empty() {
                out.push_str(value.trim());
                out.push_str(", ");
            }
        }
        out.push_str(&self.to_string());
        out
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "regmesh; node={}", item(self.node.as_str()))?;
        if let Some(rule) = &self.rule {
            write!(f, "; rule={}", item(rule.as_str()))?;
        }
        f.write_str(match self.outcome {
            Outcome::Hit => "; hit",
            Outcome::Forward(Forward::Miss) => "; fwd=miss",
            Outcome::Forward(Forward::Stale) => "; fwd=stale",
            Outcome::Forward(Forward::Bypass) => "; fwd=bypass",
        })?;
        if let Some(status) = self.fwd_status {
            write!(f, "; fwd-status={status}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if self.collapsed {
            f.write_str("; collapsed")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={}", ttl.clamp(-MAX_SF_INTEGER, MAX_SF_INTEGER))?;
        }
        if let Some(detail) = &self.detail {
            write!(f, "; detail={}", item(detail))?;
        }
        Ok(())
    }
}

/// The largest integer of structured fields (RFC 8941 3.3.1).
const MAX_SF_INTEGER: i64 = 999_999_999_999_999;

/// A token where the text is one (RFC 8941 3.3.4), else a quoted string.
fn item(text: &str) -> String {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if first && text.bytes().all(rest) {
        text.to_owned()
    } else {
        quote(text)
    }
}

/// A `Warning` that tells a person something: `299 - "…"`, at most [`MAX_WARNING`] bytes.
#[must_use]
pub fn warning(text: &str) -> String {
    const FRAME: usize = "299 - \"\"".len();
    let mut out = String::from("299 - \"");
    let mut left = MAX_WARNING.saturating_sub(FRAME);
    for c in text.chars() {
        let c = match c {
            ' '..='~' => c,
            c if c.is_whitespace() => ' ',
            c if c.is_control() => continue,
            _ => '?',
        };
        let escaped = matches!(c, '"' | '\\');
        let Some(rest) = left.checked_sub(if escaped { 2 } else { 1 }) else {
            break;
        };
        left = rest;
        if escaped {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The texts of the 299 warnings among the values of all `Warning` lines; at most eight, each within [`MAX_WARNING`].
pub fn warnings<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let texts = values
        .into_iter()
        .take(8)
        .filter(|value| value.len() <= MAX_WARNING)
        .flat_map(|value| split_outside_quotes(value, ','))
        .filter_map(warning_text);
    texts.take(8).collect()
}

fn warning_text(member: &str) -> Option<String> {
    let (code, rest) = member.trim().split_once(' ')?;
    let (_agent, text) = rest.split_once(' ')?;
    let text = text.trim().strip_prefix('"').filter(|_| code == "299")?;
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
}

/// The value of `Age`: whole seconds, at most those of RFC 9111 (2^31).
#[must_use]
pub fn age(age: Duration) -> String {
    age.as_secs().min(MAX_AGE).to_string()
}

/// Reads an `Age`; anything but digits is none.
#[must_use]
pub fn parse_age(value: &str) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = value.parse().unwrap_or(MAX_AGE).min(MAX_AGE);
    Some(Duration::from_secs(seconds))
}

const MAX_AGE: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member() -> CacheStatus {
        let node = "prod".parse().expect("a node name");
        let rule = "golden".parse().expect("a rule name");
        CacheStatus::new(node, Some(rule), Outcome::Forward(Forward::Stale))
    }

    #[test]
    fn it_is_written_as_the_spec_shows_it() {
        let member = CacheStatus {
            fwd_status: Some(200),
            stored: true,
            ttl: Some(28),
            ..member()
        };
        assert_eq!(
            member.to_string(),
            "regmesh; node=prod; rule=golden; fwd=stale; fwd-status=200; stored; ttl=28"
        );
    }

    #[test]
    fn every_outcome_has_its_word() {
        let cases = [
            (Outcome::Hit, "; hit"),
            (Outcome::Forward(Forward::Miss), "; fwd=miss"),
            (Outcome::Forward(Forward::Stale), "; fwd=stale"),
            (Outcome::Forward(Forward::Bypass), "; fwd=bypass"),
        ];
        for (outcome, word) in cases {
            let text = CacheStatus {
                outcome,
                rule: None,
                collapsed: true,
                detail: Some("serve-stale".into()),
                ..member()
            }
            .to_string();
            assert_eq!(
                text,
                format!("regmesh; node=prod{word}; collapsed; detail=serve-stale")
            );
        }
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        let rule = "1-rule".parse().expect("a rule name");
        let text = CacheStatus {
            rule: Some(rule),
            detail: Some("no \"token\"\n".into()),
            outcome: Outcome::Hit,
            ..member()
        }
        .to_string();
        assert_eq!(
            text,
            r#"regmesh; node=prod; rule="1-rule"; hit; detail="no \"token\"""#
        );
    }

    #[test]
    fn the_upstreams_members_come_first() {
        let own = CacheStatus::new("leaf".parse().expect("a node name"), None, Outcome::Hit);
        assert_eq!(
            own.after(["regmesh; node=hub; hit", "cdn; hit"]),
            "regmesh; node=hub; hit, cdn; hit, regmesh; node=leaf; hit"
        );
        assert_eq!(
            own.after(["", "bad\nvalue", "x".repeat(MAX_UPSTREAM + 1).as_str()]),
            "regmesh; node=leaf; hit"
        );
    }

    #[test]
    fn age_is_whole_seconds_and_digits_only() {
        assert_eq!(age(Duration::from_millis(2999)), "2");
        assert_eq!(age(Duration::MAX), "2147483648");
        assert_eq!(parse_age(" 28 "), Some(Duration::from_secs(28)));
        assert_eq!(
            parse_age("99999999999999999999999"),
            Some(Duration::from_secs(1 << 31))
        );
        for bad in ["", "-1", "+1", "1.5", "x"] {
            assert_eq!(parse_age(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_299_warnings_are_read() {
        let values = [
            r#"299 - "a, \"b\"", 110 node "Response is Stale""#,
            "junk",
            r#"299 x "open"#,
            "299 - \"c\"",
        ];
        assert_eq!(warnings(values), [r#"a, "b""#, "c"]);
    }

    proptest! {
        #[test]
        fn a_warning_is_bounded_printable_and_reads_back(text in ".{0,5000}") {
            let value = warning(&text);
            prop_assert!(value.len() <= MAX_WARNING);
            prop_assert!(value.bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert_eq!(warnings([value.as_str()]).len(), 1);
        }

        #[test]
        fn a_printable_warning_keeps_its_words(text in "[ -~]{0,200}") {
            prop_assert_eq!(warnings([warning(&text).as_str()]), [text]);
        }
    }
}
