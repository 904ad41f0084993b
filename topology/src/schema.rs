//! The JSON Schema (draft-07) of the document, from the types that read it.

use schemars::{Schema, generate::SchemaSettings, transform::Transform};
use serde_json::{Map, Value};

use crate::document::Document;

/// The schema, for editors and for `regmesh schema`. `slice`, which people do not write, is left out.
#[must_use]
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema: Schema = generator.into_root_schema_for::<Document>();
    Described.transform(&mut schema);
    let mut schema = schema.to_value();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("slice");
    }
    if let Some(definitions) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        for only_in_slices in ["Slice", "Origin", "Recall", "Grants", "Withdrawal", "Left"] {
            definitions.remove(only_in_slices);
        }
    }
    schema
}

/// Says which keys of a section must be there: `section!` knows, the types (optional all the same) do not.
#[derive(Clone)]
pub(crate) struct Required(pub(crate) &'static [&'static str]);

impl Transform for Required {
    fn transform(&mut self, schema: &mut Schema) {
        if !self.0.is_empty() {
            schema.insert("required".to_owned(), self.0.into());
        }
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (_, property) in properties.into_iter().flatten() {
            if let Some(property) = property.as_object_mut() {
                property.remove("default");
                without_null(property);
            }
        }
    }
}

/// A key is left out rather than set to nothing, so editors need not offer it.
fn without_null(property: &mut Map<String, Value>) {
    if let Some(types) = property.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            property.insert("type".to_owned(), one);
        }
    }
    let Some(mut parts) = property.remove("anyOf") else {
        return;
    };
    if let Some(parts) = parts.as_array_mut() {
        parts.retain(|part| part["type"] != "null");
    }
    // Draft-07 ignores what stands beside a `$ref`, so the one that is left stays in a list.
    let one = parts.as_array().is_some_and(|parts| parts.len() == 1);
    property.insert(if one { "allOf" } else { "anyOf" }.to_owned(), parts);
}

/// Gives the schema its title.
struct Described;

impl Transform for Described {
    fn transform(&mut self, schema: &mut Schema) {
        schema.insert("title".to_owned(), "regmesh topology".into());
    }
}
