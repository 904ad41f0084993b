//! One token of one identity, asked for now: which credential of `azure_identity`, at most for how long, and what its silence means.

use std::{path::PathBuf, sync::Arc, time::Duration};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::{AccessToken, TokenCredential},
    error::ErrorKind,
    http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport as Outer},
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use runtime::{Clock, Secret};
use url::Url;
use wire::oci_error::clean;

use super::{
    Id, Inner, Machine, is_loopback_url,
    place::Place,
    transport::{Instead, Seen, Transport},
};
use crate::{
    secret,
    token_source::{Error, held::Fresh, judge},
};

/// What is asked, by whom, and what it is called.
struct Conversation {
    who: String,
    /// Whether an answer of 400 is about the identity of the machine.
    is_machine: bool,
    transport: Arc<Transport>,
    credential: Arc<dyn TokenCredential>,
    /// What must not be shown if it is repeated.
    secrets: Vec<Secret>,
}

/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A longer one is none.
const LONGEST_TOKEN: usize = 24 * 1024;

impl Machine {
    /// A token, made now. Ends after the attempt's time, whatever happens; safe to drop.
    pub(crate) async fn token(&self, id: &Id, scope: &str) -> Result<Fresh, Error> {
        let inner = &self.0;
        let talk = inner.conversation(id).await?;
        let asked = inner.clock.timeout(inner.attempt, async {
            let _place = inner.at_once.acquire().await;
            talk.credential.get_token(&[scope], None).await
        });
        match asked.await {
            Ok(Ok(token)) => fresh(&talk.who, &token, inner.clock.wall_ms()),
            Ok(Err(_)) => Err(talk.failed(None)),
            Err(_) => Err(talk.failed(Some(inner.attempt))),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn attempt(&self) -> Duration {
        self.0.attempt
    }
}

impl Inner {
    async fn conversation(&self, id: &Id) -> Result<Conversation, Error> {
        match self.environment.place(id) {
            Place::Workload {
                client_id,
                tenant_id,
                token_file,
            } => self.workload(client_id, tenant_id, token_file).await,
            Place::AppService => {
                let who = "the identity endpoint of this machine (IDENTITY_ENDPOINT)";
                self.managed(id, who.to_owned(), None)
            }
            Place::Imds => {
                let who = "the identity endpoint of this machine (IMDS, 169.254.169.254)";
                let instead = self.environment.machine().zip(self.imds.clone());
                let instead = instead.map(|(from, to)| Instead { from, to });
                self.managed(id, who.to_owned(), instead)
            }
        }
    }

    fn managed(
        &self,
        id: &Id,
        who: String,
        instead: Option<Instead>,
    ) -> Result<Conversation, Error> {
        let by = [
            id.client_id.clone().map(UserAssignedId::ClientId),
            id.object_id.clone().map(UserAssignedId::ObjectId),
            id.resource_id.clone().map(UserAssignedId::ResourceId),
        ];
        let transport = Transport::new(self.endpoint.clone(), self.clock.clone(), instead);
        let transport = Arc::new(transport);
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: by.into_iter().flatten().next(),
            client_options: options(&transport),
        };
        let credential = ManagedIdentityCredential::new(Some(options));
        let credential = credential.map_err(|error| unusable(&who, &error))?;
        Ok(Conversation {
            who,
            is_machine: true,
            transport,
            credential,
            secrets: self.environment.header.iter().cloned().collect(),
        })
    }

    async fn workload(
        &self,
        client_id: String,
        tenant_id: String,
        token_file: PathBuf,
    ) -> Result<Conversation, Error> {
        let authority = self
            .environment
            .entra()
            .ok_or_else(|| away("AZURE_AUTHORITY_HOST is not a URL"))?;
        let who = format!("Entra ({})", authority.host_str().unwrap_or_default());
        let (authority, instead) = secure(authority)?;
        let read = secret::read_file(&token_file).await;
        let assertion = read.map_err(|reason| {
            let file = token_file.display();
            away(&format!(
                "the pod's token cannot be read: file {file}: {reason}"
            ))
        })?;
        let transport = Transport::new(self.entra.clone(), self.clock.clone(), instead);
        let transport = Arc::new(transport);
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = authority.to_string();
        let client_options = ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..options(&transport)
        };
        let shown = Shown(assertion.clone());
        let options = ClientAssertionCredentialOptions { client_options };
        let credential = ClientAssertionCredential::new(tenant_id, client_id, shown, Some(options));
        let credential = credential.map_err(|error| unusable(&who, &error))?;
        Ok(Conversation {
            who,
            is_machine: false,
            transport,
            credential,
            secrets: vec![assertion],
        })
    }
}

