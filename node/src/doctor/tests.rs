//! Promises of the checks: each breaks one thing and expects that check, its outcome and its advice; a healthy node passes all.

mod rig;

use runtime::file::Real;
use topology::model::rule::{Allowance, Check as When, Referrers};
use wire::{digest::Digest, refusal::Refusal};

use self::rig::{NOW, Rig};
use super::*;
use crate::{
    fill::world::Fault,
    store::blob::Blobs,
    store::metadata::{Delivery, DeliveryState, EventRecord, Op},
    upstream::{
        self, Reach,
        error::Kind,
        reach::{Certificate, Step},
        scripted::{Scripted, Verb},
    },
};
use CheckId::{
    Children, CopyStall, CredHealth, Fresh, Hooks, IdentScope, NetPath, Quota, RuleMatch,
    StoreWrite,
};
use Outcome::{Failed, Warning};

#[tokio::test]
async fn a_healthy_node_passes_every_check() {
    let rig = Rig::new().await;
    let checks = rig.all().await;
    let made = checks.iter().map(|check| check.id);
    let nodes = CheckId::ALL
        .into_iter()
        .filter(|id| !matches!(id, CheckId::Tree | CheckId::Client));
    assert!(made.eq(nodes), "{checks:#?}");
    assert!(
        checks.iter().all(|check| check.outcome == Outcome::Ok),
        "{checks:#?}"
    );
    assert!(
        checks
            .iter()
            .all(|check| check.node.as_ref().unwrap().as_str() == "prod")
    );
    assert_eq!(worst(&checks), Outcome::Ok);
}

#[tokio::test]
async fn nothing_is_left_behind_and_no_content_is_fetched() {
    let rig = Rig::new().await;
    let before = rig.patient.store.metadata().totals().await.unwrap();
    rig.all().await;
    let metadata = rig.patient.store.metadata();
    assert_eq!(metadata.totals().await.unwrap(), before);
    assert!(metadata.values("store/").await.unwrap().is_empty());
    assert!(rig.patient.store.blobs().stages().await.unwrap().is_empty());
    for upstream in [&rig.origin, &rig.dev] {
        assert_eq!(
            upstream.count(Verb::GetManifest) + upstream.count(Verb::GetBlob),
            0
        );
    }
    assert_eq!(
        rig.dev.count(Verb::HeadManifest),
        0,
        "a node is asked for the right alone"
    );
}

#[tokio::test]
async fn only_what_is_wanted_is_checked() {
    let rig = Rig::new().await;
    let checks = examine(&rig.patient, &[Quota, Hooks]).await;
    let made: Vec<CheckId> = checks.iter().map(|check| check.id).collect();
    assert_eq!(made, [Quota, Hooks]);
    assert_eq!(rig.origin.total(), 0);
}

#[tokio::test]
async fn a_store_that_is_read_only_or_full_fails_store_write() {
    let rig = Rig::new().await;
    rig.disk.fault(Fault::Stage);
    rig.expect(StoreWrite, Failed, &["read-only", "remount"])
        .await;
    assert_eq!(rig.unwell().await, [StoreWrite]);
    rig.disk.fault(Fault::None);
    rig.disk.leave(100);
    rig.expect(StoreWrite, Failed, &["full", "make room"]).await;
}

#[tokio::test]
async fn pulls_that_pass_while_nothing_is_stored_fail_copy_stall() {
    let rig = Rig::new().await;
    rig.state("mirror").pulled(WallTime(NOW));
    rig.state("mirror")
        .store_failed("the store is read-only", 1, WallTime(NOW));
    rig.expect(
        CopyStall,
        Failed,
        &["NotStoring", "1 pulls", "read-only", "STORE-WRITE"],
    )
    .await;
    assert_eq!(rig.unwell().await, [CopyStall]);
}

