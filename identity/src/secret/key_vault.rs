//! Secrets in Azure Key Vault, read by an Azure identity: the one seam to the vault's crate.
//!
//! What was read is used for five minutes, asked for anew in the background after half of that, and, while the vault or whoever gives the
//! token for it is away, for a day: a vault that is away stops no pull. One that answers no, or that the secret is gone, does. A token
//! goes only to a vault of the domain that the token is for: the crate compares the challenge with the host, and here only the
//! audiences of vaults are asked for, so that a reference in a topology cannot fetch a token for anything else. On loopback a vault may be
//! spoken to over plain http. Source: `spec/identity.md`, `spec/topology.md` credentials, `reference/protocols.md` 4.3.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::http::{ClientOptions, RetryOptions, Transport as Outer};
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions, models::SecretClientGetSecretOptions,
};
use bytes::Bytes;
use futures_util::FutureExt;
use runtime::{Secret, Tasks, egress};
use serde::Deserialize;

use self::{place::Place, reader::Reader};
use crate::token_source::{
    Error,
    azure::{
        Id, Machine, is_loopback_url, secure,
        transport::{Seen, Transport},
    },
    held::{Fresh, Held},
    judge::{Answer, judge},
};

mod place;
mod reader;

/// After that a secret is read again in the background.
const DUE: Duration = Duration::from_secs(150);
/// After that it is read again before it is used.
const GOOD: Duration = Duration::from_secs(300);
/// So long it is used while it cannot be read again.
const ENDS: Duration = Duration::from_secs(24 * 3600);
/// How many secrets are kept.
const MAX_SECRETS: usize = 1024;
/// Reads vaults, and keeps what was read. Clones are the same.
#[derive(Clone)]
pub(super) struct Vaults(Arc<Inner>);

struct Inner {
    machine: Machine,
    tasks: Tasks,
    kept: Mutex<HashMap<(Id, String), Held>>,
}

impl Vaults {
    pub(super) fn new(machine: Machine, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner {
            machine,
            tasks: tasks.clone(),
            kept: Mutex::default(),
        }))
    }

    /// The secret at this URL, read by this identity.
    pub(super) async fn read(&self, id: &Id, url: &str) -> Result<Secret, String> {
        let held = self.held(id, url)?;
        let got = held.get().await;
        got.map(|(value, _)| value).map_err(|error| reason(&error))
    }

    /// What was read there last is not taken: it is read again, at most once in a while.
    pub(super) async fn refused(&self, id: &Id, url: &str) {
        if let Ok(held) = self.held(id, url)
            && let Ok((_, version)) = held.get().await
        {
            held.refused(version).await;
        }
    }

    fn held(&self, id: &Id, url: &str) -> Result<Held, String> {
        let place = Place::parse(url)?;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (id.clone(), url.to_owned());
        if let Some(held) = kept.get(&key) {
            return Ok(held.clone());
        }
        if kept.len() >= MAX_SECRETS {
            kept.clear();
        }
        let (machine, id) = (self.0.machine.clone(), id.clone());
        let clock = machine.clock().clone();
        let make = Arc::new(move || {
            let (machine, id, place) = (machine.clone(), id.clone(), place.clone());
            async move { place.read(machine, id).await }.boxed()
        });
        let held = Held::new("vault-secret", make, clock, &self.0.tasks);
        kept.insert(key, held.clone());
        Ok(held)
    }
}

impl fmt::Debug for Vaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vaults")
    }
}

impl Place {
    /// The secret, read now. Bounded in time.
    async fn read(&self, machine: Machine, id: Id) -> Result<Fresh, Error> {
        let who = format!("the vault {}", self.vault.host_str().unwrap_or_default());
        let cannot = |why: &str| Error::Away {
            detail: format!("{who} cannot be asked: {why}"),
            retry_after: None,
        };
        let (attempt, clock) = (machine.attempt(), machine.clock().clone());
        let client = egress::Options {
            read_timeout: attempt,
            policy: egress::Policy::naming(self.vault.host_str()),
            ..egress::Options::default()
        };
        let client = client.build().map_err(|error| cannot(&error.to_string()))?;
        let (endpoint, instead) = secure(self.vault.clone())?;
        let transport = Arc::new(Transport::new(client, clock.clone(), instead));
        let reader = Arc::new(Reader::new(self.vault.clone(), machine, id));
        let client = SecretClient::new(
            endpoint.as_str(),
            Arc::clone(&reader) as Arc<_>,
            Some(SecretClientOptions {
                client_options: ClientOptions {
                    transport: Some(Outer::new(Arc::clone(&transport) as Arc<_>)),
                    retry: RetryOptions::none(),
                    ..ClientOptions::default()
                },
                // Nothing is below loopback; `Reader` looks there all the same.
                verify_challenge_resource: Some(!is_loopback_url(&self.vault)),
                ..SecretClientOptions::default()
            }),
        );
        let client = client.map_err(|_| cannot("the client cannot be made"))?;
        let options = SecretClientGetSecretOptions {
            secret_version: self.version.clone(),
            ..SecretClientGetSecretOptions::default()
        };
        // An attempt for the token and one for the vault, so that it is seen which of them is away.
        let limit = attempt * 2;
        let asked = clock.timeout(limit, client.get_secret(&self.name, Some(options)));
        let model = match asked.await {
            Err(_) => {
                return Err(cannot(&format!(
                    "no answer within {} s",
                    limit.as_secs_f32()
                )));
            }
            Ok(Err(_)) => {
                return Err(reader
                    .failed()
                    .unwrap_or_else(|| unread(&who, transport.seen())));
            }
            Ok(Ok(response)) => response.into_model(),
        };
        let value = model.ok().and_then(|mut model| model.value.take());
        let value = value.ok_or_else(|| cannot("its answer is no secret"))?;
        Ok(Fresh {
            value: super::checked(value)
                .map_err(|reason| cannot(&format!("the secret {reason}")))?,
            due: DUE,
            good: GOOD,
            ends: ENDS,
        })
    }
}

/// Why there is no secret, from what the vault answered last.
fn unread(who: &str, seen: Option<Seen>) -> Error {
    let (detail, retry_after) = match seen {
        Some(Seen::Answer(answer)) => {
            let answer = flat(answer);
            let judged = judge(who, &answer, &[]);
            if let (404, Error::Away { detail, .. }) = (answer.status, &judged) {
                // Gone is an answer: what was read before it went is not used on.
                let detail = detail.clone();
                return Error::Refused {
                    detail,
                    unheard: false,
                };
            }
            return judged;
        }
        Some(Seen::Silence(why)) => (format!("{who} cannot be asked: {why}"), None),
        None => (format!("{who} wants a token that it may not have"), None),
    };
    Error::Away {
        detail,
        retry_after,
    }
}

/// Vaults wrap code and message once more.
fn flat(answer: Answer) -> Answer {
    #[derive(Deserialize)]
    struct Wrapped {
        error: HashMap<String, serde_json::Value>,
    }
    match serde_json::from_slice::<Wrapped>(&answer.body) {
        Ok(wrapped) => {
            let body = serde_json::to_vec(&wrapped.error).unwrap_or_default();
            Answer {
                body: Bytes::from(body),
                ..answer
            }
        }
        Err(_) => answer,
    }
}

/// Without the words that are for registries.
fn reason(error: &Error) -> String {
    match error {
        Error::Away { detail, .. }
        | Error::Refused { detail, .. }
        | Error::NotAttached { detail } => detail.clone(),
        Error::Secret(unavailable) => unavailable.to_string(),
    }
}

#[cfg(test)]
mod tests;
