//! Rule grants: fetched ahead, kept on disk, used without the control plane, dropped when they are no longer right (T36, T53).

use std::os::unix::fs::PermissionsExt;

use identity::mint::{Audience, Error as Unminted, Mint, Wanted};
use runtime::Secret;
use wire::node_service::minted::Outcome;

use super::*;

/// A slice whose rules, each to the target of its name, ask node `hub` as `reader`.
fn as_reader(rules: &[String]) -> String {
    believing(rules, &[])
}

/// The same with these keys of grants, none for no issuer.
fn believing(rules: &[String], keys: &[&str]) -> String {
    let rules = rules.iter().map(|name| {
        format!("  {name}: {{on: prod, source: 'node://hub/team/{name}', target: {name}, identity: reader}}\n")
    });
    let rules: String = rules.collect();
    let text = format!(
        "version: 1\nmesh: acme\nnodes:\n  hub: {{endpoint: 'http://127.0.0.1:5998'}}\n  prod: {{endpoint: 'http://127.0.0.1:5999'}}\nidentities:\n  reader: {{kind: managed, on: prod}}\naccess:\n  - {{on: hub, repositories: [team/*], allow: repository-reader, to: 'identity:reader'}}\nrules:\n{rules}"
    );
    let loaded = topology::load(&[("t.yaml".to_owned(), text)]).unwrap();
    let keys = keys.iter().map(|kid| ((*kid).to_owned(), "BA".to_owned()));
    let grants = topology::model::Grants {
        issuer: "https://c.example".to_owned(),
        keys: keys.collect(),
        ..Default::default()
    };
    let beside = topology::slice::Beside {
        grants: Some(grants).filter(|grants| !grants.keys.is_empty()),
        ..Default::default()
    };
    let prod = "prod".parse().unwrap();
    let slice = topology::slice::slice_with(&loaded.topology, &prod, &beside);
    slice.unwrap().to_yaml().unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn wanted(rule: &str) -> Wanted {
    Wanted {
        rule: rule.parse().unwrap(),
        identity: "reader".parse().unwrap(),
        audience: Audience::Upstream("127.0.0.1:5998".to_owned()),
    }
}

fn in_hand(agent: &Agent, rule: &str) -> Option<String> {
    let held = agent.shared.mint.in_hand(&wanted(rule))?;
    Some(held.token.expose().clone())
}

/// How often each grant stands in the file.
fn written(machine: &Machine) -> usize {
    let text = std::fs::read_to_string(machine.file("grants.json")).unwrap_or_default();
    text.matches("canary-grant-").count()
}

fn calls(control: &Control) -> Vec<usize> {
    let script = control.script.lock().unwrap();
    script.wanted.iter().map(Vec::len).collect()
}

impl Machine {
    /// A node that has joined, and has generation 1 with these rules in force.
    async fn reading(&self, control: &mut Control, rules: &[String]) -> (Agent, Stream) {
        let agent = self.start(Some(control.token())).await.unwrap();
        let mut stream = control.stream().await;
        stream.welcome(&self.clock).await;
        stream.slice(1, &control.sign(1, &as_reader(rules))).await;
        assert_eq!(stream.outcome(1).await, Ok(1));
        (agent, stream)
    }
}

#[tokio::test]
async fn the_grants_of_a_slice_are_fetched_ahead_in_batches_and_lie_in_one_file_alone() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let rules: Vec<String> = (0..300).map(|n| format!("r{n:03}")).collect();
    let (agent, _stream) = machine.reading(&mut control, &rules).await;
    eventually("all are written down", async || written(&machine) == 300).await;
    assert_eq!(calls(&control), [256, 44]);
    let first = control.script.lock().unwrap().wanted[0][0].clone();
    assert_eq!(first, "r000 reader 127.0.0.1:5998");
    let own = in_hand(&agent, "r007").unwrap();
    let minted = agent.shared.mint.mint(&wanted("r007")).await.unwrap();
    assert_eq!(*minted.token.expose(), own);
    assert_eq!(calls(&control).len(), 2, "what is in hand costs nothing");

    let pages = get(agent.admin().unwrap(), "/metrics").await.1;
    assert!(
        pages.contains("regmesh_identity_expiry_timestamp_seconds{identity=\"reader\"} "),
        "{pages}"
    );
    let mode = std::fs::metadata(machine.file("grants.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    for (path, text) in files(machine.disk.path()) {
        let has = text.windows(13).any(|some| some == b"canary-grant-");
        assert_eq!(has, path.ends_with("agent/grants.json"), "{path:?}");
    }
    let shown = format!("{:?} {minted:?} {:?}", agent.shared.mint, minted.token);
    assert!(!shown.contains("canary"), "{shown}");
}

fn files(below: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(below).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let found = paths.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![(path.clone(), std::fs::read(&path).unwrap())],
    });
    found.collect()
}

