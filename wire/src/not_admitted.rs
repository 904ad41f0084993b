//! Why the control plane does not let a node in: a word in the metadata of a gRPC error, beside the text for people.
//!
//! The status alone says too little: a node that was revoked must close, while one that a restored control plane does not know keeps
//! serving and asks again. A word that is not known here counts as none. Source: `spec/control-plane.md` "Enrolment".

/// The key of the metadata.
pub const METADATA: &str = "regmesh-not-admitted";

/// Why a node, or an instance of it, is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotAdmitted {
    /// No such join token.
    UnknownToken,
    /// Every use of the token was used.
    UsedToken,
    /// The token's time is over.
    ExpiredToken,
    /// The token is for another node.
    OtherNode,
    /// The topology declares no such node.
    UnknownNode,
    /// No such instance was enrolled: a control plane restored from a backup says so too.
    UnknownInstance,
    /// The certificate ended too long ago to be renewed.
    ExpiredCertificate,
    /// The node was revoked after the certificate was given.
    Revoked,
    /// The instance showed an older counter than it was given, now or before: its data directory was copied.
    Copied,
}

impl NotAdmitted {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::UnknownToken,
        Self::UsedToken,
        Self::ExpiredToken,
        Self::OtherNode,
        Self::UnknownNode,
        Self::UnknownInstance,
        Self::ExpiredCertificate,
        Self::Revoked,
        Self::Copied,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown-token",
            Self::UsedToken => "used-token",
            Self::ExpiredToken => "expired-token",
            Self::OtherNode => "other-node",
            Self::UnknownNode => "unknown-node",
            Self::UnknownInstance => "unknown-instance",
            Self::ExpiredCertificate => "expired-certificate",
            Self::Revoked => "revoked",
            Self::Copied => "copied",
        }
    }

    /// The reason of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Whether somebody decided that this instance is out: it closes, and comes back only with a new join token.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Revoked | Self::Copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written_and_only_a_decision_is_final() {
        for reason in NotAdmitted::ALL {
            assert_eq!(NotAdmitted::of(reason.as_str()), Some(reason));
        }
        assert_eq!(NotAdmitted::of("of-tomorrow"), None);
        let last: Vec<_> = NotAdmitted::ALL.iter().filter(|r| r.is_final()).collect();
        assert_eq!(last, [&NotAdmitted::Revoked, &NotAdmitted::Copied]);
    }
}
