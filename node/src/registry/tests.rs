//! Promises of the verbs, over a store in memory and a scripted upstream whose record of calls is the oracle.

mod asked;
mod away;
mod explain;
mod isolation;
mod list;
mod pull;
mod push;
mod recall;
mod rig;
mod whole;
