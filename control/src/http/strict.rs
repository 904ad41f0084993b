//! Bodies read to the letter: a key that stands twice, or that means nothing here, is a mistake, and half of it would be lost in silence.
//!
//! What a body may hold is its schema, the one that the OpenAPI document shows: types that are also spoken with nodes cannot refuse keys
//! themselves, since nodes of another release may say more. The keys of the topology's own resources are `topology`'s to refuse.

use std::{cell::RefCell, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// JSON, and the first key that stands twice in one of its objects.
///
/// # Errors
/// When it is not JSON.
pub(super) fn read(body: &[u8]) -> Result<(Value, Option<String>), serde_json::Error> {
    let twice = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Reader(&twice).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, twice.into_inner()))
}

/// A schema by which objects hold what it names, and nothing else.
pub(super) fn closed<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    close(&mut schema);
    schema
}

/// The first key that a body of type `T` does not have.
pub(super) fn unknown<T: JsonSchema>(body: &Value) -> Option<String> {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.for_deserialize().into_generator();
    beyond(body, closed::<T>(&mut generator).as_value())
}

fn close(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    transform::transform_subschemas(&mut close, schema);
}

fn beyond(value: &Value, schema: &Value) -> Option<String> {
    match value {
        Value::Object(object) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            object.iter().find_map(
                |(key, value)| match known.and_then(|known| known.get(key)) {
                    Some(schema) => beyond(value, schema),
                    None => closed.then(|| key.clone()),
                },
            )
        }
        Value::Array(list) => {
            let items = schema.get("items")?;
            list.iter().find_map(|item| beyond(item, items))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

struct Reader<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(Reader(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(Reader(self.0))?;
            if object.contains_key(&key) {
                self.0.borrow_mut().get_or_insert_with(|| key.clone());
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::api::{explain, pull, resource::Apply};

    use super::*;

    #[test]
    fn json_is_read_as_it_is_and_what_stands_twice_is_told() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5e3",
            r#""a\u0000b""#,
            "[1, [], {}]",
            r#"{"a": {"b": [null, {"c": 1}], "a": 2}, "b": {"b": {}}}"#,
        ] {
            let plain: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text.as_bytes()).unwrap(), (plain, None), "{text}");
        }
        for text in ["", "{", "1 2", "{\"a\": 1,}", &"[".repeat(200)] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for (text, key) in [
            (r#"{"a": 1, "a": 1}"#, "a"),
            (r#"{"x": [{"b": 1, "\u0062": 2}], "c": 1, "c": 1}"#, "b"),
        ] {
            let (_, twice) = read(text.as_bytes()).unwrap();
            assert_eq!(twice.as_deref(), Some(key), "{text}");
        }
    }

    #[test]
    fn a_key_that_means_nothing_is_found_at_any_depth() {
        let apply = json!({"files": [{"name": "a", "text": ""}], "dryRun": true, "prune": false});
        assert_eq!(unknown::<Apply>(&apply), None);
        let typo = json!({"files": [], "dry_run": true});
        assert_eq!(unknown::<Apply>(&typo).as_deref(), Some("dry_run"));
        let deep = json!({"files": [{"name": "a", "text": ""}, {"txt": ""}]});
        assert_eq!(unknown::<Apply>(&deep).as_deref(), Some("txt"));
        let pull = json!({"node": "dev", "repository": "a", "reference": "1"});
        assert_eq!(unknown::<explain::Request>(&pull), None);
        assert_eq!(unknown::<pull::NodeRequest>(&pull), None);
        let more = json!({"node": "dev", "repository": "a", "reference": "1", "wait": 1});
        assert_eq!(unknown::<pull::NodeRequest>(&more).as_deref(), Some("wait"));
    }
}
