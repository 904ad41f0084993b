//! The promises of regmesh, one file each, and what keeps its code in shape.

mod docs;
mod layers;
