//! `on`: which nodes.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Entries, value::OneOrMany};
use crate::{
    place::At,
    read::{Read, Reading, section::section},
    yaml::{Value, Yaml},
};

/// Which nodes: a name, a list of names, or those whose labels match.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Selector {
    /// By name.
    Names(OneOrMany),
    /// By label.
    Labels(LabelSelector),
}

section! {
    /// Nodes that have all of these labels.
    LabelSelector = "`on`" {
        /// Label to value; all must match.
        labels: Entries<At<String>> = "labels", required;
    }
}

impl Read for Selector {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Read::read(node, reading).map(Self::Labels),
            Value::List(_) | Value::Scalar { .. } => Read::read(node, reading).map(Self::Names),
        }
    }
}
