//! The workers: take due jobs, bring what is missing, commit, or say when to try again.
//!
//! A turn has no input: it looks at the jobs and starts those that are due, as many as allowed. Each job is a task of its
//! own, and what it fetches are fills, so cutting one short loses nothing but time.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};

use runtime::limit::Permit;
use runtime::telemetry::{self, TraceContext};
use tracing::Instrument;
use wire::{digest::Digest, event::Action, repository::RepositoryName};

use super::{
    Copies, gather, job,
    stall::Stall,
    transfer::{Errand, Error},
};
use crate::{
    event::Happening,
    store::{
        self,
        metadata::{Job, Op},
    },
};

/// How a try ended.
pub(super) enum Ended {
    Stored,
    /// It waits for what the upstream lacks, or for its rule.
    Waiting,
}

type Key = (RepositoryName, Digest);

/// How a try of a job can end, as `regmesh_copies_total` has it.
pub const RESULTS: [&str; 3] = ["stored", "waiting", "failed"];

impl Copies {
    /// Starts what is due.
    pub(super) async fn turn(&self) {
        let now = self.now();
        // Before the first slice nothing is known of any rule; afterwards a slice without rules has no jobs to lose.
        let no_rules = self.0.rules.load().iter().next().is_none();
        if no_rules || now.0 < self.0.next_due.load(Ordering::SeqCst) {
            return;
        }
        self.0.next_due.store(i64::MAX, Ordering::SeqCst);
        // As many as can be running, and as many again that are not.
        let limit = self.0.workers.max().saturating_mul(2) + 1;
        let jobs = match self.0.store.metadata().jobs(limit).await {
            Ok(jobs) => jobs,
            Err(error) => {
                self.0.next_due.store(i64::MIN, Ordering::SeqCst);
                return self.0.store.report("jobs", &error);
            }
        };
        self.count(jobs.len(), limit).await;
        for job in jobs {
            if !job::is_due(&job, now) {
                self.0.next_due.fetch_min(job.due_at.0, Ordering::SeqCst);
                break;
            }
            let key = (job.repository.clone(), job.root.clone());
            if self.running().contains(&key) {
                continue;
            }
            // What could not be written down is known here alone.
            if let Some(due) = self.0.stalls.get(&key).map(|stall| stall.due_at.0)
                && due > now.0
            {
                self.0.next_due.fetch_min(due, Ordering::SeqCst);
                continue;
            }
            let Some(permit) = self.0.workers.try_acquire() else {
                break;
            };
            self.start(job, key, permit);
        }
    }

