//! `regmesh explain`: what one pull would do, tier by tier, without doing it.

use clap::Args;
use http::Method;
use wire::{
    api::explain::{Explanation, Hop, Query, Request},
    platform::Platform,
};

use super::manifest;
use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    output,
    target::Target,
};

/// `regmesh explain`
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// `NODE/REPOSITORY[:TAG|@DIGEST]`
    pub target: Target,
    /// Only this platform, such as linux/amd64
    #[arg(long)]
    pub platform: Option<Platform>,
}

/// Prints it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(explain: Explain, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let request = Request {
        query: Query {
            repository: explain.target.repository.clone(),
            reference: explain.target.reference_or_latest(),
            platform: explain.platform,
        },
        node: explain.target.node,
    };
    let explanation: Explanation = client
        .send(Method::POST, "/api/v1/explain", NOTHING, &request)
        .await?;
    output::object(global, &explanation, || text(&explanation))?;
    Ok(Exit::Ok)
}

fn text(explanation: &Explanation) -> String {
    let mut lines = vec![explanation.summary.clone()];
    for hop in &explanation.hops {
        lines.push(String::new());
        lines.extend(told(hop));
    }
    lines.join("\n")
}

fn told(hop: &Hop) -> Vec<String> {
    let separator = match hop.reference {
        wire::reference::Reference::Tag(_) => ':',
        wire::reference::Reference::Digest(_) => '@',
    };
    let mut lines = vec![format!(
        "{} (tier {}, generation {})  {}{separator}{}",
        hop.node, hop.tier, hop.generation, hop.repository, hop.reference
    )];
    let mut say = |name: &str, text: String| lines.push(format!("  {name:<10} {text}"));
    if let Some(unreachable) = &hop.unreachable {
        say("away", unreachable.clone());
        return lines;
    }
    match &hop.rule {
        Some(rule) => {
            say(
                "rule",
                format!(
                    "{} ({}): {} <- {}",
                    rule.name,
                    rule.status.as_str(),
                    rule.target,
                    rule.source
                ),
            );
            say("asks for", format!("{}/{}", rule.upstream, rule.mapped));
        }
        None => say(
            "rule",
            "none covers it: only what was pushed here".to_owned(),
        ),
    }
    for almost in &hop.almost {
        say(
            "almost",
            format!("{} ({}): {}", almost.rule, almost.target, almost.why),
        );
    }
    if let Some(with) = &hop.authentication {
        let name = with
            .name
            .as_ref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let granted = match (with.granted, with.refusal) {
            (Some(true), _) => "granted".to_owned(),
            (Some(false), refusal) => format!(
                "refused{}",
                refusal.map(|r| format!(" ({r})")).unwrap_or_default()
            ),
            (None, refusal) => format!(
                "could not be asked{}",
                refusal.map(|r| format!(" ({r})")).unwrap_or_default()
            ),
        };
        let detail = with
            .detail
            .as_ref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let until = with.token_ends;
        let until = until
            .map(|at| format!(", with a token until {at}"))
            .unwrap_or_default();
        let kind = &with.kind;
        say("as", format!("{kind}{name}{until}, {granted}{detail}"));
    }
    if let Some(network) = &hop.network {
        let word = if network.reachable { "open" } else { "closed" };
        say("network", format!("{word}: {}", network.detail));
    }
    if let Some(tag) = &hop.tag {
        let fresh = if tag.fresh { "fresh" } else { "to be checked" };
        say(
            "tag",
            format!("{}, checked {} s ago, {fresh}", tag.digest, tag.age_seconds),
        );
    }
    if let Some(digest) = &hop.upstream_digest {
        say("upstream", format!("has {digest}"));
    }
    if !hop.stored.is_empty() {
        say("stored", manifest::stored(&hop.stored, false));
    }
    if let Some(copy) = &hop.copy {
        let error = copy
            .last_error
            .as_ref()
            .map(|error| format!("; last error: {}", error.text))
            .unwrap_or_default();
        say(
            "copy",
            format!("{}, tried {} times{error}", copy.state, copy.attempts),
        );
    }
    say(
        "next pull",
        format!("{}: {}", hop.next.outcome.as_str(), hop.next.reason),
    );
    lines
}
