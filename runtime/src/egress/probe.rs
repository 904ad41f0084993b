//! One look at the way to a server: its name, a connection, its certificate; nothing is asked of it.
//!
//! What a request would only say in one error is told step by step here, under the same policy and with the same trust as the
//! client's requests, on a connection of its own that is closed again. Behind a proxy only the way to the proxy can be seen.

use std::net::{IpAddr, SocketAddr};

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use x509_parser::{extensions::GeneralName, parse_x509_certificate, time::ASN1Time};

use super::Client;

/// A way that is open as far as TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What the name means here; of a literal the address itself.
    pub addresses: Vec<IpAddr>,
    /// The server's certificate; none without TLS, or behind a proxy.
    pub certificate: Option<Certificate>,
}

/// What is told of a certificate. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// When it begins.
    pub begins_ms: i64,
    /// When it ends.
    pub ends_ms: i64,
    /// Whether it names a workload (`spiffe://…`), as certificates do that somebody renews all the time.
    pub is_workloads: bool,
}

/// Where a way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The name has no address.
    Name,
    /// The address may not be connected to.
    Policy,
    /// Nobody takes the connection.
    Connect,
    /// The handshake fails; the certificate above all.
    Tls,
}

/// A way that is not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Blocked {
    /// Where it ends.
    pub step: Step,
    /// Why.
    pub reason: String,
}

impl Blocked {
    fn at(step: Step, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self { step, reason }
    }
}

impl Client {
    /// Looks at the way to the server of `url`. Takes no longer than a few times the connect time-out; safe to drop.
    ///
    /// # Errors
    /// Where the way ends, and why.
    pub async fn probe(&self, url: &Url) -> Result<Way, Blocked> {
        self.policy
            .check_url(url)
            .map_err(|refused| Blocked::at(Step::Policy, refused))?;
        let proxy = self.proxy.as_ref().filter(|_| !is_loopback(url));
        let server = proxy.unwrap_or(url);
        let (addresses, stream) = self.connect(server).await?;
        let certificate = match url.scheme() {
            "https" if proxy.is_none() => self.handshake(url, stream).await?,
            _ => None,
        };
        Ok(Way {
            addresses,
            certificate,
        })
    }

    async fn connect(&self, server: &Url) -> Result<(Vec<IpAddr>, TcpStream), Blocked> {
        let port = server.port_or_known_default().unwrap_or(443);
        let addresses = self.addresses(server, port).await?;
        let host = server.host_str().unwrap_or_default();
        let mut reason = format!("{host} has no address");
        for address in &addresses {
            match timeout(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let addresses = addresses.iter().map(SocketAddr::ip).collect();
                    return Ok((addresses, stream));
                }
                Ok(Err(error)) => reason = format!("{address}: {error}"),
                Err(_) => {
                    let secs = self.connect_timeout.as_secs_f64();
                    reason = format!("{address}: no answer within {secs} s");
                }
            }
        }
        Err(Blocked::at(Step::Connect, reason))
    }

    /// The first few addresses that the policy allows.
    async fn addresses(&self, server: &Url, port: u16) -> Result<Vec<SocketAddr>, Blocked> {
        let name = match server.host() {
            Some(Host::Domain(name)) => name,
            Some(Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
            Some(Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
            None => return Err(Blocked::at(Step::Name, "the URL has no host")),
        };
        let looked = timeout(self.connect_timeout, tokio::net::lookup_host((name, port))).await;
        let found = match looked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Blocked::at(Step::Name, format!("{name}: {error}"))),
            Err(_) => {
                return Err(Blocked::at(
                    Step::Name,
                    format!("{name}: no answer in time"),
                ));
            }
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.policy.check(name, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        allowed.truncate(MOST);
        match refused {
            Some(error) if allowed.is_empty() => Err(Blocked::at(Step::Policy, error)),
            _ => Ok(allowed),
        }
    }

    async fn handshake(
        &self,
        url: &Url,
        stream: TcpStream,
    ) -> Result<Option<Certificate>, Blocked> {
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())
                .map_err(|error| Blocked::at(Step::Tls, error))?,
            Some(Host::Ipv4(address)) => ServerName::from(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => ServerName::from(IpAddr::from(address)),
            None => return Err(Blocked::at(Step::Name, "the URL has no host")),
        };
        let connector = TlsConnector::from(std::sync::Arc::clone(&self.tls));
        let shaken = timeout(self.connect_timeout, connector.connect(name, stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Blocked::at(Step::Tls, error)),
            Err(_) => return Err(Blocked::at(Step::Tls, "no handshake in time")),
        };
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        Ok(leaf.and_then(|leaf| Certificate::read(leaf)))
    }
}

