//! Promises of the remote registry, against a server on loopback that answers by script, byte for byte.

mod authentication;
mod fault;
mod list;
mod reach;
mod redirect;
mod server;
mod shape;

use std::{sync::Mutex, time::Duration};

use identity::{
    authenticator::{self, realm::Policy},
    token_source::{Anonymous, TokenSource},
};
use runtime::Tasks;
use wire::media_type::OCI_INDEX;

use self::server::{Reply, Seen, Server};
use super::*;
use crate::upstream::{
    conformance::{self, read, request},
    error::Kind,
};

const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const BLOB: &str = "0123456789";

/// What passed, in place of metrics.
#[derive(Default)]
struct Counted(Mutex<Vec<String>>);

impl Observer for Counted {
    fn answered(&self, upstream: &str, method: &str, code: Option<u16>, _took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        self.0
            .lock()
            .unwrap()
            .push(format!("{upstream} {method} {code}"));
    }

    fn received(&self, upstream: &str, bytes: u64) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{upstream} {bytes} bytes"));
    }

    fn rate_limit_remaining(&self, upstream: &str, remaining: u64) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{upstream} {remaining} left"));
    }
}

struct Rig {
    tasks: Tasks,
    server: Server,
    remote: Remote,
    counted: Arc<Counted>,
}

impl Rig {
    /// An anonymous remote of a plain registry at a server that answers by `script`.
    async fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Profile::default(), Anonymous, script).await
    }

    async fn with(
        profile: Profile,
        source: impl TokenSource,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let tasks = Tasks::new("test");
        let server = Server::start(&tasks, script).await;
        let counted = Arc::new(Counted::default());
        let remote = remote(&server, profile, source, &counted, &tasks);
        Self {
            tasks,
            server,
            remote,
            counted,
        }
    }

    async fn head(&self, reference: &str) -> Result<ManifestHead, Error> {
        let reference = reference.parse().unwrap();
        self.remote
            .head_manifest(&app(), &reference, Patience::Long, &request())
            .await
    }

    async fn manifest(&self, reference: &str) -> Result<ManifestBody, Error> {
        let reference = reference.parse().unwrap();
        self.remote
            .get_manifest(&app(), &reference, &request())
            .await
    }

    async fn blob(&self, range: Option<BlobRange>) -> Result<BlobBody, Error> {
        let digest = Digest::sha256(BLOB.as_bytes());
        self.remote
            .get_blob(&app(), &digest, range, &request())
            .await
    }

    /// `METHOD last-path-part` of every request so far.
    fn seen(&self) -> Vec<String> {
        self.server.seen().iter().map(Seen::brief).collect()
    }
}

fn remote(
    server: &Server,
    profile: Profile,
    source: impl TokenSource,
    counted: &Arc<Counted>,
    tasks: &Tasks,
) -> Remote {
    let origin = Origin::of(&server.url("/").parse().unwrap()).unwrap();
    let clock = Clock::system();
    let options = egress::Options {
        policy: egress::Policy::naming(["127.0.0.1"]),
        user_agent: "regmesh/test".to_owned(),
        connect_timeout: Duration::from_millis(300),
        ..egress::Options::default()
    };
    let client = options.build().unwrap();
    let authentication = authenticator::Config {
        realms: Policy {
            upstream: origin.clone(),
            profile: profile.realms.clone(),
            declared: Vec::new(),
            aliases: Vec::new(),
        },
        known: profile.known.clone(),
        basic_first: profile.basic_first,
        refusal_may_mean_missing: profile.refusal_may_mean_missing,
        timeout: Duration::from_secs(5),
    };
    let config = Config {
        name: "registry.test".into(),
        origin,
        profile,
        mesh: "contoso".parse().unwrap(),
        node: "prod".parse().unwrap(),
        deadlines: Deadlines {
            first_byte: Duration::from_secs(5),
            short: Duration::from_millis(200),
            long: Duration::from_millis(800),
            progress: Duration::from_millis(300),
            retry_after: Duration::from_millis(1),
        },
    };
    let observer: Arc<dyn Observer> = Arc::<Counted>::clone(counted);
    config.build(Parts {
        authenticator: authentication.build(Arc::new(source), client.clone(), clock.clone(), tasks),
        client,
        clock,
        observer,
    })
}

fn app() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn digest() -> String {
    Digest::sha256(MANIFEST.as_bytes()).to_string()
}

