//! Shapes of values that several sections share.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::{
    place::At,
    read::{Read, Reading},
    yaml::{Value, Yaml},
};

/// One value that may look like a number or a truth value and is text all the same: a duration, a size, a switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Word(pub String);

impl JsonSchema for Word {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Word".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer", "boolean"]})
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(At<String>),
    /// Several.
    Many(Vec<At<String>>),
}

impl OneOrMany {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[At<String>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// One text for one, else a list.
    #[must_use]
    pub fn of(texts: impl IntoIterator<Item = String>) -> Self {
        let mut many: Vec<At<String>> = texts.into_iter().map(At::made).collect();
        if many.len() == 1 {
            Self::One(many.remove(0))
        } else {
            Self::Many(many)
        }
    }
}

impl Read for OneOrMany {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Read::read(node, reading).map(Self::Many),
            Value::Scalar { .. } => Read::read(node, reading).map(Self::One),
            Value::Map(_) => {
                reading.wrong(node, "text or a list of texts");
                None
            }
        }
    }
}
