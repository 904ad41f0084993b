//! What can go wrong in a verb, named by what can be done about it.
//!
//! `http/error.rs` turns each variant into a status; the code of the envelope, its detail and the time to come back are said
//! here, because every rim needs the same. The text of `Display` is public: what, where, why, what to do; no path, no secret,
//! nothing that a caller who may read the repository may not know. Source: `reference/clients-and-peers.md` section 3.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use wire::{
    digest::Digest,
    manifest::MAX_BYTES,
    name::RuleName,
    oci_error::{Code, OciError},
    platform::Platform,
    reference::Reference,
    refusal::Refusal,
    repository::RepositoryName,
};

use crate::store;

/// Why a verb has no answer. Cheap to clone, because everyone who waits for shared work gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// 404: no rule covers it, and nothing of it is here.
    #[error("the repository '{repository}' is not known here{}", why_unknown(.hint.as_deref()))]
    NameUnknown {
        /// Which.
        repository: RepositoryName,
        /// What to look at.
        hint: Option<String>,
    },
    /// 404: the upstream says so, or nothing is stored and no upstream is asked.
    #[error("'{reference}' is not in the repository '{repository}'{}", said(.trouble.as_deref()))]
    ManifestUnknown {
        /// Where.
        repository: RepositoryName,
        /// What.
        reference: Reference,
        /// The upstream that said so, if one did.
        trouble: Option<Arc<Trouble>>,
    },
    /// 404: the same for a blob.
    #[error("the blob {digest} is not in the repository '{repository}'{}", said(.trouble.as_deref()))]
    BlobUnknown {
        /// Where.
        repository: RepositoryName,
        /// What.
        digest: Digest,
        /// The upstream that said so, if one did.
        trouble: Option<Arc<Trouble>>,
    },
    /// 403: it was recalled, or contains what was.
    #[error("{digest} is recalled: {reason}")]
    Recalled {
        /// What was recalled.
        digest: Digest,
        /// Why, as the operator said it.
        reason: String,
    },
    /// 403, never 401: the upstream refuses the rule's identity.
    #[error("{0}; the rule has lost its right there, or never had it: see `regmesh explain`")]
    Denied(Arc<Trouble>),
    /// 503 with `Retry-After`, never 429 or 404: the upstream cannot be asked and nothing is stored to serve instead.
    #[error("{0}; nothing is stored here to serve instead, try again later")]
    Away(Arc<Trouble>),
    /// 502: the upstream sent something else than what was asked for; nothing of it was kept.
    #[error("{0}; nothing of it was kept")]
    Wrong(Arc<Trouble>),
    /// 508: this node is in the request's chain already, or the chain is too long.
    #[error("the request came through this node already, or through too many: {}", nodes.join(" -> "))]
    Loop {
        /// The chain, as `mesh/node`.
        nodes: Vec<String>,
    },
    /// 405: a rule fills the repository, clients do not.
    #[error("'{repository}' is filled by rule {rule}: push to its upstream instead")]
    FilledByRule {
        /// Where.
        repository: RepositoryName,
        /// The rule.
        rule: RuleName,
    },
    /// 400: a digest, a manifest or a size is not what it should be.
    #[error("{message}")]
    Invalid {
        /// The envelope's code.
        code: Code,
        /// What is wrong.
        message: String,
        /// The offending part.
        detail: Value,
    },
    /// 404: a pushed manifest needs blobs that are not in its repository.
    #[error("the manifest needs blobs that are not in '{repository}': push them first")]
    ChildrenMissing {
        /// Where.
        repository: RepositoryName,
        /// Which; at most 20 of them.
        missing: Vec<Digest>,
    },
    /// 404: no such upload in this repository.
    #[error(
        "there is no such upload in this repository: it is over, was cancelled, or has expired"
    )]
    UploadUnknown,
    /// 416: a chunk that does not begin where the upload ends.
    #[error("the chunk does not begin where the upload ends: {length} bytes are here")]
    UploadOutOfOrder {
        /// How many bytes are here.
        length: u64,
    },
    /// 400 `BLOB_UPLOAD_INVALID`: the body broke off, or another request is writing to the same upload.
    #[error("the upload cannot go on: {why}")]
    UploadInvalid {
        /// Why.
        why: String,
        /// How many bytes are here.
        length: u64,
    },
    /// 416: the range lies outside the content.
    #[error("the range lies outside the content of {size} bytes")]
    RangeNotSatisfiable {
        /// The size of the content.
        size: u64,
    },
    /// 413 `SIZE_INVALID`: more than is taken.
    #[error("more than the {limit} bytes that are taken here")]
    TooLarge {
        /// How much is.
        limit: u64,
    },
    /// 503, or 507 for a full one: our own store cannot be read or written, and there is no upstream to stream from.
    #[error("this node's store cannot do it now: {0}")]
    Store(#[from] store::Error),
    /// 503 with `Retry-After`: too much work is in flight.
    #[error("this node is doing too much at once, try again shortly")]
    Overloaded,
}

