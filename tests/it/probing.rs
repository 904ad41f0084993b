//! T47: a rule of another node asks for digests that exist only where its identity may not read, in every way there is.
//!
//! The mesh is plain http on this machine, so the grant is bound to no certificate; the test is the control plane that signs it.

use bytes::Bytes;
use identity::authenticate::grant::{self, About, Claims};
use identity::sign::Keys;
use reqwest::Method;
use tests::client::Reply;
use tests::{Client, Image, Mesh};
use topology::model::Grants;
use wire::digest::Digest;
use wire::generation::Generation;
use wire::scope::Action;
use wire::time::WallTime;

const ISSUER: &str = "https://control.example";

const PROMOTER: &str = "version: 1
mesh: rig
identities:
  promoter: {kind: managed, on: [spoke]}
access:
  - {allow: repository-reader, to: \"identity:promoter\", on: prod, repositories: [\"up/team-a/*\"]}
";

/// A grant for everything of `prod`, so that roles alone are between the rule and what it may not read.
fn grant(keys: &Keys, upstream: &str) -> String {
    let now = WallTime(runtime::Clock::system().wall_ms()).seconds();
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: upstream.to_owned(),
        sub: "mesh:rig:identity:promoter".to_owned(),
        iat: now,
        nbf: now,
        exp: now + 3600,
        jti: "6f1c1f8e-3b53-4a8f-9a55-1f3f2b0f6a11".parse().unwrap(),
        regmesh: About {
            node: "spoke".parse().unwrap(),
            rule: "spoke-up".parse().unwrap(),
            repositories: vec!["*".parse().unwrap()],
            actions: vec![Action::Pull],
            generation: Generation(1),
        },
        cnf: None,
    };
    keys.sign(grant::TYP, &claims).unwrap().expose().clone()
}

/// The rule as a client: its grant exchanged, the refresh token shown from then on.
async fn rule_of_spoke(mesh: &Mesh, keys: &Keys) -> Client {
    let grant = grant(keys, &mesh.node("prod").path.host());
    let anonymous = Client::new(mesh.url("prod"));
    let form = format!("grant_type=access_token&access_token={grant}");
    let media = ("content-type", "application/x-www-form-urlencoded");
    let (path, body) = ("/oauth2/exchange", Some(Bytes::from(form)));
    let reply = anonymous.send(Method::POST, path, &[media], body).await;
    let reply = reply.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let given: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let token = given["refresh_token"].as_str().unwrap();
    Client::new(mesh.url("prod")).with_account("00000000-0000-0000-0000-000000000000", token)
}

/// Everything that tells two answers apart, with what was asked for taken out.
fn shape(reply: &Reply, asked: &[&str]) -> (u16, String, Vec<String>) {
    let mut body = String::from_utf8_lossy(&reply.body).into_owned();
    if let Ok(mut said) = serde_json::from_slice::<serde_json::Value>(&reply.body)
        && let Some(serde_json::Value::Object(detail)) = said.pointer_mut("/errors/0/detail")
    {
        // Every request has its own.
        detail.remove("id");
        body = said.to_string();
    }
    for text in asked {
        body = body.replace(text, "ASKED");
    }
    let mut headers: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    (reply.status, body, headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_learns_nothing_of_what_its_identity_may_not_read() {
    let keys = Keys::generate().unwrap();
    let grants = Grants {
        issuer: ISSUER.to_owned(),
        keys: keys.points(),
        former: [].into(),
        withdrawn: [].into(),
    };
    let mesh = Mesh::builder().with(PROMOTER).grants(grants).start().await;
    let (a, b) = (Image::multi(1).build(), Image::multi(2).build());
    mesh.origin.put("team-a/app", "1", &a);
    mesh.origin.put("team-b/app", "1", &b);
    for repository in ["up/team-a/app", "up/team-b/app"] {
        let everybody = mesh.client("spoke");
        everybody.pull(repository, "1", "amd64").await.unwrap();
    }
    mesh.copied().await;
    let rule = rule_of_spoke(&mesh, &keys).await;
    rule.pull("up/team-a/app", "1", "amd64").await.unwrap();

    let nothing = Digest::sha256(b"nothing has this digest").to_string();
    let layer = b.blobs_of("amd64")[1].to_string();
    let stored = [
        b.digest.to_string(),
        b.platform("amd64").digest.to_string(),
        layer.clone(),
    ];
    let first_ten = [("range", "bytes=0-9")];
    let ask = async |method: Method, path: String, range: bool| {
        let headers = if range { &first_ten[..] } else { &[] };
        let body = (method == Method::POST).then(Bytes::new);
        rule.send(method, &path, headers, body).await.unwrap()
    };
    for repository in ["up/team-a/app", "up/team-b/app", "up/team-x/app"] {
        for kind in ["manifests", "blobs", "referrers"] {
            for (method, range) in [
                (Method::GET, false),
                (Method::GET, true),
                (Method::HEAD, false),
                (Method::DELETE, false),
            ] {
                let path = |digest: &str| format!("/v2/{repository}/{kind}/{digest}");
                let random = ask(method.clone(), path(&nothing), range).await;
                let random = shape(&random, &[&nothing]);
                for digest in &stored {
                    let real = ask(method.clone(), path(digest), range).await;
                    assert_eq!(shape(&real, &[digest]), random, "{method} {}", path(digest));
                }
            }
        }
    }
    // By name: there, and not there.
    for rest in ["tags/list", "manifests/1", "tags/list?n=1"] {
        let of = async |team: &str| {
            let reply = ask(Method::GET, format!("/v2/up/{team}/app/{rest}"), false).await;
            shape(&reply, &[team])
        };
        assert_eq!(of("team-b").await, of("team-x").await, "{rest}");
    }
    // What it may not write either: a mount, and an upload of a digest that it knows.
    for repository in ["up/team-a/app", "own/app"] {
        let upload = async |query: String, asked: &[&str]| {
            let reply = ask(
                Method::POST,
                format!("/v2/{repository}/blobs/uploads/{query}"),
                false,
            )
            .await;
            shape(&reply, asked)
        };
        let mount = async |digest: &str, team: &str| {
            let query = format!("?mount={digest}&from=up/{team}/app");
            upload(query, &[digest, team]).await
        };
        let expected = mount(&nothing, "team-x").await;
        for team in ["team-b", "team-x"] {
            assert_eq!(mount(&layer, team).await, expected, "{team}");
        }
        let at_once = async |digest: &str| upload(format!("?digest={digest}"), &[digest]).await;
        assert_eq!(at_once(&layer).await, at_once(&nothing).await);
    }
    let catalog = ask(Method::GET, "/v2/_catalog".to_owned(), false).await;
    assert!(!String::from_utf8_lossy(&catalog.body).contains("team-b"));
}
