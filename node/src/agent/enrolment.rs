//! What an enrolled node holds on disk: `enrolment.json`, `key.pem`, and `key.next.pem` while a certificate is being asked for.
//!
//! A key is on disk before anybody is asked to sign it, so that an answer lost on the way is asked for again with the same key. The
//! certificate is written next, the key takes its place last: whichever of the two keys the certificate names is the one, wherever a
//! crash came between. Which instance this is (`instance`) is made once. Source: `spec/control-plane.md` "Enrolment".

use std::{io, sync::Arc};

use identity::certificate::{self, At, Key, Pin, Shown};
use runtime::Secret;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::{name::NodeName, node_service, time::WallTime};

use super::home::Home;
use crate::membership::Membership;

const FILE: &str = "enrolment.json";
const KEY: &str = "key.pem";
const NEXT_KEY: &str = "key.next.pem";
const INSTANCE: &str = "instance";
/// CA certificates believed at once: more than one during a rotation.
const ROOTS: usize = 8;

/// What is written down. Certificates are hex of DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enrolment {
    pub(crate) mesh: String,
    pub(crate) node: NodeName,
    pub(crate) instance: String,
    /// Goes into the next renewal.
    pub(crate) counter: u64,
    chain: Vec<String>,
    roots: Vec<String>,
    /// `HOST:PORT` of the node service.
    pub(crate) address: String,
    pub(crate) pin: Pin,
    /// SHA-256 of the secret of the token that was used, so that it is not used again.
    pub(crate) token: String,
    /// Why this instance may not come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shut_out: Option<String>,
}

/// An enrolment and its key, ready to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) enrolment: Enrolment,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// `None` when its file is damaged: the last good slice is still believed, but nothing can be shown.
    pub(crate) key: Option<Arc<Key>>,
    pub(crate) shown: Shown,
}

/// Why an enrolment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the enrolment is damaged ({0}): join again with a new token")]
    Damaged(String),
    #[error(transparent)]
    Crypto(#[from] certificate::Error),
}

impl Credential {
    /// What is on disk; `None` when this node has never joined.
    pub(crate) fn load(home: &Home) -> Result<Option<Self>, Error> {
        let Some(bytes) = home.read(FILE)? else {
            return Ok(None);
        };
        let enrolment: Enrolment = serde_json::from_slice(bytes.expose())
            .map_err(|error| Error::Damaged(error.to_string()))?;
        let mut credential = Self::of(enrolment, None)?;
        credential.key = credential.find_key(home)?;
        Ok(Some(credential))
    }

    fn of(enrolment: Enrolment, key: Option<Arc<Key>>) -> Result<Self, Error> {
        let (chain, roots) = (unhex(&enrolment.chain)?, unhex(&enrolment.roots)?);
        // Whether it has ended is for whoever shows it.
        let shown = certificate::verify(&chain, &roots, At::Begun(WallTime(i64::MAX)))
            .map_err(|error| Error::Damaged(error.to_string()))?;
        if shown.id.node() != Some(&enrolment.node) {
            return Err(Error::Damaged(
                "the certificate names another node".to_owned(),
            ));
        }
        Ok(Self {
            enrolment,
            chain,
            roots,
            key,
            shown,
        })
    }

    /// The key that the certificate names; put in its place when a crash left it beside.
    fn find_key(&self, home: &Home) -> Result<Option<Arc<Key>>, Error> {
        let named = Pin::of(
            self.chain
                .first()
                .ok_or_else(|| Error::Damaged("no chain".to_owned()))?,
        )?;
        for name in [KEY, NEXT_KEY] {
            let key = read_key(home, name)?;
            let Some(key) = key.filter(|key| key.pin() == named) else {
                continue;
            };
            if name == NEXT_KEY {
                home.rename(NEXT_KEY, KEY)?;
            }
            return Ok(Some(Arc::new(key)));
        }
        Ok(None)
    }

