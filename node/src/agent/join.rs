//! What a node joins with: a join token, or a file with an OIDC token that somebody keeps fresh.
//!
//! A join token says where the control plane is, how to know it, and which node this is; beside an OIDC token the operator says it. The
//! file is read again at each attempt, as Kubernetes and others replace it before it ends, and a refusal ends nothing: the role may come
//! later than the node. It counts for the first enrolment alone. Source: `spec/control-plane.md` "Enrolment".

use std::path::PathBuf;

use identity::{
    certificate::{self, Pin},
    secret::Secrets,
};
use runtime::Secret;
use wire::{
    join_token::JoinToken, name::NodeName, node_service::enrol_request::Proof,
    secret_ref::SecretRef,
};

use super::{enrolment::Credential, link::Error};

/// How a node joins.
#[derive(Debug, Clone)]
pub enum Join {
    /// By a token of `regmesh node join-token`.
    Token(JoinToken),
    /// By an OIDC token of a declared issuer.
    Oidc(ByOidc),
}

/// Joining by an OIDC token.
#[derive(Debug, Clone)]
pub struct ByOidc {
    /// `HOST:PORT` of the node service.
    pub address: String,
    /// The mesh's CA.
    pub pin: Pin,
    /// Which node this is.
    pub node: NodeName,
    /// Where the token is.
    pub file: PathBuf,
}

/// What is shown at one attempt.
pub(super) struct Shown {
    pub(super) proof: Proof,
    /// To know it again.
    pub(super) hash: String,
}

impl From<JoinToken> for Join {
    fn from(token: JoinToken) -> Self {
        Self::Token(token)
    }
}

impl Join {
    /// The node that joins.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        match self {
            Self::Token(token) => &token.node,
            Self::Oidc(by) => &by.node,
        }
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::Token(token) => &token.address,
            Self::Oidc(by) => &by.address,
        }
    }

    pub(super) fn pin(&self) -> Result<Pin, Error> {
        match self {
            Self::Token(token) => {
                let pin = token.pin.parse();
                pin.map_err(|error: certificate::NotAPin| Error::Away(error.to_string()))
            }
            Self::Oidc(by) => Ok(by.pin),
        }
    }

    /// Whether it is for a node with this enrolment: a join token that it has not used yet, an OIDC token for none.
    pub(super) fn is_news(&self, known: Option<&Credential>) -> bool {
        match (self, known) {
            (_, None) => true,
            (Self::Token(token), Some(known)) => hash(&token.secret) != known.enrolment.token,
            (Self::Oidc(_), Some(_)) => false,
        }
    }

    /// Whether a refusal may be over at the next attempt.
    pub(super) fn may_change(&self) -> bool {
        matches!(self, Self::Oidc(_))
    }

    /// What to show now.
    pub(super) async fn shown(&self) -> Result<Shown, Error> {
        let token = match self {
            Self::Token(token) => Secret::from(token.secret.as_str()),
            Self::Oidc(by) => {
                let file = SecretRef::File(by.file.clone());
                let token = Secrets::new(|_| None).read(&file).await;
                let token = token.map_err(|error| Error::Away(format!("the OIDC token: {error}")));
                Secret::from(token?.expose().trim())
            }
        };
        let hash = hash(token.expose());
        let text = token.expose().clone();
        Ok(Shown {
            proof: match self {
                Self::Token(_) => Proof::JoinToken(text),
                Self::Oidc(_) => Proof::OidcToken(text),
            },
            hash,
        })
    }
}

/// What is kept of a token, to know it again.
pub(super) fn hash(secret: &str) -> String {
    certificate::document_digest(secret)
}
