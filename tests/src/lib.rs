//! The rig of `reference/faults.md`: everything a test needs to run a mesh, break its surroundings and know what happened.
//!
//! Nothing here judges regmesh; the promises are in `it/`. From the bottom up:
//!
//! - [`mod@eventually`], [`gate`], [`content`], [`canary`], [`chance`]: waiting without sleeping for luck, bytes without memory, secrets to look
//!   for, numbers from a seed.
//! - [`server`]: HTTP/1.1 by hand, because a library would refuse to lie; it records every request.
//! - [`origin`] with [`script`]: the scripted upstream; [`thief`], [`hook`], [`fault_proxy`]: the rest of a hostile world.
//! - [`issuer`], [`oidc_provider`], [`azure`]: who vouches for callers and for us, strict emulators and a real provider; [`jwt`]: tokens by
//!   hand, wrong ones too; [`authority`], [`namespace`]: TLS and addresses for names of the real world, where only the test sees them.
//! - [`image`], [`client`]: fixed images, and a client that checks every digest.
//! - [`mesh`]: three tiers in this process, with all of the above around them.
//! - [`process`], [`peer`]: any program as a process, and the real programs of others.
//! - [`crowd`]: a thousand light nodes for one control plane.
//! - [`regmesh`], [`lab`]: the real binary, and one node of it whose disk a test may break; [`mount`]: disks to break.
//! - [`fleet`]: a control plane and nodes that joined it, each a process, and the CLI.
//! - [`mod@bench`]: `regmesh-bench`, every figure of `spec/qualities.md` beside the peers'.
//! - [`source`]: the workspace's own sources as something to be checked.

pub mod authority;
pub mod azure;
pub mod bench;
pub mod canary;
pub mod chance;
pub mod client;
pub mod content;
pub mod crowd;
pub mod eventually;
pub mod fault_proxy;
pub mod fleet;
pub mod gate;
pub mod gzip;
pub mod hook;
pub mod image;
pub mod issuer;
pub mod jwt;
pub mod lab;
pub mod mesh;
pub mod mount;
pub mod namespace;
pub mod oidc_provider;
pub mod origin;
pub mod peer;
pub mod process;
pub mod regmesh;
pub mod script;
pub mod server;
pub mod source;
pub mod thief;

pub use azure::{Acr, Entra};
pub use chance::Chance;
pub use client::Client;
pub use content::Content;
pub use crowd::Crowd;
pub use eventually::eventually;
pub use fault_proxy::FaultProxy;
pub use fleet::Fleet;
pub use gate::Gate;
pub use hook::Hook;
pub use image::Image;
pub use lab::Lab;
pub use mesh::Mesh;
pub use origin::Origin;
pub use regmesh::Regmesh;
pub use script::{Cut, Fault, Script, When};
pub use thief::Thief;
