//! Which sessions there are, and which one gives way to a new one. Pure.
//!
//! A subject that has as many as one may have loses its own; when everything is full, whoever has the most loses one. So nobody is
//! turned away, and nobody loses anything by what others do as long as they have less than an equal share. Of several the one that ends
//! first leaves. What strangers choose is not in here but by its hash: an entry has one size.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use identity::authenticate::refresh::Whose;
use wire::time::WallTime;

/// What a session is found by.
pub(super) type Hash = [u8; 32];

/// The sessions that share one room.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    of_a_subject: usize,
    all: HashMap<Hash, (WallTime, Arc<Whose>)>,
    by_voucher: HashMap<String, InOrder>,
    by_subject: HashMap<Hash, InOrder>,
}

/// Sessions, those that end first in front.
type InOrder = BTreeSet<(WallTime, Hash)>;

impl Room {
    /// Room for `most`, and for `of_a_subject` of one subject.
    pub(super) fn new(most: usize, of_a_subject: usize) -> Self {
        Self {
            most,
            of_a_subject,
            all: HashMap::new(),
            by_voucher: HashMap::new(),
            by_subject: HashMap::new(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes one in, and says which one has to leave for it.
    pub(super) fn take(&mut self, hash: Hash, ends: WallTime, whose: Whose) -> Option<Hash> {
        self.forget(&hash);
        let leaves = self.leaves(&whose);
        if let Some(leaves) = &leaves {
            self.forget(leaves);
        }
        let entry = (ends, hash);
        let of_voucher = self.by_voucher.entry(whose.voucher.clone());
        of_voucher.or_default().insert(entry);
        self.by_subject
            .entry(whose.subject)
            .or_default()
            .insert(entry);
        self.all.insert(hash, (ends, Arc::new(whose)));
        leaves
    }

    fn leaves(&self, whose: &Whose) -> Option<Hash> {
        let own = self.by_subject.get(&whose.subject);
        let own = own.filter(|own| own.len() >= self.of_a_subject);
        let from = own.or_else(|| {
            let full = self.all.len() >= self.most;
            let largest = || self.by_voucher.values().max_by_key(|of| of.len());
            full.then(largest).flatten()
        });
        from?.first().map(|(_, hash)| *hash)
    }

    /// One that is no more.
    pub(super) fn forget(&mut self, hash: &Hash) {
        let Some((ends, whose)) = self.all.remove(hash) else {
            return;
        };
        let entry = (ends, *hash);
        if let Some(of) = self.by_voucher.get_mut(&whose.voucher) {
            of.remove(&entry);
            if of.is_empty() {
                self.by_voucher.remove(&whose.voucher);
            }
        }
        if let Some(of) = self.by_subject.get_mut(&whose.subject) {
            of.remove(&entry);
            if of.is_empty() {
                self.by_subject.remove(&whose.subject);
            }
        }
    }

    /// Those that are over.
    pub(super) fn forget_ended(&mut self, now: WallTime) {
        let ended = self.all.iter().filter(|(_, (ends, _))| *ends <= now);
        let ended: Vec<Hash> = ended.map(|(hash, _)| *hash).collect();
        for hash in &ended {
            self.forget(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(voucher: &str, subject: u8) -> Whose {
        Whose {
            of_a_rule: false,
            voucher: voucher.to_owned(),
            subject: [subject; 32],
        }
    }

    /// Takes `hash` of `subject`, vouched for by `voucher`, in; the later its number the later it ends.
    fn take(room: &mut Room, hash: u8, voucher: &str, subject: u8) -> Option<u8> {
        let left = room.take(
            [hash; 32],
            WallTime(i64::from(hash)),
            whose(voucher, subject),
        );
        left.map(|left| left[0])
    }

    #[test]
    fn a_subject_that_has_too_many_loses_its_own_oldest() {
        let mut room = Room::new(100, 3);
        take(&mut room, 1, "issuer:corp", 1);
        for hash in 2..=4 {
            assert_eq!(take(&mut room, hash, "issuer:corp", 2), None);
        }
        assert_eq!(take(&mut room, 5, "issuer:corp", 2), Some(2));
        assert_eq!(take(&mut room, 6, "issuer:corp", 2), Some(3));
        assert_eq!(room.len(), 4);
        assert_eq!(take(&mut room, 6, "issuer:corp", 2), None, "the same again");
    }

    #[test]
    fn a_flood_of_one_issuers_subjects_costs_nobody_else_a_session() {
        let mut room = Room::new(10, 3);
        for hash in 1..=3 {
            take(&mut room, hash, "account:ci", 1);
        }
        for hash in 10..=200 {
            take(&mut room, hash, "issuer:flood", hash);
        }
        assert_eq!(room.len(), 10);
        for hash in 1..=3 {
            assert!(room.all.contains_key(&[hash; 32]), "{hash}");
        }
        // Who comes now gets in, at the cost of the flood.
        assert_eq!(take(&mut room, 4, "issuer:corp", 2), Some(194));
        assert_eq!(take(&mut room, 5, "account:alice", 3), Some(195));
        assert_eq!(room.len(), 10);
    }

    #[test]
    fn what_is_over_or_deleted_takes_no_room() {
        let mut room = Room::new(2, 2);
        take(&mut room, 1, "account:ci", 1);
        take(&mut room, 2, "account:ci", 1);
        room.forget(&[2; 32]);
        assert_eq!(take(&mut room, 3, "account:ci", 1), None);
        room.forget_ended(WallTime(1));
        assert_eq!(take(&mut room, 4, "account:ci", 1), None);
        room.forget_ended(WallTime(100));
        assert_eq!(room.len(), 0);
        assert!(room.by_voucher.is_empty() && room.by_subject.is_empty());
    }
}
