//! Two processes that are the same instance: each opens a stream, and ends the other's by it, again and again; pure.
//!
//! A renewal's counter finds a copied data directory within half a day; this finds it within minutes when both copies run. A node that
//! swaps its certificate replaces its stream, too, once in half a day, and so does one whose network broke: only many in a short time
//! count. Nobody is shut out by it, because a bad network looks the same.

use std::time::Duration;

use wire::time::WallTime;

/// How many replaced streams are too many.
const MANY: usize = 6;
/// Within which time.
const WITHIN: Duration = Duration::from_secs(600);

/// When streams of one instance were ended by newer ones, lately.
#[derive(Debug, Default)]
pub(super) struct Contest {
    at: Vec<WallTime>,
    told: Option<WallTime>,
}

impl Contest {
    /// A stream was replaced while it lived. Whether that is to be told: at most once in the time that is looked at.
    pub(super) fn replaced(&mut self, now: WallTime) -> bool {
        let recent = |at: &WallTime| at.age(now).is_some_and(|age| age < WITHIN);
        self.at.retain(recent);
        self.at.push(now);
        let many = self.at.len() >= MANY && !self.told.as_ref().is_some_and(recent);
        if many {
            self.told = Some(now);
            self.at.clear();
        }
        many
    }

    /// Whether there is anything to remember.
    pub(super) fn is_recent(&self, now: WallTime) -> bool {
        let recent = |at: &WallTime| at.age(now).is_some_and(|age| age < WITHIN);
        self.at.iter().chain(&self.told).any(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_replacements_in_a_short_time_are_told_once() {
        let (mut contest, second) = (Contest::default(), Duration::from_secs(1));
        let begin = WallTime(1_800_000_000_000);
        let mut told = Vec::new();
        for n in 0..60u32 {
            if contest.replaced(begin.plus(second * 10 * n)) {
                told.push(n);
            }
        }
        assert_eq!(told, [5], "the sixth, and not again within ten minutes");
        assert!(contest.is_recent(begin.plus(second * 600)));
        assert!(!contest.is_recent(begin.plus(second * 2_000)));
    }

    #[test]
    fn a_node_that_renews_or_loses_its_network_now_and_then_is_no_copy() {
        let mut contest = Contest::default();
        let begin = WallTime(1_800_000_000_000);
        for n in 0..50u32 {
            assert!(!contest.replaced(begin.plus(Duration::from_secs(150) * n)));
        }
    }
}
