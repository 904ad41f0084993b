//! Two meshes, each with a control plane of its own, and a foreign tenant: our own issuer's tokens are believed by agreement alone.

use tests::azure::{Application, Credential, EXCHANGE_AUDIENCE, TENANT};
use tests::{Acr, Entra, Image};

use crate::PROGRAM;
use tests::fleet::Builder;

use super::{fleet, fresh, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_pulls_from_a_sister_mesh_that_lists_its_issuer() {
    let settings = crate::control_away::brisk();
    let sister = Builder::here(PROGRAM, settings).called("sister").tiers(1);
    let mut theirs = sister.with_identities().start().await;
    theirs
        .topology
        .deny("{allow: repository-reader, to: anonymous, on: dev}");
    theirs.apply().await.well();
    let mut ours = fleet(1).await;
    let ca = reqwest::get(theirs.api() + "/api/v1/ca")
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let ca = ours.write("sister.pem", &ca);
    ours.topology.set(
        "upstreams",
        &format!("\"{}\"", theirs.host("dev")),
        &format!("{{ca: \"{ca}\"}}"),
    );
    let identity = format!(
        "{{kind: federated, audience: \"{}\", on: [dev]}}",
        theirs.host("dev")
    );
    ours.topology.set("identities", "sister", &identity);
    let rule = format!(
        "{{on: dev, source: \"{}/up/*\", target: \"sister/*\", identity: sister}}",
        theirs.host("dev")
    );
    ours.topology.set("rules", "sister", &rule);
    ours.apply().await.well();
    let (repository, image) = fresh(&theirs, "shared", 50);
    let client = ours.client("dev");
    let name = repository.replace("up/", "sister/");
    // Nobody there has heard of us.
    let refused = client.get_manifest(&name, "1").await.unwrap();
    assert_eq!(refused.status, 403, "{refused:?}");
    theirs
        .topology
        .set("issuers", "ours", &format!("{{url: \"{}\"}}", ours.api()));
    // Somebody else of our mesh may read: not this identity.
    let reader = |sub: &str| {
        format!(
            "{{allow: repository-reader, to: {{issuer: ours, claims: {{sub: \"{sub}\"}}}}, on: dev, repositories: [\"up/*\"]}}"
        )
    };
    theirs
        .topology
        .allow(&reader("mesh:fleet:identity:somebody"));
    theirs.apply().await.well();
    until(&client, &name, "1", "known, and not allowed", |reply| {
        String::from_utf8_lossy(&reply.body).contains("UPSTREAM_DENIED")
    })
    .await;
    theirs.topology.allow(&reader("mesh:fleet:identity:sister"));
    theirs.apply().await.well();
    until(&client, &name, "1", "allowed", |reply| reply.status == 200).await;
    assert_eq!(
        client.pull(&name, "1", "amd64").await.unwrap().digest,
        image.digest
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_pulls_from_a_foreign_tenants_acr_by_our_own_issuers_word() {
    let mut fleet = fleet(1).await;
    let entra = Entra::start().await;
    let acr = Acr::start(&entra.directory).await;
    let application: Application = entra.directory.application(TENANT, "partner");
    let credential = Credential {
        issuer: fleet.api(),
        subject: "mesh:fleet:identity:partner".to_owned(),
        audience: EXCHANGE_AUDIENCE.to_owned(),
        unheard: 1,
    };
    entra.directory.trust(&application, credential);
    let image = Image::single(8_400).build();
    acr.put("shared/app", "1", &image);
    let identity = format!(
        "{{kind: federated, tokenUrl: \"{}\", clientId: {}, scope: \"https://containerregistry.azure.net/.default\", sources: [\"{}/shared/*\"], on: [dev]}}",
        entra.token_url(TENANT),
        application.client_id,
        acr.host()
    );
    fleet.topology.set("identities", "partner", &identity);
    let rule = format!(
        "{{on: dev, source: \"{}/shared/*\", target: \"partner/*\", identity: partner}}",
        acr.host()
    );
    fleet.topology.set("rules", "partner", &rule);
    fleet.apply().await.well();
    let client = fleet.client("dev");
    // For minutes after it was made nobody in Entra has heard of a credential: that is no lost right.
    let early = client.get_manifest("partner/app", "1").await.unwrap();
    let text = String::from_utf8_lossy(&early.body).into_owned();
    assert!(
        early.status == 503 && text.contains("IDENTITY_TOKEN_FAILED"),
        "{early:?}"
    );
    until(
        &client,
        "partner/app",
        "1",
        "known, and without a role",
        |reply| reply.status == 403,
    )
    .await;
    acr.allow(&application.object_id, "shared/app");
    until(&client, "partner/app", "1", "allowed", |reply| {
        reply.status == 200
    })
    .await;
    assert_eq!(
        client
            .pull("partner/app", "1", "amd64")
            .await
            .unwrap()
            .digest,
        image.digest
    );
    acr.assert_data_saw_no_secret();
}
