//! Whether a range waits for the fill's front or becomes a read of its own; pure.
//!
//! Source: `spec/pull-through.md` step 5, "Range on a cold or growing blob".

/// Where a range's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// From the spool, as the front reaches them.
    Follow,
    /// From one ranged read of the upstream, while the fill goes on. With `hold`, its last bytes wait until the fill has
    /// confirmed the digest.
    Ahead { hold: bool },
}

/// What a range is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// How far the spool is written.
    pub(super) front: u64,
    /// The blob's size.
    pub(super) size: u64,
    /// How far ahead is near.
    pub(super) near: u64,
    /// Whether the fill still writes; when it does not, its content is all there will be.
    pub(super) growing: bool,
}

/// Decides for the range from `start` to `end` (exclusive).
///
/// A long read ahead that ends with the blob waits for the digest like any other; a short one (the footer that a lazy
/// snapshotter begins with) does not, because waiting for the whole blob would defeat it.
pub(super) fn decide(start: u64, end: u64, facts: Facts) -> Choice {
    if !facts.growing || start <= facts.front.saturating_add(facts.near) {
        return Choice::Follow;
    }
    let long = end.saturating_sub(start) > facts.near;
    Choice::Ahead {
        hold: long && end >= facts.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_waits_far_reads_ahead() {
        const SIZE: u64 = 1000;
        let ahead = |hold| Choice::Ahead { hold };
        let cases = [
            // start, end, front, growing
            (0, 1000, 0, true, Choice::Follow),
            (8, 1000, 0, true, Choice::Follow),
            (9, 1000, 0, true, ahead(true)),
            (9, 999, 0, true, ahead(false)),
            (992, 1000, 0, true, ahead(false)),
            (991, 1000, 0, true, ahead(true)),
            (509, 600, 500, true, ahead(false)),
            (508, 600, 500, true, Choice::Follow),
            (100, 200, 500, true, Choice::Follow),
            (900, 1000, 0, false, Choice::Follow),
            (u64::MAX, u64::MAX, u64::MAX - 2, true, Choice::Follow),
        ];
        for (start, end, front, growing, expected) in cases {
            let facts = Facts {
                front,
                size: SIZE,
                near: 8,
                growing,
            };
            assert_eq!(
                decide(start, end, facts),
                expected,
                "{start}..{end} at {front}"
            );
        }
    }
}
