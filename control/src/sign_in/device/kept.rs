//! Flows in the state: any control plane over it goes on with what another began, also after a restart.
//!
//! Each is a value of its own, sealed, since it holds the issuer's code and later its token, and named by a hash of the id, so that who
//! reads the database can ask about none. A flow that has ended goes with the next one that begins; there are never more than `MOST`, but
//! for one for each other control plane that begins one in the same instant.

use std::{net::IpAddr, sync::Arc};

use aws_lc_rs::digest;
use tokio::sync::Mutex;
use wire::time::WallTime;
use zeroize::Zeroizing;

use super::{
    Error,
    pending::{self, Flow},
};
use crate::{
    seal::Seal,
    state::{self, State},
};

/// How the values are called, before the hash.
const PREFIX: &str = "sign-in-flow/";
/// How often a change is tried again because somebody else was faster.
const ATTEMPTS: usize = 8;

/// The flows that have begun. Clones are the same.
#[derive(Clone)]
pub struct Kept {
    state: Arc<dyn State>,
    seal: Arc<Seal>,
    /// Who counts and then adds.
    adding: Arc<Mutex<()>>,
}

/// A flow, and the sealed text that it was read from.
pub(super) struct Seen {
    name: String,
    sealed: Vec<u8>,
    pub(super) flow: Flow,
}

impl Kept {
    /// In this state, sealed by `seal`.
    #[must_use]
    pub fn new(state: Arc<dyn State>, seal: Arc<Seal>) -> Self {
        Self {
            state,
            seal,
            adding: Arc::default(),
        }
    }

    /// Whether there is room for one more of somebody at `address`.
    pub(super) async fn room(&self, address: IpAddr, now: WallTime) -> Result<(), Error> {
        let values = self.state.values(PREFIX).await?;
        let flows = values.iter().filter_map(|(name, value)| {
            let flow = self.open(name, value)?;
            (flow.ends > now).then_some(flow.from)
        });
        pending::room(flows, address)
    }

    /// Keeps one more, and forgets those that have ended or that nobody can read.
    pub(super) async fn add(&self, id: &str, flow: &Flow, now: WallTime) -> Result<(), Error> {
        let _turn = self.adding.lock().await;
        let mut from = Vec::new();
        for (name, value) in self.state.values(PREFIX).await? {
            match self.open(&name, &value).filter(|flow| flow.ends > now) {
                Some(flow) => from.push(flow.from),
                None => drop(self.state.swap_value(&name, Some(value), None).await?),
            }
        }
        pending::room(from.into_iter(), flow.from)?;
        let name = name(id);
        let sealed = self.sealed(&name, flow)?;
        match self.state.swap_value(&name, None, Some(sealed)).await? {
            true => Ok(()),
            false => Err(Error::Ended),
        }
    }

    /// The flow of this id that has not ended.
    pub(super) async fn get(&self, id: &str, now: WallTime) -> Result<Option<Seen>, Error> {
        let name = name(id);
        let Some(sealed) = self.state.value(&name).await? else {
            return Ok(None);
        };
        let flow = self.open(&name, &sealed).filter(|flow| flow.ends > now);
        Ok(flow.map(|flow| Seen { name, sealed, flow }))
    }

    /// Writes `flow` in the place of what was `seen`; `false` when somebody was faster.
    pub(super) async fn swap(&self, seen: Seen, flow: &Flow) -> Result<bool, Error> {
        let sealed = self.sealed(&seen.name, flow)?;
        let swapped = self
            .state
            .swap_value(&seen.name, Some(seen.sealed), Some(sealed));
        Ok(swapped.await?)
    }

    /// Changes the flow as it is by then; without one, nothing.
    pub(super) async fn change(
        &self,
        id: &str,
        now: WallTime,
        change: impl Fn(&mut Flow) + Send,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let Some(seen) = self.get(id, now).await? else {
                return Ok(());
            };
            let mut flow = seen.flow.clone();
            change(&mut flow);
            if self.swap(seen, &flow).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Forgets one; `false` when somebody else did.
    pub(super) async fn end(&self, id: &str) -> Result<bool, Error> {
        let name = name(id);
        for _ in 0..ATTEMPTS {
            let Some(value) = self.state.value(&name).await? else {
                return Ok(false);
            };
            if self.state.swap_value(&name, Some(value), None).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    fn sealed(&self, name: &str, flow: &Flow) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn std::fmt::Display| state::Error::Unavailable(error.to_string());
        let text = Zeroizing::new(flow.written().map_err(|error| failed(&error))?);
        let sealed = self.seal.seal(name, &text);
        Ok(sealed.map_err(|error| failed(&error))?)
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Flow> {
        Flow::read(self.seal.open_value(name, sealed).ok()?.expose())
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

fn name(id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    format!("{PREFIX}{}", hex::encode(hash.as_ref()))
}

fn contended() -> Error {
    state::Error::Unavailable("others keep changing a sign-in".to_owned()).into()
}

#[cfg(test)]
impl Kept {
    /// In a memory that ends with it.
    pub(crate) fn in_memory(clock: &runtime::Clock) -> Self {
        let state = state::memory::Memory::new(clock.clone());
        let seal = Seal::generate().expect("this machine gives randomness");
        Self::new(Arc::new(state), Arc::new(seal))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::{Clock, Secret};

    use super::*;

    const NOW: WallTime = WallTime(1_000_000);

    fn flow(from: [u8; 4], ends: WallTime) -> Flow {
        Flow {
            issuer: "corp".parse().unwrap(),
            from: from.into(),
            url: "https://corp.example".into(),
            code: Secret::from("canary-code"),
            interval: Duration::from_secs(5),
            next: NOW,
            ends,
            token: None,
        }
    }

    #[tokio::test]
    async fn what_has_ended_makes_room_and_what_is_kept_shows_nothing() {
        let kept = Kept::in_memory(&Clock::manual(NOW.0));
        let later = NOW.plus(Duration::from_secs(60));
        let one = [192, 0, 2, 7];
        let add = async |n: u32, now| kept.add(&n.to_string(), &flow(one, later), now).await;
        let mut added = 0;
        while add(added, NOW).await.is_ok() {
            added += 1;
        }
        assert_eq!(added, 300);
        assert_eq!(kept.room(one.into(), NOW).await, Err(Error::TooMany));
        assert_eq!(kept.room([192, 0, 2, 8].into(), NOW).await, Ok(()));
        assert_eq!(kept.room(one.into(), later).await, Ok(()));
        for (name, value) in kept.state.values("").await.unwrap() {
            assert!(name.starts_with(PREFIX) && name.len() == PREFIX.len() + 64);
            assert!(!String::from_utf8_lossy(&value).contains("canary"));
        }
        let last = later.plus(Duration::from_secs(60));
        kept.add("last", &flow(one, last), later).await.unwrap();
        assert_eq!(kept.state.values("").await.unwrap().len(), 1);
        assert!(kept.get("last", later).await.unwrap().is_some());
        assert!(kept.get("last", last).await.unwrap().is_none());
        assert_eq!(kept.end("last").await, Ok(true));
        assert_eq!(kept.end("last").await, Ok(false));
    }
}
