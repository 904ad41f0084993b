//! What can go wrong in a store, named by what can be done about it. *Not there* is never an error.

use std::sync::Arc;

/// Why the store could not answer or could not keep something. Cheap to clone, because everyone who waits gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room, in bytes or inodes, or beyond `storage.maxSize`: stream through without storing.
    #[error("the store is full")]
    Full,
    /// It may not be written: stream through, serve what is readable.
    #[error("the store is read-only")]
    ReadOnly,
    /// What is stored contradicts itself: quarantine, fill again.
    #[error("stored content is damaged: {0}")]
    Corrupt(String),
    /// Anything else the disk or database said.
    #[error("the store failed: {0}")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Wraps a cause that has no kind of its own.
    pub fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(cause.into()))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = error.kind();
        if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            Self::Full
        } else if kind == ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly
        } else {
            Self::failed(error)
        }
    }
}
