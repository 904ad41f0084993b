//! The node's refresh tokens, kept beside its metadata: whoever is logged in stays so over a restart.
//!
//! What is kept, and that it holds no secret, is `identity`'s; this file gives it a key and forgets what is over. There is room
//! for a bounded number of sessions; whose has to leave for a new one is `room`'s to say. Rules of other nodes have room beside it,
//! because without a session they could not pull at all. Called by `app`.

mod room;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use identity::{
    authenticate::refresh::{Record, RefreshStore, Whose},
    error::BoxError,
};
use runtime::{Clock, Reconciler, Tasks};
use wire::time::WallTime;

use self::room::{Hash, Room};
use crate::store::{
    Error,
    metadata::{Metadata, Op},
};

/// How many sessions are kept of those who log in; a robot that logs in for every pull has room for 3 a second over 8 h, shared among
/// as many accounts as it takes.
pub const MAX_SESSIONS: usize = 100_000;
/// How many of them one subject has: its earlier ones end for its later ones.
pub const OF_A_SUBJECT: usize = 10_000;
/// Room that only rules of other nodes have: one a day for each.
const OF_RULES: usize = 100_000;
/// How often those that are over are forgotten.
const SWEEP: Duration = Duration::from_secs(600);
const PREFIX: &str = "session/";

/// Refresh tokens as small values of the metadata. A value is when it ends (milliseconds since 1970, 8 bytes, big-endian) and
/// the record.
pub struct Sessions {
    metadata: Arc<dyn Metadata>,
    /// What is kept, as far as it was seen by a sweep or kept since.
    rooms: Mutex<Rooms>,
}

#[derive(Debug)]
struct Rooms {
    logins: Room,
    rules: Room,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rooms = self.rooms();
        f.debug_struct("Sessions")
            .field("logins", &rooms.logins.len())
            .field("rules", &rooms.rules.len())
            .finish_non_exhaustive()
    }
}

impl Rooms {
    fn of(&mut self, whose: &Whose) -> &mut Room {
        match whose.of_a_rule {
            true => &mut self.rules,
            false => &mut self.logins,
        }
    }

    fn forget(&mut self, hash: &Hash) {
        self.logins.forget(hash);
        self.rules.forget(hash);
    }
}

