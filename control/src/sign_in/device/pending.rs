//! Device flows that have begun: bounded in number, in how many of one address begin in a minute and in how many it has at once, so that
//! one cannot keep all others out; each asked about at its own pace.
//!
//! Pure; the lock around it is `device`'s. Kept by a hash of the id, so that what is here opens nothing. IPv6 addresses count by /64.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use aws_lc_rs::digest;
use runtime::Secret;
use wire::{name::IssuerName, time::WallTime};

use super::Error;

/// Flows at once.
pub(super) const MOST: usize = 1_000;
/// Flows of one address at once.
const OF_ONE: usize = 100;
/// Flows of one address that may begin in a minute.
pub(super) const A_MINUTE: u32 = 20;
/// How much longer the pause gets when the issuer finds it too short (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// The longest pause.
const SLOWEST: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) issuer: IssuerName,
    /// Who began it.
    pub(super) from: IpAddr,
    /// The issuer as it was: one that was declared anew is another one.
    pub(super) url: String,
    pub(super) code: Secret,
    pub(super) interval: Duration,
    /// When the issuer may be asked again.
    pub(super) next: WallTime,
    pub(super) ends: WallTime,
}

/// What somebody who asks about a flow gets.
pub(super) enum Turn {
    /// There is none (any more).
    None,
    /// It is not time yet.
    Early(Duration),
    /// The issuer may be asked, now and by this one alone.
    Ask(Flow),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pending {
    flows: HashMap<[u8; 32], Flow>,
    /// How many each address began in this minute.
    begun: (i64, BTreeMap<IpAddr, u32>),
}

impl Pending {
    /// Whether one more may begin, for somebody at `address`.
    pub(super) fn admit(&mut self, address: IpAddr, now: WallTime) -> Result<(), Error> {
        self.flows.retain(|_, flow| flow.ends > now);
        let minute = now.seconds().div_euclid(60);
        if self.begun.0 != minute {
            self.begun = (minute, BTreeMap::new());
        }
        let known = self.begun.1.contains_key(&network(address));
        let theirs = |flow: &&Flow| network(flow.from) == network(address);
        let of_one = self.flows.values().filter(theirs).count();
        if self.flows.len() >= MOST || of_one >= OF_ONE || (!known && self.begun.1.len() >= MOST) {
            return Err(Error::TooMany);
        }
        let begun = self.begun.1.entry(network(address)).or_default();
        *begun = begun.saturating_add(1);
        match *begun <= A_MINUTE {
            true => Ok(()),
            false => Err(Error::TooMany),
        }
    }

    pub(super) fn insert(&mut self, id: &str, flow: Flow) -> Result<(), Error> {
        // Those that were admitted together may be too many by now.
        if self.flows.len() >= MOST {
            return Err(Error::TooMany);
        }
        self.flows.insert(key(id), flow);
        Ok(())
    }

    pub(super) fn turn(&mut self, id: &str, now: WallTime) -> Turn {
        let Some(flow) = self.flows.get_mut(&key(id)).filter(|flow| flow.ends > now) else {
            self.end(id);
            return Turn::None;
        };
        if let Some(wait) = now.age(flow.next).filter(|wait| !wait.is_zero()) {
            return Turn::Early(wait);
        }
        flow.next = now.plus(flow.interval);
        Turn::Ask(flow.clone())
    }

    /// The pause from now on.
    pub(super) fn slow_down(&mut self, id: &str, now: WallTime) -> Option<Duration> {
        let flow = self.flows.get_mut(&key(id))?;
        flow.interval = (flow.interval + SLOWER).min(SLOWEST);
        flow.next = now.plus(flow.interval);
        Some(flow.interval)
    }

    pub(super) fn end(&mut self, id: &str) {
        self.flows.remove(&key(id));
    }
}

fn key(id: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_000_000);

    fn flow(ends: WallTime) -> Flow {
        Flow {
            issuer: "corp".parse().unwrap(),
            from: [192, 0, 2, 7].into(),
            url: "https://corp.example".into(),
            code: Secret::from("code"),
            interval: Duration::from_secs(5),
            next: NOW.plus(Duration::from_secs(5)),
            ends,
        }
    }

    #[test]
    fn an_address_begins_so_many_a_minute_and_all_together_so_many_at_once() {
        let mut pending = Pending::default();
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let begun = |pending: &mut Pending, address: &str, now| {
            (0..50)
                .filter(|_| pending.admit(of(address), now).is_ok())
                .count()
        };
        assert_eq!(begun(&mut pending, "192.0.2.1", NOW), 20);
        assert_eq!(begun(&mut pending, "::ffff:192.0.2.1", NOW), 0, "the same");
        assert_eq!(begun(&mut pending, "2001:db8::1", NOW), 20);
        assert_eq!(
            begun(&mut pending, "2001:db8::2", NOW),
            0,
            "the same network"
        );
        assert_eq!(begun(&mut pending, "192.0.2.2", NOW), 20);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(begun(&mut pending, "192.0.2.1", later), 20);
        for n in 0..OF_ONE {
            pending.insert(&n.to_string(), flow(later)).unwrap();
        }
        assert_eq!(pending.admit(of("192.0.2.7"), NOW), Err(Error::TooMany));
        assert_eq!(pending.admit(of("192.0.2.8"), NOW), Ok(()), "others may");
        for n in OF_ONE..MOST {
            pending.insert(&n.to_string(), flow(later)).unwrap();
        }
        assert_eq!(pending.insert("more", flow(later)), Err(Error::TooMany));
        let address = of("192.0.2.9");
        assert_eq!(pending.admit(address, NOW), Err(Error::TooMany));
        assert_eq!(pending.admit(address, later), Ok(()), "those have ended");
    }

    #[test]
    fn an_issuer_is_asked_at_its_own_pace_and_by_one_at_a_time() {
        let mut pending = Pending::default();
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        pending.insert("a", flow(at(600))).unwrap();
        let asks = |pending: &mut Pending, now| match pending.turn("a", now) {
            Turn::None => "none",
            Turn::Early(_) => "early",
            Turn::Ask(_) => "ask",
        };
        assert_eq!(asks(&mut pending, at(4)), "early");
        assert_eq!(asks(&mut pending, at(5)), "ask");
        assert_eq!(asks(&mut pending, at(5)), "early");
        assert_eq!(asks(&mut pending, at(10)), "ask");
        assert_eq!(
            pending.slow_down("a", at(10)),
            Some(Duration::from_secs(10))
        );
        assert_eq!(asks(&mut pending, at(19)), "early");
        assert_eq!(asks(&mut pending, at(20)), "ask");
        for _ in 0..50 {
            pending.slow_down("a", at(20));
        }
        assert_eq!(pending.slow_down("a", at(20)), Some(SLOWEST));
        assert_eq!(asks(&mut pending, at(600)), "none", "it has ended");
        assert_eq!(asks(&mut pending, at(1)), "none", "and is forgotten");
    }
}
