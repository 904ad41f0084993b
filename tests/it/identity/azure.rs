//! Rules as Azure's managed identities: App Service on loopback; IMDS, Entra, ACR and Key Vault under their real names in a network of
//! the test's own.

use std::net::IpAddr;

use tests::authority::Authority;
use tests::azure::{AppService, Directory, Entra, Identity, Imds, Vault};
use tests::origin::Access;
use tests::regmesh::CONTROL;
use tests::server::{Answer, At};
use tests::{Acr, Client, Fleet, Image, Origin, Regmesh, canary, namespace};

use super::{fleet, until};
use crate::PROGRAM;

/// `acr/*` from `team/*` of a registry, as an Azure identity.
pub(super) fn rule_as(fleet: &mut Fleet, acr: &Acr, identity: &Identity) {
    let declared = format!(
        "{{kind: azure, clientId: {}, scope: \"https://containerregistry.azure.net/.default\", on: [dev]}}",
        identity.client_id
    );
    fleet.topology.set("identities", "reader", &declared);
    let rule = format!(
        "{{on: dev, source: \"{}/team/*\", target: \"acr/*\", identity: reader, freshness: {{check: 1h}}}}",
        acr.host()
    );
    fleet.topology.set("rules", "acr", &rule);
}

/// Pulls `image` once the node has it to give.
async fn gets(client: &Client, repository: &str, image: &Image, what: &str) {
    until(client, repository, "1", what, |reply| reply.status == 200).await;
    let pulled = client.pull(repository, "1", "amd64").await.unwrap();
    assert_eq!(pulled.digest, image.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_pulls_from_an_acr_as_a_managed_identity_of_app_service() {
    let mut fleet = fleet(1).await;
    let directory = Directory::default();
    let (acr, machine) = (
        Acr::start(&directory).await,
        AppService::start(&directory).await,
    );
    let (reader, other) = (directory.identity("reader"), directory.identity("other"));
    let image = Image::single(8_100).build();
    acr.put("team/app", "1", &image);
    acr.allow(&other.object_id, "*");
    rule_as(&mut fleet, &acr, &reader);
    fleet.environment("dev", &machine.environment());
    fleet.restart("dev").await;
    fleet.apply().await.well();
    // The machine has both identities; the rule is one of them, which may not yet.
    let client = fleet.client("dev");
    let refused = until(&client, "acr/app", "1", "it is refused", |reply| {
        reply.status == 403
    })
    .await;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(text.contains("UPSTREAM_DENIED"), "{text}");
    acr.allow(&reader.object_id, "team/app");
    gets(&client, "acr/app", &image, "it is let in").await;
    acr.assert_data_saw_no_secret();
    for call in machine.record().all() {
        assert_eq!(
            call.params("client_id"),
            std::slice::from_ref(&reader.client_id),
            "{call:?}"
        );
    }
}

const IMDS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254));
/// Public addresses, as far as anybody in there can tell.
const LOGIN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(20, 190, 0, 1));
const REGISTRY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(20, 190, 0, 2));
const DATA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(20, 190, 0, 3));
const VAULT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(20, 190, 0, 4));
const HOSTS: [(IpAddr, &str); 4] = [
    (LOGIN, "login.microsoftonline.com"),
    (REGISTRY, "contoso.azurecr.io"),
    (DATA, "contoso.westeurope.data.azurecr.io"),
    (VAULT, "kv.vault.azure.net"),
];

/// All of them, for the test's own network.
fn addresses() -> Vec<IpAddr> {
    let hosts = HOSTS.iter().map(|(address, _)| *address);
    hosts.chain([IMDS]).collect()
}

/// What every token of these carries.
const TOKENS: [&str; 2] = ["canary-entra-", "canary-acr-"];

/// Azure under its real names.
struct Azure {
    authority: Authority,
    entra: Entra,
    imds: Imds,
    acr: Acr,
    vault: Vault,
}

impl Azure {
    async fn start() -> Self {
        let authority = Authority::new();
        let at =
            |n: usize| At::address((HOSTS[n].0, 443).into()).tls(authority.acceptor(&[HOSTS[n].1]));
        let entra = Entra::start_at(at(0), None).await;
        entra.is_called("https://login.microsoftonline.com");
        let acr = Acr::start_at([at(1), at(2)], &entra.directory).await;
        acr.is_called(
            "https://contoso.azurecr.io",
            "https://contoso.westeurope.data.azurecr.io",
        );
        let vault = Vault::start_at(at(3), &entra.directory).await;
        vault.is_called("https://kv.vault.azure.net");
        let imds = Imds::start(&entra.directory).await;
        Self {
            authority,
            entra,
            imds,
            acr,
            vault,
        }
    }

