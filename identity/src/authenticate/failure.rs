//! Wrong credentials, counted by account and address, so that guessing takes longer than it is worth.
//!
//! Three counters over a minute: one account from one address, one address, one account from anywhere. The last is wide, or
//! strangers could lock an account out; whoever is remembered as right is not asked here at all. A wrong secret that is
//! repeated is no new guess and counts for the first counter alone. IPv6 addresses count by /64.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::policy::EvictionPolicy;
use tokio::time::Instant;
use wire::name::AccountName;

use super::account::wrong;
use crate::error::Error;

const WINDOW: Duration = Duration::from_secs(60);
const PER_PAIR: u32 = 10;
const PER_ADDRESS: u32 = 50;
const PER_ACCOUNT: u32 = 200;
/// How many counters there are; beyond, the least recently used ones are forgotten.
const MAX_COUNTERS: u64 = 100_000;

/// Where credentials come from and whose they claim to be.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `None` stands for all accounts that do not exist.
    account: Option<AccountName>,
    address: IpAddr,
}

impl Source {
    pub(super) fn new(account: Option<AccountName>, address: IpAddr) -> Self {
        Self {
            account,
            address: network(address),
        }
    }

    fn pair(&self) -> Key {
        Key::Pair(self.account.clone(), self.address)
    }

    /// Its counters, each with what is too often.
    fn keys(&self) -> impl Iterator<Item = (Key, u32)> {
        let account = self
            .account
            .clone()
            .map(|account| (Key::Account(account), PER_ACCOUNT));
        [
            (self.pair(), PER_PAIR),
            (Key::Address(self.address), PER_ADDRESS),
        ]
        .into_iter()
        .chain(account)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Pair(Option<AccountName>, IpAddr),
    Address(IpAddr),
    Account(AccountName),
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    begun: Instant,
    count: u32,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Failures(moka::sync::Cache<Key, Arc<Mutex<Counter>>>);

impl Default for Failures {
    fn default() -> Self {
        let counters = moka::sync::Cache::builder().max_capacity(MAX_COUNTERS);
        Self(counters.eviction_policy(EvictionPolicy::lru()).build())
    }
}

impl Failures {
    /// Whether credentials from there may be looked at now.
    pub(super) fn allow(&self, source: &Source, now: Instant) -> Result<(), Error> {
        let waits = source.keys().filter_map(|(key, most)| {
            let counter = *self
                .0
                .get(&key)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let left = (counter.begun + WINDOW)
                .checked_duration_since(now)
                .filter(|left| !left.is_zero());
            left.filter(|_| counter.count >= most)
        });
        match waits.max() {
            Some(retry_after) => Err(Error::TooOften { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts a wrong secret; returns what the caller is told.
    pub(super) fn first(&self, source: &Source, now: Instant) -> Error {
        for (key, _) in source.keys() {
            self.count(key, now);
        }
        wrong()
    }

    /// Counts a wrong secret that was wrong before; returns what the caller is told.
    pub(super) fn again(&self, source: &Source, now: Instant) -> Error {
        let told = self.allow(source, now).err();
        told.unwrap_or_else(|| {
            self.count(source.pair(), now);
            wrong()
        })
    }

    fn count(&self, key: Key, now: Instant) {
        let fresh = || {
            Arc::new(Mutex::new(Counter {
                begun: now,
                count: 0,
            }))
        };
        let counter = self.0.get_with(key, fresh);
        let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(counter.begun) >= WINDOW {
            *counter = Counter {
                begun: now,
                count: 0,
            };
        }
        counter.count = counter.count.saturating_add(1);
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(account: &str, address: &str) -> Source {
        Source::new(Some(account.parse().unwrap()), address.parse().unwrap())
    }

    #[test]
    fn each_counter_has_its_own_limit_and_ends_with_its_window() {
        let (failures, start) = (Failures::default(), runtime::Clock::manual(0).now());
        for n in 0..PER_ADDRESS {
            let from = source(&format!("account-{n}"), "192.0.2.1");
            assert!(failures.allow(&from, start).is_ok());
            failures.first(&from, start);
        }
        let spray = source("another", "192.0.2.1");
        let Err(Error::TooOften { retry_after }) = failures.allow(&spray, start) else {
            unreachable!()
        };
        assert_eq!(retry_after, WINDOW);
        assert!(
            failures
                .allow(&source("another", "192.0.2.2"), start)
                .is_ok()
        );
        assert!(failures.allow(&spray, start + WINDOW).is_ok());
        for n in 0..PER_ACCOUNT {
            failures.first(&source("ci", &format!("10.0.0.{n}")), start);
        }
        assert!(failures.allow(&source("ci", "203.0.113.1"), start).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (failures, start) = (Failures::default(), runtime::Clock::manual(0).now());
        for n in 0..PER_PAIR {
            failures.first(&source("ci", &format!("2001:db8:1:2::{n:x}")), start);
        }
        assert!(
            failures
                .allow(&source("ci", "2001:db8:1:2:ffff::1"), start)
                .is_err()
        );
        assert!(
            failures
                .allow(&source("ci", "2001:db8:1:3::1"), start)
                .is_ok()
        );
    }
}
