//! Joining, renewing, being shut out (T38, T52, T55).

use super::*;

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_as_the_same_instance_with_the_same_key() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.script(|script| script.lose = 1);
    let agent = machine.start(Some(control.token())).await.unwrap();
    let stream = control.stream().await;
    control.script(|script| {
        let [first, second] = &script.asked[..] else {
            unreachable!("two requests expected, got {:?}", script.asked)
        };
        assert_eq!(first, second);
        assert_eq!(stream.hello.instance, first.0);
        assert_eq!(
            stream.certificate.instance.as_deref(),
            Some(first.0.as_str())
        );
    });
    // The same token given again, as a service file does, costs no second enrolment.
    drop(stream);
    let agent = machine.again(agent, Some(control.token())).await.unwrap();
    control.stream().await;
    control.script(|script| assert_eq!(script.asked.len(), 2));
    let twice = machine
        .start(None)
        .await
        .err()
        .map(|error| error.to_string());
    assert!(
        twice.unwrap().contains("used by another process"),
        "one process for one directory"
    );
    drop(agent);
}

#[tokio::test]
async fn a_token_that_does_not_admit_ends_a_new_node_and_not_one_that_has_joined() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.script(|script| script.refuse = Some(NotAdmitted::UsedToken));
    let agent = machine.start(Some(control.token())).await.unwrap();
    let End::Refused(why) = agent.ended().await else {
        unreachable!("nobody asked for a drain")
    };
    assert!(why.contains("used-token"), "{why}");
    assert!(
        get(agent.admin().unwrap(), "/readyz")
            .await
            .1
            .contains("used-token")
    );
    control.script(|script| script.refuse = None);
    let agent = machine.again(agent, Some(control.token())).await.unwrap();
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    stream.slice(1, &control.sign(1, &document(&[]))).await;
    assert_eq!(stream.outcome(1).await, Ok(1));
    drop(stream);
    let another = JoinToken {
        secret: "another".to_owned(),
        ..control.token()
    };
    let agent = machine.again(agent, Some(another)).await.unwrap();
    assert_eq!(
        control.stream().await.hello.generation,
        1,
        "T52: refused, and nothing changed"
    );

    let elsewhere = JoinToken {
        node: "dev".parse().unwrap(),
        ..control.token()
    };
    assert!(matches!(
        machine.again(agent, Some(elsewhere)).await,
        Err(Error::OtherNode { .. })
    ));
    let empty = machine_of(&machine);
    assert!(matches!(empty.start(None).await, Err(Error::NotJoined)));
    let mut pin = control.token();
    pin.pin = format!("sha256:{}", "ab".repeat(32));
    let agent = empty.start(Some(pin)).await.unwrap();
    eventually("somebody else's CA is refused", async || {
        get(agent.admin().unwrap(), "/readyz")
            .await
            .1
            .contains("join token")
    })
    .await;
    control.script(|script| assert_eq!(script.asked.len(), 2, "the secret went nowhere"));
}

#[tokio::test]
async fn an_oidc_token_is_read_again_at_each_attempt_and_counts_for_the_first_enrolment_alone() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let file = machine.disk.path().join("token");
    let join = || {
        Some(Join::Oidc(ByOidc {
            address: control.address.to_string(),
            pin: control.authority.pin(),
            node: "prod".parse().unwrap(),
            file: file.clone(),
        }))
    };
    let (first, second) = (join(), join());
    let agent = machine.start_on(Arc::new(Real), first).await.unwrap();
    let admin = agent.admin().unwrap();
    let told = async |what: &str| {
        eventually(what, async || get(admin, "/readyz").await.1.contains(what)).await;
    };
    told("the OIDC token: file").await;
    std::fs::write(&file, "canary-one\n").unwrap();
    told("may not enrol node").await;
    std::fs::write(&file, "canary-two\n").unwrap();
    let stream = control.stream().await;
    control.script(|script| {
        assert_eq!(script.oidc[0], "canary-one");
        assert!(script.oidc.iter().all(|token| token.starts_with("canary-")));
        assert_eq!(script.asked.len(), 1);
    });
    drop(stream);
    drop(agent);
    let kept = std::fs::read_to_string(machine.file("enrolment.json")).unwrap();
    assert!(!kept.contains("canary"), "{kept}");
    let mut again = None;
    eventually("the directory is free", async || {
        let started = machine.start_on(Arc::new(Real), second.clone()).await;
        again = started.ok();
        again.is_some()
    })
    .await;
    control.stream().await;
    control.script(|script| assert_eq!(script.asked.len(), 1, "no second enrolment"));
}