impl Conversation {
    /// Why there is no token: what was seen last, else what can only be meant.
    fn failed(&self, limit: Option<Duration>) -> Error {
        let secrets: Vec<&Secret> = self.secrets.iter().collect();
        let who = &self.who;
        let seen = self.transport.seen();
        match (limit, seen) {
            (None, Some(Seen::Answer(answer))) => {
                let judged = judge::judge(who, &answer, &secrets);
                // A resource that Entra does not know is not about the machine's identity.
                let unassigned = |detail: &String| self.is_machine && !detail.contains("AADSTS");
                if let Error::Refused { detail, .. } = &judged
                    && unassigned(detail)
                {
                    let detail = detail.clone();
                    return Error::NotAttached { detail };
                }
                judged
            }
            (None, Some(Seen::Silence(why))) => away(&format!("{who} cannot be asked: {why}")),
            (None, None) => away(&format!("{who} answers with what is no token")),
            (Some(limit), seen) => {
                let (said, retry_after) = match &seen {
                    Some(Seen::Answer(answer)) => {
                        let said = judge::said(answer, &secrets);
                        (format!("; it answered {said}"), answer.retry_after)
                    }
                    Some(Seen::Silence(why)) => (format!("; {why}"), None),
                    None => (String::new(), None),
                };
                let seconds = limit.as_secs_f32();
                Error::Away {
                    detail: format!("{who} gave no token within {seconds} s{said}"),
                    retry_after,
                }
            }
        }
    }
}

/// The pod's token, as it was read for this one conversation: `WorkloadIdentityCredential` does no more, but reads files of any length
/// and blocks while it does.
#[derive(Debug)]
struct Shown(Secret);

#[async_trait::async_trait]
impl ClientAssertion for Shown {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.expose().trim().to_owned())
    }
}

fn options(transport: &Arc<Transport>) -> ClientOptions {
    ClientOptions {
        transport: Some(Outer::new(Arc::clone(transport) as Arc<_>)),
        // IMDS has its own, by the crate; who asks here asks again later.
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

/// The crate takes https alone: loopback in plain is spoken to under that name.
pub(crate) fn secure(url: Url) -> Result<(Url, Option<Instead>), Error> {
    if url.scheme() == "https" {
        return Ok((url, None));
    }
    let mut from = url.clone();
    if url.scheme() != "http" || !is_loopback_url(&url) || from.set_scheme("https").is_err() {
        return Err(away(&format!("{url} is not https, and not on loopback")));
    }
    let instead = Instead {
        from: from.clone(),
        to: url,
    };
    Ok((from, Some(instead)))
}

fn fresh(who: &str, token: &AccessToken, now_ms: i64) -> Result<Fresh, Error> {
    let value = token.token.secret();
    let fits =
        (1..=LONGEST_TOKEN).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        return Err(away(&format!(
            "{who} answers with what fits into no header"
        )));
    }
    let left = token
        .expires_on
        .unix_timestamp()
        .saturating_mul(1000)
        .saturating_sub(now_ms);
    let life = u64::try_from(left).ok().filter(|left| *left > 0);
    let life = life.ok_or_else(|| {
        away(&format!(
            "{who} gave a token that has ended by this node's clock"
        ))
    })?;
    let life = Duration::from_millis(life).min(LONGEST_LIFE);
    Ok(Fresh::token(Secret::from(value), life))
}

/// What the crate says before anything is asked: about the environment and the identity's ids, nothing secret.
fn unusable(who: &str, error: &azure_core::Error) -> Error {
    let detail = format!("{who} cannot be used: {}", clean(&error.to_string()));
    if matches!(error.kind(), ErrorKind::Credential) {
        return Error::NotAttached { detail };
    }
    away(&detail)
}

fn away(detail: &str) -> Error {
    Error::Away {
        detail: detail.to_owned(),
        retry_after: None,
    }
}
