//! `control`: where the control plane is.

use super::{Text, value::Word};
use crate::{place::At, read::section::section};

section! {
    /// The control plane.
    Control = "`control`" {
        /// Public address of its API, http or https; `regmesh up` fills it in.
        endpoint: Text = "endpoint";
        /// Its public URL as token issuer, if another.
        issuer: Text = "issuer";
        /// How long a node that cannot reach it goes on granting access that is not `anonymous`: `never` (no limit, the default) or a duration.
        max_offline: Option<At<Word>> = "maxOffline";
    }
}
