//! The mesh's CA: a self-signed certificate and its key, and the leafs it signs. Where both are kept is `control`'s affair.
//!
//! Leafs are signed by the CA itself. When a new CA follows, the old one signs it once (`cross_sign`): whoever was away during the
//! rotation and knows only the old one, or its pin, still believes what the new one signs.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Use,
    IsCa, Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use wire::time::WallTime;

use super::{Error, Key, Pin, Request, SpiffeId};

/// How long a CA's own certificate lasts; rotation comes long before.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How far a CA's certificate is backdated.
const CA_BACKDATE: Duration = Duration::from_secs(3_600);

/// A CA that can sign.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Key,
}

/// What a leaf says.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Whom it names.
    pub id: SpiffeId,
    /// The instance of the node that holds the key.
    pub instance: Option<String>,
    /// DNS names and IP addresses under which clients may reach it.
    pub hosts: Vec<String>,
    /// When it begins; whole seconds.
    pub begins: WallTime,
    /// When it ends; whole seconds.
    pub ends: WallTime,
}

impl Authority {
    /// A new CA.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn generate(now: WallTime) -> Result<Self, Error> {
        let key = Key::generate()?;
        let params = of_ca(&key, now)?;
        let made = params.self_signed(&key.0).map_err(crypto)?;
        Ok(Self {
            certificate: made.der().clone(),
            key,
        })
    }

    /// The CA of a stored certificate and its key.
    ///
    /// # Errors
    /// When the two do not belong together.
    pub fn from_parts(certificate: CertificateDer<'static>, key: Key) -> Result<Self, Error> {
        if Pin::of(&certificate)? != key.pin() {
            return Err(Error::Unusable {
                what: "private key",
                why: "it does not belong to the CA's certificate".to_owned(),
            });
        }
        Ok(Self { certificate, key })
    }

    /// A certificate of `next`'s key, signed by this CA: an intermediate for whoever knows this one alone.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn cross_sign(&self, next: &Self, now: WallTime) -> Result<CertificateDer<'static>, Error> {
        let mut params = of_ca(&next.key, now)?;
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key.0).map_err(crypto)?;
        let made = params.signed_by(&next.key.0, &issuer).map_err(crypto)?;
        Ok(made.der().clone())
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key, to be stored sealed.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its pin.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.key.pin()
    }

    /// Signs a certificate for the key of `request`, for client and server authentication.
    ///
    /// # Errors
    /// When a host is not a name that certificates can carry, or the machine gives no randomness.
    pub fn issue(&self, request: &Request, leaf: &Leaf) -> Result<CertificateDer<'static>, Error> {
        let mut params =
            CertificateParams::new(leaf.hosts.clone()).map_err(|_| Error::Unusable {
                what: "certificate",
                why: format!("a host of {} cannot stand in a certificate", leaf.id),
            })?;
        let id = leaf.id.to_string();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CommonName,
            leaf.id.node().map_or("control", |node| node.as_str()),
        );
        if let Some(instance) = &leaf.instance {
            let name = &mut params.distinguished_name;
            name.push(DnType::OrganizationalUnitName, instance.as_str());
        }
        let id = id.as_str().try_into().map_err(crypto)?;
        params.subject_alt_names.insert(0, SanType::URI(id));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![Use::ClientAuth, Use::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        last(&mut params, leaf.begins, leaf.ends);
        params.serial_number = Some(serial()?);
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key.0).map_err(crypto)?;
        let made = params.signed_by(&request.0, &issuer).map_err(crypto)?;
        Ok(made.der().clone())
    }
}

fn of_ca(key: &Key, now: WallTime) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let pin = key.pin().hex();
    let name = format!("regmesh CA {}", pin.get(..8).unwrap_or_default());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    last(&mut params, now.minus(CA_BACKDATE), now.plus(CA_LIFE));
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// In whole seconds, as a certificate writes them; before 1970 is 1970.
fn last(params: &mut CertificateParams, begins: WallTime, ends: WallTime) {
    let since_1970 = |at: WallTime| Duration::from_secs(u64::try_from(at.seconds()).unwrap_or(0));
    let start = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = start + since_1970(begins);
    params.not_after = start + since_1970(ends);
}

fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(crypto)?;
    bytes[0] &= 0x7f; // positive
    Ok(SerialNumber::from_slice(&bytes))
}

fn crypto(error: impl std::fmt::Display) -> Error {
    Error::Crypto(error.to_string())
}
