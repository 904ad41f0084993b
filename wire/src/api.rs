//! JSON objects of `/api/v1`, of `/status`, and of what control plane and nodes ask and tell each other.
//!
//! One declaration for both sides: control and nodes fill them, the CLI and the console read them. Fields are added, never renamed;
//! whoever reads ignores what it does not know.

pub mod ask;
pub mod audit;
pub mod doctor;
pub mod effective;
pub mod event;
pub mod explain;
pub mod inventory;
pub mod mesh;
pub mod problem;
pub mod pull;
pub mod recall;
pub mod report;
pub mod resource;
pub mod sign_in;
pub mod slice;
pub mod status;
