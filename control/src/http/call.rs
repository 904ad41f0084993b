//! A request that was let in: who asks, and the parsed parts of it, each read once into the type it is.
//!
//! Whatever does not parse is refused here with the name of the parameter, the reason and the right form. A name in a path that cannot
//! be one names nothing: 404.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use bytes::Bytes;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::{api::problem::Problem, generation::Generation, oci_error::clean};

use super::{endpoint::Needs, strict};
use crate::sign_in::Caller;

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Call {
    /// Who asks.
    pub(crate) caller: Caller,
    /// What they had to have.
    pub(crate) needs: Needs,
    /// What stood in the braces of the path, decoded.
    pub(crate) path: BTreeMap<String, String>,
    /// The query: every parameter is declared, of the right form and there once at most.
    pub(crate) query: BTreeMap<&'static str, String>,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
    /// Where it comes from.
    pub(crate) address: IpAddr,
}

/// What `If-Match` and `If-None-Match` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// That it is there.
    Exists,
    /// That it is not there.
    Absent,
    /// That one of these generations is in force.
    Generation(Vec<Generation>),
}

impl Call {
    /// What stands in the path at `{name}`.
    pub(crate) fn segment<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        let text = self.text(name);
        text.parse()
            .map_err(|_| absent(&format!("there is no '{text}'")))
    }

    /// What stands in the path at `{name}`, as text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A parameter of the query.
    pub(crate) fn query<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error: T::Err| parameter(name, &error.to_string()))
        };
        self.query.get(name).map(parse).transpose()
    }

    /// A parameter that the table says must be there.
    pub(crate) fn needed<T>(&self, name: &str) -> Result<T, Problem>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.query(name)?
            .ok_or_else(|| parameter(name, "it is missing"))
    }

    /// The JSON body.
    pub(crate) fn json<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, Problem> {
        let value = self.value()?;
        // serde would take a list for an object, too.
        if !value.is_object() {
            return Err(misfit("the body is not a JSON object"));
        }
        if let Some(key) = strict::unknown::<T>(&value) {
            return Err(misfit(&format!("there is no key '{}' in it", clean(&key))));
        }
        serde_json::from_value(value).map_err(|error| misfit(&error.to_string()))
    }

    /// The body as any JSON.
    pub(crate) fn value(&self) -> Result<Value, Problem> {
        let (value, twice) = strict::read(&self.body).map_err(|error| {
            let text = format!("the body is not JSON: {error}");
            Problem::new(400, "malformed-body", text)
        })?;
        match twice {
            None => Ok(value),
            Some(key) => Err(misfit(&format!("the key '{}' is there twice", clean(&key)))),
        }
    }

    /// The conditions of the request.
    pub(crate) fn condition(&self) -> Result<Condition, Problem> {
        if let Some(value) = self.header(&header::IF_NONE_MATCH)? {
            return match value.trim() {
                "*" => Ok(Condition::Absent),
                _ => Err(condition("If-None-Match is taken as '*' only")),
            };
        }
        let Some(value) = self.header(&header::IF_MATCH)? else {
            return Ok(Condition::None);
        };
        if value.trim() == "*" {
            return Ok(Condition::Exists);
        }
        let tags: Option<Vec<_>> = value.split(',').map(|tag| generation(tag.trim())).collect();
        let tags = tags.ok_or_else(|| {
            condition("If-Match is '*' or the ETag of a GET, such as \"7\" with its quotes")
        })?;
        Ok(Condition::Generation(tags.into_iter().flatten().collect()))
    }

    /// Whether this media type is asked for by name.
    pub(crate) fn accepts(&self, wanted: &[&str]) -> bool {
        let values = self.headers.get_all(header::ACCEPT).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|range| wanted.contains(&media_type(range)))
    }

    /// The media type of the body.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE);
        media_type(value.and_then(|v| v.to_str().ok()).unwrap_or_default())
    }

    fn header(&self, name: &header::HeaderName) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(condition(&format!("{name} is there more than once")));
        }
        let text = first.map(|value| value.to_str());
        text.transpose()
            .map_err(|_| condition(&format!("{name} is no text")))
    }
}

