//! Join tokens: made here, known by a hash afterwards.

use std::time::Duration;

use aws_lc_rs::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use wire::{api::mesh, join_token::JoinToken, name::NodeName};

use super::{Enrol, Error, entry};
use crate::state;

/// How long a join token lasts unless somebody says otherwise.
const TTL: Duration = Duration::from_secs(15 * 60);
/// How long a join token may last.
pub(super) const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);
/// How many instances may join with one token.
const MAX_USES: u32 = 1_000;

impl Enrol {
    /// A join token for `node`: `ttl` of zero means a quarter of an hour, `uses` of zero means one.
    ///
    /// # Errors
    /// When it is asked for too long or too many, the topology has no such node, or the store fails.
    pub async fn join_token(
        &self,
        node: &NodeName,
        ttl: Duration,
        uses: u32,
        who: &str,
    ) -> Result<mesh::JoinToken, Error> {
        let (ttl, uses) = (if ttl.is_zero() { TTL } else { ttl }, uses.max(1));
        if ttl > MAX_TTL {
            return Err(Error::Bad(
                "a join token may last 7 days at most".to_owned(),
            ));
        }
        if uses > MAX_USES {
            return Err(Error::Bad(format!(
                "a join token may have {MAX_USES} uses at most"
            )));
        }
        self.declared(node)?;
        let mut secret = [0; 32];
        let filled = SystemRandom::new().fill(&mut secret);
        filled.map_err(|_| Error::Bad("the machine gives no randomness".to_owned()))?;
        let token = JoinToken {
            address: self.address.clone(),
            pin: self.ca.pin().to_string(),
            node: node.clone(),
            secret: hex::encode(secret),
        };
        let now = self.now();
        let stored = state::JoinToken {
            hash: hash(&token.secret),
            node: node.clone(),
            expires_at: now.plus(ttl),
            uses,
        };
        let about = serde_json::json!({ "expiresAt": stored.expires_at.to_string(), "uses": uses });
        let entry = entry(now, who, "join-token", node, Some(about));
        let expires_at = stored.expires_at;
        self.state.put_join_token(stored, entry).await?;
        Ok(mesh::JoinToken {
            node: node.clone(),
            token: token.encode(),
            expires_at,
            uses,
        })
    }
}

/// What is kept of a token's secret.
pub(super) fn hash(secret: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}
