//! What the code has, read from its sources where it has no list of it: words of `match` arms, metric families, fields.
//!
//! By the shapes that rustfmt gives; a source that has none of what is looked for is for the caller to notice.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Names;

/// The texts that `match` arms give.
pub(super) fn arms(source: &str) -> Names {
    let mut found = Names::new();
    for after in source.split("=>").skip(1) {
        let value = after.trim_start_matches(|c: char| c.is_whitespace() || c == '{');
        if let Some((word, _)) = value
            .strip_prefix('"')
            .and_then(|rest| rest.split_once('"'))
        {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The metric families that a source declares, with their labels; calls that take their names from elsewhere are none.
pub(super) fn declared(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut families = BTreeMap::new();
    for kind in ["counter(", "gauge(", "histogram("] {
        for call in source.split(kind).skip(1) {
            let Some((name, rest)) = literal(call) else {
                continue;
            };
            let (_, rest) = literal(rest).expect("a help text");
            let labels = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            let labels = labels
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'));
            let labels = labels.map_or("", |(labels, _)| labels);
            let labels = labels.split('"').skip(1).step_by(2).map(str::to_owned);
            families.insert(name.to_owned(), labels.collect());
        }
    }
    families
}

/// The kinds of events that a source of the control plane makes.
pub(super) fn kinds_of_events(source: &str) -> Names {
    let told = source.split(".event(").skip(1).filter_map(|call| {
        let before = call.split(')').next().unwrap_or_default();
        before.split('"').nth(1)
    });
    let made = source.split("kind: \"").skip(1);
    let made = made.filter_map(|rest| rest.split('"').next());
    told.chain(made).map(str::to_owned).collect()
}

/// The text that an argument is, and what comes after it.
fn literal(source: &str) -> Option<(&str, &str)> {
    let source = source.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    source.strip_prefix('"')?.split_once('"')
}

/// Method and path of each row of the API's table; those of the kinds of resources once, as `{kind}`.
pub(super) fn routes(table: &str) -> Names {
    let rows = table.split("Endpoint::new(").skip(1).filter_map(|row| {
        let mut arguments = row.split(',').map(str::trim);
        let method = arguments.next()?.strip_prefix("Method::")?;
        let path = match arguments.next()? {
            "list" | "list.clone()" => "/api/v1/{kind}",
            "one" | "one.clone()" => "/api/v1/{kind}/{name}",
            path => path.strip_prefix('"')?.strip_suffix('"')?,
        };
        Some(format!("{method} {path}"))
    });
    rows.collect()
}

/// The metric families that a text mentions; of a histogram's series, the family.
pub(super) fn mentioned(text: &str, known: &BTreeMap<String, Vec<String>>) -> Names {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !legal(c));
    let words = words.filter(|word| word.starts_with("regmesh_"));
    words
        .map(|word| {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .filter(|family| known.contains_key(*family));
            family.unwrap_or(word).to_owned()
        })
        .collect()
}

/// The public fields that a source declares, as JSON has them.
pub(super) fn fields(source: &str) -> Names {
    let declared = source.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("    pub ")?.split_once(": ")?;
        Some(name)
    });
    declared.map(camel).collect()
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    for (number, part) in name.split('_').enumerate() {
        let (first, rest) = part.split_at(1);
        out.push_str(&if number == 0 {
            first.to_owned()
        } else {
            first.to_uppercase()
        });
        out.push_str(rest);
    }
    out
}

pub(super) fn schema_keys(schema: &Value, found: &mut Names) {
    if let Some(properties) = schema["properties"].as_object() {
        found.extend(properties.keys().cloned());
    }
    for inner in schema.as_object().into_iter().flat_map(|map| map.values()) {
        schema_keys(inner, found);
    }
    for inner in schema.as_array().into_iter().flatten() {
        schema_keys(inner, found);
    }
}
