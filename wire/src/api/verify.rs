//! What `regmesh verify DATA_DIR` found: every blob hashes to its name, every link resolves, or here is what does not.

use serde::{Deserialize, Serialize};

/// The result of looking at everything in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Blobs hashed.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Manifests read.
    pub manifests: u64,
    /// Tags resolved.
    pub tags: u64,
    /// Links from repositories to content resolved.
    pub links: u64,
    /// What is wrong; at most [`MAX_PROBLEMS`] are listed.
    pub problems: Vec<VerifyProblem>,
    /// How many are wrong in all.
    pub problem_count: u64,
}

/// How many problems a report lists.
pub const MAX_PROBLEMS: usize = 10_000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyProblem {
    /// What kind of thing.
    pub kind: VerifyProblemKind,
    /// Which: a digest, or `repository:tag`, or `repository@digest`.
    pub subject: String,
    /// What is wrong about it.
    pub text: String,
}

/// Kinds of things that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VerifyProblemKind {
    /// A blob's bytes hash to something else.
    Mismatch,
    /// A blob's length is not the recorded one.
    Size,
    /// Something recorded has no bytes.
    Missing,
    /// Something refers to what is not recorded.
    Dangling,
    /// A file that nothing records; swept at the next start.
    Leftover,
    /// It could not be read.
    Unreadable,
}

impl VerifyReport {
    /// Whether nothing is wrong. Leftovers are not: a start sweeps them.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    /// Adds one thing that is wrong.
    pub fn add(&mut self, problem: VerifyProblem) {
        if problem.kind != VerifyProblemKind::Leftover {
            self.problem_count = self.problem_count.saturating_add(1);
        }
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_listed_and_do_not_fail_a_store() {
        let problem = |kind| VerifyProblem {
            kind,
            subject: "x".into(),
            text: "y".into(),
        };
        let mut report = VerifyReport::default();
        report.add(problem(VerifyProblemKind::Leftover));
        assert!(report.is_sound() && report.problems.len() == 1);
        report.add(problem(VerifyProblemKind::Mismatch));
        assert!(!report.is_sound() && report.problem_count == 1);
    }
}
