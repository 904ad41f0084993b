//! Promises of fills, over a scripted upstream and a disk in memory.

use super::{
    Config, Error,
    world::{self, World},
};

mod collapse;
mod disk;
mod mismatch;
mod part;
mod resume;
