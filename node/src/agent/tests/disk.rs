//! What a restart finds: the last good slice, a damaged one, the time since the last contact (T14, T33).

use super::{
    super::{
        home::Home,
        shared::{CONTACT, offline},
    },
    *,
};

#[tokio::test]
async fn a_restart_without_the_control_plane_changes_nothing_and_its_return_is_noticed() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    stream.slice(2, &control.sign(2, &document(&["a"]))).await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    control.stop().await;
    eventually("the loss is seen", async || !agent.connected()).await;
    assert_eq!(
        get(agent.admin().unwrap(), "/readyz").await.0,
        200,
        "T33: running nodes are unchanged"
    );
    let agent = machine.again(agent, None).await.unwrap();
    let running = agent
        .running()
        .expect("T33: from disk, before anybody is asked");
    assert_eq!(running.generation(), Generation(2));
    let pages = agent.admin().unwrap();
    assert_eq!(get(pages, "/readyz").await.0, 200);
    assert!(
        get(pages, "/metrics")
            .await
            .1
            .contains("regmesh_control_connected 0")
    );

    control.again().await;
    let mut stream = control.stream().await;
    assert_eq!(stream.hello.generation, 2);
    assert_eq!(
        hex::encode(&stream.hello.document_digest),
        identity::certificate::document_digest(&document(&["a"]))
    );
    stream.welcome(&machine.clock).await;
    eventually("the return is seen", async || agent.connected()).await;
    stream.slice(3, &control.sign(1, &document(&[]))).await;
    assert_eq!(
        stream.outcome(3).await,
        Err(vec!["older-generation".to_owned()]),
        "not even after a restart"
    );
    assert!(
        get(pages, "/metrics")
            .await
            .1
            .contains("regmesh_control_connected 1")
    );
}

#[tokio::test]
async fn a_damaged_slice_gives_way_to_the_one_before_and_then_to_waiting() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    stream.slice(2, &control.sign(2, &document(&["a"]))).await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    push(&agent.running().unwrap(), "kept").await;
    control.stop().await;

    let mut agent = agent;
    let whole = std::fs::read(machine.file("slice.json")).unwrap();
    let altered = String::from_utf8(whole.clone())
        .unwrap()
        .replace("team/a", "evil/a")
        .into_bytes();
    for damaged in [
        whole[..whole.len() - 7].to_vec(),
        vec![0; whole.len()],
        Vec::new(),
        altered,
    ] {
        std::fs::write(machine.file("slice.json"), damaged).unwrap();
        agent = machine.again(agent, None).await.unwrap();
        let status = agent.running().expect("T14: the previous one").status();
        assert_eq!(status.generation, Generation(1));
        assert!(
            status.warnings[0].contains("slice.json"),
            "{:?}",
            status.warnings
        );
    }
    std::fs::write(machine.file("slice.previous.json"), b"{").unwrap();
    let agent = machine.again(agent, None).await.unwrap();
    assert!(agent.running().is_none());
    let (registry, pages) = (agent.address().unwrap(), agent.admin().unwrap());
    assert_eq!(get(registry, "/v2/").await.0, 503);
    assert!(
        get(pages, "/status")
            .await
            .1
            .contains("slice.previous.json")
    );

    control.again().await;
    let mut stream = control.stream().await;
    assert_eq!(stream.hello.generation, 0);
    stream.welcome(&machine.clock).await;
    stream.slice(3, &control.sign(2, &document(&["a"]))).await;
    assert_eq!(stream.outcome(3).await, Ok(2));
    let running = agent.running().unwrap();
    let pushed = running
        .store()
        .metadata()
        .pushed_repository(&wire::pattern::Pattern::All)
        .await;
    assert!(pushed.unwrap().is_some(), "nothing was deleted");
    assert!(!running.status().warnings.is_empty(), "and it was told");
}

