//! Why a fill gave no content. Cheap to clone, because everyone who follows it gets it.

use wire::digest::Digest;

use crate::{store, upstream};

/// Why a fill gave no content, or no more of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The upstream did not send it.
    #[error("no content from the upstream")]
    Upstream(#[source] upstream::Error),
    /// It could not be stored, or what was stored could not be read.
    #[error("the store failed during a fill")]
    Store(#[source] store::Error),
    /// The upstream's bytes hash to something else: nothing was stored.
    #[error("the upstream sent {computed} for {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        computed: Digest,
    },
    /// The upstream's bytes have another length than was said before: nothing was stored.
    #[error("the upstream sent {got} bytes instead of {expected}")]
    Size {
        /// What the manifest, or the upstream's earlier answer, said.
        expected: u64,
        /// What came, as far as it was counted.
        got: u64,
    },
    /// As many fills as allowed are in flight: try again soon.
    #[error("too many fills are in flight")]
    Busy,
    /// It was recalled, so nothing of it is fetched.
    #[error("{0} is recalled, so it is not fetched")]
    Recalled(Digest),
    /// The node is stopping, or the fill was lost.
    #[error("the fill was aborted")]
    Aborted,
}

impl Error {
    /// Whether the upstream sent something else than what was asked for.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Self::Mismatch { .. } | Self::Size { .. })
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}
