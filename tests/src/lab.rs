//! Lab: one real node in a process of its own, between the scripted upstream and a receiver of events; its data directory is the
//! test's to break.
//!
//! The node `hub` fills `up/*` from the origin and takes pushes below `own/`. Everybody may do everything there, since access is
//! not what a lab is for. Every start gets a port of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;
use wire::digest::Digest;

use crate::canary::files_below;
use crate::regmesh::{CONTROL, Regmesh, verify};
use crate::{Hook, Origin};

/// The lab's only node.
pub const HUB: &str = "hub";

pub struct Lab {
    pub origin: Origin,
    pub hook: Hook,
    program: &'static str,
    dir: TempDir,
    data: PathBuf,
    more: Vec<String>,
}

impl Lab {
    /// With data in a fresh directory.
    pub async fn new(program: &'static str) -> Self {
        let (dir, origin, hook) = (
            tempfile::tempdir().unwrap(),
            Origin::start().await,
            Hook::start().await,
        );
        let document = format!(
            "version: 1\nmesh: lab\nnodes:\n  hub: {{endpoint: \"http://127.0.0.1:5000\", listen: \"127.0.0.1:0\"}}\n\
             rules:\n  all: {{on: hub, source: \"{}/*\", target: \"up/*\"}}\n\
             webhooks:\n  hook: {{on: hub, url: \"{}\", actions: [push, copy_failed]}}\n\
             access:\n  - {{allow: repository-reader, to: anonymous, on: hub}}\n  - {{allow: repository-writer, to: anonymous, on: hub}}\n",
            origin.host(),
            hook.url(),
        );
        fs::write(dir.path().join("lab.yaml"), document).unwrap();
        let data = dir.path().join("data");
        // What waits after a failure waits less.
        let more = [
            "resume-pause=10ms",
            "copy-pause=50ms",
            "breaker-probe=200ms",
        ];
        Self {
            origin,
            hook,
            program,
            dir,
            data,
            more: more.map(|each| format!("--set={each}")).to_vec(),
        }
    }

    /// With its data there instead.
    pub fn at(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// One more flag for every start.
    pub fn flag(mut self, flag: &str) -> Self {
        self.more.push(flag.to_owned());
        self
    }

    /// Forgets what was stored, told and recorded.
    pub fn afresh(&self) {
        if self.data.exists() {
            fs::remove_dir_all(&self.data).unwrap();
        }
        self.origin.record().clear();
        self.hook.record().clear();
    }

    /// Where `up` keeps its folders.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The node's own folder.
    pub fn store(&self) -> PathBuf {
        self.data.join(HUB)
    }

    /// A folder beside the data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it; an error says what it said instead.
    pub async fn start(&self) -> Result<Regmesh> {
        self.start_under(&[]).await
    }

    /// Starts it as the last arguments of another program, `strace …`.
    pub async fn start_under(&self, wrapper: &[&str]) -> Result<Regmesh> {
        let topology = self.dir.path().join("lab.yaml");
        let (topology, data) = (
            topology.display().to_string(),
            self.data.display().to_string(),
        );
        let mut command = wrapper.to_vec();
        command.extend([self.program, "up", &topology, "--data-dir", &data]);
        command.extend(CONTROL);
        command.extend(self.more.iter().map(String::as_str));
        Regmesh::start(&command).await
    }

    /// Panics unless everything stored is what it says.
    pub async fn assert_verified(&self, when: &str) {
        let (code, said) = verify(self.program, &self.data).await;
        assert_eq!(code, Some(0), "verify, {when}: {said}");
    }

    /// The contents there are, by name, and their sizes.
    pub fn contents(&self) -> BTreeMap<Digest, u64> {
        let blobs = self.store().join("blobs");
        let mut contents = BTreeMap::new();
        if blobs.exists() {
            for file in files_below(&blobs) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let digest = format!("sha256:{name}");
                let digest = digest
                    .parse()
                    .unwrap_or_else(|_| panic!("a file called {name}"));
                contents.insert(digest, fs::metadata(&file).unwrap().len());
            }
        }
        contents
    }

    /// Unfinished files of fills.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let stage = self.store().join("stage");
        let dirs = ["fill", "scratch"].map(|dir| stage.join(dir));
        let there = dirs.iter().filter(|dir| dir.exists());
        there.flat_map(|dir| files_below(dir)).collect()
    }
}