/// A registry that holds tag `1`, its manifest and a blob, and does everything right.
fn registry(seen: &Seen) -> Reply {
    let blob = Digest::sha256(BLOB.as_bytes()).to_string();
    let last = seen.last();
    if seen.target.contains("/manifests/") && (last == "1" || last == digest()) {
        return Reply::ok(OCI_INDEX, MANIFEST).and("Docker-Content-Digest", &digest());
    }
    if seen.target.contains("/blobs/") && last == blob {
        return server::ranged(seen, BLOB);
    }
    if seen.target.contains("/tags/list") {
        return Reply::ok("application/json", r#"{"name":"team/app","tags":["1"]}"#);
    }
    if seen.target.contains("/referrers/") {
        return Reply::ok(
            OCI_INDEX,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
        );
    }
    Reply::status(404)
}

#[tokio::test]
async fn it_conforms() {
    let rig = Rig::new(registry).await;
    let fixture = conformance::Fixture {
        repository: app(),
        tag: "1".into(),
        manifest: MANIFEST.into(),
        blob: BLOB.into(),
    };
    conformance::check(&rig.remote, &fixture).await;
}

#[tokio::test]
async fn a_request_carries_what_it_should_and_nothing_else() {
    let rig = Rig::new(registry).await;
    let mut request = request();
    request.no_cache = true;
    request.hops =
        wire::hops::Hops::default().with(&"contoso".parse().unwrap(), &"spoke".parse().unwrap());
    let tag = "1".parse().unwrap();
    let head = rig
        .remote
        .head_manifest(&app(), &tag, Patience::Long, &request)
        .await;
    head.unwrap();
    let seen = rig.server.seen().remove(0);
    assert_eq!(seen.target, "/v2/team/app/manifests/1");
    let traceparent = seen.header("traceparent").unwrap().to_owned();
    assert_eq!(
        traceparent,
        request.trace.to_string(),
        "our span is the parent of the upstream's"
    );
    let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "cache-control",
            "cdn-loop",
            "host",
            "traceparent",
            "user-agent"
        ]
    );
    for (name, value) in [
        ("accept", wire::media_type::ACCEPT_MANIFESTS),
        ("accept-encoding", "identity"),
        ("cache-control", "no-cache"),
        (
            "cdn-loop",
            "regmesh-spoke; mesh=contoso, regmesh-prod; mesh=contoso",
        ),
        ("user-agent", "regmesh/test"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn what_an_answer_says_about_itself_is_read() {
    let rig = Rig::new(|seen| {
        registry(seen)
            .and("Age", "28")
            .and("Cache-Status", "regmesh; node=hub; hit")
            .and("Warning", "299 - \"served stale\"")
            .and("ratelimit-remaining", "76;w=21600")
    })
    .await;
    for head in [
        rig.head("1").await.unwrap(),
        rig.manifest("1").await.unwrap().head,
    ] {
        assert_eq!(head.age, 28);
        assert_eq!(head.cache_status.as_deref(), Some("regmesh; node=hub; hit"));
        assert_eq!(head.warning.as_deref(), Some("served stale"));
        assert_eq!(head.media_type, OCI_INDEX);
    }
    let blob = rig.blob(None).await.unwrap();
    assert_eq!(blob.cache_status.as_deref(), Some("regmesh; node=hub; hit"));
    read(blob).await;
    let counted = rig.counted.0.lock().unwrap().join("\n");
    for line in [
        "registry.test HEAD 200",
        "registry.test 76 left",
        "registry.test 10 bytes",
    ] {
        assert!(counted.contains(line), "{counted}");
    }
    assert!(!rig.tasks.token().is_cancelled());
}

/// T26: who is nearest to the fault gives up first.
#[test]
fn t26_the_time_allowed_shrinks_hop_by_hop() {
    let allowed = Duration::from_secs(30);
    let mut request = request();
    let mut left = Vec::new();
    for node in ["spoke", "prod", "dev", "further", "still"] {
        left.push(shrunk(allowed, &request).as_secs());
        let (mesh, node) = ("contoso".parse().unwrap(), node.parse().unwrap());
        request.hops = request.hops.with(&mesh, &node);
    }
    assert_eq!(left, [30, 25, 20, 15, 15]);
}

#[test]
fn questions_for_one_request_share_its_time() {
    let began = Clock::manual(0).now();
    let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
    let eight = Duration::from_secs(8);
    let cases = [
        (None, at(3.0), at(11.0)),
        (Some(began), at(0.0), at(8.0)),
        (Some(began), at(7.0), at(8.0)),
        (Some(began), at(20.0), at(20.25)),
    ];
    for (request, now, expected) in cases {
        assert_eq!(ends(eight, request, now), expected, "{request:?} {now:?}");
    }
    let short = Duration::from_millis(100);
    assert_eq!(ends(short, Some(began), at(5.0)), at(5.1));
}
