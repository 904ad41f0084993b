//! Recalls of a slice come in force, and each is told once to whoever wants `recalled` events of what is stored.
//!
//! Refusing needs nothing but memory and comes before everything else of a slice; telling needs the metadata, and is remembered there
//! in the transaction of its events, so that a restart tells nobody again and a recall that was lifted and repeated is told anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use topology::model::Recall;
use wire::{
    digest::Digest,
    event::{Action, Cause},
};

use super::Shared;
use crate::{
    event::Happening,
    store::{
        self,
        metadata::{Op, record::RequestInfo},
    },
};

/// What the keys of recalls that were told begin with.
const PREFIX: &str = "recalled/";
/// In how many repositories one recalled digest is told of at most.
const REPOSITORIES: usize = 1_000;

impl Shared {
    /// From here on the node refuses these, and no others.
    pub(super) fn refuse_recalled(&self, recalls: &BTreeMap<Digest, Recall>) {
        let all = recalls.iter();
        let all: HashMap<Digest, String> = all
            .map(|(digest, recall)| (digest.clone(), recall.reason.clone()))
            .collect();
        self.recalls.replace(all);
    }

    /// Records an event for each repository that has something recalled, once.
    pub(super) async fn tell_recalls(&self, recalls: &BTreeMap<Digest, Recall>) {
        if let Err(error) = self.try_tell(recalls).await {
            tracing::warn!(node = %self.name, %error, "events of recalls could not be recorded; the recalls are in force");
        }
    }

    async fn try_tell(&self, recalls: &BTreeMap<Digest, Recall>) -> Result<(), store::Error> {
        let metadata = self.store.metadata();
        let told: HashSet<String> = metadata
            .values(PREFIX)
            .await?
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let key = |digest: &Digest| format!("{PREFIX}{digest}");
        let new = recalls
            .iter()
            .filter(|(digest, _)| !told.contains(&key(digest)));
        for (digest, recall) in new {
            let mut ops = vec![Op::PutValue(key(digest), Some(Vec::new()))];
            for repository in metadata.linked_by(digest, REPOSITORIES).await? {
                ops.extend(self.recorder.record(
                    Action::Recalled,
                    &Happening {
                        repository: &repository,
                        tag: None,
                        digest,
                        version: None,
                        cause: Cause::Client,
                        rule: None,
                        platform: None,
                        info: &RequestInfo::default(),
                        reason: Some(recall.reason.clone()),
                    },
                ));
            }
            metadata.commit(ops).await?;
            self.recorder.nudge();
        }
        let in_force: HashSet<String> = recalls.keys().map(key).collect();
        let lifted = told.into_iter().filter(|key| !in_force.contains(key));
        let ops: Vec<Op> = lifted.map(|key| Op::PutValue(key, None)).collect();
        if ops.is_empty() {
            return Ok(());
        }
        metadata.commit(ops).await
    }
}
