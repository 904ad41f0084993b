//! RFC 9457 problem documents: every error of the API, and what a node says when it cannot do what it was asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong. `type` is `about:blank` for all: `code` is the stable name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What the status means.
    pub title: String,
    /// What, where, why and what to do.
    pub detail: String,
    /// The stable name: a code of `spec/topology.md`, or one of the API's own (`not-found`, `conflict`, `unauthorized`, …).
    pub code: String,
    /// Every single problem, when the cause is a document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<DocumentProblem>,
}

/// One problem of a topology document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentProblem {
    /// A code of `spec/topology.md`.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What and why.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The file, as it was named by who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// From 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// As `plan` prints it, without colours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem with this status, stable name and text.
    #[must_use]
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let title = http_title(status).to_owned();
        Self {
            kind: about_blank(),
            status,
            title,
            detail: detail.into(),
            code: code.to_owned(),
            problems: Vec::new(),
        }
    }
}

/// The phrase of RFC 9110 for a status that the API answers with; of any other its class, so that no refusal reads as a fault of ours.
fn http_title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ if status < 500 => "Request Refused",
        _ => "Internal Server Error",
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_what_the_status_means() {
        for (status, title) in [
            (404, "Not Found"),
            (410, "Gone"),
            (422, "Unprocessable Content"),
            (418, "Request Refused"),
            (500, "Internal Server Error"),
            (501, "Not Implemented"),
        ] {
            assert_eq!(Problem::new(status, "code", "detail").title, title);
        }
    }
}
