//! What is known about registries that everybody uses and that do things their own way. Data, and one lookup by host.
//!
//! A registry that is not in the table is asked as the specifications say and learnt from. Token services are listed because a
//! profile's list replaces the rule of the same domain: on shared domains that rule would hand one tenant's credential to another.
//! Source: `reference/protocols.md` sections 2 and 3.

use identity::authenticator::Known;
use wire::repository::RepositoryName;

/// How to deal with one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The host that speaks the API, where it is not the registry's name.
    pub api_host: Option<String>,
    /// Whether names of one part are below `library/`.
    pub library: bool,
    /// The hosts of its token services; `None` for registries that are not in the table.
    pub realms: Option<Vec<String>>,
    /// Its token service, where a token is fetched before the first request.
    pub known: Option<Known>,
    /// Whether user name and password go with the first request.
    pub basic_first: bool,
    /// Whether a 401 despite a fresh token means "private, or there is no such thing".
    pub unauthorized_may_mean_missing: bool,
    /// Whether the token service already refuses what may be missing.
    pub refusal_may_mean_missing: bool,
    /// Whether an expired token is answered by 400 without a challenge.
    pub bad_request_means_stale_token: bool,
    /// Whether HEAD says no digest, so that manifests are asked for by GET.
    pub head_says_no_digest: bool,
}

impl Profile {
    /// The repository's name as the registry knows it.
    #[must_use]
    pub fn repository(&self, name: &RepositoryName) -> RepositoryName {
        if !self.library || name.as_str().contains('/') {
            return name.clone();
        }
        let below = format!("library/{name}").parse();
        below.unwrap_or_else(|_| name.clone())
    }
}

/// Which hosts a row is about.
enum Hosts {
    These(&'static [&'static str]),
    /// Everything below these domains, at a label boundary.
    Below(&'static [&'static str]),
    /// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`
    Ecr,
    /// `REGION-docker.pkg.dev`
    ArtifactRegistry,
}

struct Row {
    hosts: Hosts,
    api_host: Option<&'static str>,
    /// `{host}` stands for the host itself.
    realms: &'static [&'static str],
    /// Realm, service, fixed scope.
    known: Option<(&'static str, &'static str, Option<&'static str>)>,
    quirks: &'static [Quirk],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quirk {
    Library,
    BasicFirst,
    UnauthorizedMayMeanMissing,
    RefusalMayMeanMissing,
    BadRequestMeansStaleToken,
    HeadSaysNoDigest,
}

const OWN: &[&str] = &["{host}"];

/// The names under which Docker Hub is known.
pub const DOCKER_HUB: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.docker.io",
];

