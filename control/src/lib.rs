//! The control plane: it holds what the mesh should be, numbers its generations and cuts each node's slice.
//!
//! - [`state`]: what must not be lost, and the databases that keep it. Calls none of the others.
//! - [`publish`]: every change of the topology, recalls and revocations becomes the next generation or nothing.
//! - [`sign_in`]: the admin token, accounts, sessions.
//! - [`seal`], [`ca`], [`enrol`]: keys at rest, the mesh's certificates, who is a node.
//! - [`signing_key`], [`issuer`]: keys of the issuer, and tokens for rules by them.
//! - [`distribute`], [`report`], `history`, [`ask`]: streams of nodes, what they say, what they are asked.
//! - [`status`], [`explain`], [`doctor`], [`recall`]: what is known of the nodes and what they answer, joined; [`effective`]: who may do what; [`asking`] is the seam to them.
//! - [`audit`]: how long the audit log is kept.
//! - [`grpc`]: the node service's rim; `http`: the API's, made of one route table.
//! - [`app`], [`config`]: the composition root.
//! - [`fixed`]: a topology of files in one process, without any of that.

pub mod app;
pub mod ask;
pub mod asking;
pub mod audit;
pub mod ca;
pub mod config;
pub mod distribute;
pub mod doctor;
pub mod effective;
pub mod enrol;
pub mod explain;
pub mod fixed;
pub mod grpc;
mod history;
pub mod http;
pub mod issuer;
pub mod metric;
pub mod publish;
pub mod recall;
pub mod report;
pub mod seal;
pub mod sign_in;
pub mod signing_key;
pub mod state;
pub mod status;
#[cfg(test)]
mod test_mesh;
