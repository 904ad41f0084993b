//! The cases of the distribution-spec 1.1.1 as tests of our own: pull, push, content discovery, content management.
//!
//! Push, discovery and management are checked at a node's own repository; the pull cases there and through three cold tiers. The
//! public suite is run against the result as well; these say which promise broke.

mod discovery;
mod management;
mod pull;
mod push;

use tests::{Client, Mesh};

/// A hub alone, and somebody with every right there.
async fn registry() -> (Mesh, Client) {
    let mesh = Mesh::builder().tiers(1).start().await;
    let client = mesh.client("dev");
    (mesh, client)
}

/// The path of a `Location`, which may be absolute.
fn path_of(location: &str) -> String {
    match location.find("/v2/") {
        Some(at) if location.starts_with("http") => location[at..].to_owned(),
        _ => location.to_owned(),
    }
}
