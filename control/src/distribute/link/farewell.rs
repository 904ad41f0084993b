//! Why a stream ends, in our words; the rim makes a gRPC status of what a node is told.
//!
//! The texts are for people, in a node's log and in the mesh's events. Only [`Farewell::Refused`] tells the node to do something else
//! than to connect again.

use wire::not_admitted::NotAdmitted;

use crate::enrol::Refused;

/// Why a stream ends.
pub(crate) enum End {
    /// The node went, or cannot be reached.
    Gone,
    /// We end it, and say so.
    Told(Farewell),
}

/// What a node is told last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Farewell {
    /// This process ends.
    #[error("this control plane is going away: connect again")]
    Leaving,
    /// The newest stream of an instance is the one that counts.
    #[error("this instance opened another stream")]
    Replaced,
    /// A stream that never began.
    #[error("no hello came")]
    NoHello,
    /// The node said nothing for too long.
    #[error("nothing was heard for three heartbeats")]
    Silent,
    /// Streams do not outlive what admitted them.
    #[error("the certificate of this connection has ended: connect with the next one")]
    CertificateEnded,
    /// It reported for another node.
    #[error("a node speaks of itself alone")]
    OtherNode,
    /// It said what no node says.
    #[error("{0}")]
    Wrong(String),
    /// It is admitted no more.
    #[error(transparent)]
    Refused(Refused),
}

impl End {
    /// What the node said cannot be.
    pub(crate) fn wrong(what: impl std::fmt::Display) -> Self {
        Self::Told(Farewell::Wrong(what.to_string()))
    }

    /// Whether the node was put out for good, so that nothing of it is to be shown.
    pub(crate) fn is_revoked(&self) -> bool {
        match self {
            Self::Told(Farewell::Refused(refused)) => refused.word() == Some(NotAdmitted::Revoked),
            Self::Told(_) | Self::Gone => false,
        }
    }
}
