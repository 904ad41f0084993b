//! The node's refresh tokens, kept beside its metadata: whoever is logged in stays so over a restart.
//!
//! What is kept, and that it holds no secret, is `identity`'s; this file gives it a key and forgets what is over. There is room
//! for a bounded number of sessions; beyond it logins get access tokens alone until some are over. Rules of other nodes have room beside
//! it, because without a session they could not pull at all. Called by `app`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use identity::{authenticate::refresh::RefreshStore, error::BoxError};
use runtime::{Clock, Reconciler, Tasks};
use wire::time::WallTime;

use crate::store::{
    Error,
    metadata::{Metadata, Op},
};

/// How many sessions are kept; a robot that logs in for every pull has room for 3 a second over 8 h.
pub const MAX_SESSIONS: usize = 100_000;
/// Room that only rules of other nodes have: one a day for each.
const OF_RULES: usize = 100_000;
/// How often those that are over are forgotten.
const SWEEP: Duration = Duration::from_secs(600);
const PREFIX: &str = "session/";

/// Refresh tokens as small values of the metadata. A value is when it ends (milliseconds since 1970, 8 bytes, big-endian) and
/// the record.
pub struct Sessions {
    metadata: Arc<dyn Metadata>,
    /// How many there are, as of the last sweep and since.
    kept: AtomicUsize,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Sessions in `metadata`, swept by a task of `tasks`.
    #[must_use]
    pub fn build(metadata: Arc<dyn Metadata>, clock: &Clock, tasks: &Tasks) -> Arc<Self> {
        let kept = AtomicUsize::new(0);
        let sessions = Arc::new(Self { metadata, kept });
        let (swept, now) = (Arc::clone(&sessions), clock.clone());
        Reconciler::new("sessions", SWEEP).start(tasks, clock, move || {
            let (sessions, now) = (Arc::clone(&swept), WallTime(now.wall_ms()));
            async move {
                if let Err(error) = sessions.sweep(now).await {
                    tracing::warn!(%error, "sessions that are over could not be forgotten");
                }
            }
        });
        sessions
    }

    async fn sweep(&self, now: WallTime) -> Result<(), Error> {
        let all = self.metadata.values(PREFIX).await?;
        let over = all.iter().filter(|(_, value)| ends(value) <= now);
        let ops: Vec<Op> = over
            .map(|(key, _)| Op::PutValue(key.clone(), None))
            .collect();
        let left = all.len() - ops.len();
        if !ops.is_empty() {
            self.metadata.commit(ops).await?;
        }
        self.kept.store(left, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl RefreshStore for Sessions {
    async fn put(
        &self,
        hash: [u8; 32],
        record: Vec<u8>,
        expires: WallTime,
        of_a_rule: bool,
    ) -> Result<bool, BoxError> {
        let most = match of_a_rule {
            true => MAX_SESSIONS + OF_RULES,
            false => MAX_SESSIONS,
        };
        if self.kept.load(Ordering::Relaxed) >= most {
            return Ok(false);
        }
        let value = [&expires.0.to_be_bytes()[..], &record].concat();
        let put = Op::PutValue(key(hash), Some(value));
        self.metadata.commit(vec![put]).await?;
        self.kept.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError> {
        let value = self.metadata.value(&key(hash)).await?;
        Ok(value.map(|value| value.get(8..).unwrap_or_default().to_vec()))
    }

    async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError> {
        let delete = Op::PutValue(key(hash), None);
        Ok(self.metadata.commit(vec![delete]).await?)
    }
}

fn key(hash: [u8; 32]) -> String {
    format!("{PREFIX}{}", hex::encode(hash))
}

/// When a value ends; what is too short to say so is over.
fn ends(value: &[u8]) -> WallTime {
    let ends = value.first_chunk::<8>().copied().map(i64::from_be_bytes);
    WallTime(ends.unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use identity::authenticate::refresh::{Holder, LIFE, RefreshTokens};
    use identity::authenticate::trust::Via;
    use identity::principal::Principal;
    use runtime::Secret;

    use super::*;
    use crate::store::metadata::memory::Memory;

    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn holder(principal: &Principal) -> Holder<'_> {
        Holder::new(principal, "a:1", NOW.plus(LIFE))
    }

    fn sessions(metadata: &Memory) -> Arc<Sessions> {
        let kept = AtomicUsize::new(0);
        let metadata = Arc::new(metadata.clone());
        Arc::new(Sessions { metadata, kept })
    }

    #[tokio::test]
    async fn a_session_outlives_a_restart_and_is_forgotten_once_it_is_over() {
        let metadata = Memory::new();
        let before = RefreshTokens::new(sessions(&metadata));
        let principal = Principal::Account {
            name: "ci".parse().unwrap(),
        };
        let first = before.issue(holder(&principal)).await.unwrap();
        let later = NOW.plus(Duration::from_secs(60));
        let second = before
            .issue(Holder {
                ends: later.plus(LIFE),
                ..holder(&principal)
            })
            .await
            .unwrap();
        let (first, second): (Secret, Secret) = (first.unwrap(), second.unwrap());

        let after = sessions(&metadata);
        let tokens = RefreshTokens::new(Arc::clone(&after) as Arc<dyn RefreshStore>);
        let found = tokens.find(&first, "a:1", later).await.unwrap();
        assert_eq!(found.principal, principal);
        after.sweep(NOW.plus(LIFE)).await.unwrap();
        assert_eq!(after.kept.load(Ordering::Relaxed), 1);
        assert_eq!(metadata.values(PREFIX).await.unwrap().len(), 1);
        assert!(tokens.find(&first, "a:1", later).await.is_err());
        tokens.revoke(&second).await.unwrap();
        assert!(metadata.values(PREFIX).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn without_room_a_login_gets_no_session_and_no_error_and_a_rule_has_room() {
        let metadata = Memory::new();
        let sessions = sessions(&metadata);
        sessions.kept.store(MAX_SESSIONS, Ordering::Relaxed);
        let tokens = RefreshTokens::new(Arc::clone(&sessions) as Arc<dyn RefreshStore>);
        let principal = Principal::Anonymous;
        let token = tokens.issue(holder(&principal)).await.unwrap();
        assert!(token.is_none());
        let via = Via {
            rule: "apps".parse().unwrap(),
            node: "edge".parse().unwrap(),
            made: 0,
            key: "k".to_owned(),
        };
        let of_a_rule = Holder {
            via: Some(&via),
            ..holder(&principal)
        };
        let token = tokens.issue(of_a_rule).await.unwrap();
        assert!(token.is_some(), "who logs in takes no rule's room");
        sessions.sweep(NOW).await.unwrap();
        let token = tokens.issue(holder(&principal)).await.unwrap();
        assert!(token.is_some());
    }
}
