//! The CAs of a mesh, oldest first: which one signs, which are believed. Pure but for making keys.

use std::time::Duration;

use identity::certificate::{Authority, Key, LIFE};
use runtime::Secret;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use wire::time::WallTime;

use super::Error;

/// How long after its end a certificate may be renewed. Source: `spec/control-plane.md` "Enrolment".
pub const RENEWABLE: Duration = Duration::from_secs(30 * 86_400);

/// The CAs; never empty.
#[derive(Debug)]
pub(super) struct Ring(Vec<Member>);

#[derive(Debug)]
struct Member {
    authority: Authority,
    signs_from: WallTime,
    /// Its certificate by the one before it.
    vouched: Option<CertificateDer<'static>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    certificate: String,
    key: String,
    signs_from: WallTime,
    #[serde(default)]
    vouched: Option<String>,
}

impl Ring {
    pub(super) fn first(now: WallTime) -> Result<Self, Error> {
        Ok(Self(vec![Member {
            authority: Authority::generate(now)?,
            signs_from: now,
            vouched: None,
        }]))
    }

    /// With a new CA that signs at `from`, and without those that nothing needs any more.
    pub(super) fn rotated(mut self, now: WallTime, from: WallTime) -> Result<Self, Error> {
        let next = Authority::generate(now)?;
        let vouched = self.newest().cross_sign(&next, now)?;
        let gone = (0..self.0.len())
            .take_while(|index| !self.is_believed(*index, now))
            .count();
        self.0.drain(..gone);
        self.0.push(Member {
            authority: next,
            signs_from: from,
            vouched: Some(vouched),
        });
        Ok(self)
    }

    pub(super) fn newest(&self) -> &Authority {
        &self.last().authority
    }

    fn last(&self) -> &Member {
        self.0.last().expect("a ring is never empty")
    }

    /// When the newest one begins to sign, while it does not.
    pub(super) fn signs_next(&self, now: WallTime) -> Option<WallTime> {
        Some(self.last().signs_from).filter(|from| *from > now)
    }

    pub(super) fn signing(&self, now: WallTime) -> &Authority {
        let begun = |member: &&Member| member.signs_from <= now;
        let newest = self.0.iter().rev().find(begun);
        &newest
            .or(self.0.first())
            .expect("a ring is never empty")
            .authority
    }

    /// A CA is believed until nothing it signed can be renewed any more.
    fn is_believed(&self, index: usize, now: WallTime) -> bool {
        let replaced = self.0.get(index + 1).map(|next| next.signs_from);
        replaced.is_none_or(|at| now < at.plus(LIFE).plus(RENEWABLE))
    }

    fn believed(&self, now: WallTime) -> impl Iterator<Item = &Member> {
        let members = self.0.iter().enumerate();
        members
            .filter(move |(index, _)| self.is_believed(*index, now))
            .map(|(_, member)| member)
    }

    pub(super) fn roots(&self, now: WallTime) -> Vec<CertificateDer<'static>> {
        self.believed(now)
            .map(|member| member.authority.certificate().clone())
            .collect()
    }

    /// What goes with a leaf that is signed now: who vouches for its CA, and every CA, for those who know a pin. The newest first.
    pub(super) fn companions(&self, now: WallTime) -> Vec<CertificateDer<'static>> {
        let vouched = self
            .believed(now)
            .filter_map(|member| member.vouched.clone());
        let mut vouched: Vec<_> = vouched.collect();
        vouched.reverse();
        vouched.extend(self.roots(now).into_iter().rev());
        vouched
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let stored: Vec<Stored> = self.0.iter().map(Member::store).collect();
        serde_json::to_vec(&stored).expect("texts and numbers are JSON")
    }

    pub(super) fn read(bytes: &Secret<Vec<u8>>) -> Result<Self, Error> {
        let damaged = |why: &str| Error::Damaged(why.to_owned());
        let stored: Vec<Stored> = serde_json::from_slice(bytes.expose())
            .map_err(|_| damaged("it is not what we write"))?;
        let members: Result<Vec<_>, _> = stored.into_iter().map(Member::load).collect();
        let members = members?;
        if members.is_empty() {
            return Err(damaged("it is empty"));
        }
        Ok(Self(members))
    }
}

impl Member {
    fn store(&self) -> Stored {
        Stored {
            certificate: hex::encode(self.authority.certificate()),
            key: self.authority.key().to_pem().expose().clone(),
            signs_from: self.signs_from,
            vouched: self.vouched.as_ref().map(hex::encode),
        }
    }

    fn load(stored: Stored) -> Result<Self, Error> {
        let der = |text: String| {
            let bytes = hex::decode(text).map_err(|_| Error::Damaged("no hex".to_owned()))?;
            Ok::<_, Error>(CertificateDer::from(bytes))
        };
        let key = Key::from_pem(&Secret::new(stored.key))?;
        Ok(Self {
            authority: Authority::from_parts(der(stored.certificate)?, key)?,
            signs_from: stored.signs_from,
            vouched: stored.vouched.map(der).transpose()?,
        })
    }
}