#[tokio::test]
async fn a_copy_that_fails_or_waits_for_nobody_is_told_by_copy_stall() {
    let rig = Rig::new().await;
    let mut job = rig.job();
    (job.attempts, job.last_error) = (3, Some("403 from origin".to_owned()));
    rig.commit(vec![Op::PutJob(job.clone())]).await;
    rig.expect(
        CopyStall,
        Failed,
        &["1 copies fail", "3 times: 403 from origin", "explain"],
    )
    .await;
    job.attempts = 0;
    rig.commit(vec![Op::PutJob(job)]).await;
    rig.clock.advance(Duration::from_secs(300));
    rig.expect(CopyStall, Warning, &["due and not begun", "copy-workers"])
        .await;
}

#[tokio::test]
async fn pushed_content_below_a_target_fails_rule_match() {
    let rig = Rig::new().await;
    rig.state("mirror")
        .conflict(Some("mirror/pushed".parse().unwrap()));
    rig.expect(RuleMatch, Failed, &["'mirror/pushed'", "another target"])
        .await;
    assert_eq!(rig.unwell().await, [RuleMatch]);
}

#[tokio::test]
async fn what_no_rule_covers_any_more_is_told_by_rule_match() {
    let mut rig = Rig::new().await;
    rig.change(|rule| {
        if rule.name.as_str() == "mirror" {
            rule.target = "elsewhere/*".parse().unwrap();
        }
    });
    rig.expect(RuleMatch, Warning, &["'mirror/app'", "bring the rule back"])
        .await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_fails_cred_health() {
    let rig = Rig::new().await;
    std::fs::remove_file(&rig.password).unwrap();
    rig.expect(
        CredHealth,
        Failed,
        &["SECRET_UNAVAILABLE", "password", "put the secret"],
    )
    .await;
    assert_eq!(rig.unwell().await, [CredHealth]);
}

#[tokio::test]
async fn each_way_of_an_upstream_to_deny_has_its_advice() {
    let denied = |refusal| upstream::Error::new(Kind::Denied, refusal, "as it says");
    let cases = [
        (
            denied(Refusal::UpstreamUnauthorized).with_status(401),
            Failed,
            "401",
            "user name or password",
        ),
        (
            denied(Refusal::UpstreamDenied),
            Failed,
            "403",
            "role assign",
        ),
        (upstream::Error::gone("404"), Warning, "404", "source"),
        (
            denied(Refusal::UpstreamRealmRefused),
            Failed,
            "UPSTREAM_REALM_REFUSED",
            "realms",
        ),
        (
            denied(Refusal::IdentityNotAttached),
            Failed,
            "IDENTITY_NOT_ATTACHED",
            "identity assign",
        ),
        (
            upstream::Error::new(
                Kind::Away { retry_after: None },
                Refusal::IdentityTokenFailed,
                "IMDS is away",
            ),
            Failed,
            "IMDS is away",
            "control plane",
        ),
    ];
    for (error, outcome, words, advice) in cases {
        let rig = Rig::new().await;
        rig.origin
            .fail(Verb::HeadManifest, usize::MAX, error.clone());
        rig.origin.fail(Verb::Tags, usize::MAX, error);
        rig.expect(CredHealth, outcome, &[words, advice]).await;
        assert_eq!(rig.unwell().await, [CredHealth]);
    }
}

#[tokio::test]
async fn each_reason_for_no_token_of_an_identity_has_its_name_and_its_advice() {
    let failed = |kind, refusal| upstream::Error::new(kind, refusal, "as it says");
    let away = Kind::Away { retry_after: None };
    let cases = [
        (
            failed(away, Refusal::IdentityTokenFailed),
            "IDENTITY_TOKEN_FAILED",
            "control plane",
        ),
        (
            failed(Kind::Denied, Refusal::IdentityNotAttached),
            "IDENTITY_NOT_ATTACHED",
            "regmesh identity assign",
        ),
        (
            failed(Kind::Denied, Refusal::UpstreamUnauthorized),
            "UPSTREAM_UNAUTHORIZED",
            "clocks agree",
        ),
        (
            failed(Kind::Denied, Refusal::UpstreamDenied),
            "UPSTREAM_DENIED",
            "regmesh role assign",
        ),
    ];
    for (error, name, advice) in cases {
        let rig = Rig::new().await;
        rig.dev.fail_all(&error);
        rig.expect(
            CredHealth,
            Failed,
            &[name, "identity", "as it says", advice],
        )
        .await;
    }
}

#[tokio::test]
async fn the_good_line_counts_the_rules_that_were_granted_alone() {
    let rig = Rig::new().await;
    let told = async || {
        let checks = examine(&rig.patient, &[CredHealth]).await;
        let well = checks.iter().filter(|check| check.outcome == Outcome::Ok);
        let well: Vec<_> = well.map(|check| check.text.clone()).collect();
        (well.join(" "), checks.len())
    };
    assert!(told().await.0.starts_with("the credentials of 2 rules can"));
    rig.dev.fail_all(&upstream::Error::away("refused"));
    let (well, lines) = told().await;
    assert!(
        well.starts_with("the credentials of 1 of 2 rules"),
        "{well}"
    );
    assert_eq!(lines, 2);
    rig.origin.fail_all(&upstream::Error::away("refused"));
    assert_eq!(told().await, (String::new(), 2));
}

#[tokio::test]
async fn a_credential_set_is_told_of_by_the_rules_that_use_it_alone() {
    let mut rig = Rig::new().await;
    let subjects = async |rig: &Rig| {
        let checks = examine(&rig.patient, &[CredHealth]).await;
        let told = checks.into_iter().map(|c| (c.subject, c.outcome));
        told.collect::<Vec<_>>()
    };
    let used = rig.patient.topology.credentials.keys().next().cloned();
    rig.patient.credentials.clone_from(&used);
    let own = Some(format!("rule mirror (credential set {})", used.unwrap()));
    assert_eq!(subjects(&rig).await, [(own.clone(), Outcome::Ok)]);
    std::fs::remove_file(&rig.password).unwrap();
    assert_eq!(subjects(&rig).await, [(own, Failed)]);
    rig.patient.credentials = Some("unused".parse().unwrap());
    assert_eq!(subjects(&rig).await, [(None, Outcome::Skipped)]);
}

#[tokio::test]
async fn an_upstream_that_is_away_says_nothing_about_a_credential() {
    let rig = Rig::new().await;
    rig.origin.fail(
        Verb::HeadManifest,
        usize::MAX,
        upstream::Error::away("refused"),
    );
    let checks = examine(&rig.patient, &[CredHealth]).await;
    assert_eq!(worst(&checks), Outcome::Skipped, "{checks:#?}");
}

#[tokio::test]
async fn an_identity_that_is_not_attached_or_not_meant_for_the_source_fails_ident_scope() {
    let mut rig = Rig::new().await;
    let mut topology = Topology::clone(&rig.patient.topology);
    let identity = topology.identities.values_mut().next().unwrap();
    identity.sources = vec!["node://dev/other/*".to_owned()];
    rig.patient.topology = Arc::new(topology.clone());
    rig.expect(IdentScope, Failed, &["node://dev/golden/*", "sources"])
        .await;
    topology
        .identities
        .values_mut()
        .for_each(|identity| identity.on.clear());
    rig.patient.topology = Arc::new(topology.clone());
    rig.expect(
        IdentScope,
        Failed,
        &["IDENTITY_NOT_ATTACHED", "identity assign"],
    )
    .await;
    assert_eq!(rig.unwell().await, [IdentScope]);
    let set = topology.credentials.values_mut().next().unwrap();
    set.login_server = "other.example".to_owned();
    topology.identities = Rig::new().await.patient.topology.identities.clone();
    rig.patient.topology = Arc::new(topology);
    rig.expect(
        IdentScope,
        Failed,
        &["is for other.example", "loginServer: origin.example"],
    )
    .await;
}

#[tokio::test]
async fn each_step_of_the_way_fails_net_path_with_its_advice() {
    let cases = [
        (Step::Name, "resolver"),
        (Step::Policy, "private addresses"),
        (Step::Connect, "firewalls"),
        (Step::Tls, "ca: FILE"),
        (Step::Answer, "proxies"),
        (Step::LetIn, "network.allow"),
    ];
    for (step, advice) in cases {
        let rig = Rig::new().await;
        rig.dev
            .seen_as(Reach::blocked("dev:7001".into(), step, "as it is"));
        rig.expect(NetPath, Failed, &["dev:7001", "as it is", advice])
            .await;
        assert_eq!(rig.unwell().await, [NetPath]);
    }
}

#[tokio::test]
async fn a_clock_that_is_off_and_a_certificate_that_ends_are_told_by_net_path() {
    let rig = Rig::new().await;
    let seen = |dev: &Scripted, ahead_ms, ends_in_days: u64| {
        dev.seen_as(showing(ahead_ms, ends_in_days * 24, 365 * 24, false));
    };
    seen(&rig.dev, -90_000, 90);
    rig.expect(NetPath, Warning, &["90 s behind", "chrony"])
        .await;
    seen(&rig.dev, 600_000, 90);
    rig.expect(NetPath, Failed, &["10 min ahead", "chrony"])
        .await;
    seen(&rig.dev, 0, 3);
    rig.expect(NetPath, Warning, &["ends in 3 days", "renewed"])
        .await;
    seen(&rig.dev, 5_000, 90);
    assert!(rig.unwell().await.is_empty());
}

/// Of an upstream whose certificate has this many hours left of so many.
fn showing(ahead_ms: i64, left: u64, of: u64, renews_itself: bool) -> Reach {
    let hours = |hours| Duration::from_secs(hours * 3600);
    Reach {
        at: "dev:7001".to_owned(),
        ahead_ms: Some(ahead_ms),
        certificate: Some(Certificate {
            ends: WallTime(NOW).plus(hours(left)),
            life: hours(of),
            renews_itself,
        }),
        ..Reach::default()
    }
}

#[tokio::test]
async fn a_short_certificate_that_is_renewed_in_time_is_well() {
    let rig = Rig::new().await;
    for left in [23, 12, 6] {
        rig.dev.seen_as(showing(0, left, 24, true));
        assert!(rig.unwell().await.is_empty(), "{left} h");
    }
    rig.dev.seen_as(showing(0, 5, 24, true));
    rig.expect(NetPath, Warning, &["ends in 5 h", "control plane"])
        .await;
    rig.dev.seen_as(showing(0, 5, 24, false));
    rig.expect(
        NetPath,
        Warning,
        &["ends in 5 h", "renewed at the upstream"],
    )
    .await;
}

#[tokio::test]
async fn tags_that_cannot_be_checked_are_told_by_fresh() {
    let mut rig = Rig::new().await;
    let state = rig.state("mirror");
    state.away(
        Refusal::UpstreamUnavailable,
        "connection refused",
        WallTime(NOW),
    );
    rig.clock.advance(Duration::from_secs(3 * 3600));
    rig.expect(
        Fresh,
        Warning,
        &["1 tags are served stale", "3 h ago", "refused", "NET-PATH"],
    )
    .await;
    rig.change(|rule| rule.freshness.serve_stale = Allowance::For(Duration::from_secs(60)));
    rig.expect(
        Fresh,
        Failed,
        &["1 tags are not served any more", "serveStale"],
    )
    .await;
    rig.change(|rule| rule.freshness.check = When::Never);
    assert!(
        rig.unwell().await.is_empty(),
        "what is never checked is never stale"
    );
}

#[tokio::test]
async fn a_rate_that_is_nearly_used_up_is_told_by_quota() {
    let mut rig = Rig::new().await;
    rig.patient.remaining = Arc::new(|name: &str| (name == "dev").then_some(7));
    rig.expect(Quota, Warning, &["7 requests are left", "higher limit"])
        .await;
    rig.patient.remaining = Arc::new(|name: &str| (name == "dev").then_some(0));
    rig.expect(Quota, Failed, &["nothing is left", "freshness.check"])
        .await;
}

#[tokio::test]
async fn a_disk_without_room_fails_quota() {
    let mut rig = Rig::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = store::Config {
        max_size: Some(1),
        ..store::Config::new(directory.path())
    };
    let (files, tasks) = (Arc::new(Real), rig.patient.tasks.clone());
    rig.patient.store = config
        .build(files, rig.clock.clone(), &tasks)
        .await
        .unwrap();
    rig.expect(Quota, Failed, &["no room", "storage.maxSize"])
        .await;
}

#[tokio::test]
async fn a_part_that_is_missing_fails_children() {
    let rig = Rig::new().await;
    rig.disk.delete(&rig.layer).await.unwrap();
    rig.expect(
        Children,
        Failed,
        &["lacks 1 of its parts", rig.layer.as_str(), "regmesh pull"],
    )
    .await;
    assert_eq!(rig.unwell().await, [Children]);
}

#[tokio::test]
async fn a_part_that_the_upstream_lacks_is_told_by_children() {
    let rig = Rig::new().await;
    let mut job = rig.job();
    (job.missing, job.due_at) = (vec![rig.layer.clone()], WallTime(NOW + 3_600_000));
    rig.commit(vec![Op::PutJob(job)]).await;
    rig.expect(
        Children,
        Warning,
        &["upstream does not have 1", "push the image whole"],
    )
    .await;
}

#[tokio::test]
async fn signatures_that_cannot_be_asked_for_or_are_not_here_are_told_by_referrers() {
    let mut rig = Rig::new().await;
    rig.sign(&Digest::sha256(b"signature"));
    assert!(
        rig.unwell().await.is_empty(),
        "on demand they need not be here"
    );
    rig.change(|rule| rule.referrers = Referrers::WithImage);
    let id = CheckId::Referrers;
    rig.expect(id, Warning, &["1 of the 1", "regmesh pull"])
        .await;
    rig.origin.fail(
        Verb::Referrers,
        usize::MAX,
        upstream::Error::away("refused"),
    );
    rig.expect(id, Warning, &["cannot be asked for", "never an empty list"])
        .await;
    assert_eq!(rig.unwell().await, [id]);
}

#[tokio::test]
async fn a_receiver_that_is_down_fails_hooks() {
    let mut rig = Rig::new().await;
    rig.receiver = None;
    rig.expect(
        Hooks,
        Failed,
        &["cannot be connected to", "webhook ping -n gate"],
    )
    .await;
    assert_eq!(rig.unwell().await, [Hooks]);
}

#[tokio::test]
async fn a_receiver_that_refuses_what_it_is_sent_fails_hooks() {
    let rig = Rig::new().await;
    let event = EventRecord {
        id: uuid::Uuid::now_v7(),
        key: "mirror/app:1".to_owned(),
        action: "push".to_owned(),
        body: b"{}".to_vec(),
        recorded_at: WallTime(NOW),
    };
    let gate: wire::name::WebhookName = "gate".parse().unwrap();
    let refused = Delivery {
        webhook: gate.clone(),
        event: event.id,
        state: DeliveryState::Pending,
        attempts: 4,
        due_at: WallTime(NOW + 60_000),
        sent_at: Some(WallTime(NOW)),
        response: Some("500".to_owned()),
    };
    let put = Op::PutEvent(event, vec![gate]);
    rig.commit(vec![put, Op::PutDelivery(refused)]).await;
    rig.expect(
        Hooks,
        Failed,
        &["(500, 4 attempts)", "1 events wait", "24 h"],
    )
    .await;
}
