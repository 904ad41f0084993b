//! `regmesh node list|show|join-token|revoke|drain`: nodes as the control plane knows them.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;
use wire::api::{
    mesh::{JoinToken, JoinTokenRequest, MeshStatus},
    status::NodeStatus,
};

use super::Certain;
use crate::{
    args::Global,
    client::{Client, NOTHING},
    exit::Exit,
    fault::Code,
    output, table,
};

/// What to do with nodes.
#[derive(Debug, Clone, Subcommand)]
pub enum Nodes {
    /// List the declared nodes and how they are
    List,
    /// Show one node: instances, rules, storage, copies, webhooks
    Show(Named),
    /// Print a token with which an instance of a declared node joins the mesh; shown once
    JoinToken(Join),
    /// End every certificate of a node; it must join again
    Revoke(Certain<Named>),
    /// Have a node finish what is under way and end
    Drain(Certain<Named>),
}

/// One node.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name
    pub node: String,
}

/// `regmesh node join-token`
#[derive(Debug, Clone, Args)]
pub struct Join {
    /// The node it is for
    pub node: String,
    /// How long it may be used; 7 days at most
    #[arg(long, default_value = "15m", value_parser = life, value_name = "DURATION")]
    pub ttl: Duration,
    /// How many instances may join with it; 1000 at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub uses: u32,
}

/// The longest that a join token lasts, as the control plane has it.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a token is to last: at least the second that it is told in, since none at all means the default to the control plane.
fn life(text: &str) -> Result<Duration, String> {
    let life = crate::args::duration(text)?;
    if life < Duration::from_secs(1) {
        return Err("a token lasts for a second at least".to_owned());
    }
    if life > LONGEST {
        return Err("a token lasts for 7 days at most".to_owned());
    }
    Ok(life)
}

/// Does it.
///
/// # Errors
/// When the control plane cannot be asked or refuses.
pub async fn run(nodes: Nodes, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    match nodes {
        Nodes::List => list(&client, global).await,
        Nodes::Show(named) => show(&client, &named.node, global).await,
        Nodes::JoinToken(join) => {
            let request = JoinTokenRequest {
                ttl_seconds: join.ttl.as_secs(),
                uses: join.uses,
            };
            let path = format!("/api/v1/nodes/{}/join-token", segment(&join.node));
            let token: JoinToken = client.send(Method::POST, &path, NOTHING, &request).await?;
            output::object(global, &token, || token.token.clone())?;
            output::words(
                global,
                &format!(
                    "for node {}, until {}, {}; start it with: REGMESH_JOIN_TOKEN=… regmesh node, or regmesh node --join-file FILE",
                    token.node,
                    token.expires_at,
                    if token.uses == 1 {
                        "once".to_owned()
                    } else {
                        format!("{} times", token.uses)
                    }
                ),
            );
            Ok(Exit::Ok)
        }
        Nodes::Revoke(certain) => {
            let named =
                certain.agreed(|it| format!("end every certificate of node {}", it.node))?;
            tell(&client, &named.node, "revoke").await?;
            output::words(
                global,
                &format!(
                    "node {} is revoked; it may join again with a new token",
                    named.node
                ),
            );
            Ok(Exit::Ok)
        }
        Nodes::Drain(certain) => {
            let named = certain.agreed(|it| format!("drain node {}: it ends", it.node))?;
            tell(&client, &named.node, "drain").await?;
            output::words(global, &format!("node {} is draining", named.node));
            Ok(Exit::Ok)
        }
    }
}

