//! Token: tokens for rules of the calling node, which is known by its certificate as for a stream.
//!
//! Names that cannot be any are answered in their place, so that one bad entry does not cost the others theirs.

use identity::mint::{Audience, Error, Minted, Wanted};
use runtime::listener::Peer;
use tonic::Status;
use wire::node_service::{self, MintedToken, TokenRequest, Tokens, minted, wanted};

use super::{Service, status};

/// How many may be wanted in one call. Source: `node_service.proto`.
const MOST: usize = 256;
/// The longest name of whom a token is for, in bytes.
const LONGEST: usize = 1_024;

pub(super) async fn token(
    service: &Service,
    peer: &Peer,
    request: TokenRequest,
) -> Result<Tokens, Status> {
    let admitted = service.enrol.admit(&peer.certificates);
    let (_, node) = admitted.map_err(|refused| status::refused(&refused))?;
    if request.wanted.len() > MOST {
        let text = format!("at most {MOST} tokens are given at once");
        return Err(Status::invalid_argument(text));
    }
    let wanted = request.wanted.into_iter().map(read).collect();
    let (generation, minted) = service.issuer.mint(node, wanted).await;
    Ok(Tokens {
        minted: minted.into_iter().map(write).collect(),
        generation: generation.0,
    })
}

fn read(wanted: node_service::Wanted) -> Result<Wanted, String> {
    let audience = match wanted.kind {
        Some(wanted::Kind::Upstream(upstream)) => Audience::Upstream(upstream),
        Some(wanted::Kind::Audience(audience)) => Audience::Foreign(audience),
        None => return Err("it does not say whom the token is for".to_owned()),
    };
    let (Audience::Upstream(named) | Audience::Foreign(named)) = &audience;
    if named.len() > LONGEST {
        return Err("whom the token is for is named too long".to_owned());
    }
    let rule = wanted.rule.parse();
    let identity = wanted.identity.parse();
    Ok(Wanted {
        rule: rule.map_err(|_| "there is no rule of such a name".to_owned())?,
        identity: identity.map_err(|_| "there is no identity of such a name".to_owned())?,
        audience,
    })
}

fn write(minted: Result<Minted, Error>) -> node_service::Minted {
    let outcome = match minted {
        Ok(minted) => minted::Outcome::Token(MintedToken {
            token: minted.token.expose().clone(),
            expires_ms: minted.expires.0,
            refresh_ms: minted.refresh.0,
        }),
        Err(Error::Refused(why)) => minted::Outcome::Refused(why),
        Err(Error::Away(why)) => minted::Outcome::Away(why),
    };
    node_service::Minted {
        outcome: Some(outcome),
    }
}

#[cfg(test)]
mod tests;
