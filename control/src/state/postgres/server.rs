//! A PostgreSQL server of its own for a test: Debian's programs, an empty directory, a Unix socket, nothing else of the machine.
//!
//! PostgreSQL refuses to run as root, so for root it runs as `postgres` (or `nobody`). Where its programs are missing, a test skips
//! loudly, and fails when REGMESH_REQUIRE_PEERS=1 says that it must not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a bench for tests, also for other crates'"
)]

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use runtime::Clock;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A running server; it ends with this.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    user: Option<(u32, u32)>,
    process: Option<Child>,
    databases: AtomicU32,
}

impl Server {
    /// Starts one in `dir`, which must be empty; `None` when PostgreSQL is not installed.
    pub async fn start(dir: &Path) -> Option<Self> {
        if !Path::new(PROGRAMS).join("initdb").exists() {
            let text = format!("PostgreSQL 15 is not installed in {PROGRAMS}");
            let required = std::env::var_os("REGMESH_REQUIRE_PEERS").is_some_and(|set| set == "1");
            assert!(!required, "{text}");
            eprintln!("SKIPPED: {text}");
            return None;
        }
        let user = user();
        if let Some((uid, gid)) = user {
            chown(dir, Some(uid), Some(gid)).unwrap();
        }
        let mut server = Self {
            dir: dir.to_owned(),
            user,
            process: None,
            databases: AtomicU32::new(0),
        };
        let made = server
            .command("initdb")
            .args([
                "-A",
                "trust",
                "-U",
                "postgres",
                "-N",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            .arg("-D")
            .arg(server.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.run().await;
        Some(server)
    }

    /// Runs it again after `kill`.
    pub async fn run(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let process = self
            .command("postgres")
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-p",
                "5432",
                "-k",
            ])
            .arg(&self.dir)
            .arg("-D")
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let clock = Clock::system();
        for _ in 0..600 {
            if PgConnection::connect(&self.url("postgres")).await.is_ok() {
                return;
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        panic!("PostgreSQL does not come up:\n{log}");
    }

    /// Ends it like a power cut.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Makes an empty database and returns its URL.
    pub async fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))
            .await;
        self.url(&name)
    }

    /// Runs a statement in a database, by name.
    pub async fn sql(&self, database: &str, statement: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost:5432/{database}?host={}",
            self.dir.display()
        )
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        command.current_dir(&self.dir).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// As whom it runs, when we are root.
fn user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let we = fs::metadata("/proc/self").unwrap().uid();
    if we != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    id("postgres").or_else(|| id("nobody"))
}
