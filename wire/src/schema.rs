//! JSON Schemas of the texts that cross the API: names, digests, references, times, platforms.
//!
//! Objects derive theirs; a text's grammar is written here once more, for people and tools. What a pattern lets through is still parsed
//! by `FromStr`, which alone decides. The OpenAPI document of the control plane is made of these. Anchors and classes are those that ECMA 262 and Python share.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    digest::Digest,
    name::{
        AccountName, CredentialName, IdentityName, IssuerName, MeshName, NodeName, RuleName,
        WebhookName,
    },
    pattern::Pattern,
    reference::{Reference, Tag},
    repository::RepositoryName,
};

/// Stands for a time written as RFC 3339, in `#[schemars(with = "…")]`.
#[derive(Debug)]
pub struct Time;

/// Stands for a platform written as `os/arch[/variant]`.
#[derive(Debug)]
pub struct PlatformText;

/// Stands for a UUID.
#[derive(Debug)]
pub struct UuidText;

macro_rules! text {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const PLAIN: &str = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$";
const DIGEST: &str = "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$";

text!(Time, "Time", {"type": "string", "format": "date-time"});
text!(UuidText, "Uuid", {"type": "string", "format": "uuid"});
text!(PlatformText, "Platform", {
    "type": "string",
    "pattern": "^[a-zA-Z0-9._-]{1,32}/[a-zA-Z0-9._-]{1,32}(/[a-zA-Z0-9._-]{1,32})?$"
});
text!(MeshName, "MeshName", {"type": "string", "pattern": LABEL});
text!(NodeName, "NodeName", {"type": "string", "pattern": LABEL});
text!(RuleName, "RuleName", {"type": "string", "pattern": "^[a-zA-Z0-9-]{1,50}$"});
text!(IdentityName, "IdentityName", {"type": "string", "pattern": PLAIN});
text!(CredentialName, "CredentialName", {"type": "string", "pattern": PLAIN});
text!(AccountName, "AccountName", {"type": "string", "pattern": PLAIN});
text!(IssuerName, "IssuerName", {"type": "string", "pattern": PLAIN});
text!(WebhookName, "WebhookName", {"type": "string", "pattern": PLAIN});
text!(Digest, "Digest", {"type": "string", "pattern": DIGEST});
text!(RepositoryName, "RepositoryName", {
    "type": "string",
    "pattern": "^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$",
    "maxLength": 255
});
text!(Tag, "Tag", {"type": "string", "pattern": "^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$"});
text!(Reference, "Reference", {
    "type": "string",
    "pattern": "^([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
});
text!(Pattern, "Pattern", {
    "type": "string",
    "pattern": "^([*]|[a-z0-9]+([._/-]+[a-z0-9]+)*(/[*])?)$",
    "maxLength": 257
});

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern<T: JsonSchema>() -> String {
        let schema = SchemaGenerator::default().root_schema_for::<T>();
        schema
            .get("pattern")
            .and_then(|p| p.as_str())
            .expect("a pattern")
            .to_owned()
    }

    #[test]
    fn a_text_stands_in_its_place_and_not_behind_a_reference() {
        let schema = SchemaGenerator::default().root_schema_for::<crate::api::recall::Request>();
        let digest = schema
            .pointer("/properties/digest/pattern")
            .and_then(|p| p.as_str());
        assert_eq!(digest, Some(DIGEST));
        assert_eq!(pattern::<NodeName>(), LABEL);
    }

    #[test]
    fn a_time_is_a_date_and_an_absent_one_may_be_left_out() {
        let schema = SchemaGenerator::default().root_schema_for::<crate::api::mesh::Instance>();
        let required = schema
            .get("required")
            .and_then(|r| r.as_array())
            .expect("a list");
        assert!(required.iter().any(|name| name == "id"));
        assert!(!required.iter().any(|name| name == "lastSeen"));
        assert_eq!(
            schema
                .pointer("/properties/lastSeen/format")
                .and_then(|f| f.as_str()),
            Some("date-time")
        );
    }
}
