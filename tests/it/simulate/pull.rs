//! What clients do during the storm, and what no answer may be, however bad the weather (I1, I4, I5).
//!
//! An answer that completes is true; a status is one of those that `reference/faults.md` section 1 knows; a node that was not ended
//! always answers. What has to succeed is asked for after the storm, in `calm`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Error;
use reqwest::Method;
use tests::Client;
use tests::client::Reply;
use wire::digest::Digest;

use super::plan::{Name, REPOSITORIES, SITES, What};
use super::truth::{Sight, Truth};
use super::world::Spot;

/// One client at one site.
pub(super) struct Puller {
    pub(super) truth: Arc<Truth>,
    pub(super) spot: Spot,
    began: Duration,
    client: Arc<Client>,
}

/// Whether everything came as it should.
pub(super) type Whole = bool;

impl Puller {
    pub(super) fn new(truth: &Arc<Truth>, spot: Spot) -> Self {
        Self {
            began: truth.now(),
            client: Arc::clone(&spot.client),
            truth: Arc::clone(truth),
            spot,
        }
    }

    pub(super) async fn run(&self, name: Name, what: What) -> Whole {
        let repository = format!("up/{}", name.0);
        match what {
            What::Whole(architecture) => self.image(&repository, name, architecture).await,
            What::Digest => {
                let places = self.truth.places(name);
                let digest = &places[places.len() / 2].digest;
                self.manifest(&repository, digest).await.is_some()
            }
            What::Head => {
                let reply = self.client.head_manifest(&repository, name.1).await;
                let reply = self.answered("HEAD", reply);
                reply.is_some_and(|reply| self.is_200(&reply, name.1))
            }
            What::Range(from, count) => self.range(&repository, name, from, count).await,
            What::Leave => self.leave(&repository, name).await,
        }
    }

    /// By tag: reference, platform, configuration and layers.
    async fn image(&self, repository: &str, name: Name, architecture: &str) -> Whole {
        let Some(digest) = self.tag(repository, name).await else {
            return false;
        };
        self.rest(repository, &digest, architecture).await
    }

    /// What the manifest or index of that digest needs for a platform.
    pub(super) async fn rest(&self, repository: &str, digest: &Digest, platform: &str) -> Whole {
        let image = self.truth.image(digest).expect("it was judged");
        let child = image.platform(platform);
        let mut whole = self.manifest(repository, &child.digest).await.is_some();
        for blob in child.blobs() {
            whole &= self.blob(repository, &blob).await;
        }
        whole
    }

    /// A manifest by tag: some place where the tag was, and recently enough unless it says so.
    pub(super) async fn tag(&self, repository: &str, name: Name) -> Option<Digest> {
        let began = self.truth.now();
        let reply = self.client.get_manifest(repository, name.1).await;
        let reply = self.answered(&format!("{repository}:{}", name.1), reply)?;
        let digest = self.whole(&reply, name.1)?;
        let is_stale = reply.header_all("warning").contains("299");
        self.truth.judge(&Sight {
            place: self.spot.place,
            run: self.spot.run,
            name,
            began,
            digest: digest.clone(),
            is_stale,
            bound: self.spot.bound,
        });
        self.truth.image(&digest).map(|_| digest)
    }

    pub(super) async fn manifest(&self, repository: &str, digest: &Digest) -> Option<Digest> {
        let reply = self.client.get_manifest(repository, digest).await;
        let reply = self.answered(&format!("{repository}@{digest}"), reply)?;
        let got = self.whole(&reply, digest.as_str())?;
        if got != *digest {
            self.broken("I1", format!("asked for {digest}, got {got}"));
        }
        Some(got)
    }

    async fn blob(&self, repository: &str, digest: &Digest) -> Whole {
        let reply = self.client.get_blob(repository, digest).await;
        let Some(reply) = self.answered(&format!("{repository} blob {digest}"), reply) else {
            return false;
        };
        if !self.is_200(&reply, digest.as_str()) {
            return false;
        }
        let promised = reply.header("content-length").map(str::to_owned);
        let size = reply.body.len().to_string();
        if reply.cut.is_none() && (reply.digest() != *digest || promised != Some(size)) {
            self.broken(
                "I1",
                format!("{digest}: {} bytes that are not it", reply.body.len()),
            );
        }
        reply.cut.is_none()
    }

