//! What `regmesh node join-token` prints and `regmesh node --join` takes: where the control plane is, how to know it, and a secret.
//!
//! `regmesh-join.v1.` and base64url (no padding) of a JSON object. It is a bearer secret for as long as it lasts, so it has no
//! `Display`: [`JoinToken::encode`] is called where it is meant to be shown. Source: `spec/control-plane.md` "Enrolment".

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::name::NodeName;

const PREFIX: &str = "regmesh-join.v1.";
/// The longest token looked at, in bytes.
const MOST: usize = 4096;

/// A join token, taken apart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// `HOST:PORT` of the node service.
    pub address: String,
    /// `sha256:` and the hex SHA-256 of the `SubjectPublicKeyInfo` of the mesh's CA.
    pub pin: String,
    /// The node it is for.
    pub node: NodeName,
    /// What the control plane keeps only a hash of.
    pub secret: String,
}

/// The text is no join token. It is not quoted: it may be most of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token: it begins with '{PREFIX}' and is printed by `regmesh node join-token NAME`"
)]
pub struct NoJoinToken;

impl JoinToken {
    /// The text that a person carries to the node.
    #[must_use]
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for JoinToken {
    type Err = NoJoinToken;

    fn from_str(text: &str) -> Result<Self, NoJoinToken> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= MOST);
        let json = encoded.and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok());
        let token: Option<Self> = json.and_then(|json| serde_json::from_slice(&json).ok());
        token.filter(Self::is_whole).ok_or(NoJoinToken)
    }
}

impl JoinToken {
    fn is_whole(&self) -> bool {
        let port = self
            .address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let pin = self.pin.strip_prefix("sha256:");
        port.is_some_and(|port| port > 0)
            && pin.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            && !self.secret.is_empty()
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("address", &self.address)
            .field("pin", &self.pin)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            address: "control.example:7443".into(),
            pin: format!("sha256:{}", "ab".repeat(32)),
            node: "prod".parse().expect("a name"),
            secret: "canary-secret".into(),
        }
    }

    #[test]
    fn what_is_printed_is_taken_back() {
        let text = token().encode();
        assert!(text.starts_with("regmesh-join.v1."));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn what_is_no_whole_token_is_refused_and_never_quoted() {
        let bad = [
            JoinToken {
                address: "control.example".into(),
                ..token()
            },
            JoinToken {
                address: ":7443".into(),
                ..token()
            },
            JoinToken {
                address: "c:0".into(),
                ..token()
            },
            JoinToken {
                pin: "sha256:abcd".into(),
                ..token()
            },
            JoinToken {
                pin: "ab".repeat(32),
                ..token()
            },
            JoinToken {
                secret: String::new(),
                ..token()
            },
        ];
        let mut texts: Vec<String> = bad.iter().map(JoinToken::encode).collect();
        let whole = token().encode();
        texts.push(whole.replace("v1", "v2"));
        texts.push(whole.get(..40).expect("long").to_owned());
        texts.push(String::new());
        texts.push(format!("regmesh-join.v1.{}", "A".repeat(MOST)));
        for text in texts {
            let refused = text.parse::<JoinToken>().expect_err(&text);
            assert!(!refused.to_string().contains("canary"));
        }
        assert!(!format!("{:?}", token()).contains("canary"));
    }
}