const ROWS: [Row; 13] = [
    Row {
        hosts: Hosts::These(&DOCKER_HUB),
        api_host: Some("registry-1.docker.io"),
        realms: &["auth.docker.io"],
        known: Some(("https://auth.docker.io/token", "registry.docker.io", None)),
        quirks: &[Quirk::Library, Quirk::UnauthorizedMayMeanMissing],
    },
    Row {
        hosts: Hosts::These(&["dhi.io"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[Quirk::UnauthorizedMayMeanMissing],
    },
    Row {
        hosts: Hosts::These(&["mcr.microsoft.com"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::These(&["public.ecr.aws"]),
        api_host: None,
        realms: OWN,
        known: Some((
            "https://public.ecr.aws/token/",
            "public.ecr.aws",
            Some("aws"),
        )),
        quirks: &[Quirk::BadRequestMeansStaleToken],
    },
    Row {
        hosts: Hosts::Ecr,
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[Quirk::BasicFirst],
    },
    Row {
        hosts: Hosts::These(&["ghcr.io"]),
        api_host: None,
        realms: OWN,
        known: Some(("https://ghcr.io/token", "ghcr.io", None)),
        quirks: &[Quirk::RefusalMayMeanMissing],
    },
    Row {
        hosts: Hosts::These(&["nvcr.io"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::These(&["quay.io"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::These(&["registry.k8s.io"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::Below(&["gcr.io"]),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::ArtifactRegistry,
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
    Row {
        hosts: Hosts::These(&["registry.redhat.io"]),
        api_host: None,
        realms: &["{host}", "sso.redhat.com"],
        known: None,
        quirks: &[Quirk::HeadSaysNoDigest],
    },
    Row {
        hosts: Hosts::Below(&wire::acr::DOMAINS),
        api_host: None,
        realms: OWN,
        known: None,
        quirks: &[],
    },
];

/// The profile of a registry by `HOST[:PORT]`; one without quirks for a host that is not in the table.
#[must_use]
pub fn of(host: &str) -> Profile {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_suffix(":443").unwrap_or(&host);
    let row = ROWS.iter().find(|row| row.hosts.contain(bare));
    row.map_or_else(Profile::default, |row| row.profile(bare))
}

impl Hosts {
    fn contain(&self, host: &str) -> bool {
        match self {
            Self::These(names) => names.contains(&host),
            Self::Below(domains) => domains.iter().any(|domain| is_below(host, domain)),
            Self::Ecr => {
                let labels: Vec<&str> = host.split('.').collect();
                matches!(
                    labels.as_slice(),
                    [account, "dkr" | "dkr-fips", "ecr" | "ecr-fips", _, "amazonaws", "com"]
                        | [account, "dkr", "ecr", _, "amazonaws", "com", "cn"]
                        if !account.is_empty() && account.bytes().all(|b| b.is_ascii_digit())
                )
            }
            Self::ArtifactRegistry => host
                .strip_suffix("-docker.pkg.dev")
                .is_some_and(|region| !region.is_empty() && !region.contains('.')),
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let prefix = host.strip_suffix(domain);
    prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

impl Row {
    fn profile(&self, host: &str) -> Profile {
        let has = |quirk| self.quirks.contains(&quirk);
        let realms = self
            .realms
            .iter()
            .map(|realm| realm.replace("{host}", host));
        let known = self.known.map(|(realm, service, scope)| Known {
            realm: realm.to_owned(),
            service: Some(service.to_owned()),
            scope: scope.map(str::to_owned),
        });
        Profile {
            api_host: self.api_host.map(str::to_owned),
            library: has(Quirk::Library),
            realms: Some(realms.collect()),
            known,
            basic_first: has(Quirk::BasicFirst),
            unauthorized_may_mean_missing: has(Quirk::UnauthorizedMayMeanMissing),
            refusal_may_mean_missing: has(Quirk::RefusalMayMeanMissing),
            bad_request_means_stale_token: has(Quirk::BadRequestMeansStaleToken),
            head_says_no_digest: has(Quirk::HeadSaysNoDigest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_their_row_at_label_boundaries_only() {
        let none = Profile::default();
        for host in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "DHI.io",
            "mcr.microsoft.com",
            "public.ecr.aws",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "ghcr.io",
            "ghcr.io:443",
            "nvcr.io",
            "quay.io",
            "registry.k8s.io",
            "gcr.io",
            "eu.gcr.io",
            "europe-west1-docker.pkg.dev",
            "registry.redhat.io",
            "contoso.azurecr.io",
            "contoso.westeurope.geo.azurecr.io",
            "contoso.azurecr.us",
        ] {
            assert_ne!(of(host), none, "{host}");
        }
        for host in [
            "evildocker.io",
            "evilazurecr.io",
            "contoso.azurecr.io.evil.org",
            "ghcr.io:5000",
            "x.ghcr.io",
            "evilgcr.io",
            "x.dkr.ecr.eu-west-1.amazonaws.com",
            "dkr.ecr.eu-west-1.amazonaws.com",
            "a.europe-docker.pkg.dev",
            "-docker.pkg.dev",
            "registry.example.com",
            "127.0.0.1:5000",
        ] {
            assert_eq!(of(host), none, "{host}");
        }
    }

    #[test]
    fn credentials_of_shared_domains_stay_with_their_own_host() {
        for host in [
            "contoso.azurecr.io",
            "eu.gcr.io",
            "europe-docker.pkg.dev",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "quay.io",
            "ghcr.io",
        ] {
            assert_eq!(of(host).realms, Some(vec![host.to_owned()]), "{host}");
        }
    }

    #[test]
    fn a_known_token_service_is_one_that_may_see_the_credential() {
        for row in &ROWS {
            let Some((realm, ..)) = row.known else {
                continue;
            };
            let host = realm
                .strip_prefix("https://")
                .and_then(|r| r.split('/').next());
            let host = host.unwrap();
            let own = matches!(row.hosts, Hosts::These([own]) if *own == host);
            assert!(row.realms.contains(&host) || own, "{realm}");
        }
    }

    #[test]
    fn names_of_one_part_are_below_library_at_docker_hub_alone() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let cases = [
            ("docker.io", "alpine", "library/alpine"),
            ("docker.io", "grafana/grafana", "grafana/grafana"),
            ("quay.io", "alpine", "alpine"),
        ];
        for (host, given, wanted) in cases {
            assert_eq!(of(host).repository(&name(given)), name(wanted));
        }
        assert_eq!(
            of("docker.io").api_host.as_deref(),
            Some("registry-1.docker.io")
        );
    }
}
