//! What publishing promises, over a state in memory.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use topology::document::Document;
use wire::{
    api::{audit, resource::File},
    time::WallTime,
};

use super::*;
use crate::state::{Part, Publish, memory::Memory};

const NOW: i64 = 1_800_000_000_000;
const MESH: &str = r#"
version: 1
mesh: contoso
nodes:
  hub: {endpoint: "https://hub.example"}
  leaf: {endpoint: "https://leaf.example", parent: hub}
rules:
  quay: {on: hub, source: quay.io/*, target: quay/*}
  ghcr: {on: hub, source: ghcr.io/*, target: ghcr/*}
access:
  - {allow: repository-reader, to: anonymous, on: leaf}
"#;

struct Bench {
    publisher: Publisher,
    state: Arc<dyn State>,
    clock: Clock,
    tasks: Tasks,
}

impl Bench {
    async fn new() -> Self {
        let clock = Clock::manual(NOW);
        Self::over(Arc::new(Memory::new(clock.clone())), clock).await
    }

    async fn over(state: Arc<dyn State>, clock: Clock) -> Self {
        let tasks = Tasks::new("test");
        let publisher = Publisher::build(Arc::clone(&state), clock.clone(), &tasks)
            .await
            .unwrap();
        Self {
            publisher,
            state,
            clock,
            tasks,
        }
    }

    async fn with(text: &str) -> Self {
        let bench = Self::new().await;
        bench.apply(text).await.unwrap();
        bench
    }

    async fn apply(&self, text: &str) -> Result<Applied, Error> {
        self.publisher
            .apply(&apply(text), "admin-token", None)
            .await
    }

    fn generation(&self) -> u64 {
        self.publisher.current().generation().0
    }

    async fn audit(&self) -> Vec<audit::Entry> {
        let all = Part {
            after: Some(0),
            limit: 1000,
            ..Part::default()
        };
        self.state.audit(all).await.unwrap()
    }

    async fn targets(&self) -> Vec<String> {
        let entries = self.audit().await.into_iter();
        entries
            .map(|e| format!("{} {}", e.action, e.target))
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

fn apply(text: &str) -> Apply {
    Apply {
        files: vec![File {
            name: "mesh.yaml".to_owned(),
            text: text.to_owned(),
        }],
        dry_run: false,
        prune: false,
    }
}

fn rule(source: &str) -> Value {
    json!({"on": "hub", "source": source, "target": "more/*"})
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn digest(n: u8) -> Digest {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_topology_is_published_whole_and_a_restart_finds_it() {
    let bench = Bench::new().await;
    assert!(bench.publisher.current().topology.is_none());
    assert_eq!(bench.publisher.slice(&name("hub")), None);
    let mut watched = bench.publisher.watch();
    let applied = bench.apply(MESH).await.unwrap();
    assert_eq!(
        (applied.generation, applied.published),
        (Generation(1), true)
    );
    assert!(
        applied
            .changes
            .iter()
            .any(|c| c.sign == "+" && c.text.starts_with("node hub on hub"))
    );
    assert!(watched.has_changed().unwrap());
    assert_eq!(*watched.borrow_and_update(), Generation(1));
    let slice = bench.publisher.slice(&name("hub")).unwrap();
    let read = topology::load_slice("slice", &slice.document).unwrap();
    assert_eq!(read.topology.node(&name("hub")).unwrap().rules.len(), 2);
    assert_eq!(
        bench.targets().await,
        [
            "apply topology",
            "apply nodes/hub",
            "apply nodes/leaf",
            "apply rules/ghcr",
            "apply rules/quay",
            &format!(
                "apply access/{}",
                bench.publisher.resources(Kind::Access).items[0].name
            ),
        ]
    );
    let audit = bench.audit().await;
    assert_eq!(audit[1].who, "admin-token");
    assert_eq!(audit[1].before, None);
    assert_eq!(
        audit[1].after,
        Some(json!({"endpoint": "https://hub.example"}))
    );
    assert!(
        audit
            .iter()
            .all(|entry| entry.generation == Some(Generation(1)))
    );

    let again = Bench::over(Arc::clone(&bench.state), bench.clock.clone()).await;
    assert_eq!(again.publisher.slice(&name("hub")), Some(slice));
    assert_eq!(
        again.publisher.current().document,
        bench.publisher.current().document
    );
}

#[tokio::test]
async fn what_changes_nothing_is_no_generation() {
    let bench = Bench::with(MESH).await;
    for text in [
        MESH.to_owned(),
        MESH.replace("version: 1\n", "# the same\n"),
    ] {
        let applied = bench.apply(&text).await.unwrap();
        assert_eq!(
            (applied.generation, applied.published),
            (Generation(1), false)
        );
        assert!(applied.changes.is_empty());
    }
    let exported = bench.publisher.current().published.desired.document.clone();
    let plan = bench.publisher.plan(&apply(&exported)).unwrap();
    assert!(
        plan.changes.is_empty() && !plan.published,
        "export, then plan: no change"
    );
    let spec = bench.publisher.resource(Kind::Rules, "quay").unwrap().spec;
    let put = bench
        .publisher
        .put(Kind::Rules, "quay", spec, "me", None)
        .await
        .unwrap();
    assert_eq!(put.generation, Generation(1));
    let patched = bench
        .publisher
        .patch(Kind::Rules, "quay", json!({}), "me", None)
        .await;
    assert_eq!(patched.unwrap().generation, Generation(1));
    let before = bench.audit().await.len();
    bench
        .publisher
        .recall(digest(1), "bad", "me")
        .await
        .unwrap();
    assert_eq!(
        bench
            .publisher
            .recall(digest(1), "bad", "you")
            .await
            .unwrap(),
        Generation(2)
    );
    assert_eq!(bench.generation(), 2);
    assert_eq!(bench.audit().await.len(), before + 1);
}

#[tokio::test]
async fn a_plan_and_a_dry_run_change_nothing() {
    let bench = Bench::with(MESH).await;
    let smaller = MESH.replace("  ghcr: {on: hub, source: ghcr.io/*, target: ghcr/*}\n", "");
    let planned = bench.publisher.plan(&apply(&smaller)).unwrap();
    assert_eq!(planned.changes.len(), 1);
    assert_eq!(
        (
            planned.changes[0].sign.as_str(),
            planned.changes[0].text.as_str()
        ),
        ("-", "rule ghcr on hub")
    );
    assert!(
        !planned.published && !planned.needs_prune,
        "half of the rules is not more than half"
    );
    let none = smaller.replace(
        "  quay: {on: hub, source: quay.io/*, target: quay/*}\n",
        "  {}\n",
    );
    assert!(bench.publisher.plan(&apply(&none)).unwrap().needs_prune);
    let dry = Apply {
        dry_run: true,
        ..apply(&none)
    };
    let dry = bench.publisher.apply(&dry, "me", None).await.unwrap();
    assert!(dry.needs_prune && !dry.published);
    assert_eq!((bench.generation(), bench.audit().await.len()), (1, 6));
}

#[tokio::test]
async fn a_mistaken_topology_changes_nothing() {
    let bench = Bench::with(MESH).await;
    let before = Document::clone(&bench.publisher.current().document);
    let other = bench.apply(&MESH.replace("contoso", "fabrikam")).await;
    let expected = Error::OtherMesh {
        old: "contoso".to_owned(),
        new: "fabrikam".to_owned(),
    };
    assert_eq!(other, Err(expected));
    let Err(Error::Invalid(problems)) = bench.apply(&MESH.replace("on: hub", "on: nobody")).await
    else {
        panic!("a reference to nothing is no topology");
    };
    assert_eq!(
        problems.iter().filter(|p| p.is_error()).count(),
        2,
        "every problem"
    );
    assert!(problems.iter().all(|p| p.file == "mesh.yaml" && p.line > 0));
    let gone = "version: 1\nmesh: contoso\nnodes:\n  other: {endpoint: 'https://other.example'}\n";
    let pruned = Error::NeedsPrune {
        nodes: 2,
        rules: 2,
        of_rules: 2,
    };
    assert_eq!(bench.apply(gone).await, Err(pruned));
    assert_eq!((bench.generation(), bench.audit().await.len()), (1, 6));
    assert_eq!(*bench.publisher.current().document, before);
    let meant = Apply {
        prune: true,
        ..apply(gone)
    };
    let applied = bench.publisher.apply(&meant, "me", None).await.unwrap();
    assert!(applied.published && applied.needs_prune);
    assert_eq!(bench.publisher.slice(&name("hub")), None);
}

#[tokio::test]
async fn resources_are_made_changed_and_removed_by_name() {
    let bench = Bench::with(MESH).await;
    let publisher = &bench.publisher;
    let made = publisher.create(Kind::Rules, Some("more"), rule("lscr.io/*"), "me", None);
    let made = made.await.unwrap();
    assert_eq!(
        (made.name.as_str(), made.generation),
        ("more", Generation(2))
    );
    assert_eq!(publisher.resource(Kind::Rules, "more"), Some(made));
    let again = publisher
        .create(Kind::Rules, Some("more"), rule("lscr.io/*"), "me", None)
        .await;
    assert_eq!(again, Err(Error::Exists));
    let nameless = publisher
        .create(Kind::Rules, None, rule("lscr.io/*"), "me", None)
        .await;
    assert!(matches!(nameless, Err(Error::Bad(_))));
    let patch = json!({"freshness": {"check": "30s"}, "enabled": false});
    let patched = publisher
        .patch(Kind::Rules, "more", patch, "me", None)
        .await
        .unwrap();
    assert_eq!(patched.spec["freshness"], json!({"check": "30s"}));
    assert_eq!(patched.spec["source"], "lscr.io/*");
    let undone = json!({"freshness": null, "enabled": null});
    let undone = publisher
        .patch(Kind::Rules, "more", undone, "me", None)
        .await
        .unwrap();
    assert_eq!(undone.spec, rule("lscr.io/*"));
    let put = publisher
        .put(Kind::Rules, "more", rule("nvcr.io/*"), "me", None)
        .await
        .unwrap();
    assert_eq!(put.spec["source"], "nvcr.io/*");
    publisher
        .delete(Kind::Rules, "more", "me", None)
        .await
        .unwrap();
    assert_eq!(
        publisher.delete(Kind::Rules, "more", "me", None).await,
        Err(Error::NotFound)
    );
    let missing = publisher
        .patch(Kind::Rules, "more", json!({}), "me", None)
        .await;
    assert_eq!(missing, Err(Error::NotFound));
    assert_eq!(publisher.resources(Kind::Rules).items.len(), 2);
    assert_eq!(bench.generation(), 6);
    let audit = bench.audit().await.split_off(6);
    let changes: Vec<(&str, bool, bool)> = (audit.iter())
        .map(|e| (e.action.as_str(), e.before.is_some(), e.after.is_some()))
        .collect();
    let changed = ("put", true, true);
    assert_eq!(
        changes,
        [
            ("put", false, true),
            changed,
            changed,
            changed,
            ("delete", true, false)
        ]
    );
    assert!(audit.iter().all(|entry| entry.target == "rules/more"));
    assert_eq!(audit[4].before, Some(rule("nvcr.io/*")));
}

#[tokio::test]
async fn role_assignments_are_named_by_what_they_say() {
    let bench = Bench::with(MESH).await;
    let publisher = &bench.publisher;
    let spec = json!({"allow": "repository-reader", "to": "authenticated", "on": "leaf"});
    let made = publisher
        .create(Kind::Access, None, spec.clone(), "me", None)
        .await
        .unwrap();
    assert_eq!(made.name.len(), 16);
    let again = publisher
        .create(Kind::Access, None, spec.clone(), "me", None)
        .await;
    assert_eq!(again, Err(Error::Exists));
    let anonymous = json!({"allow": "repository-reader", "to": "anonymous", "on": "leaf"});
    let again = publisher
        .create(Kind::Access, None, anonymous, "me", None)
        .await;
    assert_eq!(again, Err(Error::Exists), "the first of two too");
    let elsewhere = publisher
        .put(Kind::Access, "0123456789abcdef", spec, "me", None)
        .await;
    assert!(matches!(elsewhere, Err(Error::Bad(text)) if text.contains(&made.name)));
    let moved = publisher.patch(Kind::Access, &made.name, json!({"on": "hub"}), "me", None);
    let moved = moved.await.unwrap();
    assert_ne!(moved.name, made.name);
    assert_eq!(publisher.resource(Kind::Access, &made.name), None);
    publisher
        .delete(Kind::Access, &moved.name, "me", None)
        .await
        .unwrap();
    assert_eq!(publisher.resources(Kind::Access).items.len(), 1);
}

/// Otherwise nobody could stop an identity without first taking apart what uses it.
#[tokio::test]
async fn a_right_that_a_rule_needs_is_taken_away_and_is_in_nobodys_way_afterwards() {
    let (promoter, reader) = (
        "identities:\n  promoter: {kind: managed, on: leaf}\n",
        r#"{allow: repository-reader, to: "identity:promoter", on: hub}"#,
    );
    let rule = "  up: {on: leaf, source: \"parent://quay/*\", target: up/*, identity: promoter}\n";
    let text = MESH.replace(
        "access:\n",
        &format!("{rule}{promoter}access:\n  - {reader}\n"),
    );
    let bench = Bench::with(&text).await;
    let publisher = &bench.publisher;
    let assignments = publisher.resources(Kind::Access).items;
    let is = |each: &&Resource| each.spec["to"] == "identity:promoter";
    let given = assignments.iter().find(is).unwrap();
    let (name, spec) = (given.name.clone(), given.spec.clone());
    publisher
        .delete(Kind::Access, &name, "me", None)
        .await
        .unwrap();
    // Whoever starts on what was published reads it, and other changes go on; but nothing new may need what it has not.
    let again = Bench::over(Arc::clone(&bench.state), bench.clock.clone()).await;
    assert_eq!(again.generation(), 2);
    let rule = |target: &str| json!({"on": "leaf", "source": "parent://ghcr/*", "target": target, "identity": "promoter"});
    let refused = publisher
        .put(Kind::Rules, "more", rule("more/*"), "me", None)
        .await;
    assert!(
        matches!(&refused, Err(Error::Invalid(problems)) if problems.iter().any(|p| p.code == "no-read-access")),
        "{refused:?}"
    );
    let other = json!({"on": "hub", "source": "lscr.io/*", "target": "lscr/*"});
    publisher
        .put(Kind::Rules, "lscr", other, "me", None)
        .await
        .unwrap();
    publisher
        .create(Kind::Access, None, spec, "me", None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_resource_that_would_break_the_topology_is_refused_with_its_name() {
    let bench = Bench::with(MESH).await;
    let publisher = &bench.publisher;
    let overlapping = json!({"on": "hub", "source": "lscr.io/*", "target": "*"});
    let refused = publisher
        .put(Kind::Rules, "all", overlapping, "me", None)
        .await;
    let Err(Error::Invalid(problems)) = refused else {
        panic!("overlapping wildcards: {refused:?}");
    };
    assert!(
        problems
            .iter()
            .any(|p| p.code == "overlapping-wildcards" && p.file.starts_with("rules/"))
    );
    let refused = publisher.delete(Kind::Nodes, "hub", "me", None).await;
    let Err(Error::Invalid(problems)) = refused else {
        panic!("a node that others name: {refused:?}");
    };
    assert!(
        problems
            .iter()
            .any(|p| p.file == "nodes/leaf" && p.line > 0)
    );
    let literal = json!({"password": "hunter2"});
    let refused = publisher
        .put(Kind::Accounts, "ci", literal, "me", None)
        .await;
    assert!(
        matches!(refused, Err(Error::Invalid(problems)) if problems[0].code == "literal-secret")
    );
    assert_eq!(bench.generation(), 1);
    let empty = Bench::new().await;
    let early = empty
        .publisher
        .put(Kind::Rules, "r", rule("lscr.io/*"), "me", None)
        .await;
    assert!(matches!(early, Err(Error::Bad(_))), "{early:?}");
}

#[tokio::test]
async fn a_change_meant_for_another_generation_is_refused() {
    let bench = Bench::with(MESH).await;
    let publisher = &bench.publisher;
    let stale = |expected| Error::Stale {
        expected: Generation(expected),
        newest: Generation(1),
    };
    for expected in [0, 2, 99] {
        let expected_ = Some(Generation(expected));
        let put = publisher
            .put(Kind::Rules, "more", rule("lscr.io/*"), "me", expected_)
            .await;
        assert_eq!(put, Err(stale(expected)));
        let applied = publisher.apply(&apply(MESH), "me", expected_).await;
        assert_eq!(applied, Err(stale(expected)));
        let deleted = publisher.delete(Kind::Rules, "quay", "me", expected_).await;
        assert_eq!(deleted, Err(stale(expected)));
    }
    let right = Some(Generation(1));
    let put = publisher
        .put(Kind::Rules, "more", rule("lscr.io/*"), "me", right)
        .await;
    assert_eq!(put.unwrap().generation, Generation(2));
}

#[tokio::test]
async fn two_control_planes_do_not_lose_each_others_changes() {
    let one = Bench::with(MESH).await;
    let two = Bench::over(Arc::clone(&one.state), one.clock.clone()).await;
    let writes = (0..20).map(|n| {
        let publisher = if n % 2 == 0 {
            &one.publisher
        } else {
            &two.publisher
        };
        async move {
            let spec =
                json!({"on": "hub", "source": format!("lscr.io/r{n}"), "target": format!("r{n}")});
            publisher
                .put(Kind::Rules, &format!("r{n}"), spec, "me", None)
                .await
        }
    });
    let mut numbers: Vec<u64> = join_all(writes)
        .await
        .into_iter()
        .map(|r| r.unwrap().generation.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (2..=21).collect::<Vec<_>>(),
        "each its own generation"
    );
    for bench in [&one, &two] {
        let mut watched = bench.publisher.watch();
        let newest = watched.wait_for(|generation| *generation == Generation(21));
        tokio::time::timeout(Duration::from_secs(20), newest)
            .await
            .expect("followed")
            .unwrap();
        assert_eq!(bench.publisher.resources(Kind::Rules).items.len(), 22);
    }
    let raced = |publisher: &Publisher, n: u8| {
        let publisher = publisher.clone();
        async move {
            let spec = rule(&format!("lscr.io/x{n}/*"));
            publisher
                .put(Kind::Rules, "x", spec, "me", Some(Generation(21)))
                .await
        }
    };
    let (first, second) = tokio::join!(raced(&one.publisher, 1), raced(&two.publisher, 2));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let lost = first.err().or(second.err());
    assert!(matches!(lost, Some(Error::Stale { .. })), "{lost:?}");
}

#[tokio::test]
async fn recalls_and_revocations_reach_every_slice() {
    let bench = Bench::with(MESH).await;
    let publisher = &bench.publisher;
    assert_eq!(
        publisher.recall(digest(1), "CVE-1", "me").await,
        Ok(Generation(2))
    );
    assert_eq!(
        publisher.recall(digest(1), "CVE-2", "me").await,
        Ok(Generation(3))
    );
    assert_eq!(
        publisher.revoke(&name("leaf"), "me").await,
        Ok(Generation(4))
    );
    let slice = publisher.slice(&name("hub")).unwrap();
    assert_eq!(slice.generation, Generation(4));
    let section = topology::load_slice("slice", &slice.document)
        .unwrap()
        .topology
        .slice
        .unwrap();
    assert_eq!(section.recalls[&digest(1)].reason, "CVE-2");
    assert_eq!(section.recalls[&digest(1)].at, WallTime(NOW));
    assert_eq!(section.revoked[&name("leaf")], WallTime(NOW));
    let recall = &publisher.current().published.desired.recalls[&digest(1)];
    assert_eq!(
        (recall.by.as_str(), recall.generation),
        ("me", Generation(3))
    );
    bench.apply(&MESH.replace("quay/*", "q/*")).await.unwrap();
    let slice = publisher.slice(&name("hub")).unwrap();
    assert!(slice.document.contains("CVE-2"), "an apply lifts nothing");

    assert_eq!(publisher.lift(&digest(1), "me").await, Ok(Generation(6)));
    assert_eq!(publisher.lift(&digest(1), "me").await, Err(Error::NotFound));
    assert!(
        !publisher
            .slice(&name("hub"))
            .unwrap()
            .document
            .contains("CVE")
    );
    for reason in [String::new(), "x".repeat(1001)] {
        let refused = publisher.recall(digest(2), &reason, "me").await;
        assert!(matches!(refused, Err(Error::Bad(_))));
    }
    bench.clock.advance(Duration::from_secs(33 * 24 * 3600));
    publisher.revoke(&name("hub"), "me").await.unwrap();
    let revoked = &publisher.current().published.desired.revoked;
    assert_eq!(
        revoked.keys().map(|n| n.as_str()).collect::<Vec<_>>(),
        ["hub"],
        "no certificate is so old"
    );
    let targets = bench.targets().await.split_off(6);
    let recall = |action| format!("{action} recalls/{}", digest(1));
    assert_eq!(
        targets,
        [
            recall("recall"),
            recall("recall"),
            "revoke nodes/leaf".to_owned(),
            "apply rules/quay".to_owned(),
            recall("lift"),
            "revoke nodes/hub".to_owned()
        ]
    );
}

#[tokio::test]
async fn a_recall_needs_no_topology() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.publisher.recall(digest(1), "bad", "me").await,
        Ok(Generation(1))
    );
    let again = Bench::over(Arc::clone(&bench.state), bench.clock.clone()).await;
    assert!(again.publisher.current().topology.is_none());
    again.apply(MESH).await.unwrap();
    assert!(
        again
            .publisher
            .slice(&name("hub"))
            .unwrap()
            .document
            .contains("bad")
    );
}

#[tokio::test]
async fn recovering_goes_above_what_nodes_have_seen() {
    let bench = Bench::new().await;
    let early = bench.publisher.recover(Generation(9), "me").await;
    assert!(matches!(early, Err(Error::Bad(_))));
    bench.apply(MESH).await.unwrap();
    assert_eq!(
        bench.publisher.recover(Generation(41), "me").await,
        Ok(Generation(42))
    );
    assert_eq!(
        bench.publisher.recover(Generation(3), "me").await,
        Ok(Generation(43))
    );
    let mad = bench.publisher.recover(Generation(u64::MAX), "me").await;
    assert!(matches!(mad, Err(Error::Bad(_))));
    assert_eq!(bench.generation(), 43);
    assert_eq!(
        bench.publisher.slice(&name("hub")).unwrap().generation,
        Generation(43)
    );
    let newest = bench.state.newest().await.unwrap().unwrap();
    assert_eq!(newest.generation, Generation(43));
}

#[tokio::test]
async fn a_damaged_document_is_told_and_never_replaced_by_nothing() {
    let clock = Clock::manual(NOW);
    let state: Arc<dyn State> = Arc::new(Memory::new(clock.clone()));
    let publish = Publish {
        after: Generation(0),
        generation: Generation(1),
        at: WallTime(NOW),
        by: "me".to_owned(),
        desired: state::Desired {
            document: "mesh: contoso\nnodes: {a: {endpoint: nowhere}}\n".to_owned(),
            ..state::Desired::default()
        },
        audit: Vec::new(),
    };
    state.publish(publish).await.unwrap();
    let tasks = Tasks::new("test");
    let built = Publisher::build(state, clock, &tasks).await;
    assert!(
        matches!(built, Err(Error::State(state::Error::Damaged(_)))),
        "{built:?}"
    );
}
