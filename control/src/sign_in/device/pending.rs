//! Device flows that have begun: how many may, in all and of one address, when the issuer of one is asked again, and how one looks at rest.
//!
//! Pure; `kept` has them in the state. IPv6 addresses count by /64. Behind a proxy everybody has the proxy's address, so what one address
//! may is enough for many people, and less than a half of what all may. What began in a minute is counted in this process alone.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use runtime::Secret;
use serde::{Deserialize, Serialize};
use wire::{name::IssuerName, time::WallTime};

use super::Error;

/// Flows at once.
pub(super) const MOST: usize = 1_000;
/// Flows of one address at once.
const OF_ONE: usize = 300;
/// Flows of one address that may begin in a minute.
pub(super) const A_MINUTE: u32 = 60;
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
    /// What the issuer gave, once it did: it gives it once, and it may have to wait for the issuer's keys.
    pub(super) token: Option<Secret>,
}

/// A flow at rest; to change it, only add fields with defaults.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    issuer: IssuerName,
    from: IpAddr,
    url: Cow<'a, str>,
    code: Cow<'a, str>,
    interval: Duration,
    next: WallTime,
    ends: WallTime,
    token: Option<Cow<'a, str>>,
}

/// What somebody who asks about a flow gets.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is not time yet.
    Early(Duration),
    /// The issuer may be asked, by whoever writes this in the flow's place first.
    Ask(Flow),
}

impl Flow {
    /// Whether the issuer may be asked at `now`.
    pub(super) fn turn(&self, now: WallTime) -> Turn {
        if let Some(wait) = now.age(self.next).filter(|wait| !wait.is_zero()) {
            return Turn::Early(wait);
        }
        let mut asked = self.clone();
        asked.next = now.plus(self.interval);
        Turn::Ask(asked)
    }

    /// The pause is longer from `now` on.
    pub(super) fn slow_down(&mut self, now: WallTime) {
        self.interval = (self.interval + SLOWER).min(SLOWEST);
        self.next = now.plus(self.interval);
    }

    /// As it is kept, before it is sealed.
    pub(super) fn written(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Text {
            issuer: self.issuer.clone(),
            from: self.from,
            url: Cow::Borrowed(&self.url),
            code: Cow::Borrowed(self.code.expose()),
            interval: self.interval,
            next: self.next,
            ends: self.ends,
            token: self
                .token
                .as_ref()
                .map(|it| Cow::Borrowed(it.expose().as_str())),
        })
    }

    /// The inverse of `written`.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let text: Text<'_> = serde_json::from_slice(text).ok()?;
        Some(Self {
            issuer: text.issuer,
            from: text.from,
            url: text.url.into_owned(),
            code: Secret::new(text.code.into_owned()),
            interval: text.interval,
            next: text.next,
            ends: text.ends,
            token: text.token.map(|token| Secret::new(token.into_owned())),
        })
    }
}

/// Whether one more flow of somebody at `address` has room beside those that others (`from`) have.
pub(super) fn room(from: impl Iterator<Item = IpAddr>, address: IpAddr) -> Result<(), Error> {
    let (mut all, mut theirs) = (0, 0);
    for other in from {
        all += 1;
        theirs += usize::from(network(other) == network(address));
    }
    match all < MOST && theirs < OF_ONE {
        true => Ok(()),
        false => Err(Error::TooMany),
    }
}

/// How many each address began in a minute.
#[derive(Debug, Default)]
pub(super) struct Begun {
    minute: i64,
    of: BTreeMap<IpAddr, u32>,
}

impl Begun {
    /// Whether one more may begin now, for somebody at `address`.
    pub(super) fn admit(&mut self, address: IpAddr, now: WallTime) -> Result<(), Error> {
        let minute = now.seconds().div_euclid(60);
        if self.minute != minute {
            *self = Self {
                minute,
                of: BTreeMap::new(),
            };
        }
        let known = self.of.contains_key(&network(address));
        if !known && self.of.len() >= MOST {
            return Err(Error::TooMany);
        }
        let begun = self.of.entry(network(address)).or_default();
        *begun = begun.saturating_add(1);
        match *begun <= A_MINUTE {
            true => Ok(()),
            false => Err(Error::TooMany),
        }
    }
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

    fn of(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_begins_so_many_a_minute() {
        let mut begun = Begun::default();
        let begins = |begun: &mut Begun, address: &str, now| {
            (0..100)
                .filter(|_| begun.admit(of(address), now).is_ok())
                .count()
        };
        assert_eq!(begins(&mut begun, "192.0.2.1", NOW), 60);
        assert_eq!(begins(&mut begun, "::ffff:192.0.2.1", NOW), 0, "the same");
        assert_eq!(begins(&mut begun, "2001:db8::1", NOW), 60);
        assert_eq!(
            begins(&mut begun, "2001:db8::2", NOW),
            0,
            "the same network"
        );
        assert_eq!(begins(&mut begun, "192.0.2.2", NOW), 60);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(begins(&mut begun, "192.0.2.1", later), 60);
        for n in 0..MOST {
            let n = u32::try_from(n).unwrap();
            drop(begun.admit(Ipv6Addr::from_bits(u128::from(n) << 64).into(), later));
        }
        assert_eq!(begun.admit(of("192.0.2.3"), later), Err(Error::TooMany));
        assert_eq!(begun.of.len(), MOST);
    }

    #[test]
    fn one_address_takes_no_more_than_its_part_of_the_room() {
        let one = of("192.0.2.7");
        let others = (0..=255).flat_map(|a| (0..=255).map(move |b| IpAddr::from([10, 0, a, b])));
        let all = |theirs: usize, count: usize| {
            std::iter::repeat_n(one, theirs).chain(others.clone().take(count))
        };
        assert_eq!(room(all(OF_ONE - 1, 0), one), Ok(()));
        assert_eq!(room(all(OF_ONE, 0), one), Err(Error::TooMany));
        assert_eq!(room(all(OF_ONE, 0), of("192.0.2.8")), Ok(()), "others may");
        assert_eq!(room(all(0, MOST - 1), one), Ok(()));
        assert_eq!(room(all(0, MOST), one), Err(Error::TooMany));
    }

    #[test]
    fn an_issuer_is_asked_at_its_own_pace() {
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        let mut flow = Flow {
            issuer: "corp".parse().unwrap(),
            from: of("192.0.2.7"),
            url: "https://corp.example".into(),
            code: Secret::from("code"),
            interval: Duration::from_secs(5),
            next: at(5),
            ends: at(600),
            token: Some(Secret::from("a.b.c")),
        };
        let asks = |flow: &mut Flow, now| match flow.turn(now) {
            Turn::Early(_) => false,
            Turn::Ask(asked) => {
                *flow = Flow::read(&asked.written().unwrap()).unwrap();
                true
            }
        };
        assert!(!asks(&mut flow, at(4)));
        assert!(asks(&mut flow, at(5)));
        assert!(!asks(&mut flow, at(5)));
        assert!(asks(&mut flow, at(10)));
        flow.slow_down(at(10));
        assert_eq!(flow.interval, Duration::from_secs(10));
        assert!(!asks(&mut flow, at(19)));
        assert!(asks(&mut flow, at(20)));
        for _ in 0..50 {
            flow.slow_down(at(20));
        }
        assert_eq!(flow.interval, SLOWEST);
        let token = flow.token.as_ref().map(Secret::expose);
        assert_eq!((flow.code.expose().as_str(), flow.ends), ("code", at(600)));
        assert_eq!(token.map(String::as_str), Some("a.b.c"));
    }
}
