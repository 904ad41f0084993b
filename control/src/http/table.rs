//! The one route table: every path and method, who may call it, what it takes and gives.
//!
//! Router, authorisation, OpenAPI document and the test matrix are made of it, so none of them can know a route that another does not.
//! To add one, add a row here or in the file of its family and its handler in the file of its family.

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use wire::{
    api::{
        audit, doctor, event,
        explain::{Explanation, Request as Explain},
        inventory,
        mesh::{MeshStatus, OfNode, Published},
        pull, recall,
        resource::{Applied, Apply, Kind, Topology},
        sign_in::{
            Device, DeviceRequest, Offered, Pending, Request as SignIn, Session, SignedIn, WhoAmI,
        },
        status::Delivery,
    },
    assignment::Role,
    digest::Digest,
    name::{CredentialName, NodeName, WebhookName},
};

use super::{
    endpoint::{Endpoint, Needs, TOPOLOGY},
    strict,
};

mod node;
mod resource;

const READ: Needs = Needs::Role(&[Role::MeshReader]);
const CHANGE: Needs = Needs::Role(&[Role::MeshAdministrator]);
const RULES: Needs = Needs::Role(&[Role::CacheRuleAdministrator]);
const READ_RULES: Needs = Needs::Role(&[Role::MeshReader, Role::CacheRuleAdministrator]);
const CREDENTIALS: Needs = Needs::Role(&[Role::CredentialSetAdministrator]);
const READ_CREDENTIALS: Needs = Needs::Role(&[Role::MeshReader, Role::CredentialSetAdministrator]);

const TOPOLOGY_TYPES: &[&str] = &["application/json", "application/yaml", "text/yaml"];
const EVENTS: &[&str] = &["text/event-stream"];
/// The largest sequence number taken: what every JSON reader reads exactly.
const LAST: u64 = (1 << 53) - 1;
/// The largest part of events and audit.
const PART: u64 = 1_000;

/// Every endpoint.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let kinds = Kind::ALL.into_iter().flat_map(resource::resources);
    kinds
        .chain(mesh())
        .chain(node::nodes())
        .chain(operations())
        .chain(records())
        .collect()
}

fn mesh() -> Vec<Endpoint> {
    use super::{explain, keys, oidc, openapi, sign_in, status, topology};
    vec![
        Endpoint::new(
            Method::GET,
            "/",
            Needs::Nothing,
            "What this is",
            openapi::welcome,
        )
        .gives_nothing(200, "A page for people.")
        .also(&["text/html"]),
        Endpoint::new(
            Method::GET,
            "/api/v1/openapi.json",
            Needs::Nothing,
            "This document",
            openapi::show,
        )
        .gives::<Value>(200, "OpenAPI 3.1."),
        Endpoint::new(
            Method::GET,
            "/.well-known/openid-configuration",
            Needs::Nothing,
            "The issuer of federation tokens, as OpenID Connect discovery has it",
            oidc::discovery,
        )
        .gives::<Value>(200, "The discovery document; may be kept for an hour."),
        Endpoint::new(
            Method::GET,
            "/keys",
            Needs::Nothing,
            "The public keys of federation tokens",
            oidc::keys,
        )
        .gives::<Value>(200, "A JSON Web Key Set; may be kept for an hour."),
        Endpoint::new(
            Method::POST,
            "/api/v1/sign-in",
            Needs::Nothing,
            "A session for an account's password",
            sign_in::sign_in,
        )
        .takes::<SignIn>()
        .gives::<Session>(200, "The session's token."),
        Endpoint::new(
            Method::GET,
            "/api/v1/sign-in",
            Needs::Nothing,
            "The issuers that people sign in with",
            sign_in::offered,
        )
        .gives::<Offered>(200, "Their names."),
        Endpoint::new(
            Method::POST,
            "/api/v1/sign-in/device",
            Needs::Nothing,
            "Begin to sign in with an issuer, by a code that is typed in a browser",
            sign_in::begin,
        )
        .takes::<DeviceRequest>()
        .gives::<Device>(200, "The code, and where to type it."),
        Endpoint::new(
            Method::POST,
            "/api/v1/sign-in/device/{id}",
            Needs::Nothing,
            "Whether the person has finished",
            sign_in::outcome,
        )
        .segment::<String>("id")
        .gives::<SignedIn>(200, "The session's token, and the issuer's.")
        .gives::<Pending>(202, "Not yet."),
        Endpoint::new(
            Method::GET,
            "/api/v1/ca",
            Needs::Nothing,
            "The mesh's CA certificates as PEM: what clients trust where a node serves its mesh certificate",
            keys::authorities,
        )
        .gives_nothing(200, "Every CA to believe, one after the other.")
        .also(&[keys::PEM]),
        Endpoint::new(
            Method::GET,
            "/api/v1/whoami",
            Needs::SignedIn,
            "Who the token shown says one is",
            sign_in::whoami,
        )
        .gives::<WhoAmI>(200, "Name and roles."),
        Endpoint::new(
            Method::GET,
            "/api/v1/topology",
            READ,
            "The topology in force",
            topology::show,
        )
        .gives::<Topology>(
            200,
            "The document; as it is with `Accept: application/yaml`.",
        )
        .also(&["application/yaml"])
        .tagged(),
        Endpoint::new(
            Method::POST,
            "/api/v1/topology:plan",
            READ,
            "What applying would change",
            topology::plan,
        )
        .query::<bool>("prune", "As for apply; only for a YAML body.")
        .takes_as(TOPOLOGY_TYPES, TOPOLOGY, Arc::new(strict::closed::<Apply>))
        .gives::<Applied>(200, "The changes."),
        Endpoint::new(
            Method::POST,
            "/api/v1/topology:apply",
            CHANGE,
            "Put a whole topology in force",
            topology::apply,
        )
        .query::<bool>("dry-run", "Change nothing; only for a YAML body.")
        .query::<bool>(
            "prune",
            "All nodes or more than half of the rules may go; only for a YAML body.",
        )
        .takes_as(TOPOLOGY_TYPES, TOPOLOGY, Arc::new(strict::closed::<Apply>))
        .gives::<Applied>(200, "The changes and the generation.")
        .tagged()
        .conditional(),
        Endpoint::new(
            Method::GET,
            "/api/v1/status",
            READ,
            "The tree of nodes and how they are",
            status::show,
        )
        .gives::<MeshStatus>(200, "Parents before their children."),
        Endpoint::new(
            Method::POST,
            "/api/v1/explain",
            READ,
            "A dry run of one pull, across the tiers",
            explain::explain,
        )
        .takes::<Explain>()
        .gives::<Explanation>(200, "The hops, the asked node first."),
        Endpoint::new(
            Method::POST,
            "/api/v1/doctor",
            READ,
            "Checks of nodes and of the tree",
            explain::doctor,
        )
        .takes::<doctor::Request>()
        .gives::<doctor::Report>(200, "Every check that was made."),
        Endpoint::new(
            Method::GET,
            "/api/v1/credentials/{name}/health",
            READ_CREDENTIALS,
            "Whether a credential set is readable and accepted",
            explain::health,
        )
        .segment::<CredentialName>("name")
        .gives::<doctor::Report>(200, "CRED-HEALTH of every node that uses it."),
        Endpoint::new(
            Method::POST,
            "/api/v1/recover",
            CHANGE,
            "Raise the generation above all that nodes have seen",
            keys::recover,
        )
        .gives::<Published>(200, "The generation in force."),
        Endpoint::new(
            Method::POST,
            "/api/v1/keys:rotate",
            CHANGE,
            "Make a new mesh CA and new keys of the issuer, which sign after an overlap",
            keys::rotate,
        )
        .gives::<keys::Rotated>(200, "When they begin to sign."),
        Endpoint::new(
            Method::POST,
            "/api/v1/keys:revoke",
            CHANGE,
            "After a leak: drop all keys of the issuer, and make new ones that sign at once",
            keys::revoke,
        )
        .gives::<keys::Revoked>(200, "The keys that there are now, and those that were dropped."),
    ]
}

