//! The `regmesh` program.
fn main() {}
