//! T10: SIGKILL at the n-th system call of a kind, n swept upward until everything completes untouched.
//!
//! The counter of `strace` is per thread, so that the first thread to get so far dies; the exact sweep, call by call, is in `node`
//! with failing files. Calls are counted from the start of the process on, or from when it is ready: otherwise what a start does
//! would use up the counts of the work. Not with `--seccomp-bpf`: strace 6.1 then counts wrongly.

use std::time::Duration;

use runtime::Clock;
use rustix::process::{Pid, Signal, kill_process};
use tests::eventually::eventually;
use tests::lab::HUB;
use tests::peer::{available, is_root};
use tests::process::Process;
use tests::{Image, Lab, Regmesh};
use wire::digest::Digest;

use crate::PROGRAM;

/// No sweep takes longer; what is left out then is told.
const BOUND: Duration = Duration::from_secs(40);

/// From when on calls are counted.
enum From {
    Start,
    Ready,
}

const FLUSHES: &str = "fsync,fdatasync";
const RENAMES: &str = "rename,renameat,renameat2,unlink,unlinkat";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_flush_from_the_start_on_nothing_is_half_visible() {
    sweep(FLUSHES, &From::Start, 31).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_flush_of_its_work_nothing_is_half_visible() {
    sweep(FLUSHES, &From::Ready, 32).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_rename_or_unlink_from_the_start_on_nothing_is_half_visible() {
    sweep(RENAMES, &From::Start, 33).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_rename_or_unlink_of_its_work_nothing_is_half_visible() {
    sweep(RENAMES, &From::Ready, 34).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_open_nothing_is_half_visible() {
    sweep("open,openat", &From::Ready, 35).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_write_to_a_file_nothing_is_half_visible() {
    sweep("pwrite64,ftruncate", &From::Ready, 36).await;
}

async fn sweep(calls: &str, from: &From, seed: u64) {
    if !available(&["strace", "setpriv"]) || (matches!(from, From::Ready) && !is_root()) {
        return;
    }
    let lab = Lab::new(PROGRAM).await;
    let filled = Image::single(seed).build();
    lab.origin.put("team/app", "1", &filled);
    let pushed = Image::single(seed + 100).build();
    let clock = Clock::system();
    let end = clock.now() + BOUND;
    let (mut n, mut deaths) = (1_usize, 0);
    loop {
        lab.afresh();
        let when = format!("killed at {calls} {n}");
        let Death { died, acknowledged } = attempt(&lab, calls, from, n, &filled, &pushed).await;
        assert_recovered(&lab, &when, &filled, acknowledged.then_some(&pushed)).await;
        if !died {
            assert!(deaths > 0, "{calls}: nothing was ever hit");
            eprintln!("{calls}: untouched at {n}, after {deaths} deaths");
            return;
        }
        deaths += 1;
        if clock.now() > end {
            eprintln!("{calls}: stopped at {n}, {deaths} deaths, because time is up");
            return;
        }
        // Every one of the first, then fewer.
        n += 1 + n / 6;
    }
}

/// How an attempt ended.
struct Death {
    died: bool,
    /// Whether the push was acknowledged as a whole before that.
    acknowledged: bool,
}

/// Pulls and pushes while the n-th call kills.
async fn attempt(
    lab: &Lab,
    calls: &str,
    from: &From,
    n: usize,
    filled: &Image,
    pushed: &Image,
) -> Death {
    let trace = format!("--trace={calls}");
    let inject = format!("--inject={calls}:signal=SIGKILL:when={n}");
    let strace = ["strace", "-f", "-o", "/dev/null", &trace, &inject];
    let (node, tracer) = match from {
        From::Start => {
            // Should strace die, what it runs dies too.
            let wrapped = [&strace[..], &["setpriv", "--pdeathsig=KILL"]];
            (lab.start_under(&wrapped.concat()).await.ok(), None)
        }
        From::Ready => {
            let node = lab.start().await.unwrap();
            let pid = node.process.pid().to_string();
            let args = [&strace[1..], &["-p", &pid]].concat();
            let path = tests::peer::program("strace").unwrap();
            let tracer = Process::start(&path, args, &[]).unwrap();
            tracer.says("attached").await;
            (Some(node), Some(tracer))
        }
    };
    let Some(mut node) = node else {
        return Death {
            died: true,
            acknowledged: false,
        };
    };
    let (done, acknowledged) = work(&node, filled, pushed).await;
    let died = node.process.has_ended().is_some() || !done;
    if let Some(tracer) = tracer {
        tracer.terminate();
    }
    end(lab, node).await;
    Death { died, acknowledged }
}

/// A cold pull and a push; whether everything came to its end, and whether the push was acknowledged.
async fn work(node: &Regmesh, filled: &Image, pushed: &Image) -> (bool, bool) {
    let client = node.client(HUB);
    let pulled = client.pull("up/team/app", "1", "amd64").await;
    let acknowledged = client.push("own/app", &["1"], pushed).await.is_ok();
    let mut copied = false;
    // Until it is dead, or has copied everything.
    for _ in 0..500 {
        match node.status(HUB).await {
            Ok(status) if status["copies"]["queued"] == 0 && status["copies"]["running"] == 0 => {
                copied = true;
                break;
            }
            Ok(_) => Clock::system().sleep(Duration::from_millis(5)).await,
            Err(_) => break,
        }
    }
    let whole = pulled.is_ok_and(|pulled| pulled.digest == filled.digest);
    (whole && acknowledged && copied, acknowledged)
}

/// Kills the node itself; the process that was started may be strace.
async fn end(lab: &Lab, mut node: Regmesh) {
    let lock = std::fs::read_to_string(lab.store().join("lock")).unwrap_or_default();
    let pid = lock
        .trim()
        .strip_prefix("pid ")
        .and_then(|pid| pid.parse().ok());
    if node.process.has_ended().is_none()
        && let Some(pid) = pid.and_then(Pid::from_raw)
    {
        let _ = kill_process(pid, Signal::KILL);
    }
    node.process.ended(tests::eventually::BOUND).await;
}

async fn assert_recovered(lab: &Lab, when: &str, filled: &Image, pushed: Option<&Image>) {
    // Killed before there was a store, there is nothing to verify.
    if lab.store().join("metadata.db").exists() {
        lab.assert_verified(when).await;
    }
    let node = lab
        .start()
        .await
        .unwrap_or_else(|error| panic!("{when}: {error:#}"));
    let client = node.client(HUB);
    let pulled = client.pull("up/team/app", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, filled.digest, "{when}");
    if let Some(image) = pushed {
        let pulled = client.pull("own/app", "1", "amd64").await;
        let pulled = pulled.unwrap_or_else(|error| panic!("{when}: acknowledged: {error:#}"));
        assert_eq!(pulled.digest, image.digest, "{when}");
    }
    eventually(&format!("{when}: the copy is told of"), || {
        told(lab, &filled.digest)
    })
    .await;
    node.copied(HUB).await;
    assert!(lab.leftovers().is_empty(), "{when}: {:?}", lab.leftovers());
    node.kill().await;
    lab.assert_verified(&format!("{when}, and recovered")).await;
}

/// At least one delivery with the tag and one without.
fn told(lab: &Lab, digest: &Digest) -> Result<(), Vec<serde_json::Value>> {
    let mut events = lab.hook.of_action("push");
    events.retain(|event| event["target"]["digest"] == digest.as_str());
    let tagged = events.iter().filter(|event| event["target"]["tag"] == "1");
    match (tagged.count(), events.len()) {
        (tagged, all) if tagged > 0 && all > tagged => Ok(()),
        _ => Err(events),
    }
}
