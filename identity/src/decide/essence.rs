//! What of a workload's claims our own tokens carry.
//!
//! Claims travel whole while they are short, so that an assignment made meanwhile finds what it asks for. Long ones (hundreds of groups)
//! would make tokens that no proxy lets through: then only `iss`, `sub` and what assignments look at travel, of arrays the elements that
//! one of them means. That takes nothing away from what the assignments in force give; a later one counts from the next token on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::claims::{self, Claims};

/// The longest claims that travel whole, in bytes of JSON.
const SHORT: usize = 4 * 1024;

/// What travels of these claims; `None` when it is all of them.
pub(super) fn essence<'a>(
    claims: &Map<String, Value>,
    wanted: impl Iterator<Item = &'a Claims>,
) -> Option<Map<String, Value>> {
    if serde_json::to_vec(claims).is_ok_and(|text| text.len() <= SHORT) {
        return None;
    }
    let mut whole: BTreeSet<String> = ["iss", "sub"].map(str::to_owned).into();
    let mut globs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, glob) in wanted.flat_map(Claims::iter) {
        match claims::first(key) {
            Some(first) => drop(whole.insert(first)),
            None => drop(globs.entry(key).or_default().insert(glob)),
        }
    }
    let kept = claims.iter().filter_map(|(name, value)| {
        let value = match globs.get(name.as_str()) {
            _ if whole.contains(name) => value.clone(),
            Some(globs) => meant(value, globs),
            None => return None,
        };
        Some((name.clone(), value))
    });
    Some(kept.collect())
}

fn meant(value: &Value, globs: &BTreeSet<&str>) -> Value {
    let Value::Array(elements) = value else {
        return value.clone();
    };
    let is_meant = |value: &&Value| globs.iter().any(|glob| claims::is_meant(glob, value));
    Value::Array(elements.iter().filter(is_meant).cloned().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Map<String, Value> {
        let Value::Object(claims) = value else {
            unreachable!()
        };
        claims
    }

    #[test]
    fn short_claims_travel_whole_and_of_long_ones_what_assignments_look_at() {
        let wanted: Vec<Claims> = [
            json!({"groups": "g-7", "ref": "refs/*"}),
            json!({"groups": "g-1*", "/kubernetes.io/namespace": "prod"}),
            json!({"/a~1b": "x", "absent": "x"}),
        ]
        .into_iter()
        .map(|claims| Claims::new(&serde_json::from_value(claims).unwrap()))
        .collect();
        let mut all = claims(json!({
            "iss": "i", "sub": "s", "aud": "a", "exp": 1, "ref": "refs/heads/main", "groups": ["g-7"], "a/b": "x",
            "kubernetes.io": {"namespace": "prod", "pod": {"name": "p"}}, "name": "n"
        }));
        assert_eq!(essence(&all, wanted.iter()), None);
        let groups: Vec<String> = (0..1000).map(|n| format!("g-{n}")).collect();
        all["groups"] = json!(groups);
        let kept = essence(&all, wanted.iter()).unwrap();
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["a/b", "groups", "iss", "kubernetes.io", "ref", "sub"]
        );
        assert_eq!(kept["groups"].as_array().unwrap().len(), 112);
        assert_eq!(kept["kubernetes.io"], all["kubernetes.io"]);
        for one in &wanted {
            assert_eq!(one.match_all(&kept), one.match_all(&all));
        }
        let none = essence(&all, std::iter::empty()).unwrap();
        assert_eq!(Value::Object(none), json!({"iss": "i", "sub": "s"}));
    }
}
