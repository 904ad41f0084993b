//! The promises of regmesh, one file each, and what keeps its code in shape.

mod access;
mod collapse;
mod conformance;
mod copy;
mod docs;
mod drain;
mod events;
mod gone;
mod layers;
mod lists;
mod mismatch;
mod pull_cold;
mod pull_warm;
mod range;
mod resume;
mod secrets;
mod slow;
mod stale;
mod tag_race;
mod tiers;
