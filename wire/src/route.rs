//! A request is one value: `(method, raw path, query) <-> Route`, with the action each route needs.
//!
//! Parsed once, from the path as it came: router, authorisation, metrics and store see the same value, so nothing can be
//! one thing to the one and another to the other. The path's end decides which route it is, because repository names may
//! contain `blobs`, `tags` or `manifests` themselves. Legal characters may be percent-encoded, once; an encoded slash,
//! dot, backslash or percent sign never is. Source: OCI distribution-spec 1.1.1 "Endpoints" and its main branch;
//! `spec/pull-through.md` step 1; `reference/faults.md` T51 and T57.

mod error;
mod needs;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    error::RouteError,
    needs::Needs,
    parse::{MAX_TAGS, Parsed},
};
use crate::{
    digest::{Algorithm, Digest},
    page::Page,
    reference::{Reference, Tag},
    repository::RepositoryName,
};

/// What a request asks of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// GET, HEAD `/v2/`: is this a registry, and may the caller do anything at all.
    Base,
    /// GET, HEAD `/v2/NAME/manifests/REFERENCE`.
    Manifest {
        /// In which repository.
        repository: RepositoryName,
        /// By tag or digest.
        reference: Reference,
        /// With or without the body.
        verb: ContentVerb,
    },
    /// PUT `/v2/NAME/manifests/REFERENCE[?tag=A&tag=B]`.
    ManifestPut {
        /// Into which repository.
        repository: RepositoryName,
        /// Under which tag or digest.
        reference: Reference,
        /// Further tags to set; only with a digest, at most [`MAX_TAGS`].
        tags: Vec<Tag>,
    },
    /// DELETE `/v2/NAME/manifests/REFERENCE`.
    ManifestDelete {
        /// From which repository.
        repository: RepositoryName,
        /// A tag (the tag alone goes) or a digest (the manifest goes).
        reference: Reference,
    },
    /// GET, HEAD `/v2/NAME/blobs/DIGEST`.
    Blob {
        /// Through which repository.
        repository: RepositoryName,
        /// Which blob.
        digest: Digest,
        /// With or without the body.
        verb: ContentVerb,
    },
    /// DELETE `/v2/NAME/blobs/DIGEST`.
    BlobDelete {
        /// From which repository.
        repository: RepositoryName,
        /// Which blob.
        digest: Digest,
    },
    /// POST `/v2/NAME/blobs/uploads/`: begin an upload, mount, or push in one request.
    UploadStart {
        /// Into which repository.
        repository: RepositoryName,
        /// `mount`: take this blob from elsewhere instead.
        mount: Option<Digest>,
        /// `from`: the repository to take it from.
        from: Option<RepositoryName>,
        /// `digest`: the body is the whole blob.
        digest: Option<Digest>,
        /// `digest-algorithm`: what the upload will be named by.
        algorithm: Option<Algorithm>,
    },
    /// PATCH `/v2/NAME/blobs/uploads/ID`: the next chunk.
    UploadPatch {
        /// Into which repository.
        repository: RepositoryName,
        /// Which upload.
        upload: UploadId,
    },
    /// PUT `/v2/NAME/blobs/uploads/ID?digest=DIGEST`: the last chunk, perhaps empty, and what it all should hash to.
    UploadPut {
        /// Into which repository.
        repository: RepositoryName,
        /// Which upload.
        upload: UploadId,
        /// What the blob hashes to.
        digest: Digest,
    },
    /// GET `/v2/NAME/blobs/uploads/ID`: how far it is.
    UploadStatus {
        /// Into which repository.
        repository: RepositoryName,
        /// Which upload.
        upload: UploadId,
    },
    /// DELETE `/v2/NAME/blobs/uploads/ID`: give it up.
    UploadCancel {
        /// Into which repository.
        repository: RepositoryName,
        /// Which upload.
        upload: UploadId,
    },
    /// GET `/v2/NAME/tags/list`.
    Tags {
        /// Of which repository.
        repository: RepositoryName,
        /// Which part of the list.
        page: Page,
    },
    /// GET `/v2/NAME/referrers/DIGEST`.
    Referrers {
        /// In which repository.
        repository: RepositoryName,
        /// What is referred to; it need not exist.
        digest: Digest,
        /// `artifactType`: only those of this type.
        artifact_type: Option<String>,
        /// Which part of the list.
        page: Page,
    },
    /// GET `/v2/_catalog`.
    Catalog {
        /// Which part of the list.
        page: Page,
    },
    /// GET `/oauth2/token`; its query is the token service's to read.
    TokenGet,
    /// POST `/oauth2/token`.
    TokenPost,
    /// POST `/oauth2/exchange`.
    Exchange,
}

/// Whether content is asked for with its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentVerb {
    /// With it.
    Get,
    /// Headers only.
    Head,
}

impl ContentVerb {
    /// The HTTP method.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// The name of an upload: a UUID in its usual form. Making one is up to whoever has randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadId(pub Uuid);

/// The text is not the name of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upload's name is a UUID, lower case, with hyphens")]
pub struct UploadIdError;

impl FromStr for UploadId {
    type Err = UploadIdError;
    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let id = Uuid::try_parse(text).map_err(|_| UploadIdError)?;
        // The parser takes braces, URNs and upper case too; one upload has one name.
        let mut usual = Uuid::encode_buffer();
        if id.hyphenated().encode_lower(&mut usual) == text {
            Ok(Self(id))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
