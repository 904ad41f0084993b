//! What a shown chain is worth: signed by a CA of the mesh, in time, and whom it names.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use wire::time::WallTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{Error, Invalid, SpiffeId};

/// How far in our future a certificate may begin.
pub(super) const SLACK: Duration = Duration::from_secs(60);
/// How many certificates behind the leaf are looked at.
const MOST: usize = 8;

/// The moment at which a chain is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// It must be valid then.
    Valid(WallTime),
    /// It must have begun by then; it may have ended.
    Begun(WallTime),
}

/// What a believed chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whom it names.
    pub id: SpiffeId,
    /// The instance of the node that holds the key.
    pub instance: Option<String>,
    /// When it begins.
    pub begins: WallTime,
    /// When it ends.
    pub ends: WallTime,
}

/// Judges a chain, the leaf first, by the CA certificates in `roots`. What follows the leaf may help to find one: a CA that another CA
/// of the mesh signed when it was replaced.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    at: At,
) -> Result<Shown, Invalid> {
    let (leaf, others) = chain.split_first().ok_or(Invalid::None)?;
    let others = others.get(..MOST).unwrap_or(others);
    let shown = read(leaf)?;
    let (now, may_have_ended) = match at {
        At::Valid(now) => (now, false),
        At::Begun(now) => (now, true),
    };
    if now.plus(SLACK) < shown.begins {
        return Err(Invalid::Early);
    }
    signed_by(
        (leaf, others),
        roots,
        now.clamp(shown.begins, shown.ends.max(shown.begins)),
    )?;
    // Last, so that a foreign certificate is called foreign and not expired.
    if !may_have_ended && now >= shown.ends {
        return Err(Invalid::Ended);
    }
    Ok(shown)
}

fn signed_by(
    (leaf, others): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    roots: &[CertificateDer<'_>],
    at: WallTime,
) -> Result<(), Invalid> {
    let anchors: Vec<_> = roots
        .iter()
        .filter_map(|root| anchor_from_trusted_cert(root).ok())
        .collect();
    let seconds = u64::try_from(at.seconds()).map_err(|_| Invalid::Unreadable)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| Invalid::Unreadable)?;
    let algorithms = [webpki::aws_lc_rs::ECDSA_P256_SHA256];
    leaf.verify_for_usage(
        &algorithms,
        &anchors,
        others,
        time,
        KeyUsage::client_auth(),
        None,
        None,
    )
    .map(drop)
    .map_err(|_| Invalid::Foreign)
}

/// What a certificate says of itself. Whether that is to be believed is [`verify`]'s.
///
/// # Errors
/// When it cannot be read, or names no single node or control plane.
pub fn read(leaf: &CertificateDer<'_>) -> Result<Shown, Invalid> {
    let certificate = parse(leaf).ok_or(Invalid::Unreadable)?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .ok_or(Invalid::Name)?;
    let mut ids = names.value.general_names.iter().filter_map(uri);
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return Err(Invalid::Name);
    };
    let instance = certificate.subject().iter_organizational_unit().next();
    let instance = instance
        .and_then(|unit| unit.as_str().ok())
        .map(str::to_owned);
    let moment = |seconds: i64| WallTime(seconds.saturating_mul(1_000));
    Ok(Shown {
        id: id.parse().map_err(|_| Invalid::Name)?,
        instance,
        begins: moment(certificate.validity().not_before.timestamp()),
        ends: moment(certificate.validity().not_after.timestamp()),
    })
}

/// Certificates as PEM, one after the other.
#[must_use]
pub fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

fn uri<'n>(name: &'n GeneralName<'_>) -> Option<&'n str> {
    if let GeneralName::URI(uri) = name {
        return Some(uri);
    }
    None
}

