//! For tests: keys that sign whatever they are told to, and an issuer on loopback that can misbehave.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding,
    },
};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use http::{StatusCode, header};
use runtime::{Clock, Tasks, file::Real, listener, tls};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    KeySet,
    discovery::{Keys, Place},
    jwks::Around,
};

/// A private key, and the name it is published by.
pub(crate) struct Signer {
    kid: String,
    alg: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    /// A new key for `alg`.
    pub(crate) fn new(alg: &'static str, kid: &str) -> Self {
        let pair = match alg {
            "ES256" => ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        };
        let kid = kid.to_owned();
        Self { kid, alg, pair }
    }

    /// As a key set lists it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair);
                json!({"kty": "RSA", "n": URL.encode(n), "e": URL.encode(e)})
            }
            Pair::Ec(crv, pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                json!({"kty": "EC", "crv": crv, "x": URL.encode(x), "y": URL.encode(y)})
            }
            Pair::Ed(pair) => {
                let x = URL.encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg, "typ": "JWT", "kid": self.kid})
    }

    /// An ordinary token.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// Signs whatever it is told to.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL.encode(header), URL.encode(claims));
        let random = SystemRandom::new();
        let tag = match &self.pair {
            Pair::Rsa(pair) => {
                let mut tag = vec![0; pair.public_modulus_len()];
                let padding = padding(self.alg);
                pair.sign(padding, &random, input.as_bytes(), &mut tag)
                    .unwrap();
                tag
            }
            Pair::Ec(_, pair) => pair
                .sign(&random, input.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Ed(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", URL.encode(tag))
    }

    /// The public half: what an algorithm-confused verifier takes as the secret of an HMAC.
    pub(crate) fn public_der(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Ec(_, pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

fn ec(crv: &'static str, algorithm: &'static signature::EcdsaSigningAlgorithm) -> Pair {
    Pair::Ec(crv, EcdsaKeyPair::generate(algorithm).unwrap())
}

fn padding(alg: &str) -> &'static dyn RsaEncoding {
    match alg {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        _ => unreachable!("{alg}"),
    }
}

fn rsa_numbers(pair: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let public = pair.public_key();
    let number =
        |number: aws_lc_rs::io::Positive<'_>| number.big_endian_without_leading_zero().to_vec();
    (number(public.modulus()), number(public.exponent()))
}

/// The key set of these.
pub(crate) fn set(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

pub(crate) fn key_set(signers: &[&Signer]) -> KeySet {
    KeySet::parse(set(signers).to_string().as_bytes()).unwrap()
}

/// What an issuer answers at one path.
#[derive(Clone)]
pub(crate) enum Says {
    Json(Value),
    /// Status, a header, a body.
    Raw(u16, Option<(&'static str, String)>, String),
    /// Nothing, for ever.
    Silence,
}

/// An issuer on loopback.
pub(crate) struct Issuer {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _tasks: Tasks,
}

struct Shared {
    said: Mutex<Said>,
    asked: Mutex<Vec<(String, Option<String>)>>,
    arrived: Notify,
}

struct Said {
    discovery: Says,
    jwks: Says,
    cache_control: Option<&'static str>,
    bearer: Option<String>,
}

impl Issuer {
    /// One that publishes nothing yet but its discovery document, as Kubernetes writes it.
    pub(crate) async fn start() -> Self {
        Self::start_by(None).await
    }

    pub(crate) async fn start_by(tls: Option<tls::Server>) -> Self {
        let tasks = Tasks::new("issuer");
        let mut config = listener::Config::new(([127, 0, 0, 1], 0).into());
        let scheme = if tls.is_some() { "https" } else { "http" };
        config.tls = tls;
        let bound = listener::bind(config).await.unwrap();
        let url = format!("{scheme}://localhost:{}", bound.local_addr().port());
        let shared = Arc::new(Shared {
            said: Mutex::new(Said {
                discovery: Says::Json(discovery(&url, &format!("{url}/openid/v1/jwks"))),
                jwks: Says::Json(json!({"keys": []})),
                cache_control: None,
                bearer: None,
            }),
            asked: Mutex::default(),
            arrived: Notify::new(),
        });
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        bound.serve(router, &tasks);
        Self {
            url,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.jwks(Says::Json(set(signers)));
    }

    pub(crate) fn jwks(&self, says: Says) {
        self.shared.said.lock().unwrap().jwks = says;
    }

    pub(crate) fn discovery(&self, says: Says) {
        self.shared.said.lock().unwrap().discovery = says;
    }

    pub(crate) fn cache_control(&self, value: &'static str) {
        self.shared.said.lock().unwrap().cache_control = Some(value);
    }

    /// Demands a bearer token from now on.
    pub(crate) fn demand(&self, bearer: &str) {
        self.shared.said.lock().unwrap().bearer = Some(format!("Bearer {bearer}"));
    }

    /// What it was asked, with what `Authorization`, since the last look.
    pub(crate) fn asked(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }

    /// Waits for a request that nobody has looked at yet.
    pub(crate) async fn arrival(&self) {
        let arrived = async {
            while self.shared.asked.lock().unwrap().is_empty() {
                self.shared.arrived.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), arrived)
            .await
            .unwrap();
    }

    pub(crate) fn place(&self) -> Place {
        place(&self.url)
    }

    pub(crate) fn jwks_uri(&self) -> String {
        format!("{}/openid/v1/jwks", self.url)
    }
}

pub(crate) fn place(url: &str) -> Place {
    Place {
        url: url.to_owned(),
        keys: None,
        ca: None,
        token: None,
    }
}

pub(crate) fn at_uri(url: &str, uri: &str) -> Place {
    Place {
        keys: Some(Keys::Uri(uri.to_owned())),
        ..place(url)
    }
}

/// As Kubernetes has it: no `authorization_endpoint`.
pub(crate) fn discovery(issuer: &str, jwks_uri: &str) -> Value {
    json!({
        "issuer": issuer, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"]
    })
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.map(|value| value.to_str().unwrap().to_owned());
    shared
        .asked
        .lock()
        .unwrap()
        .push((path.clone(), shown.clone()));
    shared.arrived.notify_one();
    let (says, cache_control) = {
        let said = shared.said.lock().unwrap();
        if said.bearer.is_some() && said.bearer != shown {
            return reply(401, "no");
        }
        let says = match path.ends_with("/.well-known/openid-configuration") {
            true => said.discovery.clone(),
            false => said.jwks.clone(),
        };
        (says, said.cache_control)
    };
    match says {
        Says::Silence => std::future::pending().await,
        Says::Json(value) => {
            let mut response = reply(200, &value.to_string());
            if let Some(value) = cache_control {
                let value = value.parse().unwrap();
                response.headers_mut().insert(header::CACHE_CONTROL, value);
            }
            response
        }
        Says::Raw(status, header, body) => {
            let mut response = reply(status, &body);
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    }
}

fn reply(status: u16, body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A process with a clock that stands still, and a disk if there is a directory.
pub(crate) fn around(clock: &Clock, directory: Option<PathBuf>) -> Around {
    Around {
        clock: clock.clone(),
        tasks: Tasks::new("test"),
        disk: directory.map(|directory| (Arc::new(Real) as Arc<_>, directory)),
    }
}
