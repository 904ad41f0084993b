//! Which certificate is served after the files change, and whose client certificates count.

use super::*;
use crate::listener;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn self_signed() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write(config: &Config, (certificate, key): &(String, String)) {
    std::fs::write(&config.certificate, certificate).unwrap();
    std::fs::write(&config.key, key).unwrap();
}

fn in_force(current: &Current) -> CertificateDer<'static> {
    current.pair.load().cert[0].clone()
}

#[test]
fn a_changed_pair_is_taken_and_a_mismatched_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
    write(&config, &self_signed());
    let current = Current::new(config.load().unwrap(), 0);
    let first = in_force(&current);

    let next = self_signed();
    std::fs::write(&config.certificate, &next.0).unwrap();
    config.reload(&current);
    assert_eq!(
        in_force(&current),
        first,
        "the new certificate with the old key"
    );
    std::fs::write(&config.key, &next.1).unwrap();
    config.reload(&current);
    assert_ne!(in_force(&current), first);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let missing = config.load().unwrap_err();
    assert!(missing.to_string().contains("cert.pem"), "{missing}");
    write(&config, &("no pem".to_owned(), self_signed().1));
    let garbage = config.load().unwrap_err();
    assert!(
        garbage
            .to_string()
            .ends_with("cert.pem holds no usable certificate"),
        "{garbage}"
    );
    assert!(Server::fixed(self_signed().0.as_bytes(), self_signed().1.as_bytes()).is_err());
}

#[test]
fn installing_twice_does_no_harm() {
    install_crypto();
    install_crypto();
}

const BRIEF: Duration = Duration::from_secs(30);

/// What the service says about a client that shows `chain` (and proves it by `key`).
async fn shown_as(
    addr: SocketAddr,
    root: &CertificateDer<'static>,
    client: Option<&(String, String)>,
) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::time::timeout(BRIEF, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_known_client_certificate_is_shown_and_a_foreign_one_counts_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let (own, known, foreign) = (self_signed(), self_signed(), self_signed());
    write(&config, &own);
    let leaf = certificates(known.0.as_bytes()).unwrap().remove(0);
    config.trust = Some(Arc::new(move |chain| chain[0] == leaf));
    let (tasks, clock) = (Tasks::new("test"), Clock::system());
    let mut listen = listener::Config::new(([127, 0, 0, 1], 0).into());
    listen.tls = Some(config.build(&tasks, &clock).unwrap());
    let bound = listener::bind(listen).await.unwrap();
    let addr = bound.local_addr();
    let count = |request: Request| async move {
        let peer = request.extensions().get::<listener::Peer>().unwrap();
        format!("{} {}", peer.tls, peer.certificates.len())
    };
    bound.serve(Router::new().route("/", get(count)), &tasks);
    let root = certificates(own.0.as_bytes()).unwrap().remove(0);
    assert_eq!(shown_as(addr, &root, None).await, "true 0");
    assert_eq!(shown_as(addr, &root, Some(&foreign)).await, "true 0");
    assert_eq!(shown_as(addr, &root, Some(&known)).await, "true 1");
}

#[tokio::test]
async fn a_running_listener_serves_the_new_certificate_once_the_files_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
    config.reload = Duration::from_secs(5);
    write(&config, &self_signed());
    let (tasks, clock) = (Tasks::new("test"), Clock::manual(0));
    let mut listen = listener::Config::new(([127, 0, 0, 1], 0).into());
    listen.tls = Some(config.clone().build(&tasks, &clock).unwrap());
    let bound = listener::bind(listen).await.unwrap();
    let addr = bound.local_addr();
    bound.serve(Router::new(), &tasks);
    let next = self_signed();
    write(&config, &next);
    let root = certificates(next.0.as_bytes()).unwrap().remove(0);
    for _ in 0..1_000 {
        clock.advance(Duration::from_secs(5));
        if trusts(addr, &root).await {
            return;
        }
    }
    unreachable!("the new certificate is never served");
}

async fn trusts(addr: SocketAddr, root: &CertificateDer<'static>) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(addr).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .is_ok()
}
