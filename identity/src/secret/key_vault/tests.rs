//! Promises of secrets in vaults, against a vault and an IMDS on loopback.

use std::sync::atomic::{AtomicU16, Ordering};

use runtime::Clock;
use wire::secret_ref::SecretRef;

use super::*;
use crate::{
    secret::Secrets,
    token_source::{
        azure::Environment,
        scripted::{Answer, Asked, Scripted, in_seconds, json, silence},
    },
};

const CHALLENGE: &str = r#"Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net""#;
const CANARY: &str = "canary-hunter2";

fn challenged(challenge: &str) -> Answer {
    let body = r#"{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a Bearer token."}}"#;
    (
        401,
        vec![("www-authenticate", challenge.to_owned())],
        body.to_owned(),
    )
}

fn entra(_: usize, _: &Asked) -> Answer {
    let until = in_seconds(3600);
    json(
        200,
        &format!(
            r#"{{"access_token":"vault-token","expires_on":"{until}","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
        ),
    )
}

/// A vault that wants a token first, then answers as it is told.
fn vault(
    answer: impl Fn() -> Answer + Send + Sync,
) -> impl Fn(usize, &Asked) -> Answer + Send + Sync {
    move |_, asked| match asked.header("authorization") {
        Some("Bearer vault-token") => answer(),
        _ => challenged(CHALLENGE),
    }
}

fn secret(value: &str) -> Answer {
    json(
        200,
        &format!(
            r#"{{"value":"{value}","id":"https://kv.vault.azure.net/secrets/hub/1","attributes":{{"enabled":true}}}}"#
        ),
    )
}

struct Rig {
    clock: Clock,
    tasks: Tasks,
    vault: Scripted,
    imds: Scripted,
    secrets: Secrets,
}

async fn rig(
    clock: Clock,
    vault: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    imds: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
) -> Rig {
    let tasks = Tasks::new("test");
    let vault = Scripted::start(&tasks, vault).await;
    let imds = Scripted::start(&tasks, imds).await;
    let limit = Duration::from_millis(300);
    let machine = Machine::with_imds_at(
        Environment::default(),
        limit,
        clock.clone(),
        imds.url.clone(),
    );
    let secrets = Secrets::new(|_| None).with_vaults(machine.unwrap(), &tasks);
    Rig {
        clock,
        tasks,
        vault,
        imds,
        secrets,
    }
}

impl Rig {
    fn reference(&self) -> SecretRef {
        SecretRef::KeyVault(self.vault.at("/secrets/hub"))
    }

