//! The audit log, part by part.

use std::sync::Arc;

use axum::response::Response;
use wire::api::{inventory::Listed, problem::Problem};

use super::{Api, call::Call, json};
use crate::state::Part;

/// `GET /api/v1/audit`
pub(super) async fn list(api: Arc<Api>, call: Call) -> Result<Response, Problem> {
    let asked = asked(&call, "target")?;
    let items = api.state.audit(asked.part.clone()).await?;
    Ok(json(200, &asked.listed(items, |entry| entry.sequence)))
}

/// A part of a growing list as the query asks for it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// As the store takes it: from one end.
    pub(super) part: Part,
    /// Where a part that begins at `after` ends.
    below: Option<u64>,
}

/// Reads the query; `of` is the parameter that narrows the list.
pub(super) fn asked(call: &Call, of: &'static str) -> Result<Asked, Problem> {
    let (after, before) = (call.query("after")?, call.query("before")?);
    let limit = call.query("limit")?.filter(|limit| *limit > 0);
    let part = Part {
        after,
        before: before.filter(|_| after.is_none()),
        of: call.query(of)?,
        limit: limit.unwrap_or(100),
    };
    let below = before.filter(|_| after.is_some());
    Ok(Asked { part, below })
}

impl Asked {
    /// What the store found, and where the next part begins: the `after` or `before` to ask for, if there may be more.
    pub(super) fn listed<T>(&self, mut items: Vec<T>, of: impl Fn(&T) -> u64) -> Listed<T> {
        let full = items.len() >= self.part.limit;
        let found = items.len();
        items.retain(|item| self.below.is_none_or(|below| of(item) < below));
        let more = full && items.len() == found;
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| of(last).to_string());
        Listed { items, next }
    }
}
