//! Single values: text, truth values, numbers, and text that a person may write as a number.

use super::{Read, Reading};
use crate::{
    document::value::Word,
    yaml::{Value, Yaml},
};

impl Read for String {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain } if !(*plain && is_other(text)) => Some(text.clone()),
            Value::Scalar { .. } if !node.is_null() => {
                reading.wrong(
                    node,
                    "text (in quotes, if it looks like a number or a truth value)",
                );
                None
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                reading.wrong(node, "text");
                None
            }
        }
    }
}

impl Read for Word {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Some(Self(text.clone())),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                reading.wrong(node, "a single value");
                None
            }
        }
    }
}

impl Read for bool {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain: true } if is_true(text) => Some(true),
            Value::Scalar { text, plain: true } if is_false(text) => Some(false),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                reading.wrong(node, "true or false");
                None
            }
        }
    }
}

impl Read for u64 {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } => text.parse().ok(),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
        };
        if number.is_none() {
            reading.wrong(node, "a whole number, not below zero");
        }
        number
    }
}

impl Read for f64 {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } if is_number(text) => text.parse().ok(),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
        };
        let number = number.filter(|n: &Self| n.is_finite());
        if number.is_none() {
            reading.wrong(node, "a number");
        }
        number
    }
}

/// Whether plain text is something other than text in YAML's core schema.
fn is_other(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
        || is_true(text)
        || is_false(text)
        || is_number(text)
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE")
}

fn is_false(text: &str) -> bool {
    matches!(text, "false" | "False" | "FALSE")
}

fn is_number(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.parse::<f64>().is_ok()
}