fn segment(name: &str) -> String {
    super::resource::path(wire::api::resource::Kind::Nodes, name)
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

async fn tell(client: &Client, node: &str, what: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/{}/{what}", segment(node));
    let _: serde_json::Value = client
        .send(Method::POST, &path, NOTHING, &json!({}))
        .await?;
    Ok(())
}

async fn list(client: &Client, global: &Global) -> anyhow::Result<Exit> {
    let status: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
    output::object(global, &status.nodes, || {
        let rows = status.nodes.iter().map(|node| {
            [
                node.name.to_string(),
                node.tier.to_string(),
                table::or_none(node.parent.as_ref()),
                node.endpoint.clone(),
                node.health.as_str().to_owned(),
                node.instances
                    .iter()
                    .filter(|instance| instance.connected)
                    .count()
                    .to_string(),
            ]
        });
        table::table(
            ["name", "tier", "parent", "endpoint", "health", "connected"],
            rows,
        )
    })?;
    Ok(Exit::Ok)
}

async fn show(client: &Client, name: &str, global: &Global) -> anyhow::Result<Exit> {
    let mesh: MeshStatus = client.get("/api/v1/status", NOTHING).await?;
    let node = mesh.nodes.iter().find(|node| node.name.as_str() == name);
    let node = node.ok_or_else(|| Code::NotFound.error(format!("there is no node '{name}'")))?;
    let path = format!("/api/v1/nodes/{}/status", segment(name));
    let live: Option<NodeStatus> = match client.get(&path, NOTHING).await {
        Ok(live) => Some(live),
        // Not connected: what is known of it is shown all the same.
        Err(error) => {
            output::words(global, &format!("node {name} cannot be asked: {error:#}"));
            None
        }
    };
    let both = json!({"node": node, "status": live});
    output::object(global, &both, || {
        let mut text = format!(
            "name:        {}\ntier:        {}\nparent:      {}\nendpoint:    {}\nhealth:      {}{}\ngeneration:  {}",
            node.name,
            node.tier,
            table::or_none(node.parent.as_ref()),
            node.endpoint,
            node.health.as_str(),
            node.reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default(),
            table::or_none(node.generation)
        );
        let instances = node.instances.iter().map(|instance| {
            [
                instance.id.clone(),
                if instance.connected {
                    "connected"
                } else {
                    "away"
                }
                .to_owned(),
                table::or_none(instance.version.as_ref()),
                table::or_none(instance.generation),
                table::or_none(instance.certificate_until),
                table::or_none(instance.shut_out.as_ref()),
            ]
        });
        text.push_str("\n\n");
        text.push_str(&table::table(
            [
                "instance",
                "stream",
                "version",
                "generation",
                "certificate until",
                "shut out",
            ],
            instances,
        ));
        if let Some(live) = &live {
            let rules = live.rules.iter().map(|rule| {
                [
                    rule.name.to_string(),
                    rule.status.as_str().to_owned(),
                    rule.source.clone(),
                    rule.target.to_string(),
                    rule.reason.clone().unwrap_or_default(),
                ]
            });
            text.push_str("\n\n");
            text.push_str(&table::table(
                ["rule", "status", "source", "target", "why"],
                rules,
            ));
            text.push_str(&format!(
                "\n\nstored {}, copies {} waiting, {} running, {} failing{}",
                table::bytes(live.store.bytes),
                live.copies.queued,
                live.copies.running,
                live.copies.failing,
                live.store
                    .degraded
                    .as_ref()
                    .map(|why| format!("; the store is degraded: {why}"))
                    .unwrap_or_default()
            ));
        }
        text
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_the_control_plane_would_refuse_is_a_wrong_call() {
        let called = |flags: &[&str]| {
            let fixed = ["regmesh", "node", "join-token", "prod"];
            crate::args::Args::try_parse_from(fixed.iter().chain(flags)).is_ok()
        };
        assert!(called(&["--uses", "1000", "--ttl", "7d"]));
        for bad in [["--uses", "0"], ["--uses", "1001"], ["--ttl", "8d"]] {
            assert!(!called(&bad), "{bad:?}");
        }
    }

    #[test]
    fn a_join_token_that_lasts_for_nothing_is_refused() {
        assert_eq!(life("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(life("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["0s", "999ms", "0", "soon", "8d", "169h"] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }
}
