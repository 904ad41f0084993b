//! What the rows share: the options, the program under test, a place for large files, and images stored once for several rows.
//!
//! Without `regmesh` the rows still measure the peers, so that the bench itself can be tried alone.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use runtime::Clock;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use wire::digest::Digest;

use crate::bench::stored::Stored;
use crate::{Content, Image};

/// How much is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fewer and shorter runs and smaller blobs: shows that everything works, not how fast it is.
    pub quick: bool,
    /// Where the files go; the system's directory for temporary files when not said.
    pub dir: Option<PathBuf>,
    /// The program under test.
    pub regmesh: Option<PathBuf>,
}

pub struct World {
    pub options: Options,
    pub clock: Clock,
    scratch: TempDir,
    small: OnceCell<Stored>,
    big: OnceCell<Stored>,
}

pub const MIB: u64 = 1024 * 1024;

impl World {
    pub fn new(options: Options) -> Result<Self> {
        let scratch = match &options.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        Ok(Self {
            options,
            clock: Clock::system(),
            scratch: scratch.context("a directory for the bench")?,
            small: OnceCell::new(),
            big: OnceCell::new(),
        })
    }

    /// How often each server is measured.
    pub fn runs(&self) -> usize {
        if self.options.quick { 2 } else { 3 }
    }

    /// How long one load lasts, in seconds: with [`World::runs`] at most ten for each server.
    pub fn seconds(&self) -> u32 {
        if self.options.quick { 1 } else { 3 }
    }

    /// `whole` as it is, or a part of it when quick.
    pub fn scaled(&self, whole: u64, quick: u64) -> u64 {
        if self.options.quick { quick } else { whole }
    }

    /// 1 GiB, but for quick runs.
    pub fn gib(&self) -> u64 {
        self.scaled(1024 * MIB, 128 * MIB)
    }

    /// What to say beside figures of quick runs.
    pub fn size_note(&self) -> &'static str {
        if self.options.quick {
            "quick: 128 MiB"
        } else {
            ""
        }
    }

    /// The image of the rows about small answers: a manifest of common length, a layer of 64 KiB.
    pub async fn small(&self) -> Result<&Stored> {
        let image = || Image::single(1).layer_of(64 * 1024).layer_of(3_000).build();
        self.small
            .get_or_try_init(|| Stored::start(self, image()))
            .await
    }

    /// The image of the rows about large blobs.
    pub async fn big(&self) -> Result<&Stored> {
        let image = || Image::single(2).layer_of(self.gib()).build();
        self.big
            .get_or_try_init(|| Stored::start(self, image()))
            .await
    }

    /// A fresh directory that lives as long as what is given.
    pub fn fresh(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(self.scratch.path())?)
    }

    /// A file with this content; written once.
    pub fn file(&self, digest: &Digest, content: &Content) -> Result<PathBuf> {
        let path = self.scratch.path().join(digest.hex());
        if !path.exists() {
            write(&path, content)?;
        }
        Ok(path)
    }
}

fn write(path: &Path, content: &Content) -> Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    let mut offset = 0;
    while offset < content.len() {
        let chunk = content.chunk(offset);
        file.write_all(&chunk)?;
        offset += chunk.len() as u64;
    }
    Ok(fs::rename(part, path)?)
}
