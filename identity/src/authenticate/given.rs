//! What a token of ours was given on, and whether that still holds: asked on every request.
//!
//! The signature says that we gave it; this says that we would again: the issuer is still declared, the rule is not withdrawn, the
//! connection is the one it is bound to. Accounts have their passwords beside this, roles come after it.

use wire::time::WallTime;

use super::{Local, Origin, trust::Via};
use crate::principal::Principal;

/// What a token of ours says of whom it was given to, and on what grounds.
pub(super) struct Given<'a> {
    pub(super) principal: &'a Principal,
    pub(super) bound_to: Option<&'a str>,
    pub(super) via: Option<&'a Via>,
}

impl Given<'_> {
    /// Whether the grounds still hold at `now`, by what is in force, and on this connection. Accounts have their passwords beside this.
    pub(super) fn counts(&self, local: Local<'_>, origin: Origin<'_>, now: WallTime) -> bool {
        let connection = self.bound_to.is_none() || self.bound_to == origin.spiffe;
        connection
            && match self.principal {
                Principal::Anonymous | Principal::Account { .. } => true,
                Principal::Node { .. } => self.bound_to.is_some(),
                Principal::Identity { .. } => self.is_granted(local, origin, now),
                Principal::Workload { issuer, claims } => {
                    let iss = claims.get("iss").and_then(serde_json::Value::as_str);
                    iss.is_some_and(|iss| local.outsiders.declares(issuer, iss))
                }
            }
    }

    fn is_granted(&self, local: Local<'_>, origin: Origin<'_>, now: WallTime) -> bool {
        let (Some(trust), Some(via)) = (local.trust, self.via) else {
            return false;
        };
        let here = self.bound_to.is_some() || (trust.plain && origin.plain_loopback);
        here && trust.stands(via, now)
    }
}