/// T36: an outage and a restart in it find the grants; the control plane's return is noticed.
#[tokio::test]
async fn t36_a_node_restarted_without_its_control_plane_has_its_grants() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let rules = names(&["a", "b"]);
    let (agent, stream) = machine.reading(&mut control, &rules).await;
    eventually("both are written down", async || written(&machine) == 2).await;
    let before = in_hand(&agent, "a");
    control.stop().await;
    stream.closed().await;
    let agent = machine.again(agent, None).await.unwrap();
    assert_eq!(in_hand(&agent, "a"), before);
    let minted = agent.shared.mint.mint(&wanted("a")).await.unwrap();
    assert_eq!(Some(minted.token.expose().clone()), before);
    let none = agent.shared.mint.mint(&wanted("c")).await.unwrap_err();
    assert!(matches!(none, Unminted::Away(_)), "{none}");
    assert!(none.to_string().contains("control plane cannot be asked"));

    control.again().await;
    let mut stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    let more = names(&["a", "b", "c"]);
    stream.slice(2, &control.sign(2, &as_reader(&more))).await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    eventually("the third", async || in_hand(&agent, "c").is_some()).await;
    assert_eq!(in_hand(&agent, "a"), before, "not due yet");
}

#[tokio::test]
async fn what_the_slice_or_the_control_plane_takes_back_is_gone_from_memory_and_disk() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.reading(&mut control, &names(&["a", "b"])).await;
    eventually("both are written down", async || written(&machine) == 2).await;
    stream
        .slice(2, &control.sign(2, &as_reader(&names(&["b"]))))
        .await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    assert_eq!(in_hand(&agent, "a"), None);
    eventually("it is off the disk", async || written(&machine) == 1).await;

    let no = Outcome::Refused("the identity is not attached\u{1b}[2J".to_owned());
    control.script(|script| drop(script.tokens.insert("b".to_owned(), no)));
    let held = Secret::new(in_hand(&agent, "b").unwrap());
    let refused = agent.shared.mint.mint_anew(&wanted("b"), &held).await;
    let Err(Unminted::Refused(why)) = refused else {
        unreachable!("{refused:?}");
    };
    assert!(!why.contains('\u{1b}'), "{why}");
    assert_eq!(in_hand(&agent, "b"), None);
    let asked = calls(&control).len();
    for _ in 0..100 {
        let again = agent.shared.mint.mint(&wanted("b")).await;
        assert!(matches!(again, Err(Unminted::Refused(_))), "{again:?}");
    }
    assert!(
        calls(&control).len() <= asked + 1,
        "no load for what may not be"
    );
    eventually("nothing is on disk", async || written(&machine) == 0).await;
}

/// A grant that is due is shown while the control plane does not answer: as good as one that is away.
#[tokio::test]
async fn nobody_waits_for_a_control_plane_that_hangs_while_a_grant_is_in_hand() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    control.script(|script| script.due_at_once = true);
    let (agent, _stream) = machine.reading(&mut control, &names(&["a"])).await;
    eventually("the first", async || in_hand(&agent, "a").is_some()).await;
    control.script(|script| script.mute_tokens = true);
    let began = machine.clock.now();
    let minted = agent.shared.mint.mint(&wanted("a")).await.unwrap();
    assert!(minted.token.expose().starts_with("canary-grant-"));
    let waited = machine.clock.now() - began;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// Restored from a backup, it has forgotten rules that are in force here; what it says of them takes nothing away.
#[tokio::test]
async fn a_control_plane_that_knows_less_takes_no_grant_away_until_it_has_recovered() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, stream) = machine.reading(&mut control, &names(&["a"])).await;
    eventually("the first", async || written(&machine) == 1).await;
    let held = Secret::new(in_hand(&agent, "a").unwrap());
    control.stop().await;
    stream.closed().await;
    let no = Outcome::Refused("the rule 'a' is not on this node".to_owned());
    control.script(|script| drop(script.tokens.insert("a".to_owned(), no)));
    control.again().await;
    let mut stream = control.stream().await;
    stream.welcome_ahead(&machine.clock).await;
    let mint = &agent.shared.mint;
    let mut said = String::new();
    eventually("it is asked", async || {
        said = mint
            .mint_anew(&wanted("a"), &held)
            .await
            .unwrap_err()
            .to_string();
        said.contains("not on this node")
    })
    .await;
    assert!(said.contains("regmesh control recover"), "{said}");
    assert_eq!(in_hand(&agent, "a").as_ref(), Some(held.expose()));
    assert_eq!(written(&machine), 1);

    stream
        .slice(9, &control.sign(9, &as_reader(&names(&["a"]))))
        .await;
    assert_eq!(stream.outcome(9).await, Ok(9));
    let refused = mint.mint_anew(&wanted("a"), &held).await;
    assert!(matches!(refused, Err(Unminted::Refused(_))), "{refused:?}");
}

