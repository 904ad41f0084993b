//! The rows of resources: the same six for every kind, with the roles and the grammar of names of each.

use std::{future::ready, sync::Arc};

use http::Method;
use serde_json::Value;
use wire::{
    api::resource::{Kind, Resource, Resources},
    name::{
        AccountName, CredentialName, IdentityName, IssuerName, NodeName, RuleName, WebhookName,
    },
};

use super::{CHANGE, CREDENTIALS, READ, READ_CREDENTIALS, READ_RULES, RULES};
use crate::http::{
    endpoint::{Describe, Endpoint, SMALL},
    openapi,
    resource::{self, Create},
};

const JSON: &[&str] = &["application/json"];
const MERGE: &[&str] = &["application/merge-patch+json", "application/json"];

pub(super) fn resources(kind: Kind) -> Vec<Endpoint> {
    let (read, change) = match kind {
        Kind::Rules => (READ_RULES, RULES),
        Kind::Credentials => (READ_CREDENTIALS, CREDENTIALS),
        Kind::Nodes
        | Kind::Identities
        | Kind::Issuers
        | Kind::Accounts
        | Kind::Access
        | Kind::Upstreams
        | Kind::Webhooks => (READ, CHANGE),
    };
    let list = format!("/api/v1/{kind}");
    let one = format!("/api/v1/{kind}/{{name}}");
    let spec = move || -> Describe { Arc::new(move |_| schema(openapi::spec(kind))) };
    let create: Describe = Arc::new(move |generator| {
        let mut whole = Create::describe(generator, kind);
        whole.insert("type".to_owned(), "object".into());
        whole
    });
    let merge: Describe = Arc::new(|_| schema(serde_json::json!({"type": "object"})));
    let rows = vec![
        Endpoint::new(
            Method::GET,
            list.clone(),
            read,
            format!("Every one of {kind}"),
            move |api, call| ready(resource::list(&api, &call, kind)),
        )
        .query::<NodeName>("node", "Only what selects this node.")
        .gives::<Resources>(200, "In order of name.")
        .tagged(),
        Endpoint::new(
            Method::POST,
            list,
            change,
            format!("Add one of {kind}"),
            move |api, call| resource::create(api, call, kind),
        )
        .takes_as(JSON, SMALL, create)
        .gives::<Resource>(201, "As it is now.")
        .tagged()
        .conditional(),
        Endpoint::new(
            Method::GET,
            one.clone(),
            read,
            format!("One of {kind}"),
            move |api, call| ready(resource::show(&api, &call, kind)),
        )
        .gives::<Resource>(200, "As it is.")
        .tagged(),
        Endpoint::new(
            Method::PUT,
            one.clone(),
            change,
            format!("Add or replace one of {kind}"),
            move |api, call| resource::put(api, call, kind),
        )
        .takes_as(JSON, SMALL, spec())
        .gives::<Resource>(200, "Replaced: as it is now.")
        .tagged()
        .gives::<Resource>(201, "Added: as it is now.")
        .tagged()
        .conditional(),
        Endpoint::new(
            Method::PATCH,
            one.clone(),
            change,
            format!("Change one of {kind} by a JSON merge patch"),
            move |api, call| resource::patch(api, call, kind),
        )
        .takes_as(MERGE, SMALL, merge)
        .gives::<Resource>(200, "As it is now.")
        .tagged()
        .conditional(),
        Endpoint::new(
            Method::DELETE,
            one,
            change,
            format!("Remove one of {kind}"),
            move |api, call| resource::delete(api, call, kind),
        )
        .gives_nothing(204, "It is gone.")
        .conditional(),
    ];
    rows.into_iter().map(|row| named(row, kind)).collect()
}

/// The grammar of the names of a kind.
fn named(row: Endpoint, kind: Kind) -> Endpoint {
    if !row.path.contains('{') {
        return row;
    }
    match kind {
        Kind::Nodes => row.segment::<NodeName>("name"),
        Kind::Identities => row.segment::<IdentityName>("name"),
        Kind::Credentials => row.segment::<CredentialName>("name"),
        Kind::Rules => row.segment::<RuleName>("name"),
        Kind::Issuers => row.segment::<IssuerName>("name"),
        Kind::Accounts => row.segment::<AccountName>("name"),
        Kind::Webhooks => row.segment::<WebhookName>("name"),
        Kind::Access | Kind::Upstreams => row,
    }
}

fn schema(value: Value) -> schemars::Schema {
    value.try_into().unwrap_or_default()
}
