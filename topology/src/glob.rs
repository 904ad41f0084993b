//! Globs over tags: `*` stands for any characters, `?` for one. No other character is special.

use std::{fmt, str::FromStr, sync::Arc};

/// A glob over tags, matched against the whole tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(Arc<str>);

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a tag glob: letters, digits, '.', '_', '-', '*' and '?', at most 128 characters"
)]
pub struct GlobError(String);

impl Glob {
    /// Whether it matches the whole of `text`. Linear in `text` for each `*`; never backtracks over more than one.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == b'?' || *c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((at, taken)) = star else {
                        return false;
                    };
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

impl FromStr for Glob {
    type Err = GlobError;
    fn from_str(text: &str) -> Result<Self, GlobError> {
        let legal =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*' | b'?');
        if (1..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(GlobError(text.chars().take(128).collect()))
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_glob_matches_the_whole_tag() {
        let cases = [
            ("v*", "v1.2", true),
            ("v*", "av1", false),
            ("*-2???????", "rel-20261120", true),
            ("*-2???????", "rel-2026112", false),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("latest", "latest1", false),
        ];
        for (glob, tag, expected) in cases {
            assert_eq!(
                glob.parse::<Glob>().expect("legal").matches(tag),
                expected,
                "{glob} {tag}"
            );
        }
    }
}
