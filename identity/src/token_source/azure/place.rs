//! Where this process gets tokens of Azure identities: what the platform put into its environment decides; pure.
//!
//! | found | asked |
//! |---|---|
//! | `AZURE_FEDERATED_TOKEN_FILE` and `AZURE_TENANT_ID`, and a client id (the identity's, else `AZURE_CLIENT_ID`) | workload identity: Entra at `AZURE_AUTHORITY_HOST`, with the pod's token. First, because it was given to this very pod, while a machine's identities are everybody's who runs there |
//! | else `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` | App Service style, at that endpoint |
//! | else | IMDS, at 169.254.169.254 |
//!
//! An identity named by object or resource id alone is not a pod's: Entra knows those by client id. Source: `reference/protocols.md` 4.1, 4.3.

use std::path::PathBuf;

use runtime::Secret;
use url::Url;

/// Which identity: by one of its ids, or, without any, the one that the machine or pod has by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Id {
    /// By client id.
    pub client_id: Option<String>,
    /// By object id.
    pub object_id: Option<String>,
    /// By ARM resource id.
    pub resource_id: Option<String>,
}

/// What the platform says in the environment, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority: Option<String>,
    /// `IDENTITY_ENDPOINT`.
    pub endpoint: Option<String>,
    /// `IDENTITY_HEADER`.
    pub header: Option<Secret>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Entra, with the pod's token.
    Workload {
        client_id: String,
        tenant_id: String,
        token_file: PathBuf,
    },
    /// The endpoint in the environment.
    AppService,
    /// The machine's.
    Imds,
}

/// Entra, where the environment does not name another cloud's.
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";
/// IMDS, wherever it runs.
const IMDS: &str = "http://169.254.169.254";

impl Environment {
    /// Takes what is there of the variables that count; empty ones do not.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let of = |name| variable(name).filter(|value| !value.trim().is_empty());
        Self {
            client_id: of("AZURE_CLIENT_ID"),
            tenant_id: of("AZURE_TENANT_ID"),
            token_file: of("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            authority: of("AZURE_AUTHORITY_HOST"),
            endpoint: of("IDENTITY_ENDPOINT"),
            header: of("IDENTITY_HEADER").map(Secret::new),
        }
    }

    pub(super) fn place(&self, id: &Id) -> Place {
        let by_client = id.client_id.is_some() || *id == Id::default();
        let client_id = id.client_id.clone().or_else(|| self.client_id.clone());
        let pod = (
            client_id.filter(|_| by_client),
            &self.tenant_id,
            &self.token_file,
        );
        if let (Some(client_id), Some(tenant_id), Some(token_file)) = pod {
            return Place::Workload {
                client_id,
                tenant_id: tenant_id.clone(),
                token_file: token_file.clone(),
            };
        }
        match (&self.endpoint, &self.header) {
            (Some(_), Some(_)) => Place::AppService,
            _ => Place::Imds,
        }
    }

    /// Where the machine answers: the endpoint of the environment, or IMDS. None when the environment's is not a URL.
    pub(super) fn machine(&self) -> Option<Url> {
        match self.place(&Id {
            object_id: Some(String::new()),
            ..Id::default()
        }) {
            Place::AppService => Url::parse(self.endpoint.as_deref()?).ok(),
            Place::Imds | Place::Workload { .. } => Url::parse(IMDS).ok(),
        }
    }

    /// Where Entra answers. None when the environment's is not a URL.
    pub(super) fn entra(&self) -> Option<Url> {
        Url::parse(self.authority.as_deref().unwrap_or(PUBLIC_AUTHORITY)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_and_the_identity_decide_whom_to_ask() {
        const POD: [(&str, &str); 3] = [
            ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "pod"),
        ];
        const APP: [(&str, &str); 2] = [
            ("IDENTITY_ENDPOINT", "http://localhost:4141/msi"),
            ("IDENTITY_HEADER", "h"),
        ];
        let own = Id::default();
        let client = Id {
            client_id: Some("c".into()),
            ..Id::default()
        };
        let object = Id {
            object_id: Some("o".into()),
            ..Id::default()
        };
        let both = [POD.as_slice(), APP.as_slice()].concat();
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a Id, &'a str);
        let cases: [Case<'_>; 10] = [
            (&[], &own, "imds"),
            (&POD, &own, "pod"),
            (&POD, &client, "c"),
            (&POD, &object, "imds"),
            (&POD[..2], &own, "imds"),
            (&POD[..2], &client, "c"),
            (&POD[..1], &client, "imds"),
            (&APP, &client, "app"),
            (&APP[..1], &client, "imds"),
            (&both, &object, "app"),
        ];
        for (set, id, wanted) in cases {
            let place = environment(set).place(id);
            let got = match &place {
                Place::Workload { client_id, .. } => client_id.as_str(),
                Place::AppService => "app",
                Place::Imds => "imds",
            };
            assert_eq!(got, wanted, "{set:?} {id:?}");
        }
        let empty = environment(&[("IDENTITY_ENDPOINT", " "), ("IDENTITY_HEADER", "h")]);
        assert_eq!(empty.place(&own), Place::Imds);
    }

    #[test]
    fn addresses_are_where_the_environment_says() {
        assert_eq!(
            environment(&[]).machine().unwrap().as_str(),
            "http://169.254.169.254/"
        );
        let app = environment(&[
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/x"),
            ("IDENTITY_HEADER", "h"),
        ]);
        assert_eq!(app.machine().unwrap().as_str(), "http://127.0.0.1:1/x");
        assert_eq!(
            environment(&[]).entra().unwrap().host_str(),
            Some("login.microsoftonline.com")
        );
        assert!(
            environment(&[("AZURE_AUTHORITY_HOST", "nonsense")])
                .entra()
                .is_none()
        );
    }
}
