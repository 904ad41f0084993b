//! What crosses a process boundary: OCI grammar, names of the mesh, API objects. Pure: no I/O, no clock, no runtime.

pub mod assignment;
pub mod digest;
pub mod generation;
pub mod media_type;
pub mod name;
pub mod pattern;
pub mod platform;
pub mod reference;
pub mod refusal;
pub mod repository;
pub mod secret_ref;
pub mod time;
