//! Room, reserved before a fill or an upload begins, so that the disk is never found full half-way.
//!
//! `reserve` must not wait, so it decides by what was last seen (`collect` looks every few seconds) and by what was promised and
//! used since. Some room is always left over for the database, the slice and events. Whoever is refused streams through and
//! leaves a wish, by which `collect` knows how much to evict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::Nudge;

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
    nudge: Mutex<Option<Nudge>>,
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
    /// The most bytes that somebody was refused since the last look.
    pub wanted: u64,
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
            nudge: Mutex::new(None),
        }))
    }

    /// `storage.maxSize`.
    pub(crate) fn max_size(&self) -> Option<u64> {
        self.0.max_size
    }

    /// Whom to wake when somebody was refused.
    pub(crate) fn set_nudge(&self, nudge: Nudge) {
        *self.0.nudge.lock().unwrap_or_else(PoisonError::into_inner) = Some(nudge);
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

    /// The largest wish since this was last asked.
    pub(crate) fn take_wanted(&self) -> u64 {
        std::mem::take(&mut self.lock().wanted)
    }

    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        self.add(bytes)?;
        Ok(Reservation {
            room: self.clone(),
            bytes,
        })
    }

    /// Whether `bytes` more would fit now; nothing is promised.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        fits(&self.lock(), self.0.max_size, bytes)
    }

    fn add(&self, bytes: u64) -> Result<(), Error> {
        let mut seen = self.lock();
        if fits(&seen, self.0.max_size, bytes) {
            seen.reserved = seen.reserved.saturating_add(bytes);
            return Ok(());
        }
        seen.wanted = seen.wanted.max(bytes);
        drop(seen);
        let nudge = self.0.nudge.lock().unwrap_or_else(PoisonError::into_inner);
        nudge.iter().for_each(Nudge::nudge);
        Err(Error::Full)
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

    /// Reserves more; what was reserved stays so when there is no room for more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.room.add(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
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
    let allowed = max_size.is_none_or(|max| seen.stored.saturating_add(promised) <= max);
    on_disk && allowed && seen.space.free_inodes > HEAD_INODES
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
                wanted: 0,
            };
            let fits = fits(&seen, max.map(|max| max * MIB), bytes * MIB);
            assert_eq!(fits, fit, "{seen:?} {max:?} {bytes}");
        }
    }

    #[test]
    fn what_was_reserved_is_used_until_the_next_look() {
        let room = Room::new(Some(10));
        room.look(space(100 * MIB, u64::MAX), 0);
        let mut held = room.reserve(5).unwrap();
        held.grow(3).unwrap();
        assert!(matches!(held.grow(3), Err(Error::Full)));
        assert_eq!(room.seen().reserved, 8);
        drop(held);
        assert_eq!((room.seen().reserved, room.seen().stored), (0, 8));
        assert!(room.reserve(7).is_err());
        assert_eq!((room.take_wanted(), room.take_wanted()), (7, 0));
        room.look(space(100 * MIB, u64::MAX), 0);
        assert!(room.reserve(7).is_ok());
    }
}
