//! That earlier grants for a rule count no more: said by the control plane, heard by the upstream.
//!
//! Lives here because topology (which carries it), identity (which decides by it) and the control plane's state know it. It goes by
//! generations, which all control planes of a mesh count together: whose clock is ahead or behind changes nothing of which grants fall.

use serde::{Deserialize, Serialize};

use crate::{generation::Generation, time::WallTime};

/// Which grants for a rule count no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Those that were made by an earlier generation than this.
    pub before: Generation,
    /// When it was decided.
    pub at: WallTime,
    /// Those that count for some minutes more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// Which grants a change left behind that made none of them wrong: the rule calls as somebody else now. Pulls in flight end with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// Those that were made by an earlier generation than this.
    pub before: Generation,
    /// When it was decided.
    pub at: WallTime,
}

impl Withdrawal {
    /// The same, and what was made before `left` is left behind.
    #[must_use]
    pub fn and_left(self, left: Left) -> Self {
        Self {
            left: Some(left),
            ..self
        }
    }

    /// When the last of it was decided.
    #[must_use]
    pub fn decided(&self) -> WallTime {
        self.left.map_or(self.at, |left| left.at.max(self.at))
    }
}
