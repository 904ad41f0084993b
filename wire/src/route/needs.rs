//! What a caller must be allowed to do for a route: the one table from which authorisation and the tests' matrix are made.
//!
//! The matches have no wildcard: a new route without a declared need does not compile. Source: `spec/identity.md` "Routes".

use super::Route;
use crate::{
    digest::Digest,
    repository::RepositoryName,
    scope::{Action, Scope},
};

/// What a caller must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Nothing: the token endpoints check what they are shown themselves.
    Nothing,
    /// To be anybody who may do anything here.
    Session,
    /// This action on this repository.
    Action {
        /// What.
        action: Action,
        /// On which.
        repository: RepositoryName,
    },
    /// To push into one repository and, for the mount itself, to pull from the other. Who may only push gets an ordinary
    /// upload, as if the blob were not there.
    Mount {
        /// Pushed into.
        repository: RepositoryName,
        /// Pulled from.
        from: RepositoryName,
        /// The blob that is wanted.
        digest: Digest,
    },
    /// To see the catalog (of what the caller may see).
    Catalog,
}

impl Needs {
    /// The scopes of a challenge for it; none where a token without scope will do. Pushing asks for `pull,push`, as clients do.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Nothing | Self::Session => Vec::new(),
            Self::Action { action, repository } => {
                vec![Scope::repository(repository.clone(), with_pull(*action))]
            }
            Self::Mount {
                repository, from, ..
            } => vec![
                Scope::repository(repository.clone(), with_pull(Action::Push)),
                Scope::repository(from.clone(), [Action::Pull]),
            ],
            Self::Catalog => vec![Scope::Catalog],
        }
    }
}

fn with_pull(action: Action) -> Vec<Action> {
    match action {
        Action::Pull => vec![Action::Pull],
        Action::Push => vec![Action::Pull, Action::Push],
        Action::Delete => vec![Action::Delete],
    }
}

impl Route {
    /// What the caller must be allowed to do.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let may = |action, repository: &RepositoryName| Needs::Action {
            action,
            repository: repository.clone(),
        };
        match self {
            Self::Base => Needs::Session,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository, .. }
            | Self::Referrers { repository, .. } => may(Action::Pull, repository),
            Self::UploadStart {
                repository,
                mount: Some(digest),
                from: Some(from),
                ..
            } => Needs::Mount {
                repository: repository.clone(),
                from: from.clone(),
                digest: digest.clone(),
            },
            Self::ManifestPut { repository, .. }
            | Self::UploadStart { repository, .. }
            | Self::UploadPatch { repository, .. }
            | Self::UploadPut { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadCancel { repository, .. } => may(Action::Push, repository),
            Self::ManifestDelete { repository, .. } | Self::BlobDelete { repository, .. } => {
                may(Action::Delete, repository)
            }
            Self::Catalog { .. } => Needs::Catalog,
            Self::TokenGet | Self::TokenPost | Self::Exchange => Needs::Nothing,
        }
    }

    /// The repository in the path, if it has one.
    #[must_use]
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Manifest { repository, .. }
            | Self::ManifestPut { repository, .. }
            | Self::ManifestDelete { repository, .. }
            | Self::Blob { repository, .. }
            | Self::BlobDelete { repository, .. }
            | Self::UploadStart { repository, .. }
            | Self::UploadPatch { repository, .. }
            | Self::UploadPut { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadCancel { repository, .. }
            | Self::Tags { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
            Self::Base
            | Self::Catalog { .. }
            | Self::TokenGet
            | Self::TokenPost
            | Self::Exchange => None,
        }
    }

    /// The word for it in metrics (`kind`) and logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Manifest { .. } | Self::ManifestPut { .. } | Self::ManifestDelete { .. } => {
                "manifest"
            }
            Self::Blob { .. } | Self::BlobDelete { .. } => "blob",
            Self::UploadStart { .. }
            | Self::UploadPatch { .. }
            | Self::UploadPut { .. }
            | Self::UploadStatus { .. }
            | Self::UploadCancel { .. } => "upload",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
            Self::Catalog { .. } => "catalog",
            Self::TokenGet | Self::TokenPost | Self::Exchange => "token",
        }
    }

    /// Whether it reads or writes content of a repository, so that `ns` may choose among rules for it.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.repository().is_some()
    }
}
