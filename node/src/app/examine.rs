//! `explain` of a running node: where it stands, handed to the part that knows.

use wire::api::explain::{Hop, Query};

use super::Running;
use crate::{http, registry::explain::Standpoint};

impl Running {
    /// What a pull here would do. Nothing is fetched and nothing written.
    pub async fn explain(&self, query: &Query) -> Hop {
        let shared = &self.shared;
        let slice = shared.slice.load_full();
        let at = Standpoint {
            tier: slice.topology.tier(&shared.name),
            generation: slice.generation,
            status: |error| http::status(error).as_u16(),
        };
        shared.registry.explain(query, &at).await
    }
}
