//! The control plane, as far as one process needs it: it holds the topology in force, numbers its generations and cuts slices.
//!
//! `regmesh up` and `regmesh node --topology` stand on it today; distribution over the network, enrolment, issuing and the API
//! join it with the next release.

pub mod publish;
pub mod sign_in;
pub mod state;
