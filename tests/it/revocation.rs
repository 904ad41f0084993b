//! What is taken away by a new slice is gone at once, on every tier, whatever shows it and however warm it is (T38).
//!
//! Each caller has one connection, opened before, and no other. What is asked for was pushed at each
//! node, so that no tier's answer hangs on another's, and was asked for before, so that it is in memory. The one rule about
//! transfers: what has begun is finished, and nothing more begins.

use reqwest::Method;
use tests::client::Reply;
use tests::eventually::soon;
use tests::mesh::{Builder, TIERS};
use tests::{Client, Fault, Gate, Image, Mesh, Script, When, canary};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Who loses something.
const GUEST: &str = "guest";
const OLD: &str = "guest";
const NEW: &str = "guest-new";

/// What of the guest is declared: password and role.
#[derive(Clone, Copy)]
struct Declared {
    password: Option<&'static str>,
    /// Where the guest may read.
    reads: Option<&'static str>,
}

const WHOLE: Declared = Declared {
    password: Some(OLD),
    reads: Some("\"own/*\", \"up/*\""),
};

const ELSEWHERE: Option<&str> = Some("\"elsewhere/*\"");

impl Declared {
    /// A builder's further document that says so.
    fn document(self, secrets: &std::path::Path) -> String {
        let mut text = String::from("version: 1\nmesh: rig\n");
        if let Some(password) = self.password {
            let file = secrets.join(password);
            text += &format!(
                "accounts:\n  {GUEST}: {{password: {{file: \"{}\"}}}}\n",
                file.display()
            );
        }
        if let Some(reads) = self.reads {
            let (on, to) = (TIERS.join(", "), format!("account:{GUEST}"));
            text += &format!(
                "access:\n  - {{allow: repository-reader, to: \"{to}\", on: [{on}], repositories: [{reads}]}}\n"
            );
        }
        text
    }

    async fn apply(self, mesh: &mut Mesh) {
        let document = self.document(&secrets(mesh));
        let declare = |builder: Builder| builder.without_more().with(&document);
        mesh.apply(declare).await;
    }
}

fn secrets(mesh: &Mesh) -> std::path::PathBuf {
    let dir = mesh.dir().join("secrets");
    for name in [OLD, NEW] {
        std::fs::write(dir.join(name), canary::secret(name)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
    }
    dir
}

/// A caller with one connection to a node, which shows what it is told to and dances no dance.
struct Caller(Mutex<BufReader<TcpStream>>);

impl Caller {
    async fn of(mesh: &Mesh, node: &str) -> Self {
        let stream = TcpStream::connect(mesh.running(node).address()).await;
        Self(Mutex::new(BufReader::new(stream.unwrap())))
    }

    async fn status(&self, method: &str, path: &str, shown: Option<&str>) -> u16 {
        let shown = shown.map_or(String::new(), |shown| format!("Authorization: {shown}\r\n"));
        let rest = format!("{shown}\r\n");
        self.exchange(method, path, &rest).await.0
    }

    /// Asks over the one connection, and reads the answer to its end.
    async fn exchange(&self, method: &str, path: &str, rest: &str) -> (u16, Vec<u8>) {
        let mut stream = self.0.lock().await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{rest}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            soon("a line of the head", stream.read_line(&mut line))
                .await
                .unwrap();
            assert!(!line.is_empty(), "{method} {path}: the connection ended");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        soon("the body", stream.read_exact(&mut body))
            .await
            .unwrap();
        (status, body)
    }

    /// What the token service gives for a form; its status otherwise.
    async fn token(&self, form: &[(&str, &str)]) -> Result<serde_json::Value, u16> {
        let scope = "repository:own/app:pull";
        let all = [form, &[("scope", scope), ("access_type", "offline")]].concat();
        let encode = percent_encoding::NON_ALPHANUMERIC;
        let all = all.iter().map(|(name, value)| {
            let value = percent_encoding::utf8_percent_encode(value, encode);
            format!("{name}={value}")
        });
        let form = all.collect::<Vec<_>>().join("&");
        let rest = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        match self.exchange("POST", "/oauth2/token", &rest).await {
            (200, body) => Ok(serde_json::from_slice(&body).unwrap()),
            (status, _) => Err(status),
        }
    }
}

/// A guest at a node, with all that it ever got there.
struct Session {
    node: &'static str,
    caller: Caller,
    basic: String,
    access: String,
    refresh: String,
}

impl Session {
    async fn open(mesh: &Mesh, node: &'static str) -> Self {
        let caller = Caller::of(mesh, node).await;
        let password = canary::secret(OLD);
        let form = [
            ("grant_type", "password"),
            ("username", GUEST),
            ("password", &password),
        ];
        let given = caller.token(&form).await.expect("a token");
        let text = |field: &str| given[field].as_str().expect(field).to_owned();
        Self {
            node,
            caller,
            basic: basic(&password),
            access: format!("Bearer {}", text("access_token")),
            refresh: text("refresh_token"),
        }
    }

    async fn refreshed(&self) -> Result<String, u16> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", self.refresh.as_str()),
        ];
        let given = self.caller.token(&form).await?;
        Ok(format!(
            "Bearer {}",
            given["access_token"].as_str().unwrap()
        ))
    }

    /// Everything that is there, by GET and HEAD, shown this: one and the same status.
    async fn status(&self, image: &Image, shown: &str) -> u16 {
        let paths = [
            "manifests/1".to_owned(),
            format!("manifests/{}", image.digest),
            format!("blobs/{}", image.largest().0),
        ];
        let mut statuses = Vec::new();
        for path in paths {
            let path = format!("/v2/own/app/{path}");
            for method in ["GET", "HEAD"] {
                statuses.push(self.caller.status(method, &path, Some(shown)).await);
            }
        }
        statuses.dedup();
        assert_eq!(statuses.len(), 1, "{}: {statuses:?}", self.node);
        statuses[0]
    }
}

