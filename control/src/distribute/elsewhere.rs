//! What is written of instances, by this control plane before and by others now.
//!
//! Read again about once a second while another control plane writes, else at every heartbeat. An instance counts as connected when
//! whoever holds it has written of it lately: a control plane that was killed takes nothing back.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use wire::{name::NodeName, time::WallTime};

use super::Inner;
use crate::{
    report::{InstanceSeen, Seen},
    state::{self, Reported},
};

/// By instance.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    pub(super) rows: BTreeMap<String, Row>,
    /// Whether another control plane holds any of them.
    pub(super) others: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) node: NodeName,
    pub(super) held_by: String,
    pub(super) last_seen: WallTime,
    pub(super) seen: Arc<Seen>,
}

impl Row {
    /// As it looks now, when no stream of it is open here.
    pub(super) fn instance(&self, inner: &Inner) -> InstanceSeen {
        let others = !self.held_by.is_empty() && self.held_by != inner.id;
        // One heartbeat more than the holder itself allows, for its writing.
        let lately = inner.rhythm.heartbeat * 4 + Duration::from_secs(2);
        let age = self.last_seen.age(inner.now()).unwrap_or_default();
        InstanceSeen {
            connected: others && age <= lately,
            here: false,
            last_seen: self.last_seen,
            seen: Arc::clone(&self.seen),
        }
    }
}

impl Inner {
    /// Reads what is written.
    pub(super) async fn look_elsewhere(&self) -> Result<(), state::Error> {
        let rows = self.state.reported().await?;
        let rows: BTreeMap<String, Row> = {
            let before = self.elsewhere();
            rows.into_iter()
                .filter_map(|row| read(row, &before))
                .collect()
        };
        let now = self.now();
        let others = rows.values().any(|row| {
            let lately = row
                .last_seen
                .age(now)
                .is_none_or(|age| age < Duration::from_secs(120));
            !row.held_by.is_empty() && row.held_by != self.id && lately
        });
        *self.elsewhere() = Elsewhere { rows, others };
        Ok(())
    }

    /// Keeps what is known of an instance whose stream has ended here, until it is read again.
    pub(super) fn remember(
        &self,
        instance: &str,
        node: &NodeName,
        last_seen: WallTime,
        seen: &Arc<Seen>,
    ) {
        let row = Row {
            node: node.clone(),
            held_by: String::new(),
            last_seen,
            seen: Arc::clone(seen),
        };
        self.elsewhere().rows.insert(instance.to_owned(), row);
    }

    /// Whether another control plane holds streams.
    pub(super) fn others(&self) -> bool {
        self.elsewhere().others
    }

    pub(super) fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        self.elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has not changed is not parsed again.
fn read(row: Reported, before: &Elsewhere) -> Option<(String, Row)> {
    let known = before.rows.get(&row.instance);
    let same =
        known.filter(|known| known.last_seen == row.last_seen && known.held_by == row.held_by);
    if let Some(same) = same {
        return Some((row.instance, same.clone()));
    }
    let seen = serde_json::from_slice(&row.seen).unwrap_or_default();
    let read = Row {
        node: row.node?,
        held_by: row.held_by,
        last_seen: row.last_seen,
        seen: Arc::new(seen),
    };
    Some((row.instance, read))
}
