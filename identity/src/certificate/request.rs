//! A certificate request as the CA reads it: a public key whose owner proved that it holds the private one. Whatever else the request
//! asks for is ignored: what a certificate says is the CA's decision.

use rcgen::{CertificateSigningRequestParams, PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{Error, Pin};

/// The longest request looked at, in bytes.
const MAX: usize = 8 << 10;

/// A request whose signature was checked.
#[derive(Debug, Clone)]
pub struct Request(pub(super) SubjectPublicKeyInfo);

impl Request {
    /// Reads PKCS #10 (DER) and checks its signature.
    ///
    /// # Errors
    /// When it is too long, does not parse, is not for a P-256 key, or was not signed by that key.
    pub fn read(csr: &[u8]) -> Result<Self, Error> {
        if csr.len() > MAX {
            return Err(unusable("it is longer than 8 KiB"));
        }
        let key = public_key(csr)?;
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(unusable("its key is not ECDSA P-256"));
        }
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(|_| unusable("it is not signed by its own key with SHA-256, or asks for extensions we do not know"))?;
        Ok(Self(key))
    }

    /// The hash of its public key.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::of_key(&self.0.subject_public_key_info())
    }
}

fn public_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, Error> {
    let (rest, parsed) =
        X509CertificationRequest::from_der(csr).map_err(|_| unusable("it does not parse"))?;
    if !rest.is_empty() {
        return Err(unusable("something follows it"));
    }
    let info = &parsed.certification_request_info;
    SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
        .map_err(|_| unusable("its key is not ECDSA P-256"))
}

fn unusable(why: &str) -> Error {
    Error::Unusable {
        what: "certificate request",
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    #[test]
    fn only_a_request_signed_by_its_own_p256_key_is_read() {
        let key = Key::generate().unwrap();
        let csr = key.request("eu-aks-1").unwrap();
        assert_eq!(Request::read(&csr).unwrap().pin(), key.pin());

        let mut forged = csr.clone();
        *forged.last_mut().unwrap() ^= 1;
        let longer = [csr.as_slice(), &[0]].concat();
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let other = rcgen::CertificateParams::default()
            .serialize_request(&other)
            .unwrap();
        let cases: [(&str, &[u8]); 6] = [
            ("nothing", b""),
            ("garbage", b"\x30\x03abc"),
            ("another's signature", &forged),
            ("something behind it", &longer),
            ("another curve", other.der()),
            ("too long", &[0x30; MAX + 1]),
        ];
        for (name, csr) in cases {
            assert!(Request::read(csr).is_err(), "{name}");
        }
    }
}
