//! Every way in which a node is not let in, each with its own text, and the word that tells the node what to do.

use identity::certificate::Invalid;
use wire::{name::NodeName, not_admitted::NotAdmitted};

/// Why a node is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such join token, or one whose node was revoked since.
    #[error("this join token is not one of this mesh: make one with `regmesh node join-token {0}`")]
    UnknownToken(NodeName),
    /// Every use of it was used.
    #[error(
        "this join token was used already: make another with `regmesh node join-token {0}` (--uses for several instances)"
    )]
    UsedToken(NodeName),
    /// Its time is over.
    #[error("this join token has expired: make another with `regmesh node join-token {0}`")]
    ExpiredToken(NodeName),
    /// It is for another node, or the instance is another node's.
    #[error("this join token or instance belongs to node '{actual}', not to '{claimed}'")]
    OtherNode {
        /// What the node calls itself.
        claimed: NodeName,
        /// Whose it is.
        actual: NodeName,
    },
    /// There is no topology, so no issuer yet.
    #[error(
        "this control plane takes no OIDC tokens for enrolment yet: use a join token, or declare an issuer"
    )]
    NoOidc,
    /// An issuer's token is not believed.
    #[error("this OIDC token is not taken: {0}")]
    OidcToken(String),
    /// Whoever showed an issuer's token may not enrol the node.
    #[error("{who} may not enrol node '{node}': it needs the role node-enroller there")]
    NoEnroller {
        /// Whose token it is.
        who: String,
        /// The node.
        node: NodeName,
    },
    /// The topology has no such node.
    #[error("the topology declares no node '{0}': apply one that does")]
    UnknownNode(NodeName),
    /// No such instance was enrolled here.
    #[error(
        "no such instance of node '{0}' is enrolled here: join again with a new token, if this does not change"
    )]
    UnknownInstance(NodeName),
    /// It came with an older counter than it was given, now or before.
    #[error(
        "this instance of node '{node}' is shut out: {reason}. Remove the copy, and join again with an empty data directory and a new token"
    )]
    ShutOut {
        /// The node.
        node: NodeName,
        /// What was noticed.
        reason: String,
    },
    /// The node was revoked after the certificate was given.
    #[error(
        "node '{0}' was revoked: if it may come back, join again with a new token of `regmesh node join-token {0}`; a new OIDC token lets it in without its `agent` folder alone"
    )]
    Revoked(NodeName),
    /// It ended too long ago.
    #[error(
        "the certificate of node '{0}' ended more than 30 days ago: join again with a new token of `regmesh node join-token {0}`; a new OIDC token lets it in without its `agent` folder alone"
    )]
    ExpiredCertificate(NodeName),
    /// What was shown is not believed.
    #[error("{0}")]
    Certificate(#[source] Invalid),
    /// It names no node.
    #[error("the certificate names no node")]
    NotANode,
    /// It is another mesh's.
    #[error("the certificate is of another mesh")]
    OtherMesh,
    /// It is another instance's.
    #[error("the certificate belongs to another instance of node '{0}'")]
    OtherInstance(NodeName),
    /// What was sent cannot be read.
    #[error("the request cannot be used: {0}")]
    Bad(String),
}

impl Refused {
    /// The word for the node, where one means something.
    #[must_use]
    pub fn word(&self) -> Option<NotAdmitted> {
        Some(match self {
            Self::UnknownToken(_) => NotAdmitted::UnknownToken,
            Self::UsedToken(_) => NotAdmitted::UsedToken,
            Self::ExpiredToken(_) => NotAdmitted::ExpiredToken,
            Self::OtherNode { .. } => NotAdmitted::OtherNode,
            Self::UnknownNode(_) => NotAdmitted::UnknownNode,
            Self::UnknownInstance(_) => NotAdmitted::UnknownInstance,
            Self::ShutOut { .. } => NotAdmitted::Copied,
            Self::Revoked(_) => NotAdmitted::Revoked,
            Self::ExpiredCertificate(_) => NotAdmitted::ExpiredCertificate,
            Self::NoOidc
            | Self::OidcToken(_)
            | Self::NoEnroller { .. }
            | Self::Certificate(_)
            | Self::NotANode
            | Self::OtherMesh
            | Self::OtherInstance(_)
            | Self::Bad(_) => return None,
        })
    }

    /// Whether somebody without a valid certificate or token of ours can cause it, as often as they like. A token that was used, ended
    /// or is another node's is no proof: whoever has seen it once can show it again for ever.
    #[must_use]
    pub(super) fn is_anonymous(&self) -> bool {
        match self {
            Self::UnknownToken(_)
            | Self::UsedToken(_)
            | Self::ExpiredToken(_)
            | Self::OtherNode { .. }
            | Self::NoOidc
            | Self::OidcToken(_)
            | Self::NoEnroller { .. }
            | Self::UnknownNode(_)
            | Self::Certificate(_)
            | Self::NotANode
            | Self::OtherMesh
            | Self::Bad(_) => true,
            Self::UnknownInstance(_)
            | Self::ShutOut { .. }
            | Self::Revoked(_)
            | Self::ExpiredCertificate(_)
            | Self::OtherInstance(_) => false,
        }
    }
}
