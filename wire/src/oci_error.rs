//! The error envelope of registries: ours written, an upstream's read.
//!
//! The fourteen standard codes bind the bodies of 4xx; 5xx bodies are free, and ours use the few extra codes at the end.
//! An upstream's body is hostile text: read within a bound, whatever its shape (registry, OAuth, HTML), cleaned of control
//! characters and cut before anybody sees it. Source: OCI distribution-spec 1.1.1 "Error Codes"; `reference/protocols.md` 1.3.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much of an upstream's error body is read, in bytes.
pub const MAX_BODY: usize = 8 * 1024;
/// How much of an upstream's words is kept, in characters.
pub const MAX_MESSAGE: usize = 300;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A code of the error envelope.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// All of them: the fourteen standard ones first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// The blob is not known to the registry.
    BlobUnknown = "BLOB_UNKNOWN",
    /// The upload cannot go on.
    BlobUploadInvalid = "BLOB_UPLOAD_INVALID",
    /// There is no such upload.
    BlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN",
    /// The caller is known and may not.
    Denied = "DENIED",
    /// The digest is malformed, or is not that of the content.
    DigestInvalid = "DIGEST_INVALID",
    /// The manifest refers to a blob or manifest that is not there.
    ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN",
    /// The manifest, or the reference to one, is malformed.
    ManifestInvalid = "MANIFEST_INVALID",
    /// The manifest is not known to the registry.
    ManifestUnknown = "MANIFEST_UNKNOWN",
    /// The repository's name is malformed.
    NameInvalid = "NAME_INVALID",
    /// The repository is not known to the registry.
    NameUnknown = "NAME_UNKNOWN",
    /// A length is wrong or too large.
    SizeInvalid = "SIZE_INVALID",
    /// Too many requests.
    TooManyRequests = "TOOMANYREQUESTS",
    /// The caller is not known.
    Unauthorized = "UNAUTHORIZED",
    /// The operation is not supported here.
    Unsupported = "UNSUPPORTED",
    /// 503: it cannot be had now.
    Unavailable = "UNAVAILABLE",
    /// 502: the upstream answered what nobody can use.
    UpstreamInvalid = "UPSTREAM_INVALID",
    /// 508: the request has been here already.
    LoopDetected = "LOOP_DETECTED",
    /// 500: our own fault.
    Unknown = "UNKNOWN",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One error, as the client gets it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct OciError {
    /// The code.
    pub code: Code,
    /// What, where, why, what to do; shown to people by docker and podman.
    pub message: String,
    /// For machines: the refusal's name, the rule, a correlation id; never more than the caller may know.
    pub detail: Option<Value>,
}

impl OciError {
    /// An error without detail.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
        }
    }

    /// The same error with this detail.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The body: `{"errors":[{"code","message","detail"}]}`, to be sent as `application/json`.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let mut error = serde_json::Map::new();
        error.insert("code".into(), self.code.as_str().into());
        error.insert("message".into(), self.message.as_str().into());
        if let Some(detail) = &self.detail {
            error.insert("detail".into(), detail.clone());
        }
        serde_json::json!({ "errors": [error] }).to_string().into()
    }
}

/// What an upstream said when it refused. Never trusted, only shown and logged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Said {
    /// Its code (`MANIFEST_UNKNOWN`, `invalid_grant`, …), if it gave one.
    pub code: Option<String>,
    /// Its words, cleaned and cut; perhaps empty.
    pub message: String,
}

impl Said {
    /// Reads an error body of any shape. Only the first [`MAX_BODY`] bytes count. Never fails.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let body = body.get(..MAX_BODY).unwrap_or(body);
        match serde_json::from_slice::<Shape>(body) {
            Ok(shape) => shape.said(),
            Err(_) => Self {
                code: None,
                message: clean(&String::from_utf8_lossy(body)),
            },
        }
    }

    /// Whether it gave this code.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code.as_deref() == Some(code.as_str())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) if self.message.is_empty() => f.write_str(code),
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    errors: Vec<Value>,
    error: Value,
    error_description: Value,
    code: Value,
    message: Value,
    details: Value,
}