    fn start(&self, job: Job, key: Key, permit: Permit) {
        self.running().insert(key.clone());
        let running = Running {
            copies: self.clone(),
            key,
            permit: Some(permit),
        };
        let copies = self.clone();
        let token = self.0.tasks.token();
        self.0.tasks.spawn("copy-job", async move {
            let _running = running;
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = Box::pin(copies.work(job)) => {}
            }
        });
    }

    async fn work(&self, job: Job) {
        let rule = job.rule.clone();
        let key = (job.repository.clone(), job.root.clone());
        let attempted = Box::pin(self.attempt(&job)).await;
        if attempted.is_ok() {
            self.0.stalls.remove(&key);
        }
        let word = match attempted {
            Ok(Ended::Stored) => "stored",
            Ok(Ended::Waiting) => "waiting",
            Err(error) => {
                self.failed(job, &error).await;
                "failed"
            }
        };
        (self.0.config.ended)(&rule, word);
    }

    async fn attempt(&self, job: &Job) -> Result<Ended, Error> {
        let covered = self.0.rules.load().resolve(&job.repository);
        let rule = covered.as_ref().map(|covered| &*covered.active.rule);
        let covered = match (job::standing(&job.rule, rule), covered) {
            (job::Standing::Run, Some(covered)) => covered,
            (job::Standing::Park(why), _) => {
                self.put(job::parked(job.clone(), why, self.now()), false)
                    .await?;
                return Ok(Ended::Waiting);
            }
            (job::Standing::Drop | job::Standing::Run, _) => return self.drop_job(job).await,
        };
        let _hold = self.0.store.hold(&job.root);
        if !gather::is_here(&self.0.store, &job.repository, &job.root).await? {
            return self.drop_job(job).await;
        }
        // A trace of its own, linked to the pull's, which ended long ago when this is a late try.
        let span = tracing::info_span!("copy", otel.kind = "internal", rule = %job.rule, repository = %job.repository);
        if let Some(pull) = TraceContext::in_trace(&job.request.trace_id) {
            telemetry::link(&span, pull);
        }
        let trace = telemetry::begin(&span, None);
        let errand = Errand::new(job.repository.clone(), covered, &job.request, trace);
        self.copy(job, &errand).instrument(span).await
    }

    /// Says why, and when to try again.
    async fn failed(&self, job: Job, error: &Error) {
        tracing::warn!(repository = %job.repository, root = %job.root, rule = %job.rule, attempts = job.attempts + 1, %error, "a copy failed and is tried again");
        let needs = match error {
            Error::Store(error) => {
                self.0.store.report("copy", error);
                Some(0)
            }
            Error::NoRoom(bytes) => Some(*bytes),
            Error::Upstream(_) | Error::Wrong(_) | Error::Other(_) => None,
        };
        let active = self.0.rules.load().get(&job.rule).cloned();
        if let (Some(needs), Some(active)) = (needs, active) {
            let state = &active.state;
            state.store_failed(&error.to_string(), needs, self.now());
        }
        let key = (job.repository.clone(), job.root.clone());
        let tried = self.0.stalls.get(&key).map_or(0, |stall| stall.attempts);
        let job = Job {
            attempts: job.attempts.max(tried),
            ..job
        };
        let random = rand::random();
        let again = job::failed(
            job,
            &error.to_string(),
            retry_after(error),
            self.now(),
            self.0.config.backoff,
            random,
        );
        let due = again.due_at;
        let alarm = job::alarms(again.attempts, self.0.config.alarm, error);
        let written = self.put(again.clone(), alarm).await;
        if needs.is_some() || written.is_err() {
            let stall = Stall {
                rule: again.rule.clone(),
                failed_at: self.now(),
                due_at: due,
                attempts: again.attempts,
                needs: needs.unwrap_or(0),
            };
            self.0.stalls.put(key, stall);
        } else {
            self.0.stalls.remove(&key);
        }
        if let Err(error) = written {
            self.0.store.report("job", &error);
            if alarm {
                let events = &self.0.events;
                events.hold(events.record(Action::CopyFailed, &happening(&again)));
                events.nudge();
            }
        }
        tracing::debug!(%due, "the next try");
    }

    /// Writes a job down as it stands after a try, with a `copy_failed` event if `alarm`.
    pub(super) async fn put(&self, changed: Job, alarm: bool) -> Result<(), store::Error> {
        let metadata = self.0.store.metadata();
        let _gate = self.gate(&changed.repository).await;
        if metadata
            .job(&changed.repository, &changed.root)
            .await?
            .is_none()
        {
            return Ok(());
        }
        let mut ops = Vec::new();
        if alarm {
            ops = self
                .0
                .events
                .record(Action::CopyFailed, &happening(&changed));
        }
        ops.push(Op::PutJob(changed));
        metadata.commit(ops).await?;
        if alarm {
            self.0.events.nudge();
        }
        Ok(())
    }

    async fn drop_job(&self, job: &Job) -> Result<Ended, Error> {
        tracing::info!(repository = %job.repository, root = %job.root, "a copy is not wanted any more");
        let _gate = self.gate(&job.repository).await;
        self.0
            .store
            .metadata()
            .commit(vec![Op::DeleteJob(job.id)])
            .await?;
        self.job_went();
        Ok(Ended::Waiting)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn happening(job: &Job) -> Happening<'_> {
    Happening {
        repository: &job.repository,
        tag: job.tags.first(),
        digest: &job.root,
        version: None,
        cause: wire::event::Cause::Copy,
        rule: Some(&job.rule),
        platform: job.platform.as_ref(),
        info: &job.request,
        reason: job.last_error.clone(),
    }
}

pub(super) fn retry_after(error: &Error) -> Option<std::time::Duration> {
    match error {
        Error::Upstream(error) => error.retry_after(),
        Error::Store(_) | Error::NoRoom(_) | Error::Wrong(_) | Error::Other(_) => None,
    }
}

/// That a job is being worked on, however its task ends.
struct Running {
    copies: Copies,
    key: Key,
    permit: Option<Permit>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.copies.running().remove(&self.key);
        // Before the nudge, or the turn would find no permit and nobody would ask again.
        self.permit = None;
        self.copies.nudge();
    }
}
