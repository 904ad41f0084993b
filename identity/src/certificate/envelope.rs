//! Slices signed by the control plane and checked by nodes, on arrival and again when read from disk.
//!
//! The signer's certificate must have been valid when it signed; that it has ended since means nothing, or a node could not start after
//! a long outage. Whether the generation is older than the one in force is the agent's to decide.

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use wire::{
    api::slice::Envelope,
    generation::Generation,
    name::{MeshName, NodeName},
    time::WallTime,
};

use super::{At, Error, Invalid, Key, verify};

/// Why a signed slice is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The signer's chain is not believed.
    #[error("the slice's signer is not the control plane of this mesh: {0}")]
    Signer(#[source] Invalid),
    /// The signer is not a control plane.
    #[error("the slice was not signed by a control plane")]
    NotControl,
    /// The signature is not the signer's, or not over this.
    #[error("the slice's signature does not belong to it")]
    Signature,
    /// It is for another node.
    #[error("the slice is for node '{0}'")]
    OtherNode(NodeName),
    /// Signed later than clocks may differ.
    #[error("the slice was signed in the future: compare the clocks")]
    Future,
    /// Its document is not the one that was signed.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// What is wrong with an envelope's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It was left out, and the one at hand is another.
    #[error("the slice came without its document, which is not here")]
    Missing,
    /// It is not the one that was signed.
    #[error("the slice's document is not the one that was signed")]
    Altered,
}

/// SHA-256 of a slice's document, lower-case hex.
#[must_use]
pub fn document_digest(document: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, document.as_bytes()))
}

/// Signs a slice of `generation` for `node` with a control plane's `key`, whose `chain` goes with it.
///
/// # Errors
/// When the machine gives no randomness.
pub fn sign(
    (mesh, node, generation): (&MeshName, &NodeName, Generation),
    document: &str,
    now: WallTime,
    key: &Key,
    chain: &[CertificateDer<'_>],
) -> Result<Envelope, Error> {
    let mut envelope = Envelope {
        mesh: mesh.clone(),
        node: node.clone(),
        generation,
        signed_at: now,
        document_digest: document_digest(document),
        document: Some(document.to_owned()),
        signature: String::new(),
        chain: chain.iter().map(hex::encode).collect(),
    };
    envelope.signature = hex::encode(key.sign(&envelope.signed())?);
    Ok(envelope)
}

/// Checks a slice for `node`: signer, signature, document. `held` is the document at hand, which an envelope without one refers to.
/// Gives the document.
///
/// # Errors
/// Why it is not believed.
pub fn open<'e>(
    envelope: &'e Envelope,
    node: &NodeName,
    held: Option<&'e str>,
    roots: &[CertificateDer<'_>],
    now: WallTime,
) -> Result<&'e str, EnvelopeError> {
    if envelope.node != *node {
        return Err(EnvelopeError::OtherNode(envelope.node.clone()));
    }
    if envelope.signed_at > now.plus(super::chain::SLACK) {
        return Err(EnvelopeError::Future);
    }
    let chain = chain(envelope)?;
    let signer =
        verify(&chain, roots, At::Valid(envelope.signed_at)).map_err(EnvelopeError::Signer)?;
    if !signer.id.is_control() {
        return Err(EnvelopeError::NotControl);
    }
    check_signature(envelope, &chain)?;
    Ok(document(envelope, held)?)
}

fn chain(envelope: &Envelope) -> Result<Vec<CertificateDer<'static>>, EnvelopeError> {
    let unreadable = EnvelopeError::Signer(Invalid::Unreadable);
    let decoded: Result<Vec<_>, _> = envelope.chain.iter().map(hex::decode).collect();
    let decoded = decoded.map_err(|_| unreadable)?;
    Ok(decoded.into_iter().map(CertificateDer::from).collect())
}

fn check_signature(envelope: &Envelope, chain: &[CertificateDer<'_>]) -> Result<(), EnvelopeError> {
    let signature = hex::decode(&envelope.signature).map_err(|_| EnvelopeError::Signature)?;
    let leaf = chain.first().ok_or(EnvelopeError::Signature)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| EnvelopeError::Signature)?;
    leaf.verify_signature(
        webpki::aws_lc_rs::ECDSA_P256_SHA256,
        &envelope.signed(),
        &signature,
    )
    .map_err(|_| EnvelopeError::Signature)
}

