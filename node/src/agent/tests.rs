//! The agent against a control plane that does what each test says: T14, T33-T38, T52, T55 as far as one node shows them.

use std::{path::Path, sync::Arc, time::Duration};

use runtime::{Clock, Tasks, file::Real};
use tempfile::TempDir;
use wire::{
    api::{ask, report::Report, status::RuleState},
    node_service::{Ask, Reported, answer::Outcome, from_node, to_node},
    not_admitted::NotAdmitted,
};

use super::*;
use control::{Control, Stream};

mod control;

/// A machine: its disk, its clock, and the node that runs on it.
struct Machine {
    disk: TempDir,
    clock: Clock,
    tasks: Tasks,
}

fn machine() -> Machine {
    runtime::tls::install_crypto();
    Machine {
        disk: TempDir::new().unwrap(),
        clock: Clock::system(),
        tasks: Tasks::new("test"),
    }
}

impl Machine {
    async fn start(&self, join: Option<JoinToken>) -> Result<Agent, Error> {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            data_dir: self.disk.path().to_owned(),
            join,
            listen: Some(local),
            admin: Some(local),
            defaults: Defaults::Node,
            patience: Duration::ZERO,
            settings: Settings {
                control_retry: Duration::from_millis(20),
                control_retry_most: Duration::from_millis(100),
                ..Settings::default()
            },
        };
        config
            .start(Arc::new(Real), self.clock.clone(), &self.tasks)
            .await
    }

    /// The same after `agent` was killed: what it held is let go in a moment.
    async fn again(&self, agent: Agent, join: Option<JoinToken>) -> Result<Agent, Error> {
        drop(agent);
        for _ in 0..500 {
            match self.start(join.clone()).await {
                Err(Error::Directory { .. } | Error::Node(app::Error::Store { .. })) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started => return started,
            }
        }
        unreachable!("the directory is held for ever")
    }

    /// A node that has joined, and has generation 1 in force.
    async fn joined(&self, control: &mut Control) -> (Agent, Stream) {
        let agent = self.start(Some(control.token())).await.unwrap();
        let mut stream = control.stream().await;
        stream.welcome(&self.clock).await;
        stream.slice(1, &control.sign(1, &document(&[]))).await;
        assert_eq!(stream.outcome(1).await, Ok(1));
        (agent, stream)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.disk.path().join("agent").join(name)
    }
}

/// The slice of a topology whose node `prod` has these rules, each to the target of its name.
fn document(rules: &[&str]) -> String {
    document_with(rules, "")
}

fn document_with(rules: &[&str], more: &str) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|name| {
            format!("  {name}: {{on: prod, source: 'localhost:1/team/{name}', target: {name}}}\n")
        })
        .collect();
    let text = format!(
        "version: 1\nmesh: acme\nnodes:\n  prod: {{endpoint: 'http://127.0.0.1:5999'}}\nrules: {{}}\n{more}"
    );
    let text = match rules.is_empty() {
        true => text,
        false => text.replace("rules: {}\n", &format!("rules:\n{}", rules.concat())),
    };
    let loaded = topology::load(&[("t.yaml".to_owned(), text)]).unwrap();
    let slice = topology::slice::slice(&loaded.topology, &"prod".parse().unwrap()).unwrap();
    slice.to_yaml().unwrap()
}

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("{what} did not come to pass");
}

fn slice_on_disk(machine: &Machine, name: &str) -> Option<u64> {
    let bytes = std::fs::read(machine.file(name)).ok()?;
    let envelope: wire::api::slice::Envelope = serde_json::from_slice(&bytes).ok()?;
    Some(envelope.generation.0)
}

