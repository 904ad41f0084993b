//! One figure: what was measured of us, of the peer, and whether the goal is reached.
//!
//! Goals are ratios to the peer or counts, because machines differ; the few absolute ones (milliseconds, MiB) are the spec's own.
//! A goal that this machine cannot show (a peer is missing, or we are) is neither reached nor missed.

use serde_json::{Value, json};

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Figure {
    pub what: String,
    pub unit: Unit,
    pub ours: Option<f64>,
    /// Its name and its value.
    pub peer: Option<(String, f64)>,
    pub goal: Option<Goal>,
    pub note: String,
}

/// What the goal compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Ours over the peer's, at least.
    RatioAtLeast(f64),
    /// Ours over the peer's, at most.
    RatioAtMost(f64),
    /// Ours less the peer's, at most, in the figure's unit.
    ExcessAtMost(f64),
    /// Ours, at most.
    AtMost(f64),
    /// Ours, a count.
    Exactly(f64),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    PerSecond,
    BytesPerSecond,
    Bytes,
    Seconds,
    /// CPU seconds for each GiB.
    SecondsPerGib,
    Count,
}

impl Figure {
    pub fn new(what: impl Into<String>, unit: Unit) -> Self {
        Self {
            what: what.into(),
            unit,
            ours: None,
            peer: None,
            goal: None,
            note: String::new(),
        }
    }

    pub fn ours(mut self, value: impl Into<Option<f64>>) -> Self {
        self.ours = value.into();
        self
    }

    pub fn peer(mut self, name: impl Into<String>, value: impl Into<Option<f64>>) -> Self {
        self.peer = value.into().map(|value| (name.into(), value));
        self
    }

    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Ours over the peer's.
    pub fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        Some(self.ours? / *peer).filter(|ratio| ratio.is_finite())
    }

    /// Whether the goal is reached; `None` without a goal, or when what it compares was not measured.
    pub fn reached(&self) -> Option<bool> {
        let ours = self.ours?;
        Some(match self.goal? {
            Goal::RatioAtLeast(goal) => self.ratio()? >= goal,
            Goal::RatioAtMost(goal) => self.ratio()? <= goal,
            Goal::ExcessAtMost(goal) => ours - self.peer.as_ref()?.1 <= goal,
            Goal::AtMost(goal) => ours <= goal,
            Goal::Exactly(goal) => (ours - goal).abs() < f64::EPSILON,
        })
    }

    /// The goal in words.
    pub fn goal_text(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::RatioAtLeast(goal)) => format!(">= {goal}x"),
            Some(Goal::RatioAtMost(goal)) => format!("<= {goal}x"),
            Some(Goal::ExcessAtMost(goal)) => format!("<= peer + {}", self.unit.text(goal)),
            Some(Goal::AtMost(goal)) => format!("<= {}", self.unit.text(goal)),
            Some(Goal::Exactly(goal)) => self.unit.text(goal),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "unit": self.unit.name(),
            "regmesh": self.ours,
            "peer": self.peer.as_ref().map(|(name, value)| json!({"name": name, "value": value})),
            "ratio": self.ratio(),
            "goal": self.goal.map(|_| self.goal_text()),
            "reached": self.reached(),
            "note": self.note,
        })
    }
}

impl Unit {
    /// For JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::BytesPerSecond => "B/s",
            Self::Bytes => "B",
            Self::Seconds => "s",
            Self::SecondsPerGib => "s/GiB",
            Self::Count => "",
        }
    }

    /// For people, with three digits that matter.
    pub fn text(self, value: f64) -> String {
        const MIB: f64 = 1024.0 * 1024.0;
        match self {
            Self::PerSecond => format!("{value:.0}/s"),
            Self::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
            Self::Bytes => format!("{:.1} MiB", value / MIB),
            Self::SecondsPerGib => format!("{value:.2} s/GiB"),
            Self::Count => format!("{value}"),
            Self::Seconds => seconds(value),
        }
    }
}

fn seconds(value: f64) -> String {
    match value.abs() {
        size if size < 1e-6 => format!("{:.0} ns", value * 1e9),
        size if size < 1e-3 => format!("{:.1} µs", value * 1e6),
        size if size < 1.0 => format!("{:.1} ms", value * 1e3),
        _ => format!("{value:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_reached_by_ratio_excess_value_or_count() {
        let of = |goal, ours, peer| {
            Figure::new("x", Unit::Seconds)
                .ours(ours)
                .peer("nginx", peer)
                .goal(goal)
                .reached()
        };
        for (goal, ours, peer, reached) in [
            (Goal::RatioAtLeast(0.6), 60.0, 100.0, true),
            (Goal::RatioAtLeast(0.6), 59.0, 100.0, false),
            (Goal::RatioAtMost(1.05), 1.05, 1.0, true),
            (Goal::RatioAtMost(1.05), 1.06, 1.0, false),
            (Goal::ExcessAtMost(0.003), 0.0125, 0.010, true),
            (Goal::ExcessAtMost(0.003), 0.0135, 0.010, false),
            (Goal::AtMost(1.0), 0.9, 0.1, true),
            (Goal::Exactly(1.0), 2.0, 0.0, false),
        ] {
            assert_eq!(
                of(goal, ours, peer),
                Some(reached),
                "{goal:?} {ours} {peer}"
            );
        }
    }

    #[test]
    fn without_a_measurement_nothing_is_reached_or_missed() {
        let figure = Figure::new("x", Unit::PerSecond).goal(Goal::RatioAtLeast(0.6));
        assert_eq!(figure.clone().ours(1.0).reached(), None);
        assert_eq!(figure.peer("nginx", 1.0).reached(), None);
    }

    #[test]
    fn times_are_written_in_the_unit_that_fits() {
        let shown = [2e-7, 4.2e-5, 0.0031, 12.5].map(seconds);
        assert_eq!(shown, ["200 ns", "42.0 µs", "3.1 ms", "12.50 s"]);
    }
}
