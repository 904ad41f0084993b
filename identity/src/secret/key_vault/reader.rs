//! Who reads a vault: an Azure identity, whose token is asked for with the audience of vaults and no other.
//!
//! A vault says in its challenge what the token must be for. What it says is hostile until it is in this table, and fits the vault's host.

use std::sync::{Mutex, PoisonError};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    time::OffsetDateTime,
};
use url::Url;

use crate::token_source::{
    Error,
    azure::{Id, Machine, is_loopback_url},
};

/// What vaults' tokens are for, in the clouds there are. A vault is a label below.
const DOMAINS: [&str; 6] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.azure.net",
    "managedhsm.azure.cn",
    "managedhsm.usgovcloudapi.net",
];

/// Gives the vault's client its token: for this vault's audience, and nothing else.
#[derive(Debug)]
pub(super) struct Reader {
    vault: Url,
    machine: Machine,
    id: Id,
    /// Why there was no token.
    failed: Mutex<Option<Error>>,
}

impl Reader {
    pub(super) fn new(vault: Url, machine: Machine, id: Id) -> Self {
        Self {
            vault,
            machine,
            id,
            failed: Mutex::default(),
        }
    }

    /// Why there was no token, if that is why there is no secret.
    pub(super) fn failed(&self) -> Option<Error> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a vault here may ask for that.
    pub(super) fn is_for(&self, scope: &str) -> bool {
        let host = self.vault.host_str().unwrap_or_default();
        DOMAINS.iter().any(|domain| {
            let below = host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
            let wanted = [
                format!("https://{domain}/.default"),
                format!("https://{domain}//.default"),
            ];
            (below || is_loopback_url(&self.vault)) && wanted.iter().any(|wanted| wanted == scope)
        })
    }
}

#[async_trait::async_trait]
impl TokenCredential for Reader {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let scope = scopes.first().copied().unwrap_or_default();
        let made = if self.is_for(scope) {
            self.machine.token(&self.id, scope).await
        } else {
            let host = self.vault.host_str().unwrap_or_default();
            Err(Error::Refused {
                detail: format!(
                    "{host} asks for a token that is none for that vault; it is not given"
                ),
                unheard: false,
            })
        };
        match made {
            Ok(fresh) => {
                let now = self.machine.clock().wall_ms().div_euclid(1000);
                let ends = now.saturating_add_unsigned(fresh.ends.as_secs());
                let ends = OffsetDateTime::from_unix_timestamp(ends);
                let ends = ends.unwrap_or(OffsetDateTime::UNIX_EPOCH);
                Ok(AccessToken::new(fresh.value.expose().clone(), ends))
            }
            Err(error) => {
                let failed = self.failed.lock();
                *failed.unwrap_or_else(PoisonError::into_inner) = Some(error);
                let kind = azure_core::error::ErrorKind::Credential;
                Err(azure_core::Error::with_message(kind, "no token"))
            }
        }
    }
}
