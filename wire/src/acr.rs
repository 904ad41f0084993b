//! What is an Azure Container Registry, and the one audience that all of them accept.
//!
//! A token of that audience opens every registry that its identity may read, so it is shown to hosts of this table alone: topology
//! refuses such a rule, a node refuses such a token, and both ask here. Anchored at a label boundary: a credential helper with an
//! unanchored pattern gave such tokens away. Source: `reference/protocols.md` 3.1.

/// The domains of registries; the registry is a label or more below.
pub const DOMAINS: [&str; 3] = ["azurecr.io", "azurecr.cn", "azurecr.us"];

/// What a token for registries is asked for by.
pub const SCOPE: &str = "https://containerregistry.azure.net/.default";

const AUDIENCE_HOST: &str = "containerregistry.azure.net";

/// Whether a `HOST[:PORT]` is a registry of Azure.
#[must_use]
pub fn is_registry(host: &str) -> bool {
    let host = host.strip_suffix(":443").unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    DOMAINS.iter().any(|domain| {
        let below = host.strip_suffix(domain);
        let label = below.and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
    })
}

/// Whether a token of this scope is one that every registry of Azure takes, however it is spelled.
#[must_use]
pub fn is_scope(scope: &str) -> bool {
    scope.split_ascii_whitespace().any(|scope| {
        let lower = scope.to_ascii_lowercase();
        let rest = lower
            .split_once("://")
            .map_or(lower.as_str(), |(_, rest)| rest);
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host) == AUDIENCE_HOST
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_ends_at_a_label_boundary() {
        for (host, wanted) in [
            ("contoso.azurecr.io", true),
            ("contoso.westeurope.geo.azurecr.io", true),
            ("Contoso.AzureCR.cn:443", true),
            ("contoso.azurecr.us.", true),
            ("azurecr.io", false),
            (".azurecr.io", false),
            ("evilazurecr.io", false),
            ("contoso.azurecr.de", false),
            ("contoso.azurecr.io.evil.example", false),
            ("contoso.azurecr.io:8443", false),
            ("127.0.0.1:5000", false),
            ("", false),
        ] {
            assert_eq!(is_registry(host), wanted, "{host}");
        }
    }

    #[test]
    fn the_scope_of_registries_is_known_in_any_spelling() {
        for (scope, wanted) in [
            (SCOPE, true),
            ("https://containerregistry.azure.net", true),
            ("HTTPS://ContainerRegistry.Azure.Net//.default", true),
            ("openid https://containerregistry.azure.net/.default", true),
            ("api://11111111-2222-3333-4444-555555555555/.default", false),
            (
                "https://containerregistry.azure.net.evil.example/.default",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_scope(scope), wanted, "{scope}");
        }
    }
}