fn operations() -> Vec<Endpoint> {
    use super::{pull as pulls, recall as recalls, webhook};
    vec![
        Endpoint::new(
            Method::POST,
            "/api/v1/pulls",
            RULES,
            "Have a node fill and copy, without a client",
            pulls::start,
        )
        .takes::<pull::NodeRequest>()
        .gives::<pull::Progress>(202, "As it stands."),
        Endpoint::new(
            Method::GET,
            "/api/v1/pulls/{node}/{id}",
            READ_RULES,
            "How a pull stands; followed to its end with `Accept: text/event-stream`",
            pulls::progress,
        )
        .segment::<NodeName>("node")
        .gives::<pull::Progress>(200, "As it stands.")
        .also(EVENTS),
        Endpoint::new(
            Method::GET,
            "/api/v1/recalls",
            READ,
            "Recalls in force",
            recalls::list,
        )
        .gives::<Vec<recall::Recall>>(200, "In order of digest.")
        .tagged(),
        Endpoint::new(
            Method::POST,
            "/api/v1/recalls",
            CHANGE,
            "Have every node refuse a digest and what contains it",
            recalls::recall,
        )
        .takes::<recall::Request>()
        .gives::<recall::Recall>(201, "As it is now."),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/recalls/{digest}",
            CHANGE,
            "End a recall",
            recalls::lift,
        )
        .segment::<Digest>("digest")
        .gives_nothing(204, "It is lifted."),
        Endpoint::new(
            Method::GET,
            "/api/v1/webhooks/{name}/deliveries",
            READ,
            "The newest deliveries of a webhook, per node",
            webhook::deliveries,
        )
        .segment::<WebhookName>("name")
        .query::<NodeName>("node", "Only of this one.")
        .number("limit", PART, "Per node at most; 50 without.")
        .gives::<Vec<OfNode<Vec<inventory::WebhookDelivery>>>>(200, "Newest first, per node."),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{name}/ping",
            CHANGE,
            "Send a ping to a webhook's receiver",
            webhook::ping,
        )
        .segment::<WebhookName>("name")
        .query::<NodeName>("node", "Only from this one.")
        .gives::<Vec<OfNode<Delivery>>>(200, "What it answered each node."),
    ]
}

fn records() -> Vec<Endpoint> {
    use super::{audit as log, event as events};
    let part = |endpoint: Endpoint| {
        endpoint
            .number("after", LAST, "Only later ones, oldest first.")
            .number("before", LAST, "Only earlier ones, newest first.")
            .number("limit", PART, "Items at most; 100 without.")
    };
    vec![
        part(Endpoint::new(
            Method::GET,
            "/api/v1/events",
            READ,
            "What happened; followed with `Accept: text/event-stream`",
            events::list,
        ))
        .query::<NodeName>("node", "Only about this one.")
        .query::<String>("kind", "Only of this kind.")
        .gives::<inventory::Listed<event::Entry>>(200, "Newest first, unless `after` is given.")
        .also(EVENTS),
        part(Endpoint::new(
            Method::GET,
            "/api/v1/audit",
            READ,
            "Every change, who made it, what was before and after",
            log::list,
        ))
        .query::<String>("target", "Only of this one, such as rules/golden.")
        .gives::<inventory::Listed<audit::Entry>>(200, "Newest first, unless `after` is given."),
    ]
}
