//! Webhooks as the nodes that have them see them: pings and deliveries, one answer for each node.

use std::sync::Arc;

use axum::response::Response;
use futures_util::future::join_all;
use wire::{
    api::{
        ask::{Answer, Question},
        mesh::OfNode,
        problem::Problem,
        resource::Kind,
    },
    name::{NodeName, WebhookName},
};

use super::{
    Api,
    call::{Call, absent},
    json, node,
};

/// `GET /api/v1/webhooks/{name}/deliveries`
pub(super) async fn deliveries(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let (webhook, nodes) = of(&api, &call)?;
    let limit = call
        .query("limit")?
        .filter(|limit| *limit > 0)
        .unwrap_or(50);
    let question = Question::Deliveries { webhook, limit };
    let answers = each(&api, nodes, question, |answer| {
        let Answer::Deliveries(deliveries) = answer else {
            return None;
        };
        Some(deliveries)
    });
    Ok(json(200, &answers.await))
}

/// `POST /api/v1/webhooks/{name}/ping`
pub(super) async fn ping(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let (webhook, nodes) = of(&api, &call)?;
    let question = Question::PingWebhook { webhook };
    let answers = each(&api, nodes, question, |answer| {
        let Answer::Pinged(delivery) = answer else {
            return None;
        };
        Some(delivery)
    });
    Ok(json(200, &answers.await))
}

/// The webhook of the path and the nodes that have it.
fn of(api: &Api, call: &Call) -> Result<(WebhookName, Vec<NodeName>), Problem> {
    let webhook: WebhookName = call.segment("name")?;
    let only: Option<NodeName> = call.query("node")?;
    if api
        .publisher
        .resource(Kind::Webhooks, webhook.as_str())
        .is_none()
    {
        return Err(absent(&format!(
            "there is no webhooks/{webhook} in the topology in force"
        )));
    }
    let current = api.publisher.current();
    let nodes = current
        .topology
        .iter()
        .flat_map(|topology| topology.nodes.values());
    let has = nodes.filter(|node| node.webhooks.iter().any(|hook| hook.name == webhook));
    let nodes: Vec<NodeName> = has
        .map(|node| node.name.clone())
        .filter(|name| only.as_ref().is_none_or(|only| only == name))
        .collect();
    match only {
        Some(only) if nodes.is_empty() => Err(absent(&format!(
            "webhooks/{webhook} is not on a node '{only}'"
        ))),
        _ => Ok((webhook, nodes)),
    }
}

async fn each<T>(
    api: &Api,
    nodes: Vec<NodeName>,
    question: Question,
    take: impl Fn(Answer) -> Option<T>,
) -> Vec<OfNode<T>> {
    let asked = nodes.into_iter().map(|node| {
        let question = question.clone();
        async move {
            let answer = api.nodes.ask(&node, question, api.settings.ask).await;
            (node, answer)
        }
    });
    let told = join_all(asked).await.into_iter().map(|(node, answer)| {
        let answer = answer
            .map_err(Problem::from)
            .and_then(|answer| take(answer).ok_or_else(|| node::confused(&node)));
        let (answer, problem) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(problem) => (None, Some(problem)),
        };
        OfNode {
            node,
            answer,
            problem,
        }
    });
    told.collect()
}
