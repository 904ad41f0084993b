//! Certificates of the mesh: keys, requests, what the mesh CA issues, and what a shown chain is worth.
//!
//! Called by `control` (which issues) and `node` (which asks, shows and checks). Every key is ECDSA P-256, every leaf is signed by a CA
//! of the mesh itself and names one SPIFFE id; host names in it are for clients of a registry and decide nothing here. All functions
//! take `now`. What surprises: a certificate that began up to a minute in our future is believed, since clocks differ, and a chain may be
//! judged as if it had not ended, for renewals and for a slice on disk. Source: `spec/control-plane.md` "Enrolment".

mod authority;
mod chain;
mod envelope;
mod key;
mod pin;
mod renewal;
mod request;
mod spiffe;

pub use authority::{Authority, Leaf};
pub use chain::{At, Shown, read, to_pem, verify};
pub use envelope::{DocumentError, EnvelopeError, document_digest, open, sign};
pub use key::Key;
pub use pin::{NotAPin, Pin};
pub use renewal::{LIFE, begins, is_revoked, renew_at};
pub use request::Request;
pub use spiffe::{NotAnId, SpiffeId};

/// Why something cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The library could not make a key, a signature or a certificate.
    #[error("a key or certificate could not be made: {0}")]
    Crypto(String),
    /// It is not what it should be.
    #[error("this is not a usable {what}: {why}")]
    Unusable {
        /// `private key`, `certificate`, `certificate request`.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Why a chain is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing was shown.
    #[error("no certificate was shown")]
    None,
    /// No CA of the mesh signed it.
    #[error("the certificate was not issued by this mesh's CA")]
    Foreign,
    /// It names no SPIFFE id of ours, or several.
    #[error("the certificate names no single node or control plane of a mesh")]
    Name,
    /// It does not begin yet, by more than clocks may differ.
    #[error("the certificate is not valid yet: compare the clocks")]
    Early,
    /// It has ended.
    #[error("the certificate has expired")]
    Ended,
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
}
