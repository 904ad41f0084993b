//! wrk and ab: load by programs of others, and what they say of it.
//!
//! GET comes from wrk. wrk waits for ever for the body that the length of a HEAD's answer promises, so HEAD comes from ab; the
//! table compares only what the same generator made.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use wire::media_type::ACCEPT_MANIFESTS;

use crate::bench::usage::Meter;
use crate::{peer, process::Process};

/// Connections at once, as the table of `reference/dependencies.md` 4.2 has them.
pub const CONNECTIONS: u32 = 32;

/// What a load gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    pub requests: f64,
    /// Requests each second.
    pub rate: f64,
    /// Seconds.
    pub median: f64,
    /// Seconds.
    pub p99: f64,
    /// CPU seconds of the server for each request.
    pub cpu: f64,
}

/// GETs `url` for so many seconds over `connections`; `server` is what it costs.
pub async fn get(server: Meter, url: &str, connections: u32, seconds: u32) -> Result<Load> {
    let args = [
        "-t1".to_owned(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        "--timeout=20s".to_owned(),
        "--latency".to_owned(),
        "-H".to_owned(),
        accept(),
        url.to_owned(),
    ];
    let (text, cpu) = measured(server, "wrk", &args, seconds).await?;
    ensure!(!text.contains("Non-2xx"), "{url}: {text}");
    let load = read_wrk(&text).with_context(|| format!("wrk on {url}: {text}"))?;
    Ok(Load {
        cpu: cpu / load.requests.max(1.0),
        ..load
    })
}

/// Has so many `readers` GET something large for so many seconds. Whether a transfer ends does not matter.
pub async fn readers(server: Meter, url: &str, readers: u32, seconds: u64) -> Result<()> {
    let args = [
        "-t1".to_owned(),
        format!("-c{readers}"),
        format!("-d{seconds}s"),
        url.to_owned(),
    ];
    measured(server, "wrk", &args, u32::try_from(seconds)?).await?;
    Ok(())
}

/// HEADs `url` for so many seconds over [`CONNECTIONS`].
pub async fn head(server: Meter, url: &str, seconds: u32) -> Result<Load> {
    let args = [
        "-i".to_owned(),
        "-k".to_owned(),
        "-q".to_owned(),
        format!("-c{CONNECTIONS}"),
        format!("-t{seconds}"),
        "-n100000000".to_owned(),
        "-H".to_owned(),
        accept(),
        url.to_owned(),
    ];
    let (text, cpu) = measured(server, "ab", &args, seconds).await?;
    ensure!(!text.contains("Non-2xx"), "{url}: {text}");
    let load = read_ab(&text).with_context(|| format!("ab on {url}: {text}"))?;
    Ok(Load {
        cpu: cpu / load.requests.max(1.0),
        ..load
    })
}

/// What every client sends that knows OCI; docker-registry answers 404 for an OCI manifest without it.
fn accept() -> String {
    format!("Accept: {ACCEPT_MANIFESTS}")
}

/// Runs a generator; what it said, and the CPU seconds of the server meanwhile.
async fn measured(
    server: Meter,
    program: &str,
    args: &[String],
    seconds: u32,
) -> Result<(String, f64)> {
    let mut command = Command::new(peer::program(program)?);
    command.args(args);
    let before = server.cpu()?;
    let bound = Duration::from_secs(u64::from(seconds) + 30);
    let (status, said) = Process::spawn(command)?.finish(bound).await;
    let cpu = server.cpu()? - before;
    let text = said.join("\n");
    ensure!(status.success(), "{program}: {status}: {text}");
    Ok((text, cpu))
}

fn read_wrk(text: &str) -> Option<Load> {
    let line = |start: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(start))
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))?;
    Some(Load {
        requests: requests.0.parse().ok()?,
        rate: line("Requests/sec:")?.trim().parse().ok()?,
        median: duration(line("50%")?)?,
        p99: duration(line("99%")?)?,
        cpu: 0.0,
    })
}

fn read_ab(text: &str) -> Option<Load> {
    let line = |start: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(start))
    };
    let first = |text: &str| text.split_whitespace().next()?.parse::<f64>().ok();
    Some(Load {
        requests: first(line("Complete requests:")?)?,
        rate: first(line("Requests per second:")?)?,
        median: first(line("50%")?)? / 1e3,
        p99: first(line("99%")?)? / 1e3,
        cpu: 0.0,
    })
}

/// `222.00us`, `4.21ms`, `1.76s`, `1.20m` in seconds.
fn duration(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = |unit: &str| text.strip_suffix(unit)?.parse::<f64>().ok();
    number("us")
        .map(|us| us / 1e6)
        .or_else(|| number("ms").map(|ms| ms / 1e3))
        .or_else(|| number("s"))
        .or_else(|| number("m").map(|minutes| minutes * 60.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_words_are_read() {
        let text = "Running 3s test @ http://x\n  Latency Distribution\n     50%  222.00us\n     75%  427.00us\n     99%    4.21ms\n  240316 requests in 3.00s, 261.04MB read\nRequests/sec:  80084.51\n";
        let read = read_wrk(text).unwrap();
        assert_eq!((read.requests, read.rate), (240_316.0, 80_084.51));
        assert!((read.median - 222e-6).abs() < 1e-9 && (read.p99 - 4.21e-3).abs() < 1e-9);
        assert_eq!(read_wrk("unable to connect"), None);
    }

    #[test]
    fn abs_words_are_read() {
        let text = "Complete requests:      306901\nRequests per second:    102299.51 [#/sec] (mean)\n  50%      0\n  99%      1\n 100%    182 (longest request)\n";
        let read = read_ab(text).unwrap();
        assert_eq!(
            (read.requests, read.rate, read.p99),
            (306_901.0, 102_299.51, 0.001)
        );
    }

    #[test]
    fn every_unit_of_wrk_is_known() {
        let read = ["5.00us", "5.00ms", "5.00s", "1.50m", "x"].map(duration);
        assert_eq!(read, [Some(5e-6), Some(5e-3), Some(5.0), Some(90.0), None]);
    }
}
