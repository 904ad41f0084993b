//! The objects that our own programs exchange as JSON: what a node says about itself, for the CLI and the control plane.
//!
//! Field names are camelCase and only ever added. Times are RFC 3339. `explain` and `doctor` have theirs beside `status`.

pub mod status;
