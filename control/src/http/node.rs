//! What one node says of itself when it is asked now, and what is done to one: joining, revoking, draining, deleting.
//!
//! A node that the topology does not have is 404 before anybody is asked; one that is not connected is 409.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use wire::{
    api::{
        ask::{Answer, Question},
        inventory::{Listed, Page},
        mesh::{JoinTokenRequest, Published},
        problem::Problem,
    },
    name::NodeName,
    time::WallTime,
};

use super::{
    Api,
    call::{Call, absent, misfit},
    json,
};
use crate::state::NewEntry;

/// How long a join token may be used unless somebody says otherwise, and at most.
const TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many instances may join with one token at most.
const MOST_USES: u32 = 1_000;

/// What a drain answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Draining {
    /// The node.
    node: NodeName,
    /// Whether it has begun.
    draining: bool,
}

/// The node that the path names.
pub(super) fn named(api: &Api, call: &Call, segment: &str) -> Result<NodeName, Problem> {
    let name: NodeName = call.segment(segment)?;
    declared(api, &name).map(|()| name)
}

/// Whether the topology has it.
pub(super) fn declared(api: &Api, name: &NodeName) -> Result<(), Problem> {
    let current = api.publisher.current();
    let has = current
        .topology
        .as_ref()
        .is_some_and(|topology| topology.node(name).is_some());
    if has {
        Ok(())
    } else {
        Err(absent(&format!(
            "there is no node '{name}' in the topology in force"
        )))
    }
}

async fn ask(api: &Api, node: &NodeName, question: Question) -> Result<Answer, Problem> {
    Ok(api.nodes.ask(node, question, api.settings.ask).await?)
}

/// The node answered another question than the one it was asked.
pub(super) fn confused(node: &NodeName) -> Problem {
    let text = format!("node {node} answered something else; it may be of another release");
    Problem::new(502, "node-confused", text)
}

/// Asks the node of the path and takes the answer of the right kind.
macro_rules! answer {
    ($api:expr, $call:expr, $question:expr, $variant:path) => {{
        let node = named(&$api, &$call, "name")?;
        match ask(&$api, &node, $question).await? {
            $variant(answer) => Ok(json(200, &answer)),
            _ => Err(confused(&node)),
        }
    }};
}

/// `GET …/status`
pub(super) async fn status(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    answer!(api, call, Question::Status, Answer::Status)
}

/// `GET …/repositories`
pub(super) async fn repositories(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Repositories(page(&call)?);
    answer!(api, call, question, Answer::Repositories)
}

/// `GET …/tags`
pub(super) async fn tags(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Tags {
        repository: call.needed("repository")?,
        page: page(&call)?,
    };
    answer!(api, call, question, Answer::Tags)
}

/// `GET …/manifests`
pub(super) async fn manifests(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Manifests {
        repository: call.needed("repository")?,
        page: page(&call)?,
    };
    answer!(api, call, question, Answer::Manifests)
}

/// `GET …/manifest`
pub(super) async fn manifest(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Manifest {
        repository: call.needed("repository")?,
        reference: call.needed("reference")?,
    };
    answer!(api, call, question, Answer::Manifest)
}

/// `GET …/holds`
pub(super) async fn holds(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Holds {
        repository: call.query("repository")?,
        reference: call.needed("reference")?,
    };
    answer!(api, call, question, Answer::Holds)
}

/// `DELETE …/manifest`
pub(super) async fn delete_manifest(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Delete {
        repository: call.needed("repository")?,
        reference: Some(call.needed("reference")?),
    };
    delete(api, call, question).await
}

/// `DELETE …/repository`
pub(super) async fn delete_repository(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let question = Question::Delete {
        repository: call.needed("repository")?,
        reference: None,
    };
    delete(api, call, question).await
}

async fn delete(api: Arc<Api>, call: Call, question: Question) -> Result<Response, Problem> {
    let node = named(&api, &call, "name")?;
    let what = serde_json::to_value(&question).ok();
    let Answer::Deleted(deleted) = ask(&api, &node, question).await? else {
        return Err(confused(&node));
    };
    let mut entry = entry(&api, &call, "delete", &node);
    entry.before = what;
    api.state.record(vec![entry]).await?;
    Ok(json(200, &deleted))
}

/// `GET …/history`
pub(super) async fn history(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let node = named(&api, &call, "name")?;
    let hours: u64 = call.query("hours")?.unwrap_or(24);
    let since = WallTime(api.clock.wall_ms()).minus(Duration::from_secs(hours * 3600));
    let items = api.state.history(&node, since).await?;
    Ok(json(200, &Listed { items, next: None }))
}

/// `POST …/join-token`
pub(super) async fn join_token(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let node = named(&api, &call, "name")?;
    let request: JoinTokenRequest = call.json()?;
    let life = match request.ttl_seconds {
        0 => TOKEN_LIFE,
        seconds => Duration::from_secs(seconds),
    };
    if life > LONGEST_LIFE || request.uses > MOST_USES {
        let text = format!(
            "a join token lasts {} seconds at most and is for {MOST_USES} instances at most",
            LONGEST_LIFE.as_secs()
        );
        return Err(misfit(&text));
    }
    let made = api
        .enrol
        .join_token(&node, life, request.uses.max(1), &call.caller.who);
    Ok(json(201, &made.await?))
}

/// `POST …/revoke`
pub(super) async fn revoke(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let node = named(&api, &call, "name")?;
    let generation = api.enrol.revoke(&node, &call.caller.who).await?;
    Ok(json(200, &Published { generation }))
}

/// `POST …/drain`
pub(super) async fn drain(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let node = named(&api, &call, "name")?;
    let Answer::Draining = ask(&api, &node, Question::Drain).await? else {
        return Err(confused(&node));
    };
    api.state
        .record(vec![entry(&api, &call, "drain", &node)])
        .await?;
    let draining = true;
    Ok(json(202, &Draining { node, draining }))
}

fn page(call: &Call) -> Result<Page, Problem> {
    Ok(Page {
        limit: call.query("limit")?.unwrap_or(0),
        after: call.query("after")?,
    })
}

fn entry(api: &Api, call: &Call, action: &str, node: &NodeName) -> NewEntry {
    NewEntry {
        at: WallTime(api.clock.wall_ms()),
        who: call.caller.who.clone(),
        action: action.to_owned(),
        target: format!("nodes/{node}"),
        before: None,
        after: None,
        generation: None,
        refused: None,
    }
}
