//! What identity asks of the node: the passwords of accounts, read where the topology says they are.

use std::sync::Arc;

use identity::{authenticate::account::Resolve, secret::Secrets};

/// Reads the passwords of accounts.
pub(super) fn resolve(secrets: &Secrets) -> Resolve {
    let secrets = secrets.clone();
    Arc::new(move |reference| {
        let secrets = secrets.clone();
        Box::pin(async move { secrets.read(&reference).await.map_err(Into::into) })
    })
}
