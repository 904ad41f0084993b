//! Fields that are read the way their writers mean them: `null` for nothing, annotations that are not texts, half a platform.
//!
//! Each is bounded in what it keeps, because a few bytes of JSON can cost many bytes of memory.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::raw::MAX_KEYS;
use crate::platform::Platform;

/// How many of a descriptor's `urls` are kept.
const MAX_URLS: usize = 16;

/// A map's values that are texts; the others are left out.
#[derive(Default)]
pub(super) struct Texts(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Text(String),
            Other(IgnoredAny),
        }
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if texts.len() >= MAX_KEYS {
                        return Err(A::Error::custom("it has too many annotations"));
                    }
                    match value {
                        Value::Text(text) => texts.insert(key, text),
                        Value::Other(IgnoredAny) => None,
                    };
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Where else content can be had. Nobody goes there, so the first few are enough to know that it is foreign; `null` is none.
pub(super) fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Urls(Vec<String>);
    impl<'de> Deserialize<'de> for Urls {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(deserializer.deserialize_seq(First)?))
        }
    }
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of URLs")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut urls = Vec::new();
            while urls.len() < MAX_URLS {
                let Some(url) = seq.next_element()? else {
                    return Ok(urls);
                };
                urls.push(url);
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(urls)
        }
    }
    let urls = Option::<Urls>::deserialize(deserializer)?;
    Ok(urls.map(|Urls(urls)| urls).unwrap_or_default())
}

pub(super) fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::<Texts>::deserialize(deserializer)?
        .unwrap_or_default()
        .0)
}

/// A platform that lacks its system or architecture is none.
pub(super) fn platform<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Platform>, D::Error> {
    #[derive(Deserialize)]
    struct Partial {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    }
    let partial = Option::<Partial>::deserialize(deserializer).map_err(D::Error::custom)?;
    Ok(partial.and_then(|partial| {
        Some(Platform {
            os: partial.os.filter(|os| !os.is_empty())?,
            architecture: partial
                .architecture
                .filter(|architecture| !architecture.is_empty())?,
            variant: partial.variant.filter(|variant| !variant.is_empty()),
        })
    }))
}
