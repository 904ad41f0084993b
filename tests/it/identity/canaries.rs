//! Tokens and secrets of every kind, searched for wherever they have no business: logs, metrics, errors, argv, files (T53).

use std::os::unix::fs::PermissionsExt;

use tests::canary::{assert_absent, files_below};
use tests::issuer::{Issuer, kubernetes};

use super::{basic, explain, fleet, fresh, grant, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_anywhere_but_where_it_is_kept_or_shown() {
    let mut fleet = fleet(2).await;
    let issuer = Issuer::github().await;
    fleet.topology.set(
        "issuers",
        "cluster",
        &format!("{{url: \"{}\"}}", issuer.url()),
    );
    fleet.topology.allow("{allow: repository-reader, to: {issuer: cluster, claims: {/kubernetes.io/namespace: apps}}, on: [dev, prod]}");
    fleet.apply().await.well();
    let (repository, image) = fresh(&fleet, "canaries", 70);
    fleet.pulls("prod", &repository, &image).await;
    let (host, prod) = (fleet.host("dev"), fleet.certificate_of("prod"));
    let grant = grant(&fleet, "prod", "prod-up").await;
    let token = issuer.token(&kubernetes("apps", "puller", &host));
    let (exchange, url) = (
        fleet.url("dev") + "/oauth2/exchange",
        fleet.url("dev") + "/oauth2/token",
    );
    let http = fleet.http(Some(&prod));
    let mut secrets = vec![grant.clone(), token.clone()];
    for (proof, http) in [(&grant, &http), (&token, &fleet.http(None))] {
        let form = [
            ("grant_type", "access_token"),
            ("service", host.as_str()),
            ("access_token", proof.as_str()),
        ];
        let refresh = post(http, &exchange, &form).await.json().unwrap()["refresh_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let form = [
            ("grant_type", "refresh_token"),
            ("service", host.as_str()),
            ("client_id", "x"),
            ("scope", "repository:up/team/canaries:pull"),
            ("refresh_token", refresh.as_str()),
        ];
        let access = post(http, &url, &form).await.json().unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        secrets.extend([refresh, access]);
    }
    // Wherever each may be shown wrongly, it is refused, and not repeated in the answer.
    let mut answers = String::new();
    for secret in &secrets {
        for authorization in [
            format!("Bearer {secret}x"),
            basic("oidc", &format!("{secret}x")),
            basic(secret, "x"),
        ] {
            let client = fleet
                .client("dev")
                .with_header("authorization", &authorization);
            let reply = client.get_manifest(&repository, "1").await.unwrap();
            answers += &format!("{reply:?}");
        }
        let form = [
            ("grant_type", "access_token"),
            ("service", "wrong"),
            ("access_token", secret.as_str()),
        ];
        answers += &format!("{:?}", post(&http, &exchange, &form).await);
        let form = [("grant_type", secret.as_str()), ("scope", secret.as_str())];
        answers += &format!("{:?}", post(&http, &url, &form).await);
    }
    // The last part is what makes a token one.
    let parts: Vec<&str> = secrets
        .iter()
        .map(|each| each.rsplit('.').next().unwrap())
        .collect();
    assert!(parts.iter().all(|part| part.len() > 20), "{parts:?}");
    answers += &format!(
        "{:#?}",
        explain(&fleet, &format!("prod/{repository}:1")).await
    );
    answers += &fleet.regmesh(&["doctor", "-o", "json"]).await.out;
    answers += &fleet.regmesh(&["status", "-o", "json"]).await.out;
    answers += &fleet.regmesh(&["audit", "list", "-o", "json"]).await.out;
    assert_absent("answers", &answers, &parts);
    for node in ["dev", "prod"] {
        assert_absent("the log", fleet.said(node).join("\n"), &parts);
        for path in ["/metrics", "/status"] {
            assert_absent(path, fleet.look(&fleet.admin(node, path)).await.1, &parts);
        }
        let pid = fleet.pid(node);
        for what in ["cmdline", "environ"] {
            assert_absent(
                what,
                std::fs::read(format!("/proc/{pid}/{what}")).unwrap(),
                &parts,
            );
        }
        for file in files_below(fleet.data(node)) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            if tests::canary::find(&bytes, &parts).is_empty() {
                continue;
            }
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(
                (node, name.as_str()),
                ("prod", "grants.json"),
                "{}",
                file.display()
            );
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }
    for file in files_below(&fleet.control_data()) {
        assert_absent(
            &file.display().to_string(),
            std::fs::read(&file).unwrap(),
            &parts,
        );
    }
    assert_absent("the origin", fleet.origin.record().text(), &parts);
}
