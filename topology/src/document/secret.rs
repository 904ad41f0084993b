//! A reference to a secret. A secret by value is reported at once and never kept.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;
use crate::{
    problem::{Code, Finding},
    read::{Read, Reading, section::is_absent},
    yaml::{Value, Yaml},
};

/// Where a secret is: exactly one of the three.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Secret {
    /// An environment variable of the node's process.
    #[serde(skip_serializing_if = "is_absent")]
    #[schemars(default)]
    pub env: Text,
    /// A file on the node, read again when it changes.
    #[serde(skip_serializing_if = "is_absent")]
    #[schemars(default)]
    pub file: Text,
    /// URL of a secret in Azure Key Vault.
    #[serde(skip_serializing_if = "is_absent")]
    #[schemars(default)]
    pub key_vault: Text,
}

const KEYS: [&str; 3] = ["env", "file", "keyVault"];
const LITERALS: [&str; 7] = [
    "value", "literal", "plain", "text", "secret", "password", "token",
];

impl Read for Secret {
    fn read(node: &Yaml, reading: &mut Reading<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            if matches!(node.value, Value::Scalar { .. }) && !node.is_null() {
                literal(node, reading);
            } else {
                reading.wrong(node, "a reference to a secret, such as {env: NAME}");
            }
            return None;
        };
        let mut secret = Self::default();
        let mut known = Vec::new();
        for (key, value) in entries {
            match key.value.as_str() {
                "env" => secret.env = Read::read(value, reading)?,
                "file" => secret.file = Read::read(value, reading)?,
                "keyVault" => secret.key_vault = Read::read(value, reading)?,
                word if LITERALS.contains(&word) => {
                    literal(value, reading);
                    return None;
                }
                _ => {
                    known.push((key.clone(), value.clone()));
                    continue;
                }
            }
        }
        let unknown = Yaml {
            value: Value::Map(known),
            place: node.place,
        };
        reading.entries(&unknown, "a reference to a secret", &KEYS);
        let given = [&secret.env, &secret.file, &secret.key_vault];
        if given.into_iter().flatten().count() != 1 {
            if matches!(&unknown.value, Value::Map(unknown) if !unknown.is_empty()) {
                return None;
            }
            let message = "a reference to a secret names exactly one of env, file and keyVault";
            reading.findings.push(
                Finding::error(Code::WrongType, node.place, message)
                    .advice("write {env: NAME}, {file: PATH} or {keyVault: URL}"),
            );
            return None;
        }
        Some(secret)
    }
}

fn literal(node: &Yaml, reading: &mut Reading<'_>) {
    reading.findings.conceal(node.place);
    reading.findings.push(
        Finding::error(Code::LiteralSecret, node.place, "a secret is given by value").advice(
            "say where it is instead: {env: NAME}, {file: PATH} or {keyVault: URL}; and change this one, it has been written down",
        ),
    );
}
