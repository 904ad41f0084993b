//! A slice is replaced by the next whole, whatever step of it fails or is the last.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};

use identity::certificate::{Authority, Key, Leaf, Request, sign};
use runtime::file::{Failing, Fault, Files, Real};
use tempfile::TempDir;
use wire::generation::Generation;

use super::*;

const NOW: WallTime = WallTime(1_700_000_000_000);

struct Rig {
    authority: Authority,
    key: Key,
    chain: Vec<CertificateDer<'static>>,
}

impl Rig {
    fn new() -> Self {
        let (authority, key) = (Authority::generate(NOW).unwrap(), Key::generate().unwrap());
        let leaf = Leaf {
            id: "spiffe://acme/control".parse().unwrap(),
            instance: None,
            hosts: Vec::new(),
            begins: NOW,
            ends: NOW.plus(Duration::from_secs(60)),
        };
        let csr = Request::read(&key.request("control").unwrap()).unwrap();
        let chain = vec![authority.issue(&csr, &leaf).unwrap()];
        Self {
            authority,
            key,
            chain,
        }
    }

    fn envelope(&self, generation: u64) -> Envelope {
        self.envelope_with(generation, "")
    }

    fn envelope_with(&self, generation: u64, more: &str) -> Envelope {
        self.envelope_of(generation, "", more)
    }

    fn envelope_of(&self, generation: u64, access: &str, more: &str) -> Envelope {
        let document = format!(
            "version: 1\nmesh: acme\nnodes:\n  prod: {{endpoint: 'http://127.0.0.1:5999'}}\n{access}slice: {{node: prod, tier: 1{more}}}\n"
        );
        let who = (
            &"acme".parse().unwrap(),
            &"prod".parse().unwrap(),
            Generation(generation),
        );
        sign(who, &document, NOW, &self.key, &self.chain).unwrap()
    }

    fn found(&self, directory: &Path, now: WallTime) -> (Option<u64>, usize) {
        let home = Home::open(directory, Arc::new(Real)).unwrap();
        let roots = [self.authority.certificate().clone()];
        let (good, damage) = load(&home, &"prod".parse().unwrap(), &roots, now);
        (good.map(|good| good.slice.generation.0), damage.len())
    }
}

fn read_slice(envelope: &Envelope) -> Slice {
    let document = envelope.document.as_deref().unwrap();
    Slice::read(envelope.generation, "prod".parse().unwrap(), document).unwrap()
}

fn store(home: &Home, envelope: Envelope) -> io::Result<()> {
    let slice = read_slice(&envelope);
    put(home, &envelope, &slice)
}

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn a_node_whose_newest_slice_is_damaged_refuses_what_that_one_refused() {
    let (rig, disk) = (Rig::new(), TempDir::new().unwrap());
    let home = Home::open(disk.path(), Arc::new(Real)).unwrap();
    store(&home, rig.envelope(1)).unwrap();
    let recall = format!(
        ", recalls: {{\"{DIGEST}\": {{reason: CVE, at: '2026-11-20T00:00:00Z'}}}}, revoked: {{dev: '2026-11-20T00:00:00Z'}}"
    );
    store(&home, rig.envelope_with(2, &recall)).unwrap();
    home.write("slice.json", b"{").unwrap();
    let roots = [rig.authority.certificate().clone()];
    let load = || load(&home, &"prod".parse().unwrap(), &roots, NOW);
    let (good, damage) = load();
    let slice = good.unwrap().slice;
    assert_eq!((slice.generation, damage.len()), (Generation(1), 1));
    let of = slice.topology.slice.as_ref().unwrap();
    assert_eq!(of.recalls[&DIGEST.parse().unwrap()].reason, "CVE");
    assert!(of.revoked.contains_key(&"dev".parse().unwrap()));

    home.write("refused.json", b"{").unwrap();
    let (good, damage) = load();
    assert!(good.unwrap().slice.recalls().is_empty());
    assert!(damage[1].contains("refused.json"), "{damage:?}");
    home.remove("slice.json").unwrap();
    store(&home, rig.envelope(3)).unwrap();
    let (good, damage) = load();
    assert!(good.unwrap().slice.recalls().is_empty(), "lifted is lifted");
    assert!(damage.is_empty());
}

const ROLES: &str = "access:\n  - {allow: repository-reader, to: authenticated, on: prod}\n  - {allow: repository-writer, to: anonymous, on: prod, repositories: [a/*, b/*]}\n";
const LESS: &str = "access:\n  - {allow: repository-writer, to: anonymous, on: prod, repositories: [a/*]}\n  - {allow: repository-reader, to: anonymous, on: prod, repositories: [c/*]}\n";
const GRANTS: &str = ", grants: {issuer: 'https://c', keys: {old: a, new: b}}";
const WITHDRAWN: &str = ", grants: {issuer: 'https://c', keys: {new: b}, withdrawn: {edge/r: {before: 2, at: '2026-11-20T00:00:00Z'}}}";