/// What happened at a rule's upstream.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rule {rule}, as {identity}, asked {upstream}{}: {told}", for_platform(.platform.as_ref()))]
pub struct Trouble {
    /// The rule.
    pub rule: RuleName,
    /// As whom it asks: `identity NAME`, `credential set NAME` or `anonymous`.
    pub identity: String,
    /// The upstream, as this node sees it.
    pub upstream: String,
    /// The node further up that says it failed or was refused, where it is not this one.
    pub failed_at: Option<String>,
    /// The refusal's name.
    pub refusal: Refusal,
    /// What was seen, with the upstream's words: for log and `explain`, not for whoever pulls.
    pub detail: String,
    /// What of it whoever pulls is told.
    pub told: String,
    /// The upstream's status, where there was one.
    pub status: Option<u16>,
    /// When it makes sense to come back.
    pub retry_after: Option<Duration>,
    /// The platform whose manifest was wanted, when its index is stored and it is not.
    pub platform: Option<Platform>,
}

/// What `Retry-After` says when nobody knows better.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Error {
    /// The code of the error envelope.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NameUnknown { .. } => Code::NameUnknown,
            Self::ManifestUnknown { .. } => Code::ManifestUnknown,
            Self::BlobUnknown { .. } => Code::BlobUnknown,
            Self::Denied(_) | Self::Recalled { .. } => Code::Denied,
            Self::Away(_) | Self::Store(_) | Self::Overloaded => Code::Unavailable,
            Self::Wrong(_) => Code::UpstreamInvalid,
            Self::Loop { .. } => Code::LoopDetected,
            Self::FilledByRule { .. } => Code::Unsupported,
            Self::Invalid { code, .. } => *code,
            Self::ChildrenMissing { .. } => Code::ManifestBlobUnknown,
            Self::UploadUnknown => Code::BlobUploadUnknown,
            Self::UploadOutOfOrder { .. } | Self::UploadInvalid { .. } => Code::BlobUploadInvalid,
            Self::RangeNotSatisfiable { .. } | Self::TooLarge { .. } => Code::SizeInvalid,
        }
    }

    /// When it makes sense to come back; only of the 503s.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Away(trouble) => Some(trouble.retry_after.unwrap_or(RETRY_AFTER)),
            Self::Store(_) => Some(RETRY_AFTER),
            Self::Overloaded => Some(Duration::from_secs(1)),
            Self::NameUnknown { .. }
            | Self::ManifestUnknown { .. }
            | Self::BlobUnknown { .. }
            | Self::Denied(_)
            | Self::Recalled { .. }
            | Self::Wrong(_)
            | Self::Loop { .. }
            | Self::FilledByRule { .. }
            | Self::Invalid { .. }
            | Self::ChildrenMissing { .. }
            | Self::UploadUnknown
            | Self::UploadOutOfOrder { .. }
            | Self::UploadInvalid { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::TooLarge { .. } => None,
        }
    }

    /// What happened upstream, where that is the reason.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Denied(trouble) | Self::Away(trouble) | Self::Wrong(trouble) => Some(trouble),
            Self::ManifestUnknown { trouble, .. } | Self::BlobUnknown { trouble, .. } => {
                trouble.as_deref()
            }
            Self::NameUnknown { .. }
            | Self::Recalled { .. }
            | Self::Loop { .. }
            | Self::FilledByRule { .. }
            | Self::Invalid { .. }
            | Self::ChildrenMissing { .. }
            | Self::UploadUnknown
            | Self::UploadOutOfOrder { .. }
            | Self::UploadInvalid { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::TooLarge { .. }
            | Self::Store(_)
            | Self::Overloaded => None,
        }
    }

    /// The rule that is responsible, for the log and the metrics.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleName> {
        if let Self::FilledByRule { rule, .. } = self {
            return Some(rule);
        }
        self.trouble().map(|trouble| &trouble.rule)
    }

    /// The text with what the upstream said: for log, `explain` and whoever operates the node.
    #[must_use]
    pub fn in_full(&self) -> String {
        let text = self.to_string();
        match self.trouble() {
            Some(trouble) => text.replacen(&trouble.told, &trouble.detail, 1),
            None => text,
        }
    }

    /// The envelope; `http` adds the correlation id to its detail.
    #[must_use]
    pub fn envelope(&self) -> OciError {
        OciError::new(self.code(), self.to_string()).with_detail(self.detail())
    }

    /// What is not known is left out.
    fn detail(&self) -> Value {
        let mut detail = self.members();
        if let Value::Object(members) = &mut detail {
            members.retain(|_, value| !value.is_null());
        }
        detail
    }

    fn members(&self) -> Value {
        match self {
            Self::NameUnknown { repository, hint } => json!({"name": repository, "hint": hint}),
            Self::ManifestUnknown {
                reference, trouble, ..
            } => with(trouble.as_deref(), "reference", &reference.to_string()),
            Self::BlobUnknown {
                digest, trouble, ..
            } => with(trouble.as_deref(), "digest", digest.as_str()),
            Self::Denied(trouble) | Self::Away(trouble) | Self::Wrong(trouble) => {
                of_trouble(trouble)
            }
            Self::Recalled { digest, reason } => json!({"recalled": digest, "reason": reason}),
            Self::Loop { nodes } => json!({"nodes": nodes}),
            Self::FilledByRule { rule, .. } => {
                json!({"rule": rule, "reason": format!("filled by rule {rule}")})
            }
            Self::Invalid { detail, .. } => detail.clone(),
            Self::ChildrenMissing { missing, .. } => json!({"missing": missing}),
            Self::UploadUnknown | Self::Store(_) | Self::Overloaded => json!({}),
            Self::UploadOutOfOrder { length } | Self::UploadInvalid { length, .. } => {
                json!({"offset": length})
            }
            Self::RangeNotSatisfiable { size } => json!({"size": size}),
            Self::TooLarge { limit } => json!({"limit": limit}),
        }
    }

    /// 413 for a manifest.
    pub(super) fn manifest_too_large() -> Self {
        Self::TooLarge {
            limit: MAX_BYTES as u64,
        }
    }
}