fn basic(password: &str) -> String {
    use base64::Engine;
    let text = format!("{GUEST}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {text}")
}

/// A mesh that knows the guest, with an image pushed at every node.
async fn mesh() -> (Mesh, Image) {
    let mut mesh = Mesh::start().await;
    WHOLE.apply(&mut mesh).await;
    let image = Image::single(38).build();
    for node in TIERS {
        let pushed = mesh.client(node).push("own/app", &["1"], &image).await;
        pushed.unwrap();
    }
    (mesh, image)
}

/// What is declared instead, and what the old Basic, access token and refresh token get then.
async fn revoked(left: Declared, basic: u16, access: u16, refresh: Option<u16>) {
    let (mut mesh, image) = mesh().await;
    let mut sessions = Vec::new();
    for node in TIERS {
        let session = Session::open(&mesh, node).await;
        for shown in [&session.basic, &session.access] {
            assert_eq!(session.status(&image, shown).await, 200, "{node}");
        }
        assert!(session.refreshed().await.is_ok(), "{node}");
        let warm = mesh.metric(node, "regmesh_memory_cache_hits_total", "");
        assert!(warm > 0.0, "nothing of {node} is in memory");
        sessions.push(session);
    }
    left.apply(&mut mesh).await;
    for session in &sessions {
        let node = session.node;
        assert_eq!(
            session.status(&image, &session.basic).await,
            basic,
            "{node}"
        );
        assert_eq!(
            session.status(&image, &session.access).await,
            access,
            "{node}"
        );
        match (session.refreshed().await, refresh) {
            (Ok(fresh), None) => assert_eq!(session.status(&image, &fresh).await, 403, "{node}"),
            (other, expected) => assert_eq!(other.err(), expected, "{node}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_ends_at_once_for_whatever_shows_it() {
    // The session goes on and opens nothing, whether another role is left or none.
    for reads in [ELSEWHERE, None] {
        revoked(Declared { reads, ..WHOLE }, 403, 403, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_gone_ends_at_once_with_all_its_tokens() {
    let left = Declared {
        password: None,
        reads: None,
    };
    revoked(left, 401, 401, Some(401)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_ends_the_old_one_at_once_with_all_its_tokens() {
    let left = Declared {
        password: Some(NEW),
        ..WHOLE
    };
    revoked(left, 401, 401, Some(401)).await;
    let (mut mesh, image) = mesh().await;
    left.apply(&mut mesh).await;
    let guest = Client::new(mesh.url("prod")).with_account(GUEST, &canary::secret(NEW));
    guest.pull("own/app", &image.digest, "amd64").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_everybody_might_read_and_from_where_ends_at_once_too() {
    let mut mesh = Mesh::start().await;
    let image = Image::single(39).build();
    mesh.origin.put("team/app", "1", &image);
    let spoke = mesh.anonymous("spoke");
    spoke.pull("up/team/app", "1", "amd64").await.unwrap();
    mesh.copied().await;
    let caller = Caller::of(&mesh, "spoke").await;
    let path = format!("/v2/up/team/app/manifests/{}", image.digest);
    assert_eq!(caller.status("GET", &path, None).await, 200);
    let elsewhere = "network: {access: selected, allow: [10.0.0.0/8]}";
    mesh.apply(|builder| builder.node("spoke", elsewhere)).await;
    assert_eq!(caller.status("GET", &path, None).await, 403);
    // From anywhere again, but no longer by anybody.
    let everywhere = "network: {access: public}";
    let closed = |builder: Builder| builder.node("spoke", everywhere).closed();
    mesh.apply(closed).await;
    assert_eq!(caller.status("GET", &path, None).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_has_begun_is_finished_and_no_other_begins() {
    let lefts = [
        Declared {
            reads: ELSEWHERE,
            ..WHOLE
        },
        Declared {
            password: None,
            reads: None,
        },
        Declared {
            password: Some(NEW),
            ..WHOLE
        },
    ];
    for left in lefts {
        let mut mesh = Mesh::builder().tiers(1).closed().start().await;
        let document = |declared: Declared, mesh: &Mesh| {
            let all = format!("[{}]", TIERS.join(", "));
            declared.document(&secrets(mesh)).replace(&all, "dev")
        };
        let whole = document(WHOLE, &mesh);
        mesh.apply(|builder| builder.with(&whole)).await;
        let image = Image::single(40).layer_of(4 << 20).build();
        mesh.origin.put("team/app", "1", &image);
        let layer = image.largest().0;
        let gate = Gate::closed();
        let half = Fault::HoldAt(2 << 20, gate.clone());
        mesh.origin
            .play(Script::new(When::get().blob(layer), [half]));
        let guest = Client::new(mesh.url("dev")).with_account(GUEST, &canary::secret(OLD));
        let path = format!("/v2/up/team/app/blobs/{layer}");
        let begun = soon("it begins", guest.open(Method::GET, &path, &[], None));
        let begun = begun.await.unwrap();
        gate.reached().await;
        let left = document(left, &mesh);
        mesh.apply(|builder| builder.without_more().with(&left))
            .await;
        let next = guest.get(&path).await.unwrap();
        assert!(matches!(next.status, 401 | 403), "{}", next.status);
        gate.open();
        let finished = soon("it is finished", Reply::read(begun)).await;
        assert_eq!(finished.verified().unwrap(), *layer);
    }
}
