//! Is this a grant, for this node, from this connection, now? All checks of one, in the order of what a stranger could learn.
//!
//! The signature comes first: before it nothing of a grant is believed, and a stranger is told one thing. After it the reason is
//! told, because whoever holds a genuine grant has to find out why it is not taken. Nothing is remembered: a grant is shown once
//! for a refresh token, and what may change (withdrawals, keys, time, connection) is asked anew. Source: `reference/protocols.md`
//! 6.1, `spec/identity.md` "The rule grant".

use runtime::Secret;
use wire::{scope::Action, time::WallTime};

use super::{Claims, LONGEST_LIFE, TYP};
use crate::{
    authenticate::{
        Origin,
        access_token::LEEWAY,
        trust::{Trust, Via},
    },
    certificate::SpiffeId,
    decide::{Bound, Rights},
    principal::Principal,
};

/// What a grant gives.
#[derive(Debug)]
pub struct Granted {
    /// The identity that the grant speaks for.
    pub principal: Principal,
    /// What the rule may do here at most.
    pub bound: Bound,
    /// The SPIFFE id that connections must show.
    pub bound_to: Option<String>,
    /// The rule.
    pub via: Via,
    /// When it ends.
    pub expires: WallTime,
}

/// Why a grant is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No key that this node knows signed it as a grant; or there is no issuer.
    #[error("it is not signed by a key of this mesh that this node knows")]
    Signature,
    /// Somebody else's issuer, or another mesh.
    #[error("it is not from this mesh's issuer")]
    Issuer,
    /// It is for another node.
    #[error("it is for another upstream")]
    Audience,
    /// It is over, not yet valid, or valid for longer than any.
    #[error("it is not valid at this time")]
    Time,
    /// It gives something else than reading.
    #[error("it gives more than pull")]
    Actions,
    /// The connection does not show the certificate of the node that it is for.
    #[error("the connection does not show the certificate of the node it was made for")]
    Connection,
    /// It was made before its rule was changed or removed.
    #[error("it was withdrawn")]
    Withdrawn,
}

/// What a grant gives to whoever shows it at the node `audience` now.
///
/// # Errors
/// Why it gives nothing.
pub fn check(
    trust: Option<&Trust>,
    audience: &str,
    grant: &Secret,
    origin: Origin<'_>,
    now: WallTime,
) -> Result<Granted, Wrong> {
    let trust = trust.ok_or(Wrong::Signature)?;
    let signed = trust.keys.verify::<Claims>(TYP, grant.expose());
    let signed = signed.map_err(|_| Wrong::Signature)?;
    let (key, claims) = (signed.key, signed.claims);
    let identity = claims.identity(&trust.mesh).ok_or(Wrong::Issuer)?;
    if !trust.is_by(&claims.iss) {
        return Err(Wrong::Issuer);
    }
    if claims.aud != audience {
        return Err(Wrong::Audience);
    }
    if !in_time(&claims, now) {
        return Err(Wrong::Time);
    }
    let about = &claims.regmesh;
    if about.actions.iter().any(|action| *action != Action::Pull) {
        return Err(Wrong::Actions);
    }
    let bound_to = claims.cnf.as_ref().map(|cnf| cnf.spiffe.clone());
    if !connection(trust, &claims, origin) {
        return Err(Wrong::Connection);
    }
    let via = Via {
        rule: about.rule.clone(),
        node: about.node.clone(),
        generation: about.generation,
        key,
    };
    if !trust.stands(&via, now) {
        return Err(Wrong::Withdrawn);
    }
    let rights: Rights = about.actions.iter().copied().collect();
    let mut bound = Bound::default();
    for pattern in &about.repositories {
        bound.add(pattern.clone(), rights);
    }
    Ok(Granted {
        principal: Principal::Identity { name: identity },
        bound,
        bound_to,
        via,
        expires: WallTime(claims.exp.saturating_mul(1000)),
    })
}

/// Whether this is the connection that the grant was made for. Without `cnf` only this very machine will do, and only where peers
/// come without TLS at all.
fn connection(trust: &Trust, claims: &Claims, origin: Origin<'_>) -> bool {
    let Some(wanted) = claims.cnf.as_ref().map(|cnf| cnf.spiffe.as_str()) else {
        return trust.plain && origin.plain_loopback;
    };
    let id: Option<SpiffeId> = wanted.parse().ok();
    let names_the_node =
        id.is_some_and(|id| *id.mesh() == trust.mesh && id.node() == Some(&claims.regmesh.node));
    names_the_node && origin.spiffe == Some(wanted)
}

fn in_time(claims: &Claims, now: WallTime) -> bool {
    let (early, late) = (now.minus(LEEWAY).seconds(), now.plus(LEEWAY).seconds());
    let life = claims.exp.checked_sub(claims.iat);
    let longest = i64::try_from(LONGEST_LIFE.as_secs()).unwrap_or(i64::MAX);
    early < claims.exp
        && claims.nbf <= late
        && claims.iat <= late
        && life.is_some_and(|life| life <= longest)
}

#[cfg(test)]
mod tests;
