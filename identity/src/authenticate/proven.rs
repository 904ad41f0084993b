//! Who asks the token service, by what, and what may be given for it.
//!
//! Made by `authenticate` alone, from what was verified; whoever holds one may be given tokens. It carries what limits them (the
//! grant's bound, the connection, the rule behind an identity) from the proof to the access token and the refresh token.

use runtime::Secret;
use wire::time::WallTime;

use super::{Origin, trust::Via};
use crate::{decide::Bound, principal::Principal};

/// Who asks for a token, and by what.
#[derive(Debug)]
pub struct Proven {
    /// Who.
    pub principal: Principal,
    /// What tokens for them may say at most; none for no limit but the roles'.
    pub bound: Option<Bound>,
    /// The SPIFFE id their tokens are bound to.
    pub bound_to: Option<String>,
    /// The rule behind an identity.
    pub via: Option<Via>,
    /// What ties their tokens to an account's password.
    pub(super) tie: Option<String>,
    pub(super) by: By,
}

#[derive(Debug)]
pub(super) enum By {
    Nothing,
    Password(Secret),
    RefreshToken(Secret),
    /// A token of somebody else: an issuer's, or a rule grant.
    Token {
        /// Its hash.
        hash: [u8; 32],
        /// When what is given for it is over at the latest.
        ends: WallTime,
    },
}

impl Proven {
    /// What a request without credentials proves: the node that its connection's certificate names, else nothing. Tokens for a node
    /// are worth something under its certificate alone.
    #[must_use]
    pub fn by_connection(origin: Origin<'_>) -> Self {
        let principal = origin.principal();
        let bound_to = origin.spiffe.filter(|_| principal.is_known());
        Self {
            bound_to: bound_to.map(str::to_owned),
            by: By::Nothing,
            ..Self::simply(principal)
        }
    }

    /// Somebody whose tokens are bound to nothing but themselves.
    pub(super) fn simply(principal: Principal) -> Self {
        Self {
            principal,
            bound: None,
            bound_to: None,
            via: None,
            tie: None,
            by: By::Nothing,
        }
    }
}
