//! What the control plane asks, answered beside everything else: a bounded number at once, each for as long as somebody waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::{Clock, Limit, Tasks};
use tokio::{sync::mpsc, task::AbortHandle};
use wire::{
    api::{
        ask::{Answer, Question},
        problem::Problem,
    },
    node_service::{self, Ask, FromNode, answer::Outcome, from_node::Kind},
};

use super::{apply::Slices, waiting::Words};

/// Questions answered at once.
const AT_ONCE: usize = 16;
/// The largest answer that a control plane takes, in bytes, with room for what is around it.
const MAX_ANSWER: usize = (8 << 20) - 1024;
/// The longest that anybody waits.
const LONGEST: Duration = Duration::from_secs(300);

/// The questions of one stream.
pub(crate) struct Answers {
    slices: Arc<Slices>,
    words: Words,
    outgoing: mpsc::Sender<FromNode>,
    places: Limit,
    running: Arc<Mutex<HashMap<u64, AbortHandle>>>,
    clock: Clock,
    tasks: Tasks,
}

impl Answers {
    pub(crate) fn new(
        slices: Arc<Slices>,
        words: Words,
        outgoing: mpsc::Sender<FromNode>,
        clock: Clock,
        tasks: Tasks,
    ) -> Self {
        Self {
            slices,
            words,
            outgoing,
            places: Limit::new("questions", AT_ONCE),
            running: Arc::default(),
            clock,
            tasks,
        }
    }

    /// Begins to answer.
    pub(crate) fn asked(&self, ask: Ask) {
        let id = ask.id;
        let Some(place) = self.places.try_acquire() else {
            let busy = Problem::new(
                503,
                "busy",
                "this node answers as many questions as it can already",
            );
            // An asker whose answer finds no room is told by its own deadline.
            let _ = self.outgoing.try_send(message(id, &Err(busy)));
            return;
        };
        let (slices, words, clock) = (
            Arc::clone(&self.slices),
            self.words.clone(),
            self.clock.clone(),
        );
        let (outgoing, running) = (self.outgoing.clone(), Arc::clone(&self.running));
        let task = self.tasks.spawn("answer", async move {
            let within = Duration::from_millis(u64::from(ask.within_ms)).min(LONGEST);
            let answered = clock
                .timeout(within, answer(&slices, &words, &ask.question))
                .await;
            let said = match answered {
                Ok(said) => message(id, &said),
                Err(_) => message(id, &Err(late())),
            };
            lock(&running).remove(&id);
            drop(place);
            // Gone with its stream.
            let _ = outgoing.send(said).await;
        });
        let mut running = lock(&self.running);
        running.retain(|_, task| !task.is_finished());
        running.insert(id, task.abort_handle());
    }

    /// Nobody waits any more.
    pub(crate) fn cancelled(&self, id: u64) {
        if let Some(task) = lock(&self.running).remove(&id) {
            task.abort();
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for task in lock(&self.running).values() {
            task.abort();
        }
    }
}

fn lock(
    running: &Mutex<HashMap<u64, AbortHandle>>,
) -> std::sync::MutexGuard<'_, HashMap<u64, AbortHandle>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(slices: &Slices, words: &Words, question: &[u8]) -> Result<Answer, Problem> {
    let question: Question = serde_json::from_slice(question).map_err(|error| {
        let text = format!(
            "this node does not know that question ({error}): it may be of an older release"
        );
        Problem::new(501, "unknown-question", text)
    })?;
    match (slices.running(), question) {
        (Some(running), question) => running.ask(question).await,
        (None, Question::Status) => Ok(Answer::Status(Box::new(words.status()))),
        (None, _) => Err(Problem::new(
            503,
            "no-slice",
            "this node has no topology yet",
        )),
    }
}

fn late() -> Problem {
    Problem::new(504, "timed-out", "this node could not answer in time")
}

fn message(id: u64, said: &Result<Answer, Problem>) -> FromNode {
    let outcome = match said {
        Ok(answer) => match serde_json::to_vec(answer) {
            Ok(bytes) if bytes.len() < MAX_ANSWER => Outcome::Answer(bytes),
            Ok(_) => refusal(&Problem::new(
                413,
                "too-large",
                "the answer is too large: ask for less",
            )),
            Err(error) => refusal(&Problem::new(500, "not-written", error.to_string())),
        },
        Err(problem) => refusal(problem),
    };
    let outcome = Some(outcome);
    FromNode {
        kind: Some(Kind::Answer(node_service::Answer { id, outcome })),
    }
}

fn refusal(problem: &Problem) -> Outcome {
    Outcome::Problem(serde_json::to_vec(problem).unwrap_or_default())
}
