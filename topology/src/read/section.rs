//! One declaration makes a type of the document, how it is written, its JSON Schema, and how it is read.
//!
//! serde's derive would make the reader too, but it ends at the first misfit; everything that `section!` makes for reading goes
//! on. Required keys are `Option` all the same: a value that did not fit has been reported and is simply not there.

/// A map with fixed keys: `field: Type = "key"`, with `, required` where the key must be there.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident = $what:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty = $key:literal $(, $required:ident)?;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, schemars::JsonSchema)]
        #[schemars(
            deny_unknown_fields,
            transform = crate::schema::Required($name::REQUIRED)
        )]
        pub struct $name {
            $(
                $(#[$doc])*
                #[serde(rename = $key, skip_serializing_if = "crate::read::section::is_absent")]
                #[schemars(default)]
                pub $field: $type,
            )*
        }

        impl $name {
            const REQUIRED: &'static [&'static str] = &[
                $($({ let _: &str = stringify!($required); $key },)?)*
            ];
        }

        impl crate::read::Read for $name {
            fn read(node: &crate::yaml::Yaml, reading: &mut crate::read::Reading<'_>) -> Option<Self> {
                let entries = reading.entries(node, $what, &[$($key),*])?;
                let mut section = Self::default();
                for (key, value) in entries {
                    let outside = reading.newer.as_mut().map(|newer| newer.enter(&key.value));
                    match key.value.as_str() {
                        $($key => if let Some(value) = crate::read::Read::read(value, reading) {
                            section.$field = value;
                        },)*
                        _ => {}
                    }
                    if let Some((newer, outside)) = reading.newer.as_mut().zip(outside) {
                        newer.leave(outside);
                    }
                }
                for required in Self::REQUIRED {
                    if !entries.iter().any(|(key, value)| key.value == *required && !value.is_null()) {
                        reading.missing(node.place, $what, required);
                    }
                }
                Some(section)
            }
        }
    };
}

/// One of a few words.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant),+
        }

        impl crate::read::Read for $name {
            fn read(node: &crate::yaml::Yaml, reading: &mut crate::read::Reading<'_>) -> Option<Self> {
                reading.choose(node, &[$(($text, Self::$variant)),+])
            }
        }
    };
}

pub(crate) use {choice, section};

use super::{Reading, nearest};
use crate::{
    problem::{Code, Finding},
    yaml::{Value, Yaml},
};

/// Whether a value says nothing that its absence does not say, and is not written.
pub(crate) fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Reading<'_> {
    pub(crate) fn choose<T: Copy>(&mut self, node: &Yaml, words: &[(&str, T)]) -> Option<T> {
        let Value::Scalar { text, .. } = &node.value else {
            self.wrong(node, "one word");
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let all = known.join(", ");
        let advice = match nearest(text, &known) {
            Some(near) => format!("did you mean `{near}`? It is one of {all}"),
            None => format!("it is one of {all}"),
        };
        let message = format!("`{text}` is not known here");
        self.findings
            .push(Finding::error(Code::WrongType, node.place, message).advice(advice));
        None
    }
}