    async fn range(&self, repository: &str, name: Name, from: u64, count: u64) -> Whole {
        let image = self.truth.current(name);
        let (digest, content) = image.largest();
        let end = content.len().min(from + count);
        if from >= end {
            return true;
        }
        let range = format!("bytes={from}-{}", end - 1);
        let reply = self.client.get_range(repository, digest, &range).await;
        let Some(reply) = self.answered(&format!("{digest} {range}"), reply) else {
            return false;
        };
        if reply.status != 206 {
            self.judge_status(&reply, &range);
            return false;
        }
        let expected = content.slice(from..end).to_bytes();
        let whole = reply.cut.is_none();
        if (whole && reply.body != expected) || !expected.starts_with(&reply.body) {
            self.broken("I1", format!("{digest} {range}: not that slice"));
        }
        whole
    }

    async fn leave(&self, repository: &str, name: Name) -> Whole {
        let image = self.truth.current(name);
        let digest = image.largest().0;
        let path = format!("/v2/{repository}/blobs/{digest}");
        let answer = self.client.open(Method::GET, &path, &[], None).await;
        let Ok(mut answer) = answer else { return false };
        answer.chunk().await.is_ok()
    }

    /// Somebody who may read `team/*` asks for what is private, by its own name and by that of a repository that has it not.
    pub(super) async fn pry(&self, name: Name) {
        let client = &self.spot.stranger;
        let secret = self.truth.current((REPOSITORIES[2], name.1));
        let (blob, _) = secret.largest();
        for path in [
            format!("/v2/up/{}/manifests/{}", REPOSITORIES[2], name.1),
            format!("/v2/up/{}/manifests/{}", REPOSITORIES[2], secret.digest),
            format!("/v2/up/{}/blobs/{blob}", REPOSITORIES[2]),
            format!("/v2/up/{}/blobs/{blob}", REPOSITORIES[0]),
            format!("/v2/up/{}/manifests/{}", REPOSITORIES[0], secret.digest),
        ] {
            if let Some(reply) = self.answered(&path, client.get(&path).await)
                && !matches!(reply.status, 401 | 403 | 404 | 503)
            {
                self.broken("I5", format!("{path}: {} to a stranger", reply.status));
            }
        }
    }

    /// The digest of a whole manifest that is what it says.
    fn whole(&self, reply: &Reply, asked: &str) -> Option<Digest> {
        if !self.is_200(reply, asked) || reply.cut.is_some() {
            return None;
        }
        match reply.verified() {
            Ok(digest) => Some(digest),
            Err(error) => {
                self.broken("I1", format!("{asked}: {error:#}"));
                None
            }
        }
    }

    fn is_200(&self, reply: &Reply, asked: &str) -> bool {
        if reply.status != 200 {
            self.judge_status(reply, asked);
        }
        reply.status == 200
    }

    /// Everything that is asked for here exists and may be had: it cannot be "gone" or "not allowed".
    fn judge_status(&self, reply: &Reply, asked: &str) {
        let is_right = match reply.status {
            503 => reply.header("retry-after").is_some(),
            502 => self.truth.lied(),
            // Where tokens come from is away too.
            401 => !self.spot.is_up(),
            _ => false,
        };
        let Reply { status, body, .. } = reply;
        let said = String::from_utf8_lossy(body);
        if is_right {
            let site = SITES[self.spot.place];
            self.truth
                .log(format!("{site} {asked:.24}: {status} {said:.200}"));
        } else {
            self.broken("answer", format!("{asked}: {status} {said}"));
        }
    }

    /// A node that was not ended answers, whatever it is.
    fn answered(&self, asked: &str, reply: Result<Reply, Error>) -> Option<Reply> {
        match reply {
            Ok(reply) => Some(reply),
            Err(error) => {
                if self.spot.is_up() && !self.truth.leapt_since(self.began) {
                    self.broken("answer", format!("{asked}: none: {error:#}"));
                }
                None
            }
        }
    }

    fn broken(&self, invariant: &str, what: String) {
        let site = SITES[self.spot.place];
        self.truth.broken(invariant, format!("{site} {what}"));
    }
}
