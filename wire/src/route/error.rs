//! Why a request is no route, and what the client is told. Source: `reference/clients-and-peers.md` section 3.

use serde_json::json;

use crate::{
    digest::DigestError,
    name::NameError,
    oci_error::{Code, OciError},
    query::QueryError,
};

/// Why a request is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such path.
    #[error("there is no such endpoint")]
    NotFound,
    /// The path has no such method; it has these.
    #[error("this endpoint takes {}", .0.join(", "))]
    MethodNotAllowed(&'static [&'static str]),
    /// The repository's name is malformed.
    #[error(transparent)]
    Name(NameError),
    /// A tag is malformed.
    #[error(transparent)]
    Tag(NameError),
    /// A digest is malformed, missing, or of an unknown algorithm.
    #[error(transparent)]
    Digest(DigestError),
    /// The upload's name cannot be one of ours.
    #[error("there is no such upload")]
    Upload,
    /// More tags at once than are taken.
    #[error("at most {} tags can be set by one push", super::MAX_TAGS)]
    TooManyTags,
    /// `tag=` beside a reference that is a tag itself.
    #[error("the parameter 'tag' is for pushes by digest")]
    TagsBesideTag,
    /// `ns` is no registry's name.
    #[error("the parameter 'ns' is a registry's host, for example docker.io")]
    Namespace,
    /// The query cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl RouteError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound | Self::Upload => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::TooManyTags | Self::Query(QueryError::TooLong) => 414,
            Self::Name(_)
            | Self::Tag(_)
            | Self::Digest(_)
            | Self::TagsBesideTag
            | Self::Namespace
            | Self::Query(QueryError::Utf8 | QueryError::Repeated(_)) => 400,
        }
    }

    /// The code in the error's body.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NameUnknown,
            Self::MethodNotAllowed(_) => Code::Unsupported,
            Self::Name(_) | Self::Namespace => Code::NameInvalid,
            Self::Tag(_) | Self::TagsBesideTag | Self::TooManyTags => Code::ManifestInvalid,
            Self::Digest(_) | Self::Query(QueryError::Repeated("digest" | "mount")) => {
                Code::DigestInvalid
            }
            Self::Upload => Code::BlobUploadUnknown,
            Self::Query(_) => Code::NameInvalid,
        }
    }

    /// The error as the client gets it, with the offending part as its detail. 405 wants an `Allow` header too: see [`RouteError::MethodNotAllowed`].
    #[must_use]
    pub fn to_oci(&self) -> OciError {
        let error = OciError::new(self.code(), self.to_string());
        match self {
            Self::Name(part) => error.with_detail(json!({ "name": part.text })),
            Self::Tag(part) => error.with_detail(json!({ "tag": part.text })),
            Self::Digest(DigestError::Algorithm(part)) => {
                error.with_detail(json!({ "algorithm": part }))
            }
            Self::MethodNotAllowed(methods) => error.with_detail(json!({ "allowed": methods })),
            Self::NotFound
            | Self::Digest(DigestError::Form | DigestError::Hex(..))
            | Self::Upload
            | Self::TooManyTags
            | Self::TagsBesideTag
            | Self::Namespace
            | Self::Query(_) => error,
        }
    }
}
