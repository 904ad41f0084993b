//! The JSON Schema (draft-07) of the document, from the types that read it.

use schemars::{Schema, generate::SchemaSettings, transform::Transform};
use serde_json::Value;

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
        definitions.remove("Slice");
        definitions.remove("Origin");
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
            }
        }
    }
}

/// Gives the schema its title.
struct Described;

impl Transform for Described {
    fn transform(&mut self, schema: &mut Schema) {
        schema.insert("title".to_owned(), "regmesh topology".into());
    }
}