#[test]
fn the_time_since_the_last_contact_survives_a_restart_and_a_wrong_clock_makes_it_endless() {
    let disk = TempDir::new().unwrap();
    let home = Home::open(disk.path(), Arc::new(Real)).unwrap();
    let clock = Clock::manual(10_000_000);
    assert_eq!(offline(&home, None, &clock), Duration::MAX, "never");
    home.write(CONTACT, b"9990000").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::from_secs(10));
    home.write(CONTACT, b"10000001").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::MAX, "in the future");
    home.write(CONTACT, b"soon").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::MAX);
}

#[tokio::test]
async fn a_role_that_a_slice_takes_away_is_gone_although_the_disk_does_not_take_the_slice() {
    use runtime::file::ailing::{Ailing, Illness};
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let disk = Ailing::new(Arc::new(Real));
    let (files, token) = (Arc::new(disk.clone()), control.token());
    let agent = machine.start_on(files, Some(token.into())).await.unwrap();
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    let access = |repositories: &str| {
        let role = format!(
            "{{allow: repository-reader, to: anonymous, on: prod, repositories: [{repositories}]}}"
        );
        document_with(&[], &format!("access:\n  - {role}\n"))
    };
    stream
        .slice(1, &control.sign(1, &access("team/*, open/*")))
        .await;
    assert_eq!(stream.outcome(1).await, Ok(1));
    let registry = agent.address().unwrap();
    let looks = async |repository: &str| {
        get(registry, &format!("/v2/{repository}/tags/list"))
            .await
            .0
    };
    assert_eq!((looks("team/a").await, looks("open/a").await), (404, 404));

    disk.set(Some(Illness::Full));
    stream
        .slice(2, &control.sign(2, &access("open/*, more/*")))
        .await;
    assert_eq!(stream.outcome(2).await, Err(vec!["not-written".to_owned()]));
    assert_eq!(looks("team/a").await, 401, "no disk is needed to take away");
    assert_eq!(looks("open/a").await, 404, "what stays is not lost");
    assert_eq!(looks("more/a").await, 401, "what is given waits");

    disk.set(None);
    let _next = control.stream().await;
    eventually("what is given is here", async || {
        looks("more/a").await == 404
    })
    .await;
    assert_eq!(looks("team/a").await, 401);
}

#[tokio::test]
async fn a_recall_or_revocation_that_the_disk_does_not_take_is_in_force_and_written_down_once_there_is_room()
 {
    use runtime::file::ailing::{Ailing, Illness};
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let disk = Ailing::new(Arc::new(Real));
    let (files, token) = (Arc::new(disk.clone()), control.token());
    let agent = machine.start_on(files, Some(token.into())).await.unwrap();
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    stream.slice(1, &control.sign(1, &document(&[]))).await;
    assert_eq!(stream.outcome(1).await, Ok(1));
    let digest = wire::digest::Digest::sha256(b"bad");
    let recall = topology::model::Recall {
        reason: "CVE-2026-1".to_owned(),
        at: WallTime(1_000),
    };
    let loaded = topology::load_slice("slice", &document(&[])).unwrap();
    let beside = topology::slice::Beside {
        recalls: [(digest.clone(), recall)].into(),
        revoked: [("edge".parse().unwrap(), WallTime(1_000))].into(),
        ..Default::default()
    };
    let membership = agent.shared.membership.clone();
    // What a connection to that node is made of.
    let edge = || membership.towards(&"edge".parse().unwrap()).unwrap().0;
    let before = edge();
    let prod = "prod".parse().unwrap();
    let cut = topology::slice::slice_with(&loaded.topology, &prod, &beside);
    let recalling = cut.unwrap().to_yaml().unwrap();
    let running = agent.running().unwrap();
    assert!(!running.refuses(&digest));

    disk.set(Some(Illness::Full));
    stream.slice(2, &control.sign(2, &recalling)).await;
    assert_eq!(stream.outcome(2).await, Err(vec!["not-written".to_owned()]));
    assert!(running.refuses(&digest), "no disk is needed to refuse");
    assert_ne!(edge(), before, "nor to believe somebody no more");
    assert_eq!(running.generation(), Generation(1));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(1));

    disk.set(None);
    let next = control.stream().await;
    assert_eq!(next.hello.generation, 2, "nobody sent it again");
    assert_eq!(running.generation(), Generation(2));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(2));
}