fn of_trouble(trouble: &Trouble) -> Value {
    json!({
        "refusal": trouble.refusal,
        "rule": trouble.rule,
        "identity": trouble.identity,
        "upstream": trouble.upstream,
        "failedAt": trouble.failed_at,
        "reason": trouble.told,
        "status": trouble.status,
        "platform": trouble.platform.as_ref().map(ToString::to_string),
    })
}

fn with(trouble: Option<&Trouble>, key: &str, value: &str) -> Value {
    let mut detail = trouble.map_or_else(|| json!({}), of_trouble);
    detail[key] = value.into();
    detail
}

fn why_unknown(hint: Option<&str>) -> String {
    hint.map_or_else(
        || ": no rule covers it and nothing was pushed".to_owned(),
        |hint| format!(": {hint}"),
    )
}

fn said(trouble: Option<&Trouble>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
}

fn for_platform(platform: Option<&Platform>) -> String {
    platform.map_or_else(String::new, |platform| format!(" for platform {platform}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_has_only_what_is_known() {
        let unknown = Error::NameUnknown {
            repository: "a/b".parse().unwrap(),
            hint: None,
        };
        assert_eq!(unknown.envelope().detail, Some(json!({"name": "a/b"})));
        let away = Error::Away(Arc::new(Trouble {
            rule: "mirror".parse().unwrap(),
            identity: "anonymous".into(),
            upstream: "origin".into(),
            failed_at: None,
            refusal: Refusal::UpstreamUnavailable,
            detail: "hub.internal refused: go away".into(),
            told: "refused".into(),
            status: None,
            retry_after: None,
            platform: None,
        }));
        let expected = json!({
            "refusal": "UPSTREAM_UNAVAILABLE", "rule": "mirror", "identity": "anonymous",
            "upstream": "origin", "reason": "refused",
        });
        let envelope = away.envelope();
        assert_eq!(envelope.detail, Some(expected));
        assert!(!envelope.message.contains("go away"), "{envelope:?}");
        let full = away.in_full();
        assert!(
            full.contains("asked origin: hub.internal refused: go away; nothing"),
            "{full}"
        );
    }
}
