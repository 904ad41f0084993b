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

/// Heartbeats without a word written of an instance after which it is not connected.
const SILENT: u32 = 3;

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
        let age = self.last_seen.age(inner.now()).unwrap_or_default();
        InstanceSeen {
            connected: self.by_another(inner) && age <= inner.rhythm.heartbeat * SILENT,
            here: false,
            last_seen: self.last_seen,
            seen: Arc::clone(&self.seen),
        }
    }
}

impl Row {
    /// Whether another control plane holds its stream, or held it when it died.
    fn by_another(&self, inner: &Inner) -> bool {
        holder(&self.held_by, &inner.id, inner.state.is_shared()) == Holder::Another
    }
}

/// Who holds a stream that something was written of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Us,
    Another,
}

/// Over a store of ours alone, whoever else is named there is a process of before, which is dead.
fn holder(held_by: &str, us: &str, is_shared: bool) -> Holder {
    if held_by == us {
        Holder::Us
    } else if held_by.is_empty() || !is_shared {
        Holder::Nobody
    } else {
        Holder::Another
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
            row.by_another(self) && lately
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

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;
    use crate::test_mesh::Control;

    #[test]
    fn who_is_named_in_a_store_of_ours_alone_is_dead() {
        assert_eq!(holder("before", "us", false), Holder::Nobody);
        assert_eq!(holder("other", "us", true), Holder::Another);
        assert_eq!(holder("us", "us", false), Holder::Us);
        assert_eq!(holder("", "us", true), Holder::Nobody);
    }

    #[tokio::test]
    async fn an_instance_of_another_control_plane_is_connected_for_three_silent_heartbeats() {
        let control = Control::with(
            Clock::manual(1_700_000_000_000),
            super::super::Rhythm::default(),
        );
        let control = control.await;
        let inner = &control.distribute.0;
        for (seconds, connected) in [(0, true), (30, true), (31, false)] {
            let row = Row {
                node: "prod".parse().unwrap(),
                held_by: "other".to_owned(),
                last_seen: WallTime(inner.now().0 - seconds * 1_000),
                seen: Arc::default(),
            };
            assert_eq!(row.instance(inner).connected, connected, "{seconds}");
        }
    }
}
