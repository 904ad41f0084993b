//! Small file systems of a test's own: a tmpfs that is soon full, and an ext4 in a file that can lose its power.
//!
//! Both need the privilege to mount; a test asks with [`privileged`] and skips loudly without it, even where peers are required:
//! an unprivileged machine is no broken one. Unmounted when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::eventually::{BOUND, eventually_async};
use crate::process::Process;

/// Marks the file system's journal as lost from here on: what was not flushed is gone, as when the power is cut. perl, because it is
/// there on every Debian and our crates call nothing unsafe.
const SHUTDOWN: &str = "sysopen(my $dir, $ARGV[0], 0) or die $!; my $no_flush = pack('L', 2); ioctl($dir, 0x8004587d, $no_flush) or die $!;";

/// A mounted file system.
pub struct Mount {
    dir: TempDir,
    image: Option<PathBuf>,
}

/// Whether this process may mount; tells loudly if not.
pub async fn privileged() -> bool {
    let allowed = Mount::tmpfs("size=1m").await;
    if let Err(error) = &allowed {
        eprintln!(
            "\n!!! SKIPPED, because mounting is not allowed: this test proves nothing here !!!\n{error:#}\n"
        );
    }
    allowed.is_ok()
}

impl Mount {
    /// A tmpfs with these options: `size=64m`, `nr_inodes=100`.
    pub async fn tmpfs(options: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", options, "regmesh-test", at(dir.path())],
        )
        .await?;
        Ok(Self { dir, image: None })
    }

    /// An ext4 in a file, which flushes by itself only every five minutes.
    pub async fn ext4(bytes: u64) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("image");
        File::create(&image)?.set_len(bytes)?;
        run("mkfs.ext4", &["-q", at(&image)]).await?;
        std::fs::create_dir(dir.path().join("root"))?;
        let mount = Self {
            dir,
            image: Some(image),
        };
        mount.mount().await?;
        Ok(mount)
    }

    /// The root of the file system.
    pub fn path(&self) -> PathBuf {
        match self.image {
            Some(_) => self.dir.path().join("root"),
            None => self.dir.path().to_owned(),
        }
    }

    /// From here on nothing reaches the disk any more.
    pub async fn cut_power(&self) -> Result<()> {
        run("perl", &["-e", SHUTDOWN, at(&self.path())]).await
    }

    /// The machine starts again. Whoever used the file system must be gone.
    pub async fn restore_power(&self) -> Result<()> {
        let root = self.path();
        eventually_async(BOUND, "nobody uses the file system", async || {
            run("umount", &[at(&root)]).await
        })
        .await;
        self.mount().await
    }

    async fn mount(&self) -> Result<()> {
        let image = self
            .image
            .as_deref()
            .expect("only an ext4 is mounted again");
        run(
            "mount",
            &["-o", "loop,commit=300", at(image), at(&self.path())],
        )
        .await
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a process of a failed test may still be ending.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
    }
}

async fn run(program: &str, args: &[&str]) -> Result<()> {
    let (status, said) = Process::start(&crate::peer::program(program)?, args, &[])?
        .finish(BOUND)
        .await;
    ensure!(status.success(), "{program} {args:?}: {status}: {said:?}");
    Ok(())
}

fn at(path: &Path) -> &str {
    path.to_str().expect("paths of the rig are text")
}
