//! Every example at the repository's root is a valid topology, its slices are read again by the same parser, and the schema
//! knows every key it uses. The folder is listed, so a new example is tested without a line here.

use std::{fs, path::PathBuf};

use serde_json::Value;

fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of examples") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let text = fs::read_to_string(&path).expect("readable");
            found.push((path.display().to_string(), text));
        }
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}

fn load(example: &(String, String)) -> topology::Loaded {
    topology::load(std::slice::from_ref(example)).expect(&example.0)
}

#[test]
fn every_example_is_valid() {
    for example in examples() {
        assert!(!load(&example).topology.nodes.is_empty());
    }
}

#[test]
fn every_slice_of_every_example_means_the_same_to_its_node() {
    for example in examples() {
        let loaded = load(&example);
        for (name, node) in &loaded.topology.nodes {
            let slice = topology::slice::slice(&loaded.topology, name).expect("a slice");
            let yaml = slice.to_yaml().expect("YAML");
            let json = serde_json::to_string(&slice).expect("JSON");
            for text in [yaml, json] {
                let again = topology::load_slice("slice", &text).expect(&text);
                let topology = again.topology;
                assert_eq!(again.warnings, [], "{text}");
                assert_eq!(again.document, slice);
                let own = topology.node(name).expect("the node");
                assert_eq!(own.rules, node.rules, "{text}");
                assert_eq!(own.access, node.access);
                assert_eq!(own.webhooks, node.webhooks);
                assert_eq!(own.network, node.network);
                assert_eq!(own.storage, node.storage);
                assert_eq!(topology.tier(name), loaded.topology.tier(name));
            }
        }
    }
}

#[test]
fn the_schema_knows_every_key_of_every_example() {
    let schema = topology::schema::schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    for example in examples() {
        let document = serde_json::to_value(load(&example).document).expect("JSON");
        fits(&schema, &schema, &document, "").expect(&example.0);
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = topology::schema::schema();
    let bad = [
        serde_json::json!({"nodes": {"a": {"endpiont": "x", "endpoint": "y"}}}),
        serde_json::json!({"nodes": {"a": {}}}),
        serde_json::json!({"nodes": {"a": {"endpoint": null}}}),
        serde_json::json!({"nodes": {"a": {"endpoint": 1}}}),
        serde_json::json!({"rules": {"r": {"on": "a", "source": "b", "target": "c", "whenGone": "x"}}}),
        serde_json::json!({"accounts": {"ci": {"password": "hunter2"}}}),
        serde_json::json!({"slice": {}}),
    ];
    for document in bad {
        assert!(fits(&schema, &schema, &document, "").is_err(), "{document}");
    }
}

/// As much of JSON Schema as the generated one uses.
fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        let target = root.pointer(pointer).ok_or(format!("no {reference}"))?;
        fits(root, target, value, at)?;
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(root, part, value, at)?;
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(parts) = schema[key].as_array() {
            let misfits: Vec<String> = parts
                .iter()
                .filter_map(|part| fits(root, part, value, at).err())
                .collect();
            if misfits.len() == parts.len() {
                return Err(format!("{at}: none of {misfits:?}"));
            }
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let number = kind == "integer" && types.contains(&"number");
    if !types.is_empty() && !types.contains(&kind) && !number {
        return Err(format!("{at}: {kind} is not {types:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at}: {value} is not one of {words:?}"));
    }
    if let Some(word) = schema.get("const")
        && word != value
    {
        return Err(format!("{at}: {value} is not {word}"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(root, &schema["items"], item, &format!("{at}/{number}"))?;
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match schema["properties"].get(key) {
            Some(property) => fits(root, property, item, &at)?,
            None if schema["additionalProperties"] == false => {
                return Err(format!("{at} is not known"));
            }
            None => fits(root, &schema["additionalProperties"], item, &at)?,
        }
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let key = required.as_str().expect("a key");
        if value.is_object() && value.get(key).is_none() {
            return Err(format!("{at}: {key} is missing"));
        }
    }
    Ok(())
}
