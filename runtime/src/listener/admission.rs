//! The caps on connections, in all and per address.
//!
//! An IPv6 client usually owns a whole /64, so that is what counts as one address. Who is over a cap is closed at once: a waiting
//! room would only move the flood into our memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::Counts;

pub(super) struct Admission {
    max: usize,
    max_per_address: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    key: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    counts: Arc<Counts>,
}

impl Admission {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            max_per_address,
            addresses: Arc::default(),
        }
    }

    /// A place for one connection of `address`, or `None` when a cap is reached.
    pub(super) fn admit(&self, address: IpAddr, counts: &Arc<Counts>) -> Option<Place> {
        let key = key(address);
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of_this = addresses.get(&key).copied().unwrap_or(0);
        if counts.open() >= self.max || of_this >= self.max_per_address {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        addresses.insert(key, of_this + 1);
        counts.open.fetch_add(1, Ordering::Relaxed);
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            key,
            addresses: Arc::clone(&self.addresses),
            counts: Arc::clone(counts),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.key);
            }
        }
    }
}

fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_in_all_and_per_address_and_places_come_back() {
        let (admission, counts) = (Admission::new(3, 2), Arc::new(Counts::default()));
        let admit = |address: &str| admission.admit(address.parse().unwrap(), &counts);
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none(), "one /64 is one address");
        let _third = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.2").is_none(), "three in all");
        drop(first);
        let _fourth = admit("2001:db8::3").unwrap();
        assert_eq!(
            (counts.open(), counts.accepted(), counts.refused()),
            (3, 4, 2)
        );
        drop((_second, _third, _fourth));
        assert!(admission.addresses.lock().unwrap().is_empty());
    }
}
