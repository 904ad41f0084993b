//! Pulls without a client: started on a node, and followed there.

use std::sync::Arc;

use axum::response::Response;
use wire::{
    api::{
        ask::{Answer, Question},
        problem::Problem,
        pull::{NodeRequest, Progress, State},
    },
    name::NodeName,
};

use super::{
    Api,
    call::Call,
    json, node,
    stream::{Ended, Stream},
};

/// `POST /api/v1/pulls`
pub(super) async fn start(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let request: NodeRequest = call.json()?;
    node::declared(&api, &request.node)?;
    let question = Question::Pull(request.request);
    let progress = ask(&api, &request.node, question).await?;
    Ok(json(202, &progress))
}

/// `GET /api/v1/pulls/{node}/{id}`
pub(super) async fn progress(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let node = node::named(&api, &call, "node")?;
    let id = call.text("id").to_owned();
    let progress = ask(&api, &node, Question::PullProgress { id }).await?;
    if call.accepts(&["text/event-stream"]) {
        return Stream::open(&api, &call, move |stream| follow(stream, node, progress));
    }
    Ok(json(200, &progress))
}

async fn ask(api: &Api, node: &NodeName, question: Question) -> Result<Progress, Problem> {
    let Answer::Pull(progress) = api.nodes.ask(node, question, api.settings.ask).await? else {
        return Err(node::confused(node));
    };
    Ok(progress)
}

/// Tells every change until the end. A node that cannot be asked for a moment is asked again: the pull goes on there.
async fn follow(stream: Stream, node: NodeName, mut progress: Progress) -> Result<(), Ended> {
    let api = Arc::clone(stream.api());
    let mut told = 0_u64;
    stream.event(told, &progress).await?;
    while !matches!(progress.state, State::Complete | State::Failed) {
        stream.wait(api.clock.sleep(api.settings.poll)).await?;
        let id = progress.id.clone();
        let now = stream
            .wait(ask(&api, &node, Question::PullProgress { id }))
            .await?;
        match now {
            Ok(now) if now != progress => {
                progress = now;
                told += 1;
                stream.event(told, &progress).await?;
            }
            Err(problem) if problem.status == 404 => return Ok(()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
