//! The one maker of outgoing HTTP clients.
//!
//! Every client refuses addresses that no upstream has a reason to be at, on the address actually connected to (`policy`). It follows
//! no redirect, keeps no cookie, asks for no compression and decodes none: digests, ranges and credentials are the caller's to
//! follow through. There is no limit on the whole of a transfer, only on silence. Whether plain http is allowed, and what is sent to
//! whom, is decided above.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use reqwest::RequestBuilder;
use url::Url;

mod policy;
mod probe;
mod resolve;
mod roots;

pub use policy::{Policy, Reach, Refused, reach};
pub use probe::{Blocked, Certificate, Step, Way};
pub use roots::Mutual;

use resolve::Checked;

/// What a client may do and how long it waits.
#[derive(Debug, Clone)]
pub struct Options {
    /// PEM certificates trusted beside the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// For a server that may be one of ours: what is believed beside all that, and shown.
    pub mutual: Option<Mutual>,
    /// A proxy for everything but loopback. The environment's proxies are not obeyed.
    pub proxy: Option<Url>,
    /// For name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// The longest silence while an answer is awaited or read.
    pub read_timeout: Duration,
    /// Where it may connect to.
    pub policy: Policy,
    /// The `User-Agent`.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_pem: None,
            mutual: None,
            proxy: None,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            policy: Policy::default(),
            user_agent: "regmesh".to_owned(),
        }
    }
}

