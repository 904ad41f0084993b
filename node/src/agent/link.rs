//! A connection to the node service, and what its errors mean here: not admitted, or not reached.
//!
//! The control plane is known by who signed for it, never by a host name: by the pin of a join token before the first certificate, by
//! the mesh's CA certificates afterwards, and its certificate must name `/control`. Source: `reference/protocols.md` 6.3.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use identity::certificate::{self, At, Pin, Shown};
use runtime::{Backoff, Clock, Tasks, channel, tls};
use rustls_pki_types::CertificateDer;
use tonic::{Code, Status, body::Body};
use wire::{
    node_service::{MAX_MESSAGE, node_service_client::NodeServiceClient},
    not_admitted::{METADATA, NotAdmitted},
    time::WallTime,
};

use super::enrolment::Credential;

/// The generated client over one connection.
pub(crate) type Client = NodeServiceClient<channel::Channel<Body>>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The control plane does not let us in, and says why.
    #[error("the control plane does not let this node in: {text}")]
    NotAdmitted {
        reason: Option<NotAdmitted>,
        text: String,
    },
    /// It could not be asked.
    #[error("{0}")]
    Away(String),
    /// What answers is not who the join token names.
    #[error("{0}")]
    OtherCa(String),
}

impl Error {
    /// Why this instance is out for good, when it is.
    pub(crate) fn final_reason(&self) -> Option<&str> {
        match self {
            Self::NotAdmitted {
                reason: Some(reason),
                text,
            } if reason.is_final() => Some(text),
            Self::NotAdmitted { .. } | Self::Away(_) | Self::OtherCa(_) => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let reason = status
            .metadata()
            .get(METADATA)
            .and_then(|word| NotAdmitted::of(word.to_str().ok()?));
        let refused = matches!(
            status.code(),
            Code::PermissionDenied | Code::Unauthenticated
        );
        match reason.is_some() || refused {
            true => Self::NotAdmitted {
                reason,
                text: status.message().to_owned(),
            },
            false => Self::Away(format!("{}: {}", status.code(), status.message())),
        }
    }
}

/// What connections are made with.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) config: channel::Config,
    /// How soon what the disk did not take is tried again.
    pub(crate) write_again: Backoff,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl Link {
    /// Connects as nobody, to whoever the pinned CA signed for.
    pub(crate) async fn pinned(&self, address: &str, pin: Pin) -> Result<Client, Error> {
        let other = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&other);
        let judge = self.judge(move |chain, now| {
            let root = pin.find(chain).ok_or_else(|| {
                seen.store(true, Ordering::Relaxed);
                "the control plane's CA is not the one of the join token or --ca-pin".to_owned()
            })?;
            believed(chain, std::slice::from_ref(root), now)
        });
        let opened = self.open(address, judge, None).await;
        opened.map_err(|error| match error {
            Error::Away(why) if other.load(Ordering::Relaxed) => Error::OtherCa(why),
            error @ (Error::NotAdmitted { .. } | Error::Away(_) | Error::OtherCa(_)) => error,
        })
    }

    /// Connects under the node's certificate.
    pub(crate) async fn own(&self, credential: &Credential) -> Result<Client, Error> {
        let Some(key) = &credential.key else {
            return Err(Error::Away(
                "the node's key is damaged: join again with a new token".to_owned(),
            ));
        };
        let roots = credential.roots.clone();
        let judge = self.judge(move |chain, now| believed(chain, &roots, now));
        let own = (credential.chain.clone(), key.to_der());
        self.open(&credential.enrolment.address, judge, Some(own))
            .await
    }

    fn judge(
        &self,
        judge: impl Fn(&[CertificateDer<'static>], WallTime) -> Result<(), String>
        + Send
        + Sync
        + 'static,
    ) -> tls::Judge {
        let clock = self.clock.clone();
        Arc::new(move |chain| judge(chain, WallTime(clock.wall_ms())))
    }

    async fn open(
        &self,
        address: &str,
        judge: tls::Judge,
        own: Option<(
            Vec<CertificateDer<'static>>,
            rustls_pki_types::PrivateKeyDer<'static>,
        )>,
    ) -> Result<Client, Error> {
        let tls = tls::Client::new(judge, own).map_err(|error| Error::Away(chained(&error)))?;
        let channel = self.config.connect(address, &tls, &self.tasks).await;
        let channel = channel.map_err(|error| Error::Away(chained(&error)))?;
        let origin = channel.origin();
        Ok(Client::with_origin(channel, origin)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }
}

fn believed(
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
    now: WallTime,
) -> Result<(), String> {
    let Shown { id, .. } =
        certificate::verify(chain, roots, At::Valid(now)).map_err(|error| error.to_string())?;
    match id.is_control() {
        true => Ok(()),
        false => Err("what answers is no control plane".to_owned()),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_decision_is_final_and_a_silent_control_plane_is_away() {
        let status = |code, word: Option<&'static str>| {
            let mut status = Status::new(code, "why");
            if let Some(word) = word {
                let word = word.parse().expect("ASCII");
                status.metadata_mut().insert(METADATA, word);
            }
            Error::from(status)
        };
        let cases = [
            (status(Code::PermissionDenied, Some("revoked")), Some("why")),
            (status(Code::PermissionDenied, Some("copied")), Some("why")),
            (
                status(Code::PermissionDenied, Some("unknown-instance")),
                None,
            ),
            (status(Code::PermissionDenied, None), None),
            (status(Code::Unavailable, None), None),
            (status(Code::Internal, Some("of-tomorrow")), None),
        ];
        for (error, expected) in cases {
            assert_eq!(error.final_reason(), expected, "{error:?}");
        }
        assert!(matches!(status(Code::Unavailable, None), Error::Away(_)));
    }
}