#[tokio::test]
async fn a_certificate_is_renewed_at_half_its_life_and_the_next_stream_stands_before_the_last_one_ends()
 {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    // At 45 to 55 percent of its life already.
    control.script(|script| {
        (script.life, script.backdate) = (Duration::from_secs(20), Duration::from_secs(9));
    });
    let agent = machine.start(Some(control.token())).await.unwrap();
    let first = control.stream().await;
    first.welcome(&machine.clock).await;
    control.script(|script| (script.life, script.backdate) = (Duration::ZERO, Duration::ZERO));
    let second = control.stream().await;
    assert!(second.certificate.ends > first.certificate.ends);
    assert!(!first.to.is_closed(), "make before break");
    second.welcome(&machine.clock).await;
    first.closed().await;
    control.script(|script| {
        assert_eq!(script.asked.len(), 2);
        assert_eq!(
            script.asked[1].2,
            Some(1),
            "with the counter of the one in use"
        );
        assert_ne!(script.asked[0].1, script.asked[1].1, "for a key of its own");
    });
    assert!(agent.connected());
    let newest = second.certificate.clone();
    drop(second);
    let _agent = machine.again(agent, None).await.unwrap();
    assert_eq!(control.stream().await.certificate, newest);
    control.script(|script| assert_eq!(script.asked.len(), 2));
}

#[tokio::test]
async fn a_certificate_that_ended_while_the_node_was_off_is_renewed_before_the_stream() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.script(|script| {
        (script.life, script.backdate) = (Duration::from_secs(5), Duration::from_secs(60));
    });
    let agent = machine.start(Some(control.token())).await.unwrap();
    eventually("a renewal", async || {
        let mut asked = 0;
        control.script(|script| asked = script.asked.len());
        asked >= 2
    })
    .await;
    control.script(|script| (script.life, script.backdate) = (Duration::ZERO, Duration::ZERO));
    let stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    eventually("a stream under it", async || agent.connected()).await;
}

#[tokio::test]
async fn a_revoked_node_closes_and_stays_closed_until_it_joins_again() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, stream) = machine.joined(&mut control).await;
    let (registry, pages) = (agent.address().unwrap(), agent.admin().unwrap());
    control.script(|script| script.refuse_streams = Some(NotAdmitted::UnknownInstance));
    stream
        .to
        .send(Err(tonic::Status::unavailable("restored from a backup")))
        .await
        .unwrap();
    eventually("it is away", async || !agent.connected()).await;
    assert_eq!(
        get(pages, "/readyz").await.0,
        200,
        "a control plane that forgot us closes nothing"
    );

    control.script(|script| script.refuse_streams = Some(NotAdmitted::Revoked));
    eventually("it is closed", async || {
        get(pages, "/readyz").await.0 == 503
    })
    .await;
    assert_eq!(get(registry, "/v2/").await.0, 503);
    assert!(get(pages, "/readyz").await.1.contains("revoked"));
    drop((agent, stream));
    assert!(matches!(machine.start(None).await, Err(Error::ShutOut(_))));
    assert!(
        matches!(
            machine.start(Some(control.token())).await,
            Err(Error::ShutOut(_))
        ),
        "not with the old token"
    );
    assert_eq!(
        slice_on_disk(&machine, "slice.json"),
        Some(1),
        "what is there stays there"
    );
}
