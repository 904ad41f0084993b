//! `slice`: what a node must know that follows from parts of the mesh which are not in its slice.

use super::{Entries, Text};
use crate::{place::At, read::section::section};

section! {
    /// Written by the control plane into slices only.
    Slice = "`slice`" {
        /// The node it is for.
        node: Text = "node", required;
        /// How far that node is from its root, from 1.
        tier: Option<At<u64>> = "tier", required;
        /// For each rule towards a node: where its chain of upstreams ends.
        origins: Entries<Vec<Origin>> = "origins";
    }
}

section! {
    /// One end of a rule's chain.
    Origin = "an origin" {
        /// The registry at the end, and its repositories: `HOST[:PORT]/REPO`.
        source: Text = "source", required;
        /// The same repositories at the rule's own upstream.
        via: Text = "via", required;
    }
}