    /// What the control plane gave for `key`, checked and written down.
    pub(crate) fn keep(
        home: &Home,
        from: &From<'_>,
        given: node_service::Enrolment,
        key: Key,
    ) -> Result<Self, Error> {
        let enrolment = Enrolment {
            mesh: given.mesh,
            node: from.node.clone(),
            instance: from.instance.to_owned(),
            counter: given.counter,
            chain: given.chain.iter().map(hex::encode).collect(),
            roots: given.roots.iter().take(ROOTS).map(hex::encode).collect(),
            address: from.address.to_owned(),
            pin: from.pin,
            token: from.token.to_owned(),
            shut_out: None,
        };
        let credential = Self::of(enrolment, None)?;
        let leaf = credential
            .chain
            .first()
            .ok_or_else(|| Error::Damaged("no chain".to_owned()))?;
        if Pin::of(leaf)? != key.pin() {
            return Err(Error::Damaged(
                "the certificate is for another key".to_owned(),
            ));
        }
        credential.write(home)?;
        home.rename(NEXT_KEY, KEY)?;
        Ok(Self {
            key: Some(Arc::new(key)),
            ..credential
        })
    }

    /// The same with other CA certificates to believe; `None` when nothing changes, or they make no sense.
    pub(crate) fn with_roots(&self, home: &Home, roots: &[Vec<u8>]) -> Result<Option<Self>, Error> {
        let roots: Vec<String> = roots.iter().take(ROOTS).map(hex::encode).collect();
        if roots.is_empty() || roots == self.enrolment.roots {
            return Ok(None);
        }
        let enrolment = Enrolment {
            roots,
            ..self.enrolment.clone()
        };
        // Roots that do not vouch for our own certificate would lock us out.
        let changed = Self::of(enrolment, self.key.clone())?;
        changed.write(home)?;
        Ok(Some(changed))
    }

    /// Makes it what the node shows to others, and believes of them.
    pub(crate) fn show(&self, membership: &Membership) {
        let Some(key) = &self.key else {
            tracing::error!(node = %self.enrolment.node, "the node's key is damaged: it shows no certificate until it joins again with a new token");
            return;
        };
        let held = membership.hold(self.chain.clone(), Arc::clone(key), self.roots.clone());
        if let Err(error) = held {
            tracing::error!(node = %self.enrolment.node, %error, "the node's certificate cannot be shown");
        }
    }

    /// Writes down that this instance may not come back.
    pub(crate) fn shut_out(&self, home: &Home, why: &str) -> Result<(), Error> {
        let mut shut_out = self.clone();
        shut_out.enrolment.shut_out = Some(why.to_owned());
        shut_out.write(home)
    }

    fn write(&self, home: &Home) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(&self.enrolment).map_err(io::Error::other)?;
        Ok(home.write(FILE, &bytes)?)
    }
}

/// Who was asked for a certificate, by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) instance: &'a str,
    pub(crate) address: &'a str,
    pub(crate) pin: Pin,
    pub(crate) token: &'a str,
}

/// The key to ask a certificate for: the one that was asked for before, or a new one; on disk.
pub(crate) fn next_key(home: &Home) -> Result<Key, Error> {
    if let Some(key) = read_key(home, NEXT_KEY)? {
        return Ok(key);
    }
    let key = Key::generate()?;
    home.write(NEXT_KEY, key.to_pem().expose().as_bytes())?;
    Ok(key)
}

/// Which instance of its node this is.
pub(crate) fn instance(home: &Home) -> Result<String, Error> {
    let known = home.read(INSTANCE)?;
    let known = known.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
    if let Some(known) = known.and_then(|text| text.trim().parse::<Uuid>().ok()) {
        return Ok(known.to_string());
    }
    let made = Uuid::now_v7().to_string();
    home.write(INSTANCE, made.as_bytes())?;
    Ok(made)
}

fn read_key(home: &Home, name: &str) -> Result<Option<Key>, Error> {
    let text = home.read(name)?;
    let text = text.and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
    Ok(text.and_then(|text| Key::from_pem(&Secret::new(text)).ok()))
}

fn unhex(texts: &[String]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let decoded: Result<Vec<_>, _> = texts.iter().map(hex::decode).collect();
    let decoded = decoded.map_err(|_| Error::Damaged("a certificate is no hex".to_owned()))?;
    Ok(decoded.into_iter().map(CertificateDer::from).collect())
}