#[tokio::test]
async fn a_node_is_closed_until_its_first_slice_and_open_after_it() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.stop().await;
    let agent = machine.start(Some(control.token())).await.unwrap();
    let (registry, pages) = (agent.address().unwrap(), agent.admin().unwrap());
    let (status, answer) = get(registry, "/v2/library/nginx/manifests/latest?ns=docker.io").await;
    assert_eq!(status, 503, "T34: never an open proxy");
    let answer = answer.to_lowercase();
    assert!(
        answer.contains("unavailable") && answer.contains("retry-after: 5"),
        "{answer}"
    );
    assert_eq!(get(pages, "/livez").await.0, 200);
    assert_eq!(get(pages, "/readyz").await.0, 503);
    assert!(
        get(pages, "/metrics")
            .await
            .1
            .contains("regmesh_control_connected 0")
    );
    let status = get(pages, "/status").await.1;
    assert!(
        status.contains(r#""node":"prod""#) && status.contains(r#""generation":0"#),
        "{status}"
    );

    control.again().await;
    let mut stream = control.stream().await;
    assert_eq!(
        (stream.hello.generation, stream.hello.document_digest.len()),
        (0, 0)
    );
    stream.welcome(&machine.clock).await;
    stream.slice(7, &control.sign(3, &document(&["a"]))).await;
    assert_eq!(stream.outcome(7).await, Ok(3));
    assert_eq!(
        (agent.address(), agent.admin()),
        (Some(registry), Some(pages)),
        "the ports stay"
    );
    assert_eq!(get(pages, "/readyz").await.0, 200);
    assert_eq!(get(registry, "/v2/").await.0, 401);
    let metrics = get(pages, "/metrics").await.1;
    assert!(
        metrics.contains("regmesh_control_connected 1")
            && metrics.contains("regmesh_config_generation 3")
    );
    assert_eq!(
        slice_on_disk(&machine, "slice.json"),
        Some(3),
        "durable before the ACK"
    );
    for name in ["enrolment.json", "key.pem", "slice.json"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(machine.file(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    agent.drain(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_is_not_the_control_planes_slice_for_this_node_is_refused_and_the_last_good_one_stays()
{
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    stream.slice(2, &control.sign(5, &document(&["a"]))).await;
    assert_eq!(stream.outcome(2).await, Ok(5));

    let good = document(&["b"]);
    let signed = |generation| control.sign(generation, &good);
    let mut altered = signed(6);
    altered.document = Some(document(&["c"]));
    let mut forged = signed(6);
    forged.generation = Generation(7);
    let other_ca =
        identity::certificate::Authority::generate(control::now(&machine.clock)).unwrap();
    let foreign = control::signer(&other_ca, "spiffe://acme/control", &machine.clock);
    let peer = control::signer(&control.authority, "spiffe://acme/node/dev", &machine.clock);
    let own = control::signer(&control.authority, "spiffe://acme/control", &machine.clock);
    let mut missing = signed(6);
    missing.document = None;
    let other_mesh = document(&["a"]).replace("mesh: acme", "mesh: evil");
    let unsupported =
        document(&[]).replace("endpoint:", "storage: {blobs: 's3://x'}\n    endpoint:");
    let cases = [
        ("altered", altered, "slice-not-believed"),
        ("forged", forged, "slice-not-believed"),
        (
            "another CA",
            control.sign_as(&foreign, "prod", 6, &good),
            "slice-not-believed",
        ),
        (
            "signed by a node",
            control.sign_as(&peer, "prod", 6, &good),
            "slice-not-believed",
        ),
        (
            "for another node",
            control.sign_as(&own, "dev", 6, &good),
            "slice-not-believed",
        ),
        ("without its document", missing, "slice-not-believed"),
        ("older", signed(4), "older-generation"),
        (
            "no topology",
            control.sign(6, "version: 1\nnodes: [\n"),
            "wrong-type",
        ),
        ("empty", control.sign(6, ""), "wrong-type"),
        ("another mesh", control.sign(6, &other_mesh), "other-mesh"),
        (
            "not for this release",
            control.sign(6, &unsupported),
            "unsupported",
        ),
    ];
    for (nonce, (name, envelope, code)) in (10..).zip(cases) {
        stream.slice(nonce, &envelope).await;
        let codes = stream.outcome(nonce).await.expect_err(name);
        assert!(code == "wrong-type" || codes == [code], "{name}: {codes:?}");
        assert!(!codes.is_empty());
    }
    stream.raw_slice(99, b"garbage".to_vec()).await;
    assert_eq!(
        stream.outcome(99).await,
        Err(vec!["not-a-slice".to_owned()])
    );

    let status = agent.running().unwrap().status();
    assert_eq!((status.generation, status.rules.len()), (Generation(5), 1));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(5));

    // The same document under a later generation travels without it.
    let mut moved = control.sign(8, &document(&["a"]));
    moved.document = None;
    stream.slice(100, &moved).await;
    assert_eq!(stream.outcome(100).await, Ok(8));
    assert_eq!(agent.generation(), Generation(8));
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(8));
    assert_eq!(slice_on_disk(&machine, "slice.previous.json"), Some(5));
}

#[tokio::test]
async fn a_rule_over_pushed_content_refuses_the_whole_generation_and_only_that() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let running = agent.running().unwrap();
    push(&running, "taken").await;

    stream
        .slice(2, &control.sign(2, &document(&["free", "taken"])))
        .await;
    assert_eq!(
        stream.outcome(2).await,
        Err(vec!["repository-conflict".to_owned()])
    );
    assert!(
        running.status().rules.is_empty(),
        "nothing of it is in force"
    );
    assert_eq!(slice_on_disk(&machine, "slice.json"), Some(1));
    stream
        .slice(3, &control.sign(3, &document(&["free"])))
        .await;
    assert_eq!(stream.outcome(3).await, Ok(3), "the next one may be better");

    // What is in conflict already, because the node began with it, does not stop what comes later.
    drop((running, stream));
    let envelope = control.sign(4, &document(&["taken"]));
    std::fs::write(
        machine.file("slice.json"),
        serde_json::to_vec(&envelope).unwrap(),
    )
    .unwrap();
    let agent = machine.again(agent, None).await.unwrap();
    let states = |agent: &Agent| -> Vec<RuleState> {
        let status = agent.running().unwrap().status();
        status.rules.iter().map(|rule| rule.status).collect()
    };
    assert_eq!(states(&agent), [RuleState::Conflict]);
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    stream
        .slice(5, &control.sign(5, &document(&["free", "taken"])))
        .await;
    assert_eq!(stream.outcome(5).await, Ok(5));
    let mut after = states(&agent);
    after.sort();
    assert_eq!(after, [RuleState::Active, RuleState::Conflict]);
}

async fn push(running: &Running, repository: &str) {
    use crate::store::metadata::{Link, LinkKind, Op, Origin};
    let link = Link {
        repository: repository.parse().unwrap(),
        digest: wire::digest::Digest::sha256(b"pushed"),
        kind: LinkKind::Manifest,
        origin: Origin::Pushed,
        complete: true,
        created_at: WallTime(1),
        used_at: WallTime(1),
    };
    running
        .store()
        .metadata()
        .commit(vec![Op::PutLink(link)])
        .await
        .unwrap();
}

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

fn machine_of(machine: &Machine) -> Machine {
    Machine {
        disk: TempDir::new().unwrap(),
        clock: machine.clock.clone(),
        tasks: machine.tasks.clone(),
    }
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
async fn a_certificate_is_renewed_at_half_its_life_and_the_next_stream_stands_before_the_last_one_ends()
 {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    // At 45 to 55 percent of its life already.
    control.script(|script| {
        (script.life, script.backdate) = (Duration::from_secs(100), Duration::from_secs(42));
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

#[tokio::test]
async fn questions_are_answered_beside_slices_and_reports_go_on_until_they_are_heard() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let ask = async |id: u64, question: &[u8]| {
        let (within_ms, question) = (5_000, question.to_vec());
        stream
            .send(to_node::Kind::Ask(Ask {
                id,
                within_ms,
                question,
            }))
            .await;
    };
    ask(1, &serde_json::to_vec(&ask::Question::Status).unwrap()).await;
    ask(2, br#"{"ask":"ofTomorrow"}"#).await;
    let answers = async |stream: &mut Stream, id: u64| {
        stream
            .until(|kind| {
                let from_node::Kind::Answer(answer) = kind else {
                    return None;
                };
                answer.outcome.clone().filter(|_| answer.id == id)
            })
            .await
    };
    let Outcome::Answer(bytes) = answers(&mut stream, 1).await else {
        unreachable!("a status was asked for")
    };
    let ask::Answer::Status(status) = serde_json::from_slice(&bytes).unwrap() else {
        unreachable!("a status was asked for")
    };
    assert_eq!(status.generation, Generation(1));
    let Outcome::Problem(bytes) = answers(&mut stream, 2).await else {
        unreachable!("nobody knows that")
    };
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("unknown-question")
    );

    let recorder = agent.running().unwrap();
    record_event(&recorder).await;
    let report = |kind: &from_node::Kind| {
        let from_node::Kind::Report(report) = kind else {
            return None;
        };
        let read: Report = serde_json::from_slice(&report.report).unwrap();
        Some((report.sequence, read))
    };
    let with_events = async |stream: &mut Stream| {
        stream
            .until(|kind| report(kind).filter(|(_, report)| !report.events.is_empty()))
            .await
    };
    let (first, told) = with_events(&mut stream).await;
    assert_eq!(told.events.len(), 1);
    let (second, again) = with_events(&mut stream).await;
    assert!(
        second > first && again.events == told.events,
        "nobody heard the first"
    );
    stream
        .send(to_node::Kind::Reported(Reported { sequence: second }))
        .await;
    stream
        .until(|kind| report(kind).filter(|(at, report)| *at > second && report.events.is_empty()))
        .await;

    let drain = serde_json::to_vec(&ask::Question::Drain).unwrap();
    stream
        .send(to_node::Kind::Ask(Ask {
            id: 3,
            within_ms: 5_000,
            question: drain,
        }))
        .await;
    assert_eq!(agent.ended().await, End::Drain);
    agent.drain(Duration::from_secs(1)).await;
}

async fn record_event(running: &Running) {
    use crate::store::metadata::{EventRecord, Op};
    let body = serde_json::json!({
        "id": uuid::Uuid::now_v7(), "timestamp": "2026-11-20T12:00:00.000Z", "action": "push",
        "target": { "digest": wire::digest::Digest::sha256(b"x"), "repository": "team/a" },
        "regmesh": { "mesh": "acme", "node": "prod", "cause": "client" },
    });
    let event = EventRecord {
        id: uuid::Uuid::now_v7(),
        key: "team/a:".to_owned(),
        action: "push".to_owned(),
        body: serde_json::to_vec(&body).unwrap(),
        recorded_at: WallTime(1),
    };
    let ops = vec![Op::PutEvent(event, Vec::new())];
    running.store().metadata().commit(ops).await.unwrap();
}

#[tokio::test]
async fn a_control_plane_that_falls_silent_is_given_up_after_three_heartbeats() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let agent = machine.start(Some(control.token())).await.unwrap();
    let mut stream = control.stream().await;
    stream.welcome_every(20, &machine.clock).await;
    stream
        .until(|kind| matches!(kind, from_node::Kind::Heartbeat(_)).then_some(()))
        .await;
    let next = control.stream().await;
    stream.closed().await;
    assert_eq!(next.hello.instance.len(), 36);
    drop(agent);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_the_rest_is_applied() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.joined(&mut control).await;
    let bigger = document(&["a"]).replace("endpoint:", "storage: {maxSize: 9GiB}\n    endpoint:");
    stream.slice(2, &control.sign(2, &bigger)).await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    let status = agent.running().unwrap().status();
    assert_eq!(status.rules.len(), 1);
    assert!(
        status.warnings[0].contains("'storage'"),
        "{:?}",
        status.warnings
    );
}

#[test]
fn the_time_since_the_last_contact_survives_a_restart_and_a_wrong_clock_makes_it_endless() {
    let disk = TempDir::new().unwrap();
    let home = Home::open(Path::new(disk.path()), Arc::new(Real)).unwrap();
    let clock = Clock::manual(10_000_000);
    assert_eq!(offline(&home, None, &clock), Duration::MAX, "never");
    home.write(CONTACT, b"9990000").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::from_secs(10));
    home.write(CONTACT, b"10000001").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::MAX, "in the future");
    home.write(CONTACT, b"soon").unwrap();
    assert_eq!(offline(&home, None, &clock), Duration::MAX);
}
