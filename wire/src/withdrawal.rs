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
}
