//! How many refusals of a kind the audit log takes in a minute, so that nobody can fill it with what was never done.
//!
//! Counts by the minute of the clock and forgets at its turn: twice as many may come around one, which hurts nobody. What is left out is in
//! the log all the same, which whoever asks here writes.

use std::sync::{Mutex, PoisonError};

use wire::time::WallTime;

/// The minute, and how many were asked for in it.
#[derive(Debug, Default)]
pub(crate) struct Window(Mutex<(i64, u32)>);

impl Window {
    /// Whether one more may be recorded now, of `most` a minute.
    pub(crate) fn may_record(&self, now: WallTime, most: u32) -> bool {
        let minute = now.seconds().div_euclid(60);
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0 != minute {
            *window = (minute, 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_are_recorded_and_as_many_in_the_next() {
        let window = Window::default();
        let recorded = |at| {
            (0..9)
                .filter(|_| window.may_record(WallTime(at), 5))
                .count()
        };
        assert_eq!(recorded(0), 5);
        assert_eq!(recorded(59_999), 0);
        assert_eq!(recorded(60_000), 5);
    }
}
