//! What a kubelet does with its credential provider: the binary with the arguments of `examples/kubelet`, its request on standard input,
//! and a pull with what was answered.

use std::process::Stdio;

use serde_json::{Value, json};
use tests::Fleet;
use tests::eventually::BOUND;
use tests::issuer::{Issuer, kubernetes};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{fleet, fresh, until};
use crate::PROGRAM;

const CONFIG: &str = include_str!("../../../examples/kubelet/credential-provider-config.yaml");

/// The arguments of the example, those that it has for a certificate of the mesh's own CA among them.
fn arguments(ca: &str) -> Vec<String> {
    let config = CONFIG.replace("# - --ca=/etc/regmesh/ca.pem", &format!("- --ca={ca}"));
    let mut lines = config.lines().skip_while(|line| line.trim() != "args:");
    lines.next();
    let lines = lines
        .map(str::trim)
        .take_while(|line| line.starts_with(['-', '#']));
    let arguments = lines.filter_map(|line| line.strip_prefix("- "));
    arguments.map(str::to_owned).collect()
}

/// As the kubelet of 1.34 asks.
fn request(image: &str, token: &str) -> String {
    json!({
        "kind": "CredentialProviderRequest",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "image": image,
        "serviceAccountToken": token,
        "serviceAccountAnnotations": {},
    })
    .to_string()
}

/// Exit code, standard output and error.
async fn provide(fleet: &Fleet, request: &str) -> (Option<i32>, String, String) {
    let ca = fleet.regmesh(&["export", "ca"]).await.well().out;
    let arguments = arguments(&fleet.write("ca.pem", &ca));
    assert_eq!(arguments.len(), 2, "{arguments:?}");
    let mut command = Command::new(PROGRAM);
    command
        .args(&arguments)
        .env_clear()
        .current_dir(fleet.dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).await.unwrap();
    drop(stdin);
    let clock = runtime::Clock::system();
    let output = clock.timeout(BOUND, child.wait_with_output()).await;
    let output = output.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_trades_a_pods_token_and_pulls_with_the_answer() {
    let mut fleet = fleet(1).await;
    let issuer = Issuer::github().await;
    let spec = format!("{{url: \"{}\"}}", issuer.url());
    fleet.topology.set("issuers", "cluster", &spec);
    fleet
        .topology
        .deny("{allow: repository-reader, to: anonymous, on: dev}");
    fleet.topology.allow("{allow: repository-reader, to: {issuer: cluster, claims: {/kubernetes.io/namespace: apps}}, on: dev}");
    fleet.apply().await.well();
    let (host, (repository, image)) = (fleet.host("dev"), fresh(&fleet, "kubelet", 1));
    let reference = format!("{host}/{repository}:1");
    let token = issuer.token(&kubernetes("apps", "puller", &host));
    let anonymous = fleet.client("dev").get_manifest(&repository, "1").await;
    assert_eq!(anonymous.unwrap().status, 401);

    let (code, out, err) = provide(&fleet, &request(&reference, &token)).await;
    assert_eq!(code, Some(0), "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let auth = &answer["auth"][&host];
    let (user, password) = (&auth["username"], &auth["password"]);
    let kept = answer["cacheDuration"].as_str().unwrap();
    let golden = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry",
        "cacheDuration": kept,
        "auth": {&host: {"username": user, "password": password}},
    });
    assert_eq!(answer, golden);
    let seconds: u64 = kept.strip_suffix('s').unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&seconds), "{kept}");
    let (user, password) = (user.as_str().unwrap(), password.as_str().unwrap());
    assert!(!password.is_empty() && password != token, "it is traded");
    let pod = fleet.client("dev").with_account(user, password);
    until(&pod, &repository, "1", "the pod's image", |reply| {
        reply.status == 200
    })
    .await;
    pod.pull(&repository, "1", "amd64").await.unwrap();
    assert_eq!(
        pod.get_manifest(&repository, "1").await.unwrap().digest(),
        image.digest
    );

    // A pod that no assignment means gets nothing, and a token for somebody else is shown to nobody.
    let other = issuer.token(&kubernetes("other", "puller", &host));
    let (code, out, err) = provide(&fleet, &request(&reference, &other)).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(!err.contains(&other), "{err}");
    let foreign = issuer.token(&kubernetes("apps", "puller", "elsewhere.example"));
    let (code, out, err) = provide(&fleet, &request(&reference, &foreign)).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("serviceAccountTokenAudience") && !err.contains(&foreign),
        "{err}"
    );
}
