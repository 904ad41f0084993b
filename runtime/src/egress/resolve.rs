//! Names become addresses here, and only those that the policy allows are handed to the connector.
//!
//! So the check is on the address connected to, and a name that answers differently the second time gains nothing. A name with
//! several addresses is usable as long as one of them is allowed. IP literals never come here: `Client::request` judges them.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::{Policy, Refused};

pub(super) struct Checked(pub(super) Policy);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = allowed(&policy, name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    policy: &Policy,
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Refused> {
    let mut allowed = Vec::new();
    let mut last = None;
    for address in found {
        match policy.check(host, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(refused) => {
                tracing::warn!(%refused, "address refused");
                last = Some(refused);
            }
        }
    }
    match last {
        Some(refused) if allowed.is_empty() => Err(refused),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_the_allowed_are_used() {
        let found =
            || ["10.0.0.1:0", "192.0.2.1:0", "169.254.169.254:0"].map(|text| text.parse().unwrap());
        let of = |policy: &Policy| allowed(policy, "a.example", found().into_iter()).unwrap();
        assert_eq!(of(&Policy::default()), ["192.0.2.1:0".parse().unwrap()]);
        assert_eq!(of(&Policy::naming(["a.example"])).len(), 2);
        let only_metadata = found().into_iter().skip(2);
        assert!(allowed(&Policy::naming(["a.example"]), "a.example", only_metadata).is_err());
    }
}