    async fn read(&self) -> Result<String, String> {
        let read = self.secrets.read(&self.reference()).await;
        read.map(|secret| secret.expose().clone())
            .map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_secret_is_read_by_the_sets_identity_once_for_many() {
    let rig = rig(Clock::system(), vault(|| secret(CANARY)), entra).await;
    let reader = Id {
        client_id: Some("reader".into()),
        ..Id::default()
    };
    let secrets = rig.secrets.reading_as(reader);
    for _ in 0..3 {
        let read = secrets.read(&rig.reference()).await.unwrap();
        assert_eq!(read.expose(), CANARY);
    }
    let asked = rig.vault.asked();
    assert_eq!(asked.len(), 2, "one without a token, one with it");
    assert!(
        asked[0].line.starts_with("GET /secrets/hub/?api-version="),
        "{asked:?}"
    );
    assert_eq!(asked[0].header("authorization"), None);
    let imds = rig.imds.asked();
    assert_eq!(imds.len(), 1);
    assert_eq!(imds[0].query("client_id").unwrap(), "reader");
    assert_eq!(
        imds[0].query("resource").unwrap(),
        "https://vault.azure.net"
    );
    assert_eq!(
        rig.read().await.unwrap(),
        CANARY,
        "the machine's own reads for itself"
    );
    assert_eq!(rig.imds.asked()[1].query("client_id"), None);
    assert!(!format!("{secrets:?}").contains(CANARY));
}

#[tokio::test]
async fn a_version_is_asked_for_by_its_name() {
    let rig = rig(Clock::system(), vault(|| secret("old")), entra).await;
    let url = rig.vault.at("/secrets/hub/abcd1234");
    let read = rig.secrets.read(&SecretRef::KeyVault(url)).await.unwrap();
    assert_eq!(read.expose(), "old");
    assert!(
        rig.vault.lines()[1].starts_with("GET /secrets/hub/abcd1234?"),
        "{:?}",
        rig.vault.lines()
    );
}

#[tokio::test]
async fn what_was_read_is_used_while_the_vault_is_away_and_not_once_it_says_no() {
    static STATUS: AtomicU16 = AtomicU16::new(200);
    let answer = || match STATUS.load(Ordering::SeqCst) {
        200 => secret(CANARY),
        503 => json(503, ""),
        status => json(
            status,
            r#"{"error":{"code":"Forbidden","message":"The user, group or application does not have secrets get permission"}}"#,
        ),
    };
    let clock = Clock::manual(Clock::system().wall_ms());
    let rig = rig(clock, vault(answer), entra).await;
    assert_eq!(rig.read().await.unwrap(), CANARY);
    STATUS.store(503, Ordering::SeqCst);
    rig.clock.advance(GOOD + Duration::from_secs(1));
    assert_eq!(rig.read().await.unwrap(), CANARY);
    STATUS.store(403, Ordering::SeqCst);
    rig.clock.advance(GOOD);
    let error = rig.read().await.unwrap_err();
    assert!(
        error.starts_with("key vault secret http://127.0.0.1"),
        "{error}"
    );
    assert!(
        error.contains("403: Forbidden") && error.contains("secrets get permission"),
        "{error}"
    );
    assert!(!error.contains(CANARY), "{error}");
    drop(rig.tasks);
}

#[tokio::test]
async fn who_is_away_is_named_and_nothing_secret_is_said() {
    type Case = (Answer, Answer, &'static str);
    let imds = |_| {
        entra(
            0,
            &Asked {
                line: String::new(),
                headers: Default::default(),
                body: String::new(),
            },
        )
    };
    let cases: Vec<Case> = vec![
        (
            silence(),
            imds(0),
            "the vault 127.0.0.1 cannot be asked: operation timed out",
        ),
        (
            json(
                404,
                r#"{"error":{"code":"SecretNotFound","message":"A secret with (name/id) hub was not found"}}"#,
            ),
            imds(0),
            "404: SecretNotFound",
        ),
        (json(429, ""), imds(0), "the vault 127.0.0.1 answers 429"),
        (secret(""), imds(0), "is empty"),
        (json(200, "{}"), imds(0), "no secret"),
        (
            secret("s"),
            silence(),
            "IMDS, 169.254.169.254) gave no token within 0.3 s",
        ),
        (
            secret("s"),
            json(
                400,
                r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
            ),
            "Identity not found",
        ),
    ];
    for (vaults, imds, wanted) in cases {
        let rig = rig(
            Clock::system(),
            vault(move || vaults.clone()),
            move |_, _| imds.clone(),
        )
        .await;
        let error = rig.read().await.unwrap_err();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(!error.contains("vault-token"), "{error}");
    }
}

#[tokio::test]
async fn a_vault_gets_a_token_for_vaults_and_for_nothing_else() {
    for resource in [
        "https://containerregistry.azure.net",
        "https://management.azure.com",
        "https://vault.azure.net.evil.example",
    ] {
        let challenge = format!(
            r#"Bearer authorization="https://login.microsoftonline.com/t", resource="{resource}""#
        );
        let rig = rig(Clock::system(), move |_, _| challenged(&challenge), entra).await;
        let error = rig.read().await.unwrap_err();
        assert!(error.contains("none for that vault"), "{error}");
        assert!(rig.imds.asked().is_empty(), "{resource}");
    }
}

#[test]
fn a_token_is_for_vaults_below_the_domain_that_it_is_for() {
    let machine = Machine::new(
        Environment::default(),
        Duration::from_secs(1),
        Clock::system(),
    );
    let machine = machine.unwrap();
    let cases = [
        (
            "https://kv.vault.azure.net",
            "https://vault.azure.net/.default",
            true,
        ),
        (
            "https://kv.vault.azure.cn",
            "https://vault.azure.cn/.default",
            true,
        ),
        (
            "https://kv.vault.azure.cn",
            "https://vault.azure.net/.default",
            false,
        ),
        (
            "https://evilvault.azure.net",
            "https://vault.azure.net/.default",
            false,
        ),
        (
            "https://kv.vault.azure.net",
            "https://containerregistry.azure.net/.default",
            false,
        ),
        (
            "https://evil.example",
            "https://vault.azure.net/.default",
            false,
        ),
        (
            "http://127.0.0.1:9",
            "https://vault.azure.net/.default",
            true,
        ),
    ];
    for (vault, scope, wanted) in cases {
        let reader = Reader::new(vault.parse().unwrap(), machine.clone(), Id::default());
        assert_eq!(reader.is_for(scope), wanted, "{vault} {scope}");
    }
}

#[test]
fn a_reference_is_a_secret_of_a_vault() {
    for (url, legal) in [
        ("https://kv.vault.azure.net/secrets/hub-token", true),
        ("https://kv.vault.azure.net/secrets/hub-token/", true),
        (
            "https://kv.vault.azure.net/secrets/hub-token/0123abcd",
            true,
        ),
        ("http://127.0.0.1:8/secrets/hub", true),
        ("http://kv.vault.azure.net/secrets/hub", false),
        ("https://kv.vault.azure.net/keys/hub", false),
        ("https://kv.vault.azure.net/secrets/", false),
        ("https://kv.vault.azure.net/secrets/a/b/c", false),
        ("https://kv.vault.azure.net/secrets/a%2fb", false),
        ("https://kv.vault.azure.net/secrets/hub?x=1", false),
        ("https://u:p@kv.vault.azure.net/secrets/hub", false),
        ("kv.vault.azure.net/secrets/hub", false),
    ] {
        assert_eq!(Place::parse(url).is_ok(), legal, "{url}");
    }
}