/// An HTTP client with its own connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    policy: Policy,
    tls: Arc<rustls::ClientConfig>,
    proxy: Option<Url>,
    connect_timeout: Duration,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ca_pem` holds no certificate, or a broken one.
    #[error("the additional certificate authorities cannot be read")]
    Authorities(#[source] rustls_pki_types::pem::Error),
    /// What is to be shown is no certificate with its key.
    #[error("the certificate to show cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The proxy's URL, or something the library did not like.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// HTTP/2 windows: one stream fills a long fat pipe, and one slow reader does not stop the others.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const FRAME: u32 = 256 << 10;
const MAX_HEADER_BYTES: u32 = 64 << 10;
const IDLE_CONNECTIONS: usize = 32;

impl Options {
    /// Makes a client. Reads nothing from disk until the first TLS handshake.
    pub fn build(self) -> Result<Client, Error> {
        let policy = match &self.proxy {
            // The proxy was named too, and it is what gets resolved.
            Some(proxy) => self.policy.and_named(proxy.host_str()),
            None => self.policy.clone(),
        };
        let extra = match &self.ca_pem {
            Some(pem) => crate::tls::certificates(pem).map_err(Error::Authorities)?,
            None => Vec::new(),
        };
        let (proxy, connect_timeout) = (self.proxy.clone(), self.connect_timeout);
        let tls = roots::client_config(extra, self.mutual.as_ref()).map_err(Error::Certificate)?;
        let client = self.builder(policy.clone(), tls.clone())?.build();
        Ok(Client {
            inner: client.map_err(Error::Client)?,
            policy,
            tls: Arc::new(tls),
            proxy,
            connect_timeout,
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one maker of outgoing HTTP clients"
    )]
    fn builder(
        self,
        policy: Policy,
        tls: rustls::ClientConfig,
    ) -> Result<reqwest::ClientBuilder, Error> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(Checked(policy)))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_deflate()
            .no_brotli()
            .no_zstd()
            .user_agent(self.user_agent)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_frame_size(FRAME)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(20))
            .no_proxy();
        let Some(proxy) = self.proxy else {
            return Ok(builder);
        };
        let direct = reqwest::NoProxy::from_string("localhost,127.0.0.0/8,::1");
        let proxy = reqwest::Proxy::all(proxy).map_err(Error::Client)?;
        Ok(builder.proxy(proxy.no_proxy(direct)))
    }
}

impl Client {
    /// Begins a request, unless the URL itself shows that it must not be made. Names are judged when they are resolved; that refusal
    /// is found by [`refused`] in the error of `send`.
    pub fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, Refused> {
        self.policy.check_url(url)?;
        Ok(self.inner.request(method, url.clone()))
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// The refusal inside a failed request, if that is why it failed.
pub fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener;
    use crate::tasks::Tasks;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::response::Redirect;
    use axum::routing::get;

    fn client(named: &[&str]) -> Client {
        let policy = Policy::naming(named);
        let options = Options {
            policy,
            ..Options::default()
        };
        options.build().unwrap()
    }

    async fn server(router: Router, tls: Option<crate::tls::Server>) -> (Tasks, u16) {
        let tasks = Tasks::new("test");
        let mut config = listener::Config::new(([127, 0, 0, 1], 0).into());
        config.tls = tls;
        let bound = listener::bind(config).await.unwrap();
        let port = bound.local_addr().port();
        bound.serve(router, &tasks);
        (tasks, port)
    }

    async fn server_of<F, Fut>(handler: F, tls: crate::tls::Server) -> (Tasks, u16)
    where
        F: Fn(axum::extract::Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        server(Router::new().route("/", get(handler)), Some(tls)).await
    }

    async fn get_text(client: &Client, url: &str) -> Result<String, reqwest::Error> {
        let request = client.request(Method::GET, &url.parse().unwrap());
        request.unwrap().send().await?.text().await
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused_unless_named() {
        let (_tasks, port) =
            server(Router::new().route("/", get(|| async { "hello" })), None).await;
        let url = format!("http://localhost:{port}/");
        assert_eq!(
            get_text(&client(&["LOCALHOST."]), &url).await.unwrap(),
            "hello"
        );
        let error = get_text(&client(&["other.example"]), &url)
            .await
            .unwrap_err();
        assert!(
            matches!(refused(&error), Some(Refused::Local { .. })),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn nothing_is_followed_decoded_or_sent_unasked() {
        let router = Router::new()
            .route("/", get(|| async { Redirect::temporary("/elsewhere") }))
            .route(
                "/headers",
                get(|headers: HeaderMap| async move {
                    let mut names: Vec<_> = headers
                        .keys()
                        .map(|name| name.as_str().to_owned())
                        .collect();
                    names.sort();
                    names.join(",")
                }),
            );
        let (_tasks, port) = server(router, None).await;
        let client = client(&["127.0.0.1"]);
        let url = format!("http://127.0.0.1:{port}/").parse().unwrap();
        let answer = client
            .request(Method::GET, &url)
            .unwrap()
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 307);
        let headers = get_text(&client, &format!("http://127.0.0.1:{port}/headers"))
            .await
            .unwrap();
        assert_eq!(headers, "accept,host,user-agent");
    }

    #[tokio::test]
    async fn tls_is_checked_and_an_added_authority_is_trusted_over_http_2() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = crate::tls::Server::fixed(cert.as_bytes(), key.as_bytes()).unwrap();
        let version =
            |request: axum::extract::Request| async move { format!("{:?}", request.version()) };
        let (_tasks, port) = server(Router::new().route("/", get(version)), Some(tls)).await;
        let url = format!("https://localhost:{port}/");
        assert!(get_text(&client(&["localhost"]), &url).await.is_err());
        let options = Options {
            ca_pem: Some(cert.into_bytes()),
            policy: Policy::naming(["localhost"]),
            ..Options::default()
        };
        let answer = get_text(&options.build().unwrap(), &url).await.unwrap();
        assert_eq!(answer, "HTTP/2.0");
    }

    #[tokio::test]
    async fn one_of_ours_is_believed_by_its_judge_and_is_shown_who_we_are() {
        let made = || {
            let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]);
            let made = made.unwrap();
            (made.cert.der().clone(), made)
        };
        let ((server, key), (own, own_key)) = (made(), made());
        let live = crate::tls::Live::default();
        let shown = own.clone();
        let tls = live.server(Some(Arc::new(move |chain| chain[0] == shown)));
        let count = |request: axum::extract::Request| async move {
            let peer = request.extensions().get::<listener::Peer>().unwrap();
            peer.certificates.len().to_string()
        };
        let (_tasks, port) = server_of(count, tls).await;
        let url = format!("https://localhost:{port}/");
        let ours = |wanted: rustls_pki_types::CertificateDer<'static>| {
            let judge: crate::tls::Judge = Arc::new(move |chain| match chain[0] == wanted {
                true => Ok(()),
                false => Err("it is another".to_owned()),
            });
            let key = own_key.signing_key.serialize_der();
            let key = rustls_pki_types::PrivateKeyDer::Pkcs8(key.into());
            let options = Options {
                mutual: Some(Mutual {
                    judge,
                    shown: Arc::new((vec![own.clone()], key)),
                }),
                policy: Policy::naming(["localhost"]),
                ..Options::default()
            };
            options.build().unwrap()
        };
        let trusting = ours(server.clone());
        assert!(
            get_text(&trusting, &url).await.is_err(),
            "nothing to serve yet"
        );
        let pair = key.signing_key.serialize_der();
        live.swap(
            vec![server],
            rustls_pki_types::PrivateKeyDer::Pkcs8(pair.into()),
        )
        .unwrap();
        assert_eq!(get_text(&trusting, &url).await.unwrap(), "1");
        let error = get_text(&ours(own.clone()), &url).await.unwrap_err();
        assert!(format!("{error:?}").contains("it is another"), "{error:?}");
    }

    #[test]
    fn garbage_instead_of_authorities_is_an_error() {
        let options = Options {
            ca_pem: Some(b"nothing".to_vec()),
            ..Options::default()
        };
        assert!(matches!(options.build(), Err(Error::Authorities(_))));
    }
}
