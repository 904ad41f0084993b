//! Nodes that are ahead of this control plane, because its database was restored from an older backup.
//!
//! They get nothing until an operator confirms: what was published since the backup would otherwise be replaced by what was in force
//! before it, as soon as generations have caught up. So the first node that is seen ahead leaves a mark in the state: every node that
//! holds a generation above the mark, and did not get it from us, waits too. Numbers may have caught up before the first node comes: one
//! that holds a number of ours, but never confirmed it to us, is ahead when its content is another than ours. `recover` takes the mark away and publishes above all.

use serde::{Deserialize, Serialize};
use wire::generation::Generation;

/// The name of the mark in the state.
pub(super) const VALUE: &str = "ahead";
/// The name in the state of the number that was recovered above: what nodes held up to there was confirmed by an operator.
pub(super) const RECOVERED: &str = "recovered";
/// How far above our newest generation a node's claim is believed, when a number above all of them is looked for.
const BELIEVED: u64 = 1 << 32;

/// The mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The newest generation when the first node was seen ahead.
    pub(super) floor: Generation,
    /// The highest generation that a node held.
    pub(super) seen: Generation,
}

/// Whether a node that holds `held` must wait. `confirmed` is the generation that it last confirmed to us.
pub(super) fn is_ahead(
    held: Generation,
    newest: Generation,
    mark: Option<Mark>,
    confirmed: Generation,
) -> bool {
    let above_mark = mark.is_some_and(|mark| held > mark.floor && held != confirmed);
    held > newest || above_mark
}

/// Whether a node may hold something else than we know under a number that we know too: one that it never confirmed to us, published
/// before a restore, and reached again since. What it holds must then be compared.
pub(super) fn is_doubtful(held: Generation, confirmed: Generation, recovered: Generation) -> bool {
    held > confirmed && held > recovered
}

/// The mark after a node was seen with other content than ours under `held`: everything from there on is from before the restore.
pub(super) fn marked_at(before: Option<Mark>, held: Generation) -> Option<Mark> {
    marked(before, held, Generation(held.0.saturating_sub(1)))
}

/// The mark after a node was seen with `held` above `newest`. An absurd claim leaves none: it is that node's affair alone.
pub(super) fn marked(before: Option<Mark>, held: Generation, newest: Generation) -> Option<Mark> {
    let seen = believed(held, newest);
    if seen != held {
        return before;
    }
    let mark = before.map_or(
        Mark {
            floor: newest,
            seen,
        },
        |mark| Mark {
            floor: mark.floor.min(newest),
            seen: mark.seen.max(seen),
        },
    );
    Some(mark)
}

/// What to publish above: everything that was held, as far as it can be believed.
pub(super) fn above(held: impl Iterator<Item = Generation>, newest: Generation) -> Generation {
    held.map(|held| believed(held, newest))
        .fold(newest, Generation::max)
}

/// A node that claims the end of all numbers must not take them away from everybody.
fn believed(held: Generation, newest: Generation) -> Generation {
    if held.0 <= newest.0.saturating_add(BELIEVED) {
        held
    } else {
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_more_than_we_know_or_than_the_backup_knew_waits() {
        let mark = |floor| {
            Some(Mark {
                floor: Generation(floor),
                seen: Generation(9),
            })
        };
        // (held, newest, mark, confirmed) -> waits
        let cases = [
            (5, 5, None, 5, false),
            (4, 5, None, 0, false),
            (6, 5, None, 5, true),
            (6, 7, mark(5), 5, true), // from before the restore, numbers have caught up
            (6, 7, mark(5), 6, false), // from us
            (5, 7, mark(5), 0, false),
            (0, 7, mark(0), 0, false),
        ];
        for (held, newest, mark, confirmed, expected) in cases {
            let waits = is_ahead(
                Generation(held),
                Generation(newest),
                mark,
                Generation(confirmed),
            );
            assert_eq!(waits, expected, "{held} {newest} {mark:?} {confirmed}");
        }
    }

    #[test]
    fn only_what_was_never_confirmed_nor_recovered_is_compared_and_its_mark_covers_it() {
        // (held, confirmed, recovered) -> doubtful
        let cases = [
            (0, 0, 0, false),
            (5, 5, 0, false),
            (4, 5, 0, false),
            (6, 5, 0, true),
            (6, 5, 8, false),
            (9, 5, 8, true),
        ];
        for (held, confirmed, recovered, expected) in cases {
            let doubtful = is_doubtful(
                Generation(held),
                Generation(confirmed),
                Generation(recovered),
            );
            assert_eq!(doubtful, expected, "{held} {confirmed} {recovered}");
        }
        let mark = marked_at(None, Generation(6));
        let waits = |held, confirmed| {
            is_ahead(Generation(held), Generation(7), mark, Generation(confirmed))
        };
        assert!(waits(6, 5) && !waits(6, 6) && !waits(5, 0));
    }

    #[test]
    fn the_mark_stays_at_the_backup_and_an_absurd_claim_moves_nothing() {
        let mark = |floor, seen| {
            Some(Mark {
                floor: Generation(floor),
                seen: Generation(seen),
            })
        };
        let first = marked(None, Generation(9), Generation(5));
        assert_eq!(first, mark(5, 9));
        let second = marked(first, Generation(12), Generation(7));
        assert_eq!(second, mark(5, 12));
        assert_eq!(marked(second, Generation(u64::MAX), Generation(7)), second);
        assert_eq!(marked(None, Generation(u64::MAX), Generation(7)), None);
        let held = [3, 12, u64::MAX].map(Generation).into_iter();
        assert_eq!(above(held, Generation(7)), Generation(12));
    }
}
