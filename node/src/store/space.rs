//! Room, reserved before a fill or an upload begins, so that the disk is never found full half-way.
//!
//! `reserve` must not wait, so it decides by what was last seen (`collect` looks every few seconds) and by what was promised and
//! used since. Some room is always left over for the database, the slice and events. Whoever is refused asks `collect` to make
//! room, and streams through when nothing may leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Error, blob::Space};

/// Inodes left over for others.
const HEAD_INODES: u64 = 64;
/// Between these, a fiftieth of the disk is left over for the database, the slice and events.
const HEAD_ROOM: (u64, u64) = (8 << 20, 1 << 30);

/// The room of one store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_size: Option<u64>,
    seen: Mutex<Seen>,
    /// One makes room at a time, or two would evict for the same bytes.
    making: tokio::sync::Mutex<()>,
}

/// What is known about the room there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The disk, when it was last looked at, less what was used since.
    pub space: Space,
    /// Bytes of all contents, when last looked at, and what was stored since.
    pub stored: u64,
    /// Bytes promised.
    pub reserved: u64,
}

/// Room for this many bytes. Dropping it counts them as used until the next look at the disk.
#[derive(Debug)]
pub struct Reservation {
    room: Room,
    bytes: u64,
}

impl Room {
    /// All the room there could be, until `look` says otherwise.
    pub(crate) fn new(max_size: Option<u64>) -> Self {
        let space = Space {
            total: u64::MAX,
            free: u64::MAX,
            free_inodes: u64::MAX,
        };
        let seen = Seen {
            space,
            ..Seen::default()
        };
        Self(Arc::new(Inner {
            max_size,
            seen: Mutex::new(seen),
            making: tokio::sync::Mutex::new(()),
        }))
    }

    /// `storage.maxSize`.
    pub(crate) fn max_size(&self) -> Option<u64> {
        self.0.max_size
    }

    /// The turn to evict.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.making.lock().await
    }

    /// Takes what a look at disk and database found.
    pub(crate) fn look(&self, space: Space, stored: u64) {
        let mut seen = self.lock();
        seen.space = space;
        seen.stored = stored;
    }

    /// What is known now.
    pub(crate) fn seen(&self) -> Seen {
        *self.lock()
    }

    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        let mut seen = self.lock();
        if !fits(&seen, self.0.max_size, bytes) {
            return Err(Error::Full);
        }
        seen.reserved = seen.reserved.saturating_add(bytes);
        Ok(Reservation {
            room: self.clone(),
            bytes,
        })
    }

    /// Whether `bytes` could ever fit, with everything else gone.
    pub(crate) fn can_hold(&self, bytes: u64) -> bool {
        let total = self.lock().space.total;
        let usable = total.saturating_sub(head_room(total));
        bytes <= usable && self.0.max_size.is_none_or(|max| bytes <= max)
    }

    /// Whether it is `storage.maxSize` that leaves no room for `bytes` more.
    pub(crate) fn exceeds_max_size(&self, bytes: u64) -> bool {
        !allows(&self.lock(), self.0.max_size, bytes)
    }

    /// Whether `bytes` more would fit now; nothing is promised.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        fits(&self.lock(), self.0.max_size, bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// How much is reserved, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives it back unused.
    pub fn give_back(mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut seen = self.room.lock();
        seen.reserved = seen.reserved.saturating_sub(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut seen = self.room.lock();
        seen.reserved = seen.reserved.saturating_sub(self.bytes);
        seen.space.free = seen.space.free.saturating_sub(self.bytes);
        seen.stored = seen.stored.saturating_add(self.bytes);
    }
}

/// What is left over on a disk of `total` bytes.
pub(crate) fn head_room(total: u64) -> u64 {
    (total / 50).clamp(HEAD_ROOM.0, HEAD_ROOM.1)
}

/// Whether `bytes` more fit beside what is promised.
fn fits(seen: &Seen, max_size: Option<u64>, bytes: u64) -> bool {
    let promised = seen.reserved.saturating_add(bytes);
    let on_disk = promised.saturating_add(head_room(seen.space.total)) <= seen.space.free;
    on_disk && allows(seen, max_size, bytes) && seen.space.free_inodes > HEAD_INODES
}

/// Whether `max_size` lets `bytes` more in.
fn allows(seen: &Seen, max_size: Option<u64>, bytes: u64) -> bool {
    let all = seen.stored.saturating_add(seen.reserved);
    max_size.is_none_or(|max| all.saturating_add(bytes) <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(free: u64, free_inodes: u64) -> Space {
        Space {
            total: 100 * MIB,
            free,
            free_inodes,
        }
    }

    #[test]
    fn room_is_what_disk_limit_and_inodes_leave() {
        // free, inodes, stored, reserved, maxSize, wanted: fits
        for (free, inodes, stored, reserved, max, bytes, fit) in [
            (50, u64::MAX, 0, 0, None, 42, true),
            (50, u64::MAX, 0, 0, None, 43, false),
            (50, u64::MAX, 0, 10, None, 32, true),
            (50, u64::MAX, 0, 10, None, 33, false),
            (50, 64, 0, 0, None, 1, false),
            (90, u64::MAX, 10, 0, Some(20), 10, true),
            (90, u64::MAX, 10, 1, Some(20), 10, false),
            (7, u64::MAX, 0, 0, None, 0, false),
        ] {
            let seen = Seen {
                space: space(free * MIB, inodes),
                stored: stored * MIB,
                reserved: reserved * MIB,
            };
            let fits = fits(&seen, max.map(|max| max * MIB), bytes * MIB);
            assert_eq!(fits, fit, "{seen:?} {max:?} {bytes}");
        }
    }

    #[test]
    fn what_was_reserved_is_used_until_the_next_look() {
        let room = Room::new(Some(10));
        room.look(space(100 * MIB, u64::MAX), 0);
        let held = room.reserve(8).unwrap();
        assert!(matches!(room.reserve(3), Err(Error::Full)));
        assert_eq!(room.seen().reserved, 8);
        drop(held);
        assert_eq!((room.seen().reserved, room.seen().stored), (0, 8));
        assert!(room.reserve(7).is_err());
        room.look(space(100 * MIB, u64::MAX), 0);
        room.reserve(7).unwrap().give_back();
        assert_eq!((room.seen().reserved, room.seen().stored), (0, 0));
    }

    #[test]
    fn what_exceeds_the_limit_or_the_disk_can_never_be_held() {
        let room = Room::new(Some(10));
        room.look(space(0, u64::MAX), 10);
        assert!(room.can_hold(10) && !room.can_hold(11));
        assert!(room.exceeds_max_size(1) && !room.exceeds_max_size(0));
        let unlimited = Room::new(None);
        unlimited.look(space(0, u64::MAX), 0);
        assert!(unlimited.can_hold(92 * MIB) && !unlimited.can_hold(93 * MIB));
        assert!(!unlimited.exceeds_max_size(u64::MAX));
    }
}
