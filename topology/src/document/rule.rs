//! `rules`: which repositories of a node are filled from where.

use super::{
    Selector, Text,
    value::{OneOrMany, Word},
};
use crate::{
    place::At,
    read::section::{choice, section},
};

section! {
    /// A cache rule.
    Rule = "a rule" {
        /// Nodes that have it; one instance on each.
        on: Option<Selector> = "on", required;
        /// `HOST[:PORT]/REPO`, `node://NODE/REPO` or `parent://REPO`, perhaps ending in `*`.
        source: Text = "source", required;
        /// A repository of the node; ends in `*` exactly when `source` does.
        target: Text = "target", required;
        /// The identity it calls its upstream as.
        identity: Text = "identity";
        /// The credential set it calls its upstream with; not together with `identity`.
        credentials: Text = "credentials";
        /// When a tag is asked for again.
        freshness: Option<Freshness> = "freshness";
        /// What happens to a tag that was deleted upstream; default `keep`.
        when_gone: Option<At<WhenGone>> = "whenGone";
        /// Which platforms of an index are copied: `requested` (default), `all`, or a list of `os/arch[/variant]`.
        platforms: Option<OneOrMany> = "platforms";
        /// What happens to referrers; default `on-demand`.
        referrers: Option<At<Referrers>> = "referrers";
        /// Whether it is in force; default true.
        enabled: Option<At<bool>> = "enabled";
    }
}

section! {
    /// When a stored tag may be served without asking its upstream.
    Freshness = "`freshness`" {
        /// `always` (default: one HEAD on every pull by tag), a duration, or `never`.
        check: Option<At<Word>> = "check";
        /// Tag globs never checked again once complete.
        immutable: Vec<At<String>> = "immutable";
        /// `forever` (default), a duration, or `never`: how long past its last successful check a tag is served while the upstream cannot be asked.
        serve_stale: Option<At<Word>> = "serveStale";
        /// How long stored tags are served after the upstream began to refuse us; default `10m`.
        denied_grace: Option<At<Word>> = "deniedGrace";
    }
}

choice! {
    /// What happens to a tag that was deleted upstream.
    WhenGone {
        /// It stays.
        Keep = "keep",
        /// It is answered as unknown.
        Deny = "deny",
    }
}

choice! {
    /// What happens to the referrers of an image.
    Referrers {
        /// Asked for when a client asks.
        OnDemand = "on-demand",
        /// Copied with the image.
        WithImage = "with-image",
        /// Never asked for.
        None = "none",
    }
}