/// An entity tag: `Some(None)` for one that is none of ours, such as a weak one, which matches nothing.
fn generation(tag: &str) -> Option<Option<Generation>> {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let inner = strong.strip_prefix('"')?.strip_suffix('"')?;
    let number = inner
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| inner.parse().ok())
        .flatten();
    Some(number.filter(|_| strong.len() == tag.len()).map(Generation))
}

/// A media type without its parameters.
pub(crate) fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// There is nothing of that name.
pub(crate) fn absent(text: &str) -> Problem {
    Problem::new(404, "not-found", text)
}

/// The body is JSON and not what is wanted.
pub(crate) fn misfit(text: &str) -> Problem {
    Problem::new(422, "invalid-body", text)
}

/// A parameter of the query is wrong.
pub(crate) fn parameter(name: &str, why: &str) -> Problem {
    let text = format!("the query parameter '{name}' is not right: {why}");
    Problem::new(400, "invalid-parameter", text)
}

fn condition(text: &str) -> Problem {
    Problem::new(400, "invalid-condition", text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn conditions(headers: &[(header::HeaderName, &str)]) -> Result<Condition, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                name,
                HeaderValue::from_str(value).map_err(|_| condition("test"))?,
            );
        }
        call(map, "").condition()
    }

    fn call(headers: HeaderMap, body: &str) -> Call {
        Call {
            caller: Caller {
                who: "test".into(),
                roles: std::collections::BTreeSet::default(),
                identities: std::collections::BTreeSet::default(),
                until: None,
                principal: None,
            },
            needs: Needs::Nothing,
            path: BTreeMap::new(),
            query: BTreeMap::new(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn conditions_are_read_strictly() {
        let (yes, no) = (header::IF_MATCH, header::IF_NONE_MATCH);
        let some =
            |list: &[u64]| Condition::Generation(list.iter().copied().map(Generation).collect());
        assert_eq!(conditions(&[]), Ok(Condition::None));
        assert_eq!(conditions(&[(yes.clone(), "*")]), Ok(Condition::Exists));
        assert_eq!(conditions(&[(no.clone(), "*")]), Ok(Condition::Absent));
        assert_eq!(conditions(&[(yes.clone(), "\"7\"")]), Ok(some(&[7])));
        assert_eq!(
            conditions(&[(yes.clone(), "\"7\", \"8\"")]),
            Ok(some(&[7, 8]))
        );
        assert_eq!(
            conditions(&[(yes.clone(), "W/\"7\"")]),
            Ok(some(&[])),
            "weak tags match nothing"
        );
        assert_eq!(conditions(&[(yes.clone(), "\"other\"")]), Ok(some(&[])));
        for bad in ["7", "\"7", "", "\"7\",,"] {
            assert_eq!(
                conditions(&[(yes.clone(), bad)]).unwrap_err().status,
                400,
                "{bad}"
            );
        }
        assert!(conditions(&[(no, "\"7\"")]).is_err());
        assert!(conditions(&[(yes.clone(), "\"7\""), (yes, "\"8\"")]).is_err());
    }

    #[test]
    fn a_list_is_no_object_and_junk_no_json() {
        #[derive(serde::Deserialize, JsonSchema, Debug, Default)]
        #[serde(default)]
        struct Body {
            _a: u8,
        }
        let status = |body: &str| {
            call(HeaderMap::new(), body)
                .json::<Body>()
                .map_err(|p| p.status)
        };
        assert!(status("{}").is_ok());
        assert_eq!(status("[]").unwrap_err(), 422);
        assert_eq!(status("{\"_a\": 300}").unwrap_err(), 422);
        assert_eq!(status("{\"_a\": 3, \"b\": 1}").unwrap_err(), 422);
        assert_eq!(status("{\"_a\": 3, \"_a\": 3}").unwrap_err(), 422);
        assert_eq!(status("{").unwrap_err(), 400);
        assert_eq!(status("").unwrap_err(), 400);
    }
}