fn document<'e>(envelope: &'e Envelope, held: Option<&'e str>) -> Result<&'e str, DocumentError> {
    let matches = |text: &str| document_digest(text) == envelope.document_digest;
    match (envelope.document.as_deref(), held) {
        (Some(text), _) if matches(text) => Ok(text),
        (Some(_), _) => Err(DocumentError::Altered),
        (None, Some(text)) if matches(text) => Ok(text),
        (None, _) => Err(DocumentError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Authority, Leaf, Request};
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000);

    fn signer(authority: &Authority, id: &str) -> (Key, Vec<CertificateDer<'static>>) {
        let key = Key::generate().unwrap();
        let leaf = Leaf {
            id: id.parse().unwrap(),
            instance: None,
            hosts: Vec::new(),
            begins: NOW.minus(Duration::from_secs(60)),
            ends: NOW.plus(Duration::from_secs(3_600)),
        };
        let request = Request::read(&key.request("control").unwrap()).unwrap();
        let chain = vec![authority.issue(&request, &leaf).unwrap()];
        (key, chain)
    }

    fn signed(authority: &Authority, id: &str) -> Envelope {
        let (key, chain) = signer(authority, id);
        let (mesh, node) = ("acme".parse().unwrap(), "prod".parse().unwrap());
        sign(
            (&mesh, &node, Generation(7)),
            "version: 1\n",
            NOW,
            &key,
            &chain,
        )
        .unwrap()
    }

    #[test]
    fn a_slice_is_believed_when_a_control_plane_of_the_mesh_signed_just_this() {
        let authority = Authority::generate(NOW).unwrap();
        let roots = [authority.certificate().clone()];
        let node: NodeName = "prod".parse().unwrap();
        let good = signed(&authority, "spiffe://acme/control");
        let year = NOW.plus(Duration::from_secs(365 * 86_400));
        assert_eq!(
            open(&good, &node, None, &roots, year),
            Ok("version: 1\n"),
            "long after the signer's end"
        );

        let with = |change: fn(&mut Envelope)| {
            let mut envelope = good.clone();
            change(&mut envelope);
            envelope
        };
        use EnvelopeError as E;
        let cases = [
            (
                "another generation",
                with(|e| e.generation = Generation(8)),
                E::Signature,
            ),
            (
                "another time",
                with(|e| e.signed_at = WallTime(e.signed_at.0 + 1)),
                E::Signature,
            ),
            (
                "another mesh",
                with(|e| e.mesh = "evil".parse().unwrap()),
                E::Signature,
            ),
            (
                "another node",
                with(|e| e.node = "dev".parse().unwrap()),
                E::OtherNode("dev".parse().unwrap()),
            ),
            (
                "another document",
                with(|e| e.document = Some("x".into())),
                E::Document(DocumentError::Altered),
            ),
            (
                "no document",
                with(|e| e.document = None),
                E::Document(DocumentError::Missing),
            ),
            (
                "no chain",
                with(|e| e.chain.clear()),
                E::Signer(Invalid::None),
            ),
            (
                "signed by a node",
                signed(&authority, "spiffe://acme/node/prod"),
                E::NotControl,
            ),
            (
                "another CA",
                signed(&Authority::generate(NOW).unwrap(), "spiffe://acme/control"),
                E::Signer(Invalid::Foreign),
            ),
        ];
        for (name, envelope, expected) in cases {
            assert_eq!(
                open(&envelope, &node, None, &roots, NOW),
                Err(expected),
                "{name}"
            );
        }
        let early = NOW.minus(Duration::from_secs(3_600));
        assert_eq!(open(&good, &node, None, &roots, early), Err(E::Future));
    }

    #[test]
    fn a_document_left_out_is_the_one_at_hand_or_nothing() {
        let authority = Authority::generate(NOW).unwrap();
        let roots = [authority.certificate().clone()];
        let node: NodeName = "prod".parse().unwrap();
        let mut envelope = signed(&authority, "spiffe://acme/control");
        envelope.document = None;
        assert_eq!(
            open(&envelope, &node, Some("version: 1\n"), &roots, NOW),
            Ok("version: 1\n")
        );
        assert_eq!(
            open(&envelope, &node, Some("version: 2\n"), &roots, NOW),
            Err(EnvelopeError::Document(DocumentError::Missing))
        );
    }
}
