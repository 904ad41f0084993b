//! The node service: client, server and messages, made from `proto/node_service.proto` when the crate is built.
//!
//! Conversions to and from the types of this crate stand where they are used: `control/src/grpc` and `node/src/agent`.

/// How large a message may be: a slice of ten thousand rules with room to spare.
pub const MAX_MESSAGE: usize = 64 << 20;

#[expect(
    missing_docs,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "made by tonic-prost-build; the proto file is its documentation"
)]
mod made {
    tonic::include_proto!("regmesh.node.v1");
}

pub use made::*;
