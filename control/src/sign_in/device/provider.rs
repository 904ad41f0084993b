//! One issuer as a device flow needs it: its discovery document, its device authorization endpoint, its token endpoint.
//!
//! Everything is asked anew for every flow and question, since both are rare and what an issuer says of itself may change. No redirect is
//! followed, an answer is read to 256 KiB, a call takes 10 seconds at most, and private addresses are asked on the issuer's own host alone.

use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode, header};
use identity::{keys::discovery::Place, secret::Secrets};
use runtime::{Clock, Secret, egress};
use topology::model::Issuer;
use url::Url;
use wire::name::IssuerName;

use super::{
    super::oidc,
    Error,
    answer::{self, Begun, Places, Polled},
};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer read, in bytes.
const ANSWER: usize = 256 << 10;
/// What the token endpoint is asked for (RFC 8628, 3.4).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An issuer, ready to be asked.
pub(super) struct Provider {
    pub(super) name: IssuerName,
    pub(super) issuer: Issuer,
    place: Place,
    client_id: String,
    secret: Option<Secret>,
    client: egress::Client,
}

/// What came back.
struct Answer {
    status: StatusCode,
    body: BytesMut,
}

impl Provider {
    /// Reads the issuer's CA and client secret.
    pub(super) async fn open(
        name: IssuerName,
        issuer: Issuer,
        client_id: String,
        secrets: &Secrets,
    ) -> Result<Self, Error> {
        let away = |why: String| Error::Away {
            issuer: name.clone(),
            why,
        };
        let secret = match &issuer.client_secret {
            Some(reference) => {
                let secret = secrets.read(reference).await;
                Some(secret.map_err(|error| away(format!("its client secret: {error}")))?)
            }
            None => None,
        };
        let ca_pem = match &issuer.ca {
            Some(path) => {
                let told = |error| away(format!("its CA in {}: {error}", path.display()));
                Some(tokio::fs::read(path).await.map_err(told)?)
            }
            None => None,
        };
        let url = Url::parse(&issuer.url).map_err(|_| away("its url is none".to_owned()))?;
        let options = egress::Options {
            ca_pem,
            policy: egress::Policy::naming(url.host_str()),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..egress::Options::default()
        };
        let client = options.build().map_err(|error| away(error.to_string()))?;
        Ok(Self {
            place: oidc::place(&issuer),
            name,
            issuer,
            client_id,
            secret,
            client,
        })
    }

    /// Begins a flow.
    pub(super) async fn begin(&self, clock: &Clock) -> Result<Begun, Error> {
        let places = self.discover(clock).await?;
        let form = [("scope", places.scope.as_str())];
        let answer = self.post(&places, &places.device, &form, clock).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(answer::refused(&answer.body)));
        }
        answer::begun(&answer.body).map_err(|why| self.refused(why))
    }

    /// Asks how a flow stands.
    pub(super) async fn poll(&self, code: &Secret, clock: &Clock) -> Result<Polled, Error> {
        let places = self.discover(clock).await?;
        let form = [("grant_type", GRANT), ("device_code", code.expose())];
        let answer = self.post(&places, &places.token, &form, clock).await?;
        let ok = answer.status == StatusCode::OK;
        answer::polled(ok, &answer.body).map_err(|why| self.refused(why))
    }

    async fn discover(&self, clock: &Clock) -> Result<Places, Error> {
        let document = self.place.discover(clock).await;
        let document = document.map_err(|away| self.away(away.to_string()))?;
        answer::places(&document, &self.issuer.url).map_err(|why| self.refused(why))
    }

    async fn post(
        &self,
        places: &Places,
        at: &Url,
        form: &[(&str, &str)],
        clock: &Clock,
    ) -> Result<Answer, Error> {
        let mut form = form.to_vec();
        form.push(("client_id", &self.client_id));
        let mut request = self.request(Method::POST, at)?;
        match &self.secret {
            Some(secret) if places.in_body => form.push(("client_secret", secret.expose())),
            // Both are form-encoded first (RFC 6749, 2.3.1).
            Some(secret) => {
                request =
                    request.basic_auth(encoded(&self.client_id), Some(encoded(secret.expose())));
            }
            None => {}
        }
        let request = request.header(header::ACCEPT, "application/json");
        self.ask(request.form(&form), clock).await
    }

    fn request(&self, method: Method, at: &Url) -> Result<reqwest::RequestBuilder, Error> {
        let request = self.client.request(method, at);
        request.map_err(|refused| self.refused(refused.to_string()))
    }

    async fn ask(&self, request: reqwest::RequestBuilder, clock: &Clock) -> Result<Answer, Error> {
        let whole = async {
            let mut response = request.send().await?;
            let (status, mut body) = (response.status(), BytesMut::new());
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > ANSWER {
                    return Ok(None);
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Some(Answer { status, body }))
        };
        let answer = match clock.timeout(PATIENCE, whole).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(error)),
            Err(_) => return Err(self.away("it does not answer in time")),
        };
        let answer = answer.ok_or_else(|| self.refused("its answer is too long".to_owned()))?;
        let busy = answer.status.is_server_error() || answer.status.as_u16() == 429;
        match busy {
            true => Err(self.away(format!("it answers {}", answer.status.as_u16()))),
            false => Ok(answer),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        if let Some(refused) = egress::refused(&error) {
            return self.refused(refused.to_string());
        }
        // Its innermost cause, without the address, which may carry what is nobody's business.
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        self.away(cause.to_string())
    }

    fn away(&self, why: impl Into<String>) -> Error {
        Error::Away {
            issuer: self.name.clone(),
            why: why.into(),
        }
    }

    fn refused(&self, why: String) -> Error {
        Error::Refused {
            issuer: self.name.clone(),
            why,
        }
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
