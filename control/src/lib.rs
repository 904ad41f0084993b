//! The control plane: it holds what the mesh should be, numbers its generations and cuts each node's slice.
//!
//! - [`state`]: what must not be lost, and the databases that keep it. Calls none of the others.
//! - [`publish`]: every change of the topology, recalls and revocations becomes the next generation or nothing.
//! - [`sign_in`]: the admin token, accounts, sessions.
//! - [`fixed`]: a topology of files in one process, without any of that.

pub mod fixed;
pub mod publish;
pub mod sign_in;
pub mod state;
