//! The copy job of an image, and of the platforms of an index: the one that most needs to be looked at.

use wire::{
    api::{
        explain::{Copy, Stored},
        status::LastError,
    },
    digest::Digest,
    repository::RepositoryName,
};

use crate::{registry::Registry, store::metadata::Job};

/// In the order of who comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Waiting,
    Running,
    Failing,
}

impl Registry {
    pub(super) async fn copying(
        &self,
        repository: &RepositoryName,
        root: &Digest,
        stored: &[Stored],
    ) -> Option<Copy> {
        let metadata = self.inner.store.metadata();
        let platforms = stored.iter().map(|stored| &stored.digest);
        let mut worst: Option<(State, Job)> = None;
        for digest in std::iter::once(root).chain(platforms) {
            let Some(job) = self.looked(metadata.job(repository, digest)).await else {
                continue;
            };
            let running = self.inner.copies.is_running(repository, digest);
            let state = state(&job, running);
            if worst.as_ref().is_none_or(|(known, _)| *known < state) {
                worst = Some((state, job));
            }
        }
        if let Some((state, job)) = worst {
            return Some(describe(state, job));
        }
        let link = self.looked(metadata.link(repository, root)).await?;
        link.complete.then(|| Copy {
            state: "done".to_owned(),
            attempts: 0,
            due_at: None,
            last_error: None,
        })
    }
}

fn state(job: &Job, running: bool) -> State {
    if running {
        State::Running
    } else if job.attempts > 0 {
        State::Failing
    } else {
        State::Waiting
    }
}

fn describe(state: State, job: Job) -> Copy {
    let word = match state {
        State::Waiting => "waiting",
        State::Running => "running",
        State::Failing => "failing",
    };
    Copy {
        state: word.to_owned(),
        attempts: job.attempts,
        due_at: (state != State::Running).then_some(job.due_at),
        last_error: job.last_error.map(|text| LastError {
            at: job.due_at,
            text,
        }),
    }
}
