//! What a look at the way to a registry found: of nobody's repository and with nobody's credential.

use std::{net::IpAddr, time::Duration};

use wire::time::WallTime;

/// The way to a registry, as seen from this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// `HOST:PORT`.
    pub at: String,
    /// What its name means here.
    pub addresses: Vec<IpAddr>,
    /// What stops it; none when the registry answered and lets this node's address in.
    pub blocked: Option<Blocked>,
    /// The status of its answer.
    pub status: Option<u16>,
    /// How far its clock is ahead of ours, in milliseconds; to the second, because that is all that `Date` says.
    pub ahead_ms: Option<i64>,
    /// Its certificate, where it has one.
    pub certificate: Option<Certificate>,
}

/// What is told of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// When it ends.
    pub ends: WallTime,
    /// How long it is valid in all.
    pub life: Duration,
    /// Whether its owner renews it by itself, as nodes do theirs.
    pub renews_itself: bool,
}

/// What stops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Where.
    pub step: Step,
    /// Why; no secret.
    pub why: String,
}

/// The steps of the way, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The rule itself has no usable upstream.
    Rule,
    /// The name has no address.
    Name,
    /// The address may not be connected to.
    Policy,
    /// Nobody takes the connection.
    Connect,
    /// The TLS handshake fails.
    Tls,
    /// No answer, or none of a server that works.
    Answer,
    /// The registry's `network` refuses this node's address.
    LetIn,
}

impl Reach {
    /// A way that ends here.
    #[must_use]
    pub fn blocked(at: String, step: Step, why: impl Into<String>) -> Self {
        let why = why.into();
        let blocked = Some(Blocked { step, why });
        Self {
            at,
            blocked,
            ..Self::default()
        }
    }

    /// Whether the registry answers and lets this node's address in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.blocked.is_none()
    }

    /// In one line, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { at, status, .. } = self;
        match &self.blocked {
            None => {
                let status = status.map_or_else(String::new, |status| format!(" with {status}"));
                format!("{at} answers{status}")
            }
            Some(Blocked { step, why }) => format!("{at}: {}: {why}", step.words()),
        }
    }
}

impl Step {
    /// What went wrong there.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Rule => "the rule has no usable upstream",
            Self::Name => "the name has no address here",
            Self::Policy => "its address may not be connected to",
            Self::Connect => "no connection",
            Self::Tls => "the TLS handshake fails",
            Self::Answer => "no proper answer",
            Self::LetIn => "it does not let this node's address in",
        }
    }
}
