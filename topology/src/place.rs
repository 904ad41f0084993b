//! Where a value stands in the text it was read from.
//!
//! Every value of a `Document` carries its place, so that a problem found long after reading can still point at it. A place is
//! small and says nothing about the text itself; `Sources` holds the texts. Values made by code have the place `NOWHERE`.

use std::{borrow::Borrow, cmp::Ordering, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

/// A stretch of one line (or the beginning of a longer stretch) of one of the texts read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Which text, counted from 0 in `Sources`.
    pub file: u32,
    /// Line, counted from 1; 0 for a value that was not read from a text.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// First byte in the text.
    pub start: u32,
    /// One past the last byte in the text.
    pub end: u32,
}

impl Place {
    /// The place of what was not read from a text.
    pub const NOWHERE: Self = Self {
        file: 0,
        line: 0,
        column: 0,
        start: 0,
        end: 0,
    };
}

/// A value and where it stands. Equality, order and what is written are the value's alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> At<T> {
    /// A value that was not read from a text.
    pub fn made(value: T) -> Self {
        Self {
            value,
            place: Place::NOWHERE,
        }
    }
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl Borrow<str> for At<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The texts that were read together, in order.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Of `(file name, text)`.
    #[must_use]
    pub fn new(files: &[(String, String)]) -> Self {
        Self {
            files: files.to_vec(),
        }
    }

    /// The name of the text in which `place` is; empty for `NOWHERE`.
    #[must_use]
    pub fn name(&self, place: Place) -> &str {
        self.file(place).map_or("", |(name, _)| name)
    }

    /// The text at `place`; empty for `NOWHERE`.
    #[must_use]
    pub fn text(&self, place: Place) -> &str {
        self.file(place)
            .and_then(|(_, text)| text.get(place.start as usize..place.end as usize))
            .unwrap_or_default()
    }

    /// Every text, with its number.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..).zip(self.files.iter().map(|(_, text)| text.as_str()))
    }

    /// The line in which `place` begins, and the byte at which it begins; of a long line `reach` bytes on both sides.
    pub(crate) fn line(&self, place: Place, reach: usize) -> Option<(&str, usize)> {
        let (_, text) = self.file(place)?;
        let at = text.floor_char_boundary(place.start as usize);
        let near = text.floor_char_boundary(at.saturating_sub(reach));
        let far = text.ceil_char_boundary(at.saturating_add(reach));
        let before = text.get(near..at)?;
        let begin = before
            .rfind('\n')
            .map_or(near, |newline| near + newline + 1);
        let line = text.get(begin..far)?.lines().next().unwrap_or_default();
        Some((line, begin))
    }

    fn file(&self, place: Place) -> Option<&(String, String)> {
        if place.line == 0 {
            return None;
        }
        self.files.get(place.file as usize)
    }
}