impl Certificate {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        let ms = |time: ASN1Time| time.timestamp().saturating_mul(1000);
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        let is_workloads =
            names.any(|name| matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe://")));
        Some(Self {
            begins_ms: ms(validity.not_before),
            ends_ms: ms(validity.not_after),
            is_workloads,
        })
    }
}

/// How many addresses of one name are tried.
const MOST: usize = 4;

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{Options, Policy};
    use crate::listener;
    use crate::tasks::Tasks;

    fn client(ca: Option<String>) -> Client {
        let options = Options {
            ca_pem: ca.map(String::into_bytes),
            policy: Policy::naming(["localhost", "127.0.0.1", "absent.invalid"]),
            connect_timeout: std::time::Duration::from_secs(10),
            ..Options::default()
        };
        options.build().unwrap()
    }

    async fn look(client: &Client, url: &str) -> Result<Way, Step> {
        let looked = client.probe(&url.parse().unwrap()).await;
        looked.map_err(|blocked| blocked.step)
    }

    #[test]
    fn a_workloads_certificate_is_known_by_its_name() {
        for (name, expected) in [
            ("spiffe://acme/node/dev", true),
            ("https://acme.example", false),
        ] {
            let mut params = rcgen::CertificateParams::new(vec!["dev".to_owned()]).unwrap();
            let uri = rcgen::SanType::URI(name.try_into().unwrap());
            params.subject_alt_names.push(uri);
            let key = rcgen::KeyPair::generate().unwrap();
            let made = params.self_signed(&key).unwrap();
            let read = Certificate::read(made.der()).unwrap();
            assert_eq!(read.is_workloads, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn each_step_of_the_way_is_told_from_the_others() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let mut config = listener::Config::new(([127, 0, 0, 1], 0).into());
        let tls = crate::tls::Server::fixed(cert.as_bytes(), key.as_bytes());
        config.tls = Some(tls.unwrap());
        let bound = listener::bind(config).await.unwrap();
        let (tasks, port) = (Tasks::new("test"), bound.local_addr().port());
        bound.serve(axum::Router::new(), &tasks);

        let trusting = client(Some(cert));
        let https = format!("https://localhost:{port}/v2/");
        let way = look(&trusting, &https).await.unwrap();
        let shown = way.certificate.unwrap();
        assert!(shown.ends_ms > 1_700_000_000_000 && shown.begins_ms < shown.ends_ms);
        assert!(!shown.is_workloads);
        assert!(way.addresses.iter().any(IpAddr::is_loopback));
        let plain = look(&trusting, &format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(plain.unwrap().certificate, None);

        assert_eq!(look(&client(None), &https).await, Err(Step::Tls));
        let by_address = format!("https://127.0.0.1:{port}/");
        assert_eq!(look(&trusting, &by_address).await, Err(Step::Tls));
        let strict = Options::default().build().unwrap();
        assert_eq!(look(&strict, &https).await, Err(Step::Policy));
        assert_eq!(look(&strict, &by_address).await, Err(Step::Policy));
        let absent = look(&trusting, "https://absent.invalid/").await;
        assert_eq!(absent, Err(Step::Name));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let closed = look(&trusting, &format!("https://127.0.0.1:{port}/")).await;
        assert_eq!(closed, Err(Step::Connect));
    }
}