impl Shape {
    fn said(&self) -> Said {
        let text = |value: &Value| value.as_str().map(clean).filter(|text| !text.is_empty());
        let first = self.errors.first();
        let of_first = |key: &str| first.and_then(|error| error.get(key)).and_then(text);
        let code = of_first("code")
            .or_else(|| text(&self.error))
            .or_else(|| text(&self.code));
        let message = of_first("message")
            .or_else(|| text(&self.error_description))
            .or_else(|| text(&self.message))
            .or_else(|| text(&self.details))
            .or_else(|| of_first("detail"))
            .or_else(|| first.and_then(text));
        Said {
            code,
            message: message.unwrap_or_default(),
        }
    }
}

/// Hostile text made fit for a log line or a message: one line, no control characters, at most [`MAX_MESSAGE`] characters.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    let mut space = false;
    let mut left = MAX_MESSAGE;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() || is_invisible(c) {
            space = !out.is_empty();
            continue;
        }
        let Some(rest) = left.checked_sub(if space { 2 } else { 1 }) else {
            out.push('…');
            break;
        };
        left = rest;
        if space {
            out.push(' ');
            space = false;
        }
        out.push(c);
    }
    out
}

/// Marks that reorder or hide what follows on a terminal.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_envelope_is_the_distribution_specs() {
        let error = OciError::new(Code::ManifestUnknown, "not \"there\"");
        assert_eq!(
            String::from_utf8(error.to_body()).expect("text"),
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not \"there\""}]}"#
        );
        let body = error.with_detail(json!({ "rule": "golden" })).to_body();
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            value.pointer("/errors/0/detail/rule"),
            Some(&json!("golden"))
        );
        assert_eq!(
            Code::ALL
                .iter()
                .take(14)
                .filter(|c| c.as_str() == "TOOMANYREQUESTS")
                .count(),
            1
        );
    }

    #[test]
    fn every_shape_of_an_upstreams_error_is_read() {
        let cases: &[(&str, Option<&str>, &str)] = &[
            (
                r#"{"errors":[{"code":"DENIED","message":"no","detail":{}}]}"#,
                Some("DENIED"),
                "no",
            ),
            (
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"","detail":"log in"}]}"#,
                Some("UNAUTHORIZED"),
                "log in",
            ),
            (r#"{"errors":["plain"]}"#, None, "plain"),
            (r#"{"errors":[]}"#, None, ""),
            (
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                Some("invalid_grant"),
                "expired",
            ),
            (r#"{"code":"X","message":"y"}"#, Some("X"), "y"),
            (r#"{"details":"wrong password"}"#, None, "wrong password"),
            (
                "<html>\n<body>503\u{1b}[31m</body>",
                None,
                "<html> <body>503 [31m</body>",
            ),
            (
                "You have reached your pull rate limit.\n",
                None,
                "You have reached your pull rate limit.",
            ),
            ("[1,2]", None, "[1,2]"),
            ("", None, ""),
        ];
        for (body, code, message) in cases {
            let said = Said::parse(body.as_bytes());
            assert_eq!(
                (said.code.as_deref(), said.message.as_str()),
                (*code, *message),
                "{body}"
            );
        }
        assert!(Said::parse(br#"{"errors":[{"code":"DENIED"}]}"#).is(Code::Denied));
    }

    proptest! {
        #[test]
        fn whatever_an_upstream_says_is_fit_to_show(body in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let said = Said::parse(&body);
            prop_assert!(said.message.chars().count() <= MAX_MESSAGE.saturating_add(1));
            prop_assert!(!said.to_string().chars().any(char::is_control));
        }

        #[test]
        fn cleaning_twice_changes_nothing(text in ".{0,400}|[a ]{280,320}") {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
