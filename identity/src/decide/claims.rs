//! Which tokens of an issuer an assignment means: claims by name or JSON pointer, values by globs.
//!
//! `*` matches any text, also an empty one and across `/`; everything else matches itself, from the first character to the
//! last. Of an array one element must match; numbers and booleans are compared as JSON writes them; objects and null never
//! match. An assignment without claims matches nobody. Source: `spec/topology.md` `access[]`.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

/// The claims an assignment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims(BTreeMap<String, String>);

impl Claims {
    pub(super) fn new(claims: &BTreeMap<String, String>) -> Self {
        Self(claims.clone())
    }

    /// A claim that must have this very value, the longest one: the most telling.
    pub(super) fn literal(&self) -> Option<(&str, &str)> {
        let literal = self.0.iter().filter(|(_, glob)| !glob.contains('*'));
        literal
            .max_by_key(|(_, value)| value.len())
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Its keys and globs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, glob)| (key.as_str(), glob.as_str()))
    }

    pub(super) fn match_all(&self, claims: &Map<String, Value>) -> bool {
        let matches =
            |key: &str, glob: &str| values(claims, key).any(|value| matches_glob(glob, &value));
        !self.0.is_empty() && self.0.iter().all(|(key, glob)| matches(key, glob))
    }
}

/// The texts that a claim has: one, or one for each element of an array.
pub(super) fn values<'a>(
    claims: &'a Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let value = if key.starts_with('/') {
        pointer(claims, key)
    } else {
        claims.get(key)
    };
    let elements = match value {
        Some(Value::Array(elements)) => elements.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    elements.iter().filter_map(text)
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether the glob of a role assignment means this one value of a claim.
#[must_use]
pub fn is_meant(glob: &str, value: &Value) -> bool {
    text(value).is_some_and(|text| matches_glob(glob, &text))
}

/// RFC 6901 over the claims object, which `Value::pointer` would want wrapped and so copied.
fn pointer<'a>(claims: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let (first, rest) = split(key)?;
    claims.get(&first)?.pointer(rest)
}

/// The claim that a JSON pointer leads into; `None` for a plain name.
pub(super) fn first(key: &str) -> Option<String> {
    split(key).map(|(first, _)| first)
}

fn split(key: &str) -> Option<(String, &str)> {
    let path = key.strip_prefix('/')?;
    let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    Some((first.replace("~1", "/").replace("~0", "~"), rest))
}

fn matches_glob(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_matches_by_name_or_pointer_and_only_as_a_whole() {
        let Value::Object(token) = json!({
            "ref": "refs/heads/main", "repository_id": 123_456_789, "groups": ["dev", "ops"], "protected": true,
            "kubernetes.io": {"namespace": "prod", "pod": {"name": "a/b"}}, "a/b": "slash", "nothing": null
        }) else {
            unreachable!()
        };
        let cases = [
            ("ref", "refs/heads/main", true),
            ("ref", "refs/heads/mai", false),
            ("ref", "efs/heads/main", false),
            ("ref", "refs/*", true),
            ("ref", "*/main", true),
            ("ref", "refs/*/main", true),
            ("ref", "r*s*n", true),
            ("ref", "refs/heads/main*", true),
            ("ref", "refs/tags/*", false),
            ("ref", "refs/heads/main*main", false),
            ("ref", "Refs/*", false),
            ("repository_id", "123456789", true),
            ("repository_id", "12345678", false),
            ("protected", "true", true),
            ("groups", "ops", true),
            ("groups", "dev,ops", false),
            ("/kubernetes.io/namespace", "prod", true),
            ("/kubernetes.io/pod/name", "a/*", true),
            ("/a~1b", "slash", true),
            ("/kubernetes.io", "*", false),
            ("kubernetes.io", "*", false),
            ("nothing", "*", false),
            ("absent", "*", false),
            ("/absent/deep", "*", false),
        ];
        for (key, glob, expected) in cases {
            let claims = Claims::new(&BTreeMap::from([(key.to_owned(), glob.to_owned())]));
            assert_eq!(claims.match_all(&token), expected, "{key}: {glob}");
        }
        assert!(!Claims::new(&BTreeMap::new()).match_all(&token));
    }
}