/// Two changes of one rule close together: what this node has to ask for is refused by the change that is not here yet.
#[tokio::test]
async fn what_another_generation_refuses_is_no_refusal_while_its_slice_is_under_way() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, mut stream) = machine.reading(&mut control, &names(&["a"])).await;
    eventually("the first", async || in_hand(&agent, "a").is_some()).await;
    let first = Secret::new(in_hand(&agent, "a").unwrap());
    let no = Outcome::Refused("the rule 'a' does not authenticate as 'reader'".to_owned());
    control.script(|script| {
        script.judged = 2;
        script.tokens.insert("a".to_owned(), no);
    });
    let mint = &agent.shared.mint;
    let away = mint.mint_anew(&wanted("a"), &first).await.unwrap_err();
    assert!(matches!(away, Unminted::Away(_)), "{away:?}");
    assert!(away.to_string().contains("generation 2"), "{away}");
    assert_eq!(in_hand(&agent, "a").as_ref(), Some(first.expose()));
    stream
        .slice(2, &control.sign(2, &as_reader(&names(&["a"]))))
        .await;
    assert_eq!(stream.outcome(2).await, Ok(2));
    let refused = mint.mint_anew(&wanted("a"), &first).await;
    assert!(matches!(refused, Err(Unminted::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn another_grant_is_had_for_one_that_was_refused_and_a_failed_call_costs_none() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, _stream) = machine.reading(&mut control, &names(&["a"])).await;
    eventually("the first", async || in_hand(&agent, "a").is_some()).await;
    let mint = &agent.shared.mint;
    let first = Secret::new(in_hand(&agent, "a").unwrap());
    control.script(|script| script.no_tokens = true);
    let error = mint.mint_anew(&wanted("a"), &first).await.unwrap_err();
    assert!(matches!(error, Unminted::Away(_)), "{error}");
    assert_eq!(in_hand(&agent, "a").as_ref(), Some(first.expose()));
    control.script(|script| script.no_tokens = false);
    let second = mint.mint_anew(&wanted("a"), &first).await.unwrap();
    assert_ne!(second.token.expose(), first.expose());
    let calls_so_far = calls(&control).len();
    let third = mint.mint_anew(&wanted("a"), &first).await.unwrap();
    assert_eq!(third.token.expose(), second.token.expose());
    assert_eq!(calls(&control).len(), calls_so_far, "there is another one");
}

#[tokio::test]
async fn a_grant_whose_key_is_published_no_more_is_replaced_ahead_and_shown_until_then() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let signed = |kid: &str| format!("{}.e30.c2ln", URL.encode(format!("{{\"kid\":\"{kid}\"}}")));
    let gives = |control: &Control, kid: &str| {
        let token = Outcome::Token(wire::node_service::MintedToken {
            token: signed(kid),
            expires_ms: machine.clock.wall_ms() + 86_400_000,
            refresh_ms: machine.clock.wall_ms() + 3_600_000,
        });
        control.script(|script| drop(script.tokens.insert("a".to_owned(), token)));
    };
    gives(&control, "old");
    let rules = names(&["a"]);
    let (agent, mut stream) = machine.reading(&mut control, &rules).await;
    eventually("the first", async || in_hand(&agent, "a").is_some()).await;
    let both = believing(&rules, &["new", "old"]);
    stream.slice(2, &control.sign(2, &both)).await;
    assert_eq!(stream.outcome(2).await, Ok(2));

    control.script(|script| script.no_tokens = true);
    let new = believing(&rules, &["new"]);
    stream.slice(3, &control.sign(3, &new)).await;
    assert_eq!(stream.outcome(3).await, Ok(3));
    eventually("another is asked for", async || calls(&control).len() == 2).await;
    // Whoever it is for may not know yet that it is worth nothing.
    let shown = agent.shared.mint.mint(&wanted("a")).await.unwrap();
    assert_eq!(*shown.token.expose(), signed("old"));
    gives(&control, "new");
    control.script(|script| script.no_tokens = false);
    stream.slice(4, &control.sign(4, &new)).await;
    assert_eq!(stream.outcome(4).await, Ok(4));
    eventually("the next", async || {
        in_hand(&agent, "a") == Some(signed("new"))
    })
    .await;
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_said_and_the_grants_come_again() {
    let machine = machine();
    let mut control = Control::start(&machine.clock).await;
    let (agent, stream) = machine.reading(&mut control, &names(&["a"])).await;
    eventually("it is written down", async || written(&machine) == 1).await;
    drop(stream);
    std::fs::write(machine.file("grants.json"), b"{\"grants\":[{\"rule\"").unwrap();
    let agent = machine.again(agent, None).await.unwrap();
    let status = agent.running().unwrap().status();
    let warned = status.warnings.iter().any(|w| w.contains("grants.json"));
    assert!(warned, "{:?}", status.warnings);
    assert!(machine.file("grants.damaged.json").exists());
    let stream = control.stream().await;
    stream.welcome(&machine.clock).await;
    eventually("it is written down again", async || written(&machine) == 1).await;
}
