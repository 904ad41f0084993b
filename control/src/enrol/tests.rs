//! Who gets a certificate, who keeps it, and what is said to everybody else.

use std::time::Duration;

use identity::certificate::{Key, SpiffeId};
use runtime::Secret;

use super::{told::ANONYMOUS, *};
use crate::{
    distribute::Rhythm,
    test_mesh::{Control, WHO},
};

const START: i64 = 1_700_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A control plane whose clock stands, and two nodes.
async fn control() -> Control {
    let control = Control::with(Clock::manual(START), Rhythm::default()).await;
    control.apply(&["dev", "prod"], "one").await;
    control
}

struct Joined {
    instance: String,
    enrolled: Enrolled,
}

fn csr() -> Vec<u8> {
    Key::generate().unwrap().request("x").unwrap()
}

async fn join(control: &Control, token: &str, node: &str) -> Result<Joined, Refused> {
    let instance = uuid::Uuid::now_v7().to_string();
    match control.enrol.enrol(token, node, &instance, &csr()).await {
        Ok(enrolled) => Ok(Joined { instance, enrolled }),
        Err(Error::Refused(refused)) => Err(refused),
        Err(error) => panic!("{error}"),
    }
}

async fn joined(control: &Control, node: &str) -> Joined {
    let token = control.token(node, 1).await;
    join(control, &token, node).await.unwrap()
}

