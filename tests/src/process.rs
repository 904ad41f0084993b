//! The real program as a process: started, watched, signalled, killed and started again. It ends only what it started.
//!
//! Whatever the process says on its outputs is kept, for the failure message and for the search for secrets.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::{Clock, Tasks};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::eventually::{BOUND, eventually_async, within};

/// A running process; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    said: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Process {
    /// Starts `program` with a clean environment but for `PATH`, `HOME` and `env`.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(args).env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(env.iter().copied());
        Self::spawn(command)
    }

    /// Starts a command as it is.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .with_context(|| name.clone())?;
        let (said, tasks) = (Arc::default(), Tasks::new(&name));
        listen(&tasks, child.stdout.take().expect("piped"), &said);
        listen(&tasks, child.stderr.take().expect("piped"), &said);
        Ok(Self {
            name,
            pid: child.id().expect("just started"),
            child,
            said,
            tasks,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Every line of both outputs so far, in order of arrival.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a line that contains `part` and gives it.
    pub async fn says(&self, part: &str) -> String {
        within(BOUND, &format!("{} says {part:?}", self.name), || {
            let said = self.said();
            said.iter()
                .find(|line| line.contains(part))
                .cloned()
                .ok_or(said)
        })
        .await
    }

    /// Waits until `url` answers 200; fails early when the process ended.
    pub async fn is_ready_at(&mut self, url: &str) {
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("plain");
        let end = Clock::system().now() + BOUND;
        loop {
            if http
                .get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            let ended = self.child.try_wait().expect("our own child");
            assert!(
                ended.is_none(),
                "{} ended ({ended:?}): {:#?}",
                self.name,
                self.said()
            );
            assert!(
                Clock::system().now() < end,
                "{} is not ready: {:#?}",
                self.name,
                self.said()
            );
            Clock::system().sleep(Duration::from_millis(10)).await;
        }
    }

    /// How it ended, if it did.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    pub fn signal(&self, signal: Signal) {
        let pid =
            Pid::from_raw(i32::try_from(self.pid).expect("pids are small")).expect("not zero");
        // It may have ended by itself, which whoever waits for it will see.
        let _ = kill_process(pid, signal);
    }

    /// SIGTERM: the polite end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended(BOUND).await;
    }

    /// Waits for its end, at most so long.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        match Clock::system().timeout(bound, self.child.wait()).await {
            Ok(status) => status.expect("our own child"),
            Err(_) => panic!(
                "{} did not end within {bound:?}: {:#?}",
                self.name,
                self.said()
            ),
        }
    }

    /// Waits for its end and that both outputs are read, and gives all it said.
    pub async fn finish(mut self, bound: Duration) -> (ExitStatus, Vec<String>) {
        let status = self.ended(bound).await;
        let tasks = self.tasks.clone();
        eventually_async(bound, "the outputs are read", || {
            std::future::ready(if tasks.is_empty() {
                Ok(())
            } else {
                Err(tasks.len())
            })
        })
        .await;
        (status, self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// A port that was free a moment ago, for programs that cannot be told 0.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("bound").port()
}

fn listen(
    tasks: &Tasks,
    output: impl AsyncRead + Send + Unpin + 'static,
    said: &Arc<Mutex<Vec<String>>>,
) {
    let said = Arc::clone(said);
    tasks.spawn("output", async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.lock().unwrap().push(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Path::new("/bin/sh"), ["-c", script], &[("MARK", "set")]).unwrap()
    }

    #[tokio::test]
    async fn what_it_says_is_kept_and_its_end_is_told() {
        let process = shell("echo out $MARK; echo err >&2; exit 3");
        let (status, mut said) = process.finish(BOUND).await;
        said.sort();
        assert_eq!(
            (status.code(), said),
            (Some(3), vec!["err".to_owned(), "out set".to_owned()])
        );
    }

    #[tokio::test]
    async fn it_can_be_asked_and_made_to_end() {
        let mut polite = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        polite.says("ready").await;
        polite.terminate();
        assert_eq!(polite.ended(BOUND).await.code(), Some(0));
        let mut stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        stubborn.says("ready").await;
        stubborn.terminate();
        stubborn.kill().await;
        assert_eq!(stubborn.ended(BOUND).await.code(), None);
    }
}