    /// One node that knows only this Azure, by `regmesh up`.
    async fn up(&self, dir: &std::path::Path, topology: &str) -> Regmesh {
        let (file, trusted) = (dir.join("mesh.yaml"), dir.join("ca.pem"));
        std::fs::write(&file, topology).unwrap();
        std::fs::write(&trusted, self.authority.pem()).unwrap();
        let mut command = namespace::with_hosts(dir, &HOSTS);
        let more = [
            "env",
            &format!("SSL_CERT_FILE={}", trusted.display()),
            PROGRAM,
            "up",
            &file.display().to_string(),
            "--data-dir",
            &dir.join("data").display().to_string(),
        ];
        command.extend(more.into_iter().chain(CONTROL).map(str::to_owned));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        Regmesh::start(&command).await.unwrap()
    }
}

#[test]
fn imds_and_an_acr_under_their_real_names() {
    namespace::inside(&addresses(), || async {
        let (azure, dir) = (Azure::start().await, tempfile::tempdir().unwrap());
        let reader = azure.entra.directory.identity("reader");
        azure.acr.allow(&reader.object_id, "*");
        let image = Image::single(8_200).build();
        azure.acr.put("team/app", "1", &image);
        azure.imds.answers_first(vec![Answer::empty(404)]);
        let topology = format!(
            "version: 1\nmesh: azure\nnodes:\n  dev: {{endpoint: \"http://127.0.0.1:5000\", listen: \"127.0.0.1:0\"}}\n\
             identities:\n  reader: {{kind: azure, clientId: {}, on: [dev]}}\n\
             rules:\n  acr: {{on: dev, source: \"contoso.azurecr.io/team/*\", target: \"acr/*\", identity: reader}}\n\
             access:\n  - {{allow: repository-reader, to: anonymous, on: dev}}\n",
            reader.client_id
        );
        let regmesh = azure.up(dir.path(), &topology).await;
        let client = regmesh.client("dev");
        gets(&client, "acr/app", &image, "the identity's token is there").await;
        azure.acr.assert_data_saw_no_secret();
        assert!(!azure.acr.data_record().is_empty() && azure.acr.exchanges() == 1);
        // IMDS away: what is stored is served.
        azure.imds.stop().await;
        client.pull("acr/app", "1", "amd64").await.unwrap();
        let said = regmesh.end().await.join("\n");
        canary::assert_absent("the log", &said, &TOKENS);
    });
}

#[test]
fn a_credential_set_from_a_key_vault() {
    namespace::inside(&addresses(), || async {
        let (azure, dir, origin) = (
            Azure::start().await,
            tempfile::tempdir().unwrap(),
            Origin::start().await,
        );
        let machine = azure.entra.directory.system_identity();
        let password = canary::secret("vault");
        azure.vault.put("user", "hub");
        azure.vault.put("word", &password);
        origin.tokens().account("hub", &password);
        origin.tokens().require(Access::Bearer);
        let image = Image::single(8_300).build();
        origin.put("team/app", "1", &image);
        let secret = |name: &str| format!("{{keyVault: \"{}\"}}", azure.vault.secret_url(name));
        let topology = format!(
            "version: 1\nmesh: azure\nnodes:\n  dev: {{endpoint: \"http://127.0.0.1:5000\", listen: \"127.0.0.1:0\"}}\n\
             credentials:\n  hub: {{loginServer: \"{host}\", username: {}, password: {}}}\n\
             rules:\n  up: {{on: dev, source: \"{host}/*\", target: \"up/*\", credentials: hub}}\n\
             access:\n  - {{allow: repository-reader, to: anonymous, on: dev}}\n",
            secret("user"),
            secret("word"),
            host = origin.host(),
        );
        let regmesh = azure.up(dir.path(), &topology).await;
        let client: Client = regmesh.client("dev");
        // The machine's identity may not read the vault yet: that is said by name, and heals.
        let refused = until(&client, "up/team/app", "1", "it is said why", |reply| {
            reply.status >= 500
        })
        .await;
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("SECRET_UNAVAILABLE"), "{text}");
        azure.vault.allow(&machine);
        gets(&client, "up/team/app", &image, "the secret can be read").await;
        let said = regmesh.end().await.join("\n");
        canary::assert_absent("the log", &said, &[&password, TOKENS[0]]);
        canary::assert_absent_below(&dir.path().join("data"), &[&password], &[]);
    });
}