impl Sessions {
    /// Sessions in `metadata`, swept by a task of `tasks`.
    #[must_use]
    pub fn build(metadata: Arc<dyn Metadata>, clock: &Clock, tasks: &Tasks) -> Arc<Self> {
        let sessions = Arc::new(Self::new(metadata, MAX_SESSIONS, OF_A_SUBJECT));
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

    fn new(metadata: Arc<dyn Metadata>, most: usize, of_a_subject: usize) -> Self {
        let rooms = Rooms {
            logins: Room::new(most, of_a_subject),
            rules: Room::new(OF_RULES, OF_A_SUBJECT),
        };
        Self {
            metadata,
            rooms: Mutex::new(rooms),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is over, and finds room for what was kept before this process began.
    async fn sweep(&self, now: WallTime) -> Result<(), Error> {
        let all = self.metadata.values(PREFIX).await?;
        let ops: Vec<Op> = {
            let mut rooms = self.rooms();
            rooms.logins.forget_ended(now);
            rooms.rules.forget_ended(now);
            let left = all.into_iter().filter_map(|(stored, value)| {
                let ends = ends(&value);
                let known = (ends > now).then(|| known(&stored, &value)).flatten();
                // What is over, and what nobody can read any more.
                let Some((hash, whose)) = known else {
                    return Some(stored);
                };
                rooms.of(&whose).take(hash, ends, whose).map(key)
            });
            left.map(|key| Op::PutValue(key, None)).collect()
        };
        match ops.is_empty() {
            true => Ok(()),
            false => self.metadata.commit(ops).await,
        }
    }
}

#[async_trait]
impl RefreshStore for Sessions {
    async fn put(
        &self,
        hash: [u8; 32],
        record: Vec<u8>,
        expires: WallTime,
        whose: Whose,
    ) -> Result<(), BoxError> {
        let value = [&expires.0.to_be_bytes()[..], &record].concat();
        let leaves = self.rooms().of(&whose).take(hash, expires, whose.clone());
        let leaves = leaves.map(|leaves| Op::PutValue(key(leaves), None));
        let put = Op::PutValue(key(hash), Some(value));
        let ops = leaves.into_iter().chain([put]).collect();
        let kept = self.metadata.commit(ops).await;
        if kept.is_err() {
            self.rooms().forget(&hash);
        }
        Ok(kept?)
    }

    async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError> {
        let value = self.metadata.value(&key(hash)).await?;
        Ok(value.map(|value| value.get(8..).unwrap_or_default().to_vec()))
    }

    async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError> {
        let delete = Op::PutValue(key(hash), None);
        self.metadata.commit(vec![delete]).await?;
        self.rooms().forget(&hash);
        Ok(())
    }
}

fn key(hash: [u8; 32]) -> String {
    format!("{PREFIX}{}", hex::encode(hash))
}

/// What a stored session is found by, and whose it is.
fn known(key: &str, value: &[u8]) -> Option<(Hash, Whose)> {
    let mut hash = Hash::default();
    hex::decode_to_slice(key.strip_prefix(PREFIX)?, &mut hash).ok()?;
    let record = Record::parse(value.get(8..)?)?;
    Some((hash, record.whose()))
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
        Arc::new(Sessions::new(Arc::new(metadata.clone()), 4, 2))
    }

    fn tokens(sessions: &Arc<Sessions>) -> RefreshTokens {
        RefreshTokens::new(Arc::clone(sessions) as Arc<dyn RefreshStore>)
    }

    fn account(name: &str) -> Principal {
        let name = name.parse().unwrap();
        Principal::Account { name }
    }

    fn job(sub: usize) -> Principal {
        let claims =
            serde_json::json!({"iss": "https://corp.example", "sub": format!("job-{sub}")});
        let claims = Arc::new(serde_json::from_value(claims).unwrap());
        let issuer = "corp".parse().unwrap();
        Principal::Workload { issuer, claims }
    }

    #[tokio::test]
    async fn a_session_outlives_a_restart_and_is_forgotten_once_it_is_over() {
        let metadata = Memory::new();
        let before = RefreshTokens::new(sessions(&metadata));
        let principal = account("ci");
        let first = before.issue(holder(&principal)).await.unwrap();
        let later = NOW.plus(Duration::from_secs(60));
        let second = before
            .issue(Holder {
                ends: later.plus(LIFE),
                ..holder(&principal)
            })
            .await
            .unwrap();

        let after = sessions(&metadata);
        let tokens = tokens(&after);
        let found = tokens.find(&first, "a:1", later).await.unwrap();
        assert_eq!(found.principal, principal);
        after.sweep(NOW.plus(LIFE)).await.unwrap();
        assert_eq!(after.rooms().logins.len(), 1);
        assert_eq!(metadata.values(PREFIX).await.unwrap().len(), 1);
        assert!(tokens.find(&first, "a:1", later).await.is_err());
        tokens.revoke(&second).await.unwrap();
        assert!(metadata.values(PREFIX).await.unwrap().is_empty());
        assert_eq!(after.rooms().logins.len(), 0);
    }

    #[tokio::test]
    async fn one_issuers_flood_ends_its_own_sessions_and_nobody_elses_also_after_a_restart() {
        let metadata = Memory::new();
        let before = sessions(&metadata);
        let ci = account("ci");
        let kept = tokens(&before).issue(holder(&ci)).await.unwrap();
        let via = Via {
            rule: "apps".parse().unwrap(),
            node: "edge".parse().unwrap(),
            generation: wire::generation::Generation(0),
            key: "k".to_owned(),
        };
        let of_a_rule = Holder {
            via: Some(&via),
            ..holder(&ci)
        };
        let rules = tokens(&before).issue(of_a_rule).await.unwrap();
        let after = sessions(&metadata);
        after.sweep(NOW).await.unwrap();
        let tokens = tokens(&after);
        let mut last: Option<Secret> = None;
        for sub in 0..20 {
            last = Some(tokens.issue(holder(&job(sub))).await.unwrap());
        }
        assert_eq!(metadata.values(PREFIX).await.unwrap().len(), 4 + 1);
        for token in [&kept, &rules, &last.unwrap()] {
            assert!(tokens.find(token, "a:1", NOW).await.is_ok());
        }
        let alice = account("alice");
        let late = tokens.issue(holder(&alice)).await.unwrap();
        assert!(tokens.find(&late, "a:1", NOW).await.is_ok());
        assert!(tokens.find(&kept, "a:1", NOW).await.is_ok());
    }

    #[tokio::test]
    async fn one_subjects_logins_end_its_own_earlier_ones() {
        let metadata = Memory::new();
        let sessions = sessions(&metadata);
        let (tokens, ci) = (tokens(&sessions), account("ci"));
        let mut given = Vec::new();
        for seconds in 0..3 {
            let ends = NOW.plus(LIFE + Duration::from_secs(seconds));
            let held = Holder {
                ends,
                ..holder(&ci)
            };
            given.push(tokens.issue(held).await.unwrap());
        }
        assert!(tokens.find(&given[0], "a:1", NOW).await.is_err());
        for token in &given[1..] {
            assert!(tokens.find(token, "a:1", NOW).await.is_ok());
        }
    }
}
