//! Questions between control planes over one database: left in the state by one, taken and answered by another.

use std::{sync::Arc, time::Duration};

use wire::{
    api::{ask::Answer, problem::Problem},
    name::NodeName,
    time::WallTime,
};

use super::{Error, here};
use crate::{distribute::Inner, state::Asked};

/// How often the state is looked at for an answer, should news of it be lost.
const LOOK: Duration = Duration::from_secs(1);

/// Asks a node whose stream another control plane holds.
pub(super) async fn ask(
    inner: &Arc<Inner>,
    node: &NodeName,
    question: Vec<u8>,
    within: Duration,
) -> Result<Answer, Error> {
    let id = uuid::Uuid::now_v7().to_string();
    let asked = Asked {
        id: id.clone(),
        node: node.clone(),
        question,
        until: inner.now().plus(within),
    };
    let mut news = inner.state.news();
    inner.state.ask(asked).await?;
    let answered = inner.clock.timeout(within, async {
        loop {
            news.borrow_and_update();
            if let Some(answer) = inner.state.take_answer(&id).await? {
                return Ok::<_, Error>(answer);
            }
            tokio::select! {
                _ = news.changed() => {}
                () = inner.clock.sleep(LOOK) => {}
            }
        }
    });
    let answer = answered
        .await
        .map_err(|_| Error::TimedOut(node.clone()))??;
    let answer: Result<Answer, Problem> = serde_json::from_slice(&answer).map_err(|_| {
        Problem::new(
            502,
            "bad-answer",
            "the other control plane's answer cannot be read",
        )
    })?;
    Ok(answer?)
}

/// Takes the questions that others left for nodes whose streams are here, and answers each in a task of its own.
pub(crate) async fn answer_others(inner: &Arc<Inner>) {
    let nodes = inner.held_here();
    if nodes.is_empty() {
        return;
    }
    match inner.state.take_asked(nodes, inner.now()).await {
        Ok(asked) => {
            for asked in asked {
                let mine = Arc::clone(inner);
                inner
                    .tasks
                    .spawn("relay", async move { answer(&mine, asked).await });
            }
        }
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "questions of other control planes cannot be read"
        ),
    }
}

async fn answer(inner: &Arc<Inner>, asked: Asked) {
    let within = remaining(asked.until, inner.now());
    let answer = match here(inner, &asked.node, asked.question, within).await {
        Ok(answer) => Ok(answer),
        Err(Error::TimedOut(_)) => return, // so did who asked
        Err(Error::Refused(problem)) => Err(problem),
        Err(error @ (Error::NotConnected(_) | Error::State(_))) => {
            Err(Problem::new(503, "not-connected", error.to_string()))
        }
    };
    let Ok(answer) = serde_json::to_vec(&answer) else {
        return;
    };
    if let Err(error) = inner.state.put_answer(&asked.id, answer).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "an answer for another control plane cannot be written"
        );
    }
}

fn remaining(until: WallTime, now: WallTime) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}
