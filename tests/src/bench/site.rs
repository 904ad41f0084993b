//! nginx with an image as static files, at the paths where a registry has them: the practical limit of a server, and an origin
//! that is no bottleneck.
//!
//! It counts by its access log, which is off unless asked for, as it is when nginx is the peer.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::bench::usage::Meter;
use crate::bench::world::World;
use crate::process::{Process, free_port};
use crate::{Image, peer};

/// How a site is served.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// With the certificate and key of these files.
    pub tls: Option<Certificate>,
    /// Bytes a second for each connection.
    pub limit: Option<u64>,
    /// Writes an access log, for [`Site::count`].
    pub counts: bool,
}

/// A self-signed certificate for 127.0.0.1 and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

pub struct Site {
    process: Process,
    port: u16,
    tls: bool,
    dir: TempDir,
}

impl Config {
    /// Serves `image` as `repository:tag`.
    pub async fn start(
        self,
        world: &World,
        repository: &str,
        tag: &str,
        image: &Image,
    ) -> Result<Site> {
        let (dir, port) = (world.fresh()?, free_port());
        let tree = dir.path().join("v2").join(repository);
        fs::create_dir_all(tree.join("manifests"))?;
        fs::create_dir_all(tree.join("blobs"))?;
        for (digest, content) in &image.blobs {
            let file = world.file(digest, content)?;
            fs::hard_link(file, tree.join(format!("blobs/{digest}")))?;
        }
        let mut places = String::new();
        for manifest in &image.manifests {
            let mut names = vec![manifest.digest.to_string()];
            names.extend((manifest.digest == image.digest).then(|| tag.to_owned()));
            for name in names {
                fs::write(tree.join(format!("manifests/{name}")), &manifest.bytes)?;
                writeln!(
                    places,
                    "location = /v2/{repository}/manifests/{name} {{ default_type {}; add_header Docker-Content-Digest {}; }}",
                    manifest.media_type, manifest.digest,
                )?;
            }
        }
        let tls = self.tls.is_some();
        fs::write(
            dir.path().join("nginx.conf"),
            self.text(port, dir.path(), &places)?,
        )?;
        let process = Process::start(
            &peer::program("nginx")?,
            [
                "-p",
                &format!("{}/", dir.path().display()),
                "-c",
                "nginx.conf",
                "-e",
                "stderr",
            ],
            &[],
        )?;
        let mut site = Site {
            process,
            port,
            tls,
            dir,
        };
        let ping = site.url().replace("https", "http");
        match tls {
            // Our own readiness check trusts no certificate made on the spot; an open port is enough.
            true => {
                crate::eventually("nginx listens", || {
                    std::net::TcpStream::connect(("127.0.0.1", port)).map(|_| ())
                })
                .await
            }
            false => site.process.is_ready_at(&format!("{ping}/v2/")).await,
        }
        Ok(site)
    }

    fn text(&self, port: u16, dir: &Path, places: &str) -> Result<String> {
        let mut text =
            String::from("daemon off; pid nginx.pid; worker_processes auto; error_log stderr;\n");
        if geteuid().is_root() {
            // Else the workers are nobody and may not read our directory.
            text.push_str("user root;\n");
        }
        text.push_str("events { worker_connections 4096; }\nhttp {\n");
        for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            writeln!(text, "{name}_temp_path {name};")?;
        }
        text.push_str("sendfile on; tcp_nopush on; keepalive_requests 100000000; types {} default_type application/octet-stream;\n");
        match self.counts {
            true => text.push_str(
                "log_format short '$request_method $uri $status'; access_log access.log short;\n",
            ),
            false => text.push_str("access_log off;\n"),
        }
        if let Some(limit) = self.limit {
            writeln!(text, "limit_rate {limit};")?;
        }
        let ssl = if self.tls.is_some() { " ssl" } else { "" };
        writeln!(
            text,
            "server {{ listen 127.0.0.1:{port}{ssl} backlog=4096; root {};",
            dir.display()
        )?;
        if let Some(Certificate { cert, key }) = &self.tls {
            writeln!(
                text,
                "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
            )?;
        }
        write!(
            text,
            "location = /v2/ {{ return 200 '{{}}'; }}\n{places}}}\n}}\n"
        )?;
        Ok(text)
    }
}

impl Site {
    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    pub fn meter(&self) -> Meter {
        Meter::of(self.process.pid())
    }

    /// How many requests of `method` for paths that end in `end` it has finished.
    pub fn count(&self, method: &str, end: &str) -> Result<usize> {
        let log = fs::read_to_string(self.dir.path().join("access.log"))?;
        let asked = |line: &&str| {
            let mut words = line.split(' ');
            words.next() == Some(method) && words.next().is_some_and(|path| path.ends_with(end))
        };
        Ok(log.lines().filter(asked).count())
    }
}

impl Drop for Site {
    /// The workers too: they would outlive a master that is killed.
    fn drop(&mut self) {
        for pid in self.meter().pids() {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // One that is gone already is what we want.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
    }
}