fn parse<'c>(der: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// DER of a certificate's SubjectPublicKeyInfo.
pub(super) fn public_key(der: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    let certificate = parse(der).ok_or_else(|| Error::Unusable {
        what: "certificate",
        why: "it does not parse".to_owned(),
    })?;
    Ok(certificate.public_key().raw.to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::{Authority, Key, Leaf, Pin, Request};
    use super::*;

    const START: WallTime = WallTime(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn leaf(authority: &Authority, id: &str) -> CertificateDer<'static> {
        let request = Request::read(&Key::generate().unwrap().request("x").unwrap()).unwrap();
        let leaf = Leaf {
            id: id.parse().unwrap(),
            instance: Some("one".into()),
            hosts: vec!["prod.example.org".into(), "127.0.0.1".into()],
            begins: START,
            ends: START.plus(DAY),
        };
        authority.issue(&request, &leaf).unwrap()
    }

    #[test]
    fn a_chain_is_believed_by_its_ca_in_its_time() {
        let (own, other) = (
            Authority::generate(START).unwrap(),
            Authority::generate(START).unwrap(),
        );
        let good = leaf(&own, "spiffe://acme/node/prod");
        let roots = [other.certificate().clone(), own.certificate().clone()];
        let later = START.plus(DAY).plus(DAY);
        let early = START.minus(DAY);
        let cases = [
            ("in its time", At::Valid(START), Ok(())),
            (
                "begins in half a minute",
                At::Valid(START.minus(SLACK / 2)),
                Ok(()),
            ),
            ("begins tomorrow", At::Valid(early), Err(Invalid::Early)),
            (
                "begins tomorrow, end or not",
                At::Begun(early),
                Err(Invalid::Early),
            ),
            ("ended", At::Valid(later), Err(Invalid::Ended)),
            ("ended, and may have", At::Begun(later), Ok(())),
        ];
        for (name, at, expected) in cases {
            let chain = [good.clone(), own.certificate().clone()];
            assert_eq!(verify(&chain, &roots, at).map(drop), expected, "{name}");
        }
        let shown = verify(&[good], &roots, At::Valid(START)).unwrap();
        assert_eq!(shown.id.to_string(), "spiffe://acme/node/prod");
        assert_eq!((shown.begins, shown.ends), (START, START.plus(DAY)));
        assert_eq!(shown.instance.as_deref(), Some("one"));
    }

    #[test]
    fn certificates_come_back_from_their_pem() {
        use rustls_pki_types::pem::PemObject;
        let made = || Authority::generate(START).unwrap().certificate().clone();
        let certificates = vec![made(), made()];
        let pem = to_pem(&certificates);
        let read = CertificateDer::pem_slice_iter(pem.as_bytes());
        assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), certificates);
        assert!(pem.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn what_another_ca_signed_or_nobody_named_is_not_believed() {
        let (own, other) = (
            Authority::generate(START).unwrap(),
            Authority::generate(START).unwrap(),
        );
        let roots = [own.certificate().clone()];
        let foreign = leaf(&other, "spiffe://acme/node/prod");
        let now = At::Valid(START);
        assert_eq!(verify(&[], &roots, now), Err(Invalid::None));
        assert_eq!(
            verify(&[foreign.clone(), own.certificate().clone()], &roots, now),
            Err(Invalid::Foreign)
        );
        assert_eq!(verify(&[foreign], &[], now), Err(Invalid::Foreign));
        assert_eq!(
            verify(&roots, &roots, now),
            Err(Invalid::Name),
            "the CA is nobody"
        );
        assert_eq!(
            verify(&[vec![1, 2, 3].into()], &roots, now),
            Err(Invalid::Unreadable)
        );
    }

    #[test]
    fn who_knows_only_the_ca_before_believes_the_one_it_signed_and_nobody_else() {
        let authority = || Authority::generate(START).unwrap();
        let (old, new, foreign) = (authority(), authority(), authority());
        let cross = old.cross_sign(&new, START).unwrap();
        let roots = [old.certificate().clone()];
        let now = At::Valid(START);
        let good = leaf(&new, "spiffe://acme/control");
        assert!(
            verify(
                &[good.clone(), new.certificate().clone(), cross.clone()],
                &roots,
                now
            )
            .is_ok()
        );
        assert_eq!(verify(&[good], &roots, now), Err(Invalid::Foreign));
        let bad = leaf(&foreign, "spiffe://acme/control");
        assert_eq!(verify(&[bad, cross], &roots, now), Err(Invalid::Foreign));
        // A node's own leaf signs nothing.
        let key = Key::generate().unwrap();
        let node = Leaf {
            id: "spiffe://acme/node/prod".parse().unwrap(),
            instance: None,
            hosts: Vec::new(),
            begins: START,
            ends: START.plus(DAY),
        };
        let request = Request::read(&key.request("x").unwrap()).unwrap();
        let own = old.issue(&request, &node).unwrap();
        let thief = Authority::from_parts(own.clone(), key).unwrap();
        let forged = leaf(&thief, "spiffe://acme/control");
        assert_eq!(verify(&[forged, own], &roots, now), Err(Invalid::Foreign));
    }

    #[test]
    fn a_pin_finds_its_ca_in_a_chain_and_outlives_a_new_certificate_of_the_same_key() {
        let own = Authority::generate(START).unwrap();
        let chain = [
            leaf(&own, "spiffe://acme/control"),
            own.certificate().clone(),
        ];
        assert_eq!(own.pin().find(&chain), Some(own.certificate()));
        assert_eq!(Pin::of(own.certificate()).unwrap(), own.pin());
        assert_eq!(own.pin().to_string().parse(), Ok(own.pin()));
        assert_eq!(Authority::generate(START).unwrap().pin().find(&chain), None);
        let stored = Key::from_pem(&own.key().to_pem()).unwrap();
        assert!(Authority::from_parts(own.certificate().clone(), stored).is_ok());
        assert!(
            Authority::from_parts(own.certificate().clone(), Key::generate().unwrap()).is_err()
        );
    }
}