async fn renew(control: &Control, node: &Joined, counter: u64) -> Result<Enrolled, Refused> {
    match control
        .enrol
        .renew(&node.enrolled.chain, &node.instance, &csr(), counter)
        .await
    {
        Ok(enrolled) => Ok(enrolled),
        Err(Error::Refused(refused)) => Err(refused),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_join_token_admits_its_node_as_often_as_it_says_while_it_lasts() {
    let control = control().await;
    let (dev, prod): (NodeName, NodeName) = ("dev".parse().unwrap(), "prod".parse().unwrap());
    let token = control.token("prod", 2).await;
    let other = Refused::OtherNode {
        claimed: dev,
        actual: prod.clone(),
    };
    assert_eq!(join(&control, &token, "dev").await.map(drop), Err(other));
    let first = join(&control, &token, "prod").await.unwrap();
    assert_eq!(first.enrolled.counter, 1);
    assert_eq!(first.enrolled.ends, WallTime(START).plus(DAY));
    let shown = control.enrol.admit(&first.enrolled.chain).unwrap();
    assert_eq!(
        (shown.1, shown.0.instance),
        (prod.clone(), Some(first.instance))
    );
    assert!(join(&control, &token, "prod").await.is_ok());
    assert_eq!(
        join(&control, &token, "prod").await.map(drop),
        Err(Refused::UsedToken(prod.clone()))
    );

    let late = control.token("prod", 1).await;
    control.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(
        join(&control, &late, "prod").await.map(drop),
        Err(Refused::ExpiredToken(prod.clone()))
    );
    assert_eq!(
        join(&control, "made-up", "prod").await.map(drop),
        Err(Refused::UnknownToken(prod))
    );
    let elsewhere = self::control().await.token("prod", 1).await;
    assert!(
        matches!(
            join(&control, &elsewhere, "prod").await,
            Err(Refused::UnknownToken(_))
        ),
        "another mesh's"
    );

    let told = control.refusals().await;
    for part in [
        "belongs to node 'prod'",
        "used already",
        "has expired",
        "not one of this mesh",
    ] {
        assert!(
            told.iter().any(|text| text.contains(part)),
            "{part} in {told:?}"
        );
    }
}

#[tokio::test]
async fn an_enrolment_whose_answer_was_lost_is_asked_for_again() {
    let control = control().await;
    let token = control.token("prod", 1).await;
    let (instance, csr) = ("one".to_owned(), csr());
    let ask = || control.enrol.enrol(&token, "prod", &instance, &csr);
    let lost = ask().await.unwrap();
    let enrolled = ask().await.unwrap();
    assert_eq!(enrolled.counter, lost.counter);
    let joined = Joined { instance, enrolled };
    assert_eq!(renew(&control, &joined, 1).await.map(|e| e.counter), Ok(2));
    assert!(
        join(&control, &token, "prod").await.is_err(),
        "another instance"
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_used_up() {
    let control = control().await;
    let token = control.token("prod", 1).await;
    let enrol = &control.enrol;
    let instance = "one";
    for (node, instance, csr) in [
        ("no such", instance, csr()),
        ("ghost", instance, csr()),
        ("prod", "", csr()),
        ("prod", "a/b", csr()),
        ("prod", instance, b"garbage".to_vec()),
    ] {
        let refused = enrol.enrol(&token, node, instance, &csr).await;
        assert!(
            matches!(
                refused,
                Err(Error::Refused(Refused::Bad(_) | Refused::UnknownNode(_)))
            ),
            "{node} {instance}"
        );
    }
    assert!(
        join(&control, &token, "prod").await.is_ok(),
        "the token was not used"
    );
    let node = "prod".parse().unwrap();
    let (week, ghost) = (Duration::from_secs(7 * 86_400), "ghost".parse().unwrap());
    assert!(enrol.join_token(&node, week, 1, WHO).await.is_ok());
    assert!(matches!(
        enrol.join_token(&node, week + DAY, 1, WHO).await,
        Err(Error::Bad(_))
    ));
    assert!(matches!(
        enrol.join_token(&node, week, 5_000, WHO).await,
        Err(Error::Bad(_))
    ));
    let undeclared = enrol.join_token(&ghost, week, 1, WHO).await;
    assert!(matches!(
        undeclared,
        Err(Error::Refused(Refused::UnknownNode(_)))
    ));
}

#[tokio::test]
async fn strangers_cannot_fill_the_audit_log() {
    let control = control().await;
    for _ in 0..ANONYMOUS + 20 {
        assert!(join(&control, "made-up", "prod").await.is_err());
    }
    assert_eq!(control.refusals().await.len(), ANONYMOUS as usize);
    control.clock.advance(Duration::from_secs(60));
    assert!(join(&control, "made-up", "prod").await.is_err());
    assert_eq!(control.refusals().await.len(), ANONYMOUS as usize + 1);
}

#[tokio::test]
async fn a_certificate_may_be_renewed_for_thirty_days_after_its_end() {
    let control = control().await;
    let mut node = joined(&control, "prod").await;
    control.clock.advance(DAY + Duration::from_secs(1));
    let ended = control.enrol.admit(&node.enrolled.chain);
    assert_eq!(ended.map(drop), Err(Refused::Certificate(Invalid::Ended)));
    control.clock.advance(DAY * 29);
    node.enrolled = renew(&control, &node, 1).await.unwrap();
    assert_eq!(node.enrolled.counter, 2);
    assert!(control.enrol.admit(&node.enrolled.chain).is_ok());
    control.clock.advance(DAY * 31);
    let refused = renew(&control, &node, 2).await.map(drop);
    assert_eq!(
        refused,
        Err(Refused::ExpiredCertificate("prod".parse().unwrap()))
    );
}

#[tokio::test]
async fn a_copied_directory_is_found_shut_out_and_told() {
    let control = control().await;
    let mut node = joined(&control, "prod").await;
    node.enrolled = renew(&control, &node, 1).await.unwrap();
    let copy = renew(&control, &node, 1).await;
    assert!(matches!(copy, Err(Refused::ShutOut { .. })), "{copy:?}");
    // Both lines of it are out, since nobody can tell which one is the copy.
    let original = renew(&control, &node, 2).await;
    assert!(
        matches!(original, Err(Refused::ShutOut { .. })),
        "{original:?}"
    );
    assert!(matches!(
        control.enrol.admit(&node.enrolled.chain),
        Err(Refused::ShutOut { .. })
    ));
    assert_eq!(control.events("clone_detected").await.len(), 1);
    assert!(
        control
            .refusals()
            .await
            .iter()
            .any(|text| text.contains("copied"))
    );
    assert!(control.enrol.shut_out().contains_key(&node.instance));
    let another = joined(&control, "prod").await;
    assert!(
        control.enrol.admit(&another.enrolled.chain).is_ok(),
        "another instance is not concerned"
    );
}

#[tokio::test]
async fn a_revoked_node_comes_back_with_a_new_token_alone() {
    let control = control().await;
    let (prod, dev): (NodeName, NodeName) = ("prod".parse().unwrap(), "dev".parse().unwrap());
    let (node, other) = (
        joined(&control, "prod").await,
        joined(&control, "dev").await,
    );
    let unused = control.token("prod", 1).await;
    control.enrol.revoke(&prod, WHO).await.unwrap();
    assert_eq!(
        control.enrol.admit(&node.enrolled.chain).map(drop),
        Err(Refused::Revoked(prod.clone()))
    );
    assert_eq!(
        renew(&control, &node, 1).await.map(drop),
        Err(Refused::Revoked(prod.clone()))
    );
    assert_eq!(
        join(&control, &unused, "prod").await.map(drop),
        Err(Refused::UnknownToken(prod.clone()))
    );
    assert_eq!(
        control.enrol.admit(&other.enrolled.chain).map(|it| it.1),
        Ok(dev)
    );

    let back = joined(&control, "prod").await;
    let shown = control.enrol.admit(&back.enrolled.chain).unwrap();
    assert_eq!(shown.1, prod);
    assert_eq!(
        control.enrol.admit(&node.enrolled.chain).map(drop),
        Err(Refused::Revoked(prod)),
        "the old one stays out"
    );
}

#[tokio::test]
async fn a_certificate_speaks_for_its_node_instance_and_mesh_alone() {
    let (control, foreign) = (control().await, control().await);
    let node = joined(&control, "prod").await;
    let chain = &node.enrolled.chain;
    let other = control.enrol.renew(chain, "another", &csr(), 1).await;
    assert!(matches!(
        other,
        Err(Error::Refused(Refused::OtherInstance(_)))
    ));
    let stranger = joined(&foreign, "prod").await;
    let refused = control.enrol.admit(&stranger.enrolled.chain).map(drop);
    assert_eq!(refused, Err(Refused::Certificate(Invalid::Foreign)));
    assert_eq!(
        control.enrol.admit(&[]).map(drop),
        Err(Refused::Certificate(Invalid::None))
    );
    let leaf = Leaf {
        id: SpiffeId::Control {
            mesh: "acme".parse().unwrap(),
        },
        instance: None,
        hosts: Vec::new(),
        begins: WallTime(START),
        ends: WallTime(START).plus(DAY),
    };
    let own = control
        .ca
        .issue(&Request::read(&csr()).unwrap(), &leaf)
        .unwrap();
    assert_eq!(control.enrol.admit(&own).map(drop), Err(Refused::NotANode));
    control.apply(&["dev"], "two").await;
    assert_eq!(
        control.enrol.admit(chain).map(drop),
        Err(Refused::UnknownNode("prod".parse().unwrap()))
    );
}

#[tokio::test]
async fn an_instance_that_a_restored_database_does_not_know_renews_by_what_it_shows() {
    let control = control().await;
    let mut node = joined(&control, "prod").await;
    node.enrolled = renew(&control, &node, 1).await.unwrap();
    control
        .state
        .forget(&"prod".parse().unwrap())
        .await
        .unwrap();
    node.enrolled = renew(&control, &node, 2).await.unwrap();
    let counter = node.enrolled.counter;
    assert!(renew(&control, &node, counter).await.is_ok());
    assert_eq!(control.state.instances().await.unwrap().len(), 1);
}

/// A topology in which a cluster's workload may enrol `prod`.
const CLUSTER: &str = "version: 1\nmesh: acme\nnodes:\n  dev: {endpoint: 'http://127.0.0.1:5000'}\n  \
    prod: {endpoint: 'http://127.0.0.1:5001'}\nissuers: {k8s: {url: 'https://k8s.example'}}\naccess:\n- allow: node-enroller\n  \
    to: {issuer: k8s, claims: {sub: 'system:serviceaccount:regmesh:*', '/kubernetes.io/uid': '7'}}\n  on: prod\n";

/// What a token of the cluster says, made at `made` seconds after the start.
fn workload(made: i64, uid: &str) -> Secret {
    let now = START / 1_000;
    let claims = serde_json::json!({"sub": "system:serviceaccount:regmesh:prod", "iat": now + made, "exp": now + made + 3_600,
        "kubernetes.io": {"uid": uid}, "jti": made});
    oidc::fake::token("k8s", &claims)
}

async fn by_oidc(
    control: &Control,
    token: &Secret,
    node: &str,
    instance: &str,
    csr: &[u8],
) -> Result<Enrolled, Error> {
    let enrolled = control.enrol.enrol_by_oidc(token, node, instance, csr);
    enrolled.await
}

#[tokio::test]
async fn a_workload_that_an_assignment_means_enrols_its_node_once_for_each_token() {
    let control = control().await;
    control.apply_text(CLUSTER).await;
    let (token, csr) = (workload(0, "7"), csr());
    let (one, two) = ("one", "two");
    let first = by_oidc(&control, &token, "prod", one, &csr).await.unwrap();
    assert_eq!(first.counter, 1);
    assert!(control.enrol.admit(&first.chain).is_ok());
    let again = by_oidc(&control, &token, "prod", one, &csr).await.unwrap();
    assert_eq!(again.counter, 1, "the answer was lost");
    let refusal = async |token: &Secret, node: &str, instance: &str| match by_oidc(
        &control,
        token,
        node,
        instance,
        &self::csr(),
    )
    .await
    {
        Err(Error::Refused(refused)) => refused.to_string(),
        other => panic!("{other:?}"),
    };
    let other = refusal(&token, "prod", two).await;
    assert!(other.contains("used already"), "{other}");
    let fresh = workload(1, "7");
    by_oidc(&control, &fresh, "prod", two, &self::csr())
        .await
        .unwrap();
    assert!(
        refusal(&workload(2, "7"), "dev", "three")
            .await
            .contains("may not enrol node 'dev'")
    );
    assert!(
        refusal(&workload(2, "7"), "none", "three")
            .await
            .contains("may not enrol node 'none'")
    );
    assert!(
        refusal(&workload(2, "8"), "prod", "three")
            .await
            .contains("may not enrol")
    );
    assert!(
        refusal(&Secret::from("a.b.c"), "prod", "three")
            .await
            .contains("not taken")
    );
    let now = START / 1_000;
    let claims = serde_json::json!({"sub": "system:serviceaccount:regmesh:prod", "iat": now, "exp": now + 3_600,
        "kubernetes.io": {"uid": "7"}, "person": true});
    assert!(
        refusal(&oidc::fake::token("k8s", &claims), "prod", "three")
            .await
            .contains("ID token")
    );
    let away = oidc::fake::token("k8s", &serde_json::json!({"away": true}));
    let away = by_oidc(&control, &away, "prod", "three", &csr).await;
    assert!(matches!(away, Err(Error::Issuer(_))), "{away:?}");
    control.clock.advance(Duration::from_secs(3_600));
    assert!(
        refusal(&workload(0, "7"), "prod", "three")
            .await
            .contains("not taken")
    );
    let part = state::Part {
        limit: 50,
        ..state::Part::default()
    };
    let log = control.state.audit(part).await.unwrap();
    let who = "issuer:k8s:system:serviceaccount:regmesh:prod";
    let by = |action: &str| {
        let found = log
            .iter()
            .filter(|entry| entry.action == action && entry.refused.is_none());
        found.filter(|entry| entry.who == who).count()
    };
    assert!(by("enrol") >= 2 && by("join-token") == 2, "{log:?}");
}

#[tokio::test]
async fn a_token_that_was_used_is_used_however_its_signature_is_written_and_for_as_long_as_it_lasts()
 {
    let control = control().await;
    control.apply_text(CLUSTER).await;
    let now = START / 1_000;
    let claims = serde_json::json!({"sub": "system:serviceaccount:regmesh:prod", "iat": now, "exp": now + 365 * 86_400,
        "kubernetes.io": {"uid": "7"}});
    let token = oidc::fake::token("k8s", &claims);
    by_oidc(&control, &token, "prod", "one", &csr())
        .await
        .unwrap();
    let (signed, _) = token.expose().rsplit_once('.').unwrap();
    let rewritten = Secret::new(format!("{signed}.another"));
    let after_days = async |days: u64| {
        control.clock.advance(Duration::from_secs(days * 86_400));
        let other = "prod".parse().unwrap();
        control
            .enrol
            .join_token(&other, Duration::ZERO, 1, WHO)
            .await
            .unwrap();
        for token in [&token, &rewritten] {
            let refused = by_oidc(&control, token, "prod", "two", &csr()).await;
            let Err(Error::Refused(refused)) = refused else {
                panic!("{refused:?}")
            };
            assert!(refused.to_string().contains("used already"), "{refused}");
        }
    };
    for days in [0, 8, 8, 100] {
        after_days(days).await;
    }
    for text in [token.expose().as_str(), signed, &format!("oidc:{signed}")] {
        let refused = control.enrol.enrol(text, "prod", "two", &csr()).await;
        assert!(
            matches!(refused, Err(Error::Refused(Refused::UnknownToken(_)))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_token_from_before_a_revocation_brings_no_node_back() {
    let control = control().await;
    control.apply_text(CLUSTER).await;
    let (token, node) = (workload(0, "7"), "prod".parse().unwrap());
    by_oidc(&control, &token, "prod", "one", &csr())
        .await
        .unwrap();
    control.clock.advance(Duration::from_secs(60));
    let first = control.enrol.revoke(&node, WHO).await;
    let revoked = Refused::Revoked(node.clone()).to_string();
    assert!(first.is_ok() && revoked.contains("without its `agent` folder"));
    let old = by_oidc(&control, &token, "prod", "two", &csr()).await;
    let Err(Error::Refused(old)) = old else {
        panic!("{old:?}")
    };
    assert!(
        old.to_string().contains("revoked") && old.word().is_none(),
        "{old}"
    );
    // The issuer's clock may be ahead by the leeway that it has: this one, too, may have been made before.
    control.clock.advance(Duration::from_secs(60));
    let close = by_oidc(&control, &workload(120, "7"), "prod", "two", &csr()).await;
    let Err(Error::Refused(Refused::OidcToken(close))) = close else {
        panic!("{close:?}")
    };
    assert!(close.contains("get a new one"), "{close}");
    control.clock.advance(Duration::from_secs(1));
    let back = by_oidc(&control, &workload(121, "7"), "prod", "two", &csr()).await;
    assert!(control.enrol.admit(&back.unwrap().chain).is_ok());
}
