//! One try of a job: round by round to the closure's end, then the commit.

use futures_util::{StreamExt, stream};
use topology::model::rule::Referrers;
use wire::{digest::Digest, platform::Platform};

use super::{
    Copies,
    closure::{self, Known, Plan},
    commit, gather, job, record, referrer,
    transfer::{self, Errand, Error},
    worker::{Ended, retry_after},
};
use crate::{
    rule::Covered,
    store::metadata::{Child, Job},
};

/// How often a closure is looked at in one try: each time there is at least one level more of it.
const MAX_ROUNDS: usize = closure::MAX_DEPTH + 2;

impl Copies {
    /// Brings everything and commits it.
    pub(super) async fn copy(&self, job: &Job, errand: &Errand) -> Result<Ended, Error> {
        let mut known = Known::default();
        let plan = self
            .complete(errand, &job.root, job.platform.as_ref(), &mut known)
            .await?;
        if !plan.is_whole(&job.root) {
            self.put(job::lacking(job.clone(), plan.missing, self.now()), false)
                .await?;
            return Ok(Ended::Waiting);
        }
        let mut whole = plan.whole;
        let (mut missing, mut trouble) = (plan.missing, None);
        if errand.covered.active.rule.referrers == Referrers::WithImage {
            match self.with_referrers(errand, &whole, &mut known).await {
                Ok(more) => {
                    // Before what they refer to: the root stays last.
                    whole.splice(0..0, more.whole);
                    missing.extend(more.missing);
                }
                Err(error) => trouble = Some(error),
            }
        }
        let rest = self.rest(job, missing, trouble.as_ref());
        let records = whole
            .into_iter()
            .filter_map(|(digest, platform)| Some((known.manifests.remove(&digest)?, platform)));
        let rule = &errand.covered.active.rule;
        commit::commit(
            self,
            job,
            &rule.name,
            &rule.platforms,
            records.collect(),
            rest,
        )
        .await?;
        self.tell_stored(&errand.covered);
        match trouble {
            Some(error) => {
                tracing::warn!(repository = %job.repository, root = %job.root, %error, "copied without all of its referrers");
                Ok(Ended::Waiting)
            }
            None => Ok(Ended::Stored),
        }
    }

    /// What has to be done later for a job whose image is complete.
    fn rest(&self, job: &Job, missing: Vec<Digest>, trouble: Option<&Error>) -> Option<Job> {
        let now = self.now();
        let rest = job::rest(job.clone(), record::random_id());
        match trouble {
            Some(error) => Some(job::failed(
                rest,
                &error.to_string(),
                retry_after(error),
                now,
                self.0.config.backoff,
                rand::random(),
            )),
            None if missing.is_empty() => None,
            None => Some(job::lacking(rest, missing, now)),
        }
    }

    /// Fetches until nothing of the closure of `root` can be fetched any more.
    async fn complete(
        &self,
        errand: &Errand,
        root: &Digest,
        platform: Option<&Platform>,
        known: &mut Known,
    ) -> Result<Plan, Error> {
        let platforms = &errand.covered.active.rule.platforms;
        for _ in 0..MAX_ROUNDS {
            gather::gather(&self.0.store, &errand.repository, root, platforms, known).await?;
            let plan = closure::plan(root, platform, known, platforms);
            if plan.fetch.is_empty() {
                return Ok(plan);
            }
            known.gone.extend(self.fetch(errand, plan.fetch).await?);
        }
        Err(Error::Other(
            "the closure does not come to an end".to_owned(),
        ))
    }

    /// Brings these parts, some at a time; returns those that the upstream does not have. The first failure ends it: what is
    /// in flight goes on by itself.
    async fn fetch(&self, errand: &Errand, parts: Vec<Child>) -> Result<Vec<Digest>, Error> {
        let mut brought = stream::iter(parts)
            .map(|part| async move { (transfer::bring(self, errand, &part).await, part.digest) })
            .buffer_unordered(self.0.config.transfers.max(1));
        let mut gone = Vec::new();
        while let Some((brought, digest)) = brought.next().await {
            if !brought? {
                gone.push(digest);
            }
        }
        Ok(gone)
    }

    async fn with_referrers(
        &self,
        errand: &Errand,
        whole: &[(Digest, Option<Platform>)],
        known: &mut Known,
    ) -> Result<Plan, Error> {
        let subjects: Vec<Digest> = whole.iter().map(|(digest, _)| digest.clone()).collect();
        let mut all = Plan::default();
        for child in referrer::referrers(self, errand, &subjects).await? {
            let here = gather::is_here(&self.0.store, &errand.repository, &child.digest).await?;
            if !here && !transfer::bring(self, errand, &child).await? {
                all.missing.push(child.digest);
                continue;
            }
            let plan = self.complete(errand, &child.digest, None, known).await?;
            all.missing.extend(plan.missing);
            let news = plan
                .whole
                .into_iter()
                .filter(|(digest, _)| !all.is_whole(digest) && !subjects.contains(digest));
            let news: Vec<_> = news.collect();
            all.whole.extend(news);
        }
        Ok(all)
    }

    fn tell_stored(&self, covered: &Covered) {
        covered.active.state.stored(self.now());
        covered.active.state.counted(0, 1);
    }
}
