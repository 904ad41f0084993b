//! What a process and its workers cost: CPU time and memory, from `/proc`.
//!
//! CPU time is the scheduler's account of every thread, in nanoseconds, as long as no thread has ended; else the process's sum of
//! user and system time, in ticks of 10 ms, which remembers those too. Memory is added up over workers, which counts shared pages twice: to nginx's disadvantage, and it is no goal.

use std::fs;

use anyhow::{Context, Result};

/// A process that serves, with the workers it has forked.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
}

/// The kernel's `USER_HZ`, which is 100 on every Linux that we build for.
const TICKS: f64 = 100.0;

impl Meter {
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU seconds so far.
    pub fn cpu(self) -> Result<f64> {
        let seconds: Result<Vec<f64>> = self.pids().into_iter().map(cpu_of).collect();
        Ok(seconds?.into_iter().sum())
    }

    /// Bytes resident now.
    pub fn resident(self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most bytes that were resident since [`Meter::forget_peak`].
    pub fn peak(self) -> Result<f64> {
        self.status("VmHWM:")
    }

    /// Lets the peak begin anew. Source: proc(5), `clear_refs`.
    pub fn forget_peak(self) -> Result<()> {
        for pid in self.pids() {
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        }
        Ok(())
    }

    fn status(self, key: &str) -> Result<f64> {
        let mut sum = 0.0;
        for pid in self.pids() {
            let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
            sum += kibibytes(&text, key).with_context(|| format!("{key} of {pid}"))? * 1024.0;
        }
        Ok(sum)
    }

    /// The process and its workers.
    pub fn pids(self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(children).unwrap_or_default();
        let mut pids = vec![self.pid];
        pids.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        pids
    }
}

fn cpu_of(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks_of(&text).with_context(|| format!("/proc/{pid}/stat: {text}"))?;
    Ok((ticks as f64 / TICKS).max(scheduled(pid).unwrap_or_default()))
}

/// Seconds that the threads which live now have run. Source: `Documentation/scheduler/sched-stats.rst` of the kernel.
fn scheduled(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let run = text.split(' ').next().context("schedstat is empty")?;
        nanoseconds += run.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}

/// `utime + stime` of a line of `/proc/PID/stat`. The name in it may hold spaces and brackets.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 10 0 0 0 250 50 1 1 20 0 4 0 100 1000 1";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(
            kibibytes("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"),
            Some(2048.0)
        );
        assert_eq!(kibibytes("", "VmHWM:"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let meter = Meter::of(std::process::id());
        assert!(meter.resident().unwrap() > 1024.0 * 1024.0);
        assert!(meter.cpu().is_ok());
    }
}