/// Roles, keys and the number of withdrawn rules of what is found.
fn rights(rig: &Rig, directory: &Path) -> (u64, String, Vec<String>, usize) {
    let home = Home::open(directory, Arc::new(Real)).unwrap();
    let roots = [rig.authority.certificate().clone()];
    let (good, _) = load(&home, &"prod".parse().unwrap(), &roots, NOW);
    let slice = good.unwrap().slice;
    let roles = slice.own().unwrap().access.iter().map(|assignment| {
        let patterns = assignment.repositories.iter().map(ToString::to_string);
        let patterns: Vec<String> = patterns.collect();
        format!(
            "{:?} {:?} {};",
            assignment.role,
            assignment.to,
            patterns.join(" ")
        )
    });
    let grants = slice
        .topology
        .slice
        .as_ref()
        .unwrap()
        .grants
        .as_ref()
        .unwrap();
    (
        slice.generation.0,
        roles.collect(),
        grants.keys.keys().cloned().collect(),
        grants.withdrawn.len(),
    )
}

#[test]
fn roles_keys_and_grants_that_the_newest_slice_takes_away_stay_so_when_it_is_damaged_or_never_fitted()
 {
    let (rig, disk) = (Rig::new(), TempDir::new().unwrap());
    let open = || Home::open(disk.path(), Arc::new(Real)).unwrap();
    store(&open(), rig.envelope_of(1, ROLES, GRANTS)).unwrap();
    let newest = rig.envelope_of(2, LESS, WITHDRAWN);
    let less = (
        "RepositoryWriter Anonymous a/*;".to_owned(),
        vec!["new".to_owned()],
        1,
    );
    let less = (1, less.0, less.1, less.2);

    // There was room for what it takes away, and none for itself.
    let slice = read_slice(&newest);
    refusals::keep(&open(), &slice).unwrap();
    assert_eq!(rights(&rig, disk.path()), less);
    store(&open(), newest).unwrap();
    let whole = rights(&rig, disk.path());
    assert_eq!((whole.0, whole.2.len(), whole.3), (2, 1, 1));
    assert!(whole.1.contains("c/*"), "{whole:?}");
    open().write("slice.json", b"{").unwrap();
    assert_eq!(rights(&rig, disk.path()), less);

    // As an earlier release wrote it.
    open()
        .write(
            "refused.json",
            b"{\"recalls\":{},\"revoked\":{},\"withdrawn\":{}}",
        )
        .unwrap();
    assert_eq!(rights(&rig, disk.path()).2, ["new", "old"]);
}

#[test]
fn whatever_step_fails_or_is_the_last_the_old_one_or_the_new_one_is_there_and_whole() {
    let rig = Rig::new();
    let (mut old, mut new) = (0, 0);
    for fault in [Fault::Stop, Fault::Error(ErrorKind::StorageFull)] {
        for at in 1.. {
            let disk = TempDir::new().unwrap();
            let home = Home::open(disk.path(), Arc::new(Real)).unwrap();
            store(&home, rig.envelope(1)).unwrap();
            store(&home, rig.envelope(2)).unwrap();
            drop(home);

            let files = Failing::new(Arc::new(Real), fault, at);
            let home = Home::open(disk.path(), Arc::new(files.clone()) as Arc<dyn Files>);
            let put = home.map(|home| store(&home, rig.envelope(3)).is_ok());
            let found = rig.found(disk.path(), NOW);
            match (put, found) {
                (Ok(true), found) => assert_eq!(found, (Some(3), 0), "written is there"),
                (_, (Some(2), 0)) => old += 1,
                (_, (Some(3), 0)) => new += 1,
                (_, found) => unreachable!("at call {at}: {found:?}"),
            }
            if files.calls() < at {
                break;
            }
        }
    }
    assert!(old > 4 && new > 0, "the sweep met both: {old} {new}");
}

#[test]
fn a_slice_outlives_its_signer_and_a_clock_that_stands_before_it() {
    let (rig, disk) = (Rig::new(), TempDir::new().unwrap());
    let home = Home::open(disk.path(), Arc::new(Real)).unwrap();
    store(&home, rig.envelope(1)).unwrap();
    drop(home);
    for now in [
        NOW,
        WallTime(0),
        NOW.plus(Duration::from_secs(365 * 86_400)),
    ] {
        assert_eq!(rig.found(disk.path(), now), (Some(1), 0), "{now}");
    }
    assert_eq!(
        Rig::new().found(disk.path(), NOW),
        (None, 1),
        "of another mesh"
    );
}

#[test]
fn what_the_node_cannot_start_on_is_taken_back() {
    let (rig, disk) = (Rig::new(), TempDir::new().unwrap());
    let open = || Home::open(disk.path(), Arc::new(Real)).unwrap();
    store(&open(), rig.envelope(1)).unwrap();
    undo(&open()).unwrap();
    assert_eq!(rig.found(disk.path(), NOW), (None, 0));
    store(&open(), rig.envelope(1)).unwrap();
    store(&open(), rig.envelope(2)).unwrap();
    undo(&open()).unwrap();
    assert_eq!(rig.found(disk.path(), NOW), (Some(1), 0));
}
