//! From a route back to a request line: what our own client sends, and what `Location` and `Link` say.

use std::borrow::Cow;

use super::Route;
use crate::query;

impl Route {
    /// The method to ask it with. `Base` is asked with GET.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Manifest { verb, .. } | Self::Blob { verb, .. } => verb.as_str(),
            Self::Base
            | Self::UploadStatus { .. }
            | Self::Tags { .. }
            | Self::Referrers { .. }
            | Self::Catalog { .. }
            | Self::TokenGet => "GET",
            Self::ManifestPut { .. } | Self::UploadPut { .. } => "PUT",
            Self::ManifestDelete { .. } | Self::BlobDelete { .. } | Self::UploadCancel { .. } => {
                "DELETE"
            }
            Self::UploadStart { .. } | Self::TokenPost | Self::Exchange => "POST",
            Self::UploadPatch { .. } => "PATCH",
        }
    }

    /// The path with its query, as our own client asks for it. `ns` is never part of it.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        let query = query::write(self.pairs());
        if query.is_empty() {
            self.path()
        } else {
            format!("{}?{query}", self.path())
        }
    }

    /// The path alone. Names, tags, digests and UUIDs have no character that a path would have to encode.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Base => "/v2/".into(),
            Self::Manifest {
                repository,
                reference,
                ..
            }
            | Self::ManifestPut {
                repository,
                reference,
                ..
            }
            | Self::ManifestDelete {
                repository,
                reference,
            } => format!("/v2/{repository}/manifests/{reference}"),
            Self::Blob {
                repository, digest, ..
            }
            | Self::BlobDelete { repository, digest } => {
                format!("/v2/{repository}/blobs/{digest}")
            }
            Self::UploadStart { repository, .. } => format!("/v2/{repository}/blobs/uploads/"),
            Self::UploadPatch { repository, upload }
            | Self::UploadPut {
                repository, upload, ..
            }
            | Self::UploadStatus { repository, upload }
            | Self::UploadCancel { repository, upload } => {
                format!("/v2/{repository}/blobs/uploads/{upload}")
            }
            Self::Tags { repository, .. } => format!("/v2/{repository}/tags/list"),
            Self::Referrers {
                repository, digest, ..
            } => format!("/v2/{repository}/referrers/{digest}"),
            Self::Catalog { .. } => "/v2/_catalog".into(),
            Self::TokenGet | Self::TokenPost => "/oauth2/token".into(),
            Self::Exchange => "/oauth2/exchange".into(),
        }
    }

    fn pairs(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        match self {
            Self::ManifestPut { tags, .. } => tags
                .iter()
                .map(|tag| ("tag", Cow::Borrowed(tag.as_str())))
                .collect(),
            Self::UploadStart {
                mount,
                from,
                digest,
                algorithm,
                ..
            } => [
                ("mount", mount.as_ref().map(|mount| mount.as_str())),
                ("from", from.as_ref().map(|from| from.as_str())),
                ("digest", digest.as_ref().map(|digest| digest.as_str())),
                ("digest-algorithm", algorithm.map(|a| a.as_str())),
            ]
            .into_iter()
            .filter_map(|(key, value)| Some((key, Cow::Borrowed(value?))))
            .collect(),
            Self::UploadPut { digest, .. } => vec![("digest", Cow::Borrowed(digest.as_str()))],
            Self::Tags { page, .. } | Self::Catalog { page } => page.pairs(),
            Self::Referrers {
                artifact_type,
                page,
                ..
            } => {
                let mut pairs = page.pairs();
                if let Some(artifact_type) = artifact_type {
                    pairs.push(("artifactType", Cow::Borrowed(artifact_type.as_str())));
                }
                pairs
            }
            Self::Base
            | Self::Manifest { .. }
            | Self::ManifestDelete { .. }
            | Self::Blob { .. }
            | Self::BlobDelete { .. }
            | Self::UploadPatch { .. }
            | Self::UploadStatus { .. }
            | Self::UploadCancel { .. }
            | Self::TokenGet
            | Self::TokenPost
            | Self::Exchange => Vec::new(),
        }
    }
}
