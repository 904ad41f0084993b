//! The promises of regmesh, one file each, and what keeps its code in shape.

mod access;
mod clients;
mod collapse;
mod commands;
mod conformance;
mod control_away;
mod copy;
mod crash;
mod crowd;
mod damaged_state;
mod disk_full;
mod docs;
mod drain;
mod enrol;
mod events;
mod explain;
mod gone;
mod identity;
mod layers;
mod lists;
mod mesh_tls;
mod mismatch;
mod namespace;
mod not_storing;
mod overload;
mod partition;
mod power;
mod probing;
mod promotion;
mod pull_cold;
mod pull_warm;
mod range;
mod recall;
mod resume;
mod revocation;
mod secrets;
mod simulate;
mod slow;
mod stale;
mod stampede;
mod tag_race;
mod terminate;
mod tiers;
mod topology_change;

/// The program that tests start, signal and kill.
const PROGRAM: &str = env!("CARGO_BIN_EXE_regmesh-under-test");
