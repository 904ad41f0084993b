//! Everything the control plane must not lose: generations, enrolments, reports, events, history, audit, keys.
//!
//! Called by every other module of this crate, calls none. Each method is one transaction. A generation is written with its audit entry
//! or not at all, and only on top of the newest one, so that of two writers one is told to look again. Implementations pass
//! `conformance`. What is secret here (keys) comes in sealed by `crate::seal`, with a key that is not in the database.
//! Source: `spec/control-plane.md` "State".

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wire::{
    api::{audit, event, mesh::HistoryPoint},
    digest::Digest,
    generation::Generation,
    name::{NodeName, RuleAt},
    time::WallTime,
    withdrawal::Withdrawal,
};

mod admit;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod postgres;
mod sql;
pub mod sqlite;
mod stored;

/// How long a join token that ended is remembered, so that who comes late is told why.
const KEEP_TOKENS: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the mesh should be: the topology as people wrote it, and what was decided beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Desired {
    /// The topology document, YAML; empty before the first apply.
    pub document: String,
    /// Digests that every node refuses.
    pub recalls: BTreeMap<Digest, Recall>,
    /// Certificates of these nodes that began before the time (milliseconds) are worth nothing.
    pub revoked: BTreeMap<NodeName, WallTime>,
    /// What nodes believe rule grants by; nothing in generations of earlier releases.
    pub grants: Grants,
}

/// What nodes believe rule grants by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grants {
    /// The `iss` of every grant.
    pub issuer: String,
    /// What it was before, and since when (milliseconds) it is not any more: as long as grants of that time live.
    pub former: BTreeMap<String, WallTime>,
    /// The public keys by id: P-256, the uncompressed point in base64url without padding.
    pub keys: BTreeMap<String, String>,
    /// By upstream node, and rule on its own node: which grants are worth nothing there.
    pub withdrawn: BTreeMap<NodeName, BTreeMap<RuleAt, Withdrawal>>,
}

/// Why a digest is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recall {
    /// Shown to whoever is refused.
    pub reason: String,
    /// Since when.
    pub at: WallTime,
    /// Who recalled it.
    pub by: String,
    /// The generation that brought it.
    pub generation: Generation,
}

/// A published generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub generation: Generation,
    /// When.
    pub at: WallTime,
    /// By whom.
    pub by: String,
    /// What the mesh should be from then on.
    pub desired: Desired,
}

/// A generation to be published.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The newest one that its author saw; `Generation(0)` for none.
    pub after: Generation,
    /// Its number: greater than `after`, by one unless a restored control plane catches up.
    pub generation: Generation,
    /// When.
    pub at: WallTime,
    /// By whom.
    pub by: String,
    /// What the mesh should be from then on.
    pub desired: Desired,
    /// What the audit log says of it; several for one change of many resources.
    pub audit: Vec<NewEntry>,
}

impl Publish {
    /// Whether it goes on top of `newest`.
    fn check(&self, newest: Generation) -> Result<(), Error> {
        if newest == self.after && self.generation > newest {
            return Ok(());
        }
        Err(Error::Moved { newest })
    }

    /// The generation, and what the audit log says of it.
    fn split(self) -> (Published, Vec<NewEntry>) {
        let published = Published {
            generation: self.generation,
            at: self.at,
            by: self.by,
            desired: self.desired,
        };
        (published, self.audit)
    }
}

/// An audit entry before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// When.
    pub at: WallTime,
    /// Who.
    pub who: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// What it was before.
    pub before: Option<serde_json::Value>,
    /// What it is now.
    pub after: Option<serde_json::Value>,
    /// The generation that came of it.
    pub generation: Option<Generation>,
    /// Why it was refused, when it was.
    pub refused: Option<String>,
}

impl NewEntry {
    fn numbered(self, sequence: u64) -> audit::Entry {
        audit::Entry {
            sequence,
            at: self.at,
            who: self.who,
            action: self.action,
            target: self.target,
            before: self.before,
            after: self.after,
            generation: self.generation,
            refused: self.refused,
        }
    }
}

/// Which entries of a growing list are wanted.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Only those after this sequence; oldest first.
    pub after: Option<u64>,
    /// Only those before this sequence; newest first. Without either: the newest, newest first.
    pub before: Option<u64>,
    /// Only of this node (events) or target (audit).
    pub of: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A join token at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of its secret, lower-case hex.
    pub hash: String,
    /// The node it is for.
    pub node: NodeName,
    /// When it ends.
    pub expires_at: WallTime,
    /// How many more instances may use it.
    pub uses: u32,
}

/// An enrolled instance of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Made by the instance (UUID).
    pub id: String,
    /// The node it is one of.
    pub node: NodeName,
    /// When it was enrolled.
    pub enrolled_at: WallTime,
    /// Its counter: how many certificates it was given.
    pub counter: u64,
    /// When its newest certificate began and ends.
    pub certificate: (WallTime, WallTime),
    /// Why it may not come back.
    pub shut_out: Option<String>,
}

/// What a node's instance said last.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reported {
    /// The instance.
    pub instance: String,
    /// Its node.
    pub node: Option<NodeName>,
    /// The control plane that holds its stream; empty when none does.
    pub held_by: String,
    /// When it was last heard of.
    pub last_seen: WallTime,
    /// What its hello, heartbeats, ACKs, NACKs and reports came to: JSON of `crate::report::Seen`.
    pub seen: Vec<u8>,
}

/// Something that other control planes over the same database must look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News {
    /// The newest generation.
    pub generation: Generation,
    /// Counts up when an instance was shut out or forgotten; what is revoked comes with a generation.
    pub revocations: u64,
    /// Counts up when events were added.
    pub events: u64,
    /// Counts up when reports were written.
    pub reports: u64,
    /// Counts up when a question to a node was left for another control plane, or its answer.
    pub asks: u64,
}

/// A question to a node whose stream another control plane over the same database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Names it (UUID).
    pub id: String,
    /// The node.
    pub node: NodeName,
    /// JSON of `wire::api::ask::Question`.
    pub question: Vec<u8>,
    /// Nobody waits after this.
    pub until: WallTime,
}

/// Why the state could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody else published first.
    #[error("generation {newest} was published meanwhile")]
    Moved {
        /// The newest now.
        newest: Generation,
    },
    /// The database takes no writes (full, read-only), or cannot be reached.
    #[error("the control plane's store cannot be used: {0}")]
    Unavailable(String),
    /// What is stored does not parse.
    #[error("the control plane's store is damaged: {0}")]
    Damaged(String),
}

/// How using a join token or renewing went, beside failures to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// The instance as it is now.
    Yes(Instance),
    /// No such token.
    UnknownToken,
    /// Every use was used.
    UsedUp,
    /// Its time is over.
    Expired,
    /// It is for another node.
    OtherNode(NodeName),
    /// No such instance of that node.
    UnknownInstance,
    /// Shut out before, for this reason.
    ShutOut(String),
    /// It came with an older counter than it was given: somebody copied its directory. It is shut out now.
    Copied {
        /// What it came with.
        presented: u64,
        /// What it was last given.
        given: u64,
    },
}

/// The state. Cheap to clone behind an `Arc`; every method is one transaction.
#[async_trait]
pub trait State: Send + Sync + 'static {
    /// The newest generation; `None` before the first.
    async fn newest(&self) -> Result<Option<Published>, Error>;
    /// One generation.
    async fn generation(&self, generation: Generation) -> Result<Option<Published>, Error>;
    /// Publishes on top of `publish.after`; `Error::Moved` when that is not the newest any more.
    async fn publish(&self, publish: Publish) -> Result<(), Error>;

    /// Adds to the audit log.
    async fn record(&self, entries: Vec<NewEntry>) -> Result<(), Error>;
    /// Part of the audit log.
    async fn audit(&self, part: Part) -> Result<Vec<audit::Entry>, Error>;
    /// Forgets the entries of the audit log up to this sequence; how many. Sequences go on as if they were there.
    async fn sweep_audit(&self, to: u64) -> Result<u64, Error>;

    /// Keeps a join token.
    async fn put_join_token(&self, token: JoinToken, audit: NewEntry) -> Result<(), Error>;
    /// Uses a join token once for `instance` (or, without a hash, enrols on other proof). An instance that enrols again with the same
    /// id and node gets the next counter; with the key (`key`, SHA-256 hex) of its first enrolment and before any renewal it gets the
    /// same one and uses nothing, since the answer was lost. One that was shut out stays out and must come with a new id. The entry is
    /// recorded when the instance was let in. Tokens that ended are remembered for a week, for the reason.
    async fn enrol(
        &self,
        hash: Option<String>,
        instance: Instance,
        key: &str,
        now: WallTime,
        audit: NewEntry,
    ) -> Result<Admitted, Error>;
    /// Gives the instance its next certificate. `presented` is the counter it came with; the one before the last is accepted, for an
    /// answer that was lost on the way, when it comes with the public key of the last request (`key`, SHA-256 hex). A greater one than
    /// was given is accepted: this database was restored. The entry is recorded when something changed, with `refused` for a copy.
    async fn renew(
        &self,
        node: &NodeName,
        instance: &str,
        presented: u64,
        key: &str,
        certificate: (WallTime, WallTime),
        audit: NewEntry,
    ) -> Result<Admitted, Error>;
    /// Shuts an instance out.
    async fn shut_out(&self, instance: &str, reason: &str, audit: NewEntry) -> Result<(), Error>;
    /// Every enrolled instance.
    async fn instances(&self) -> Result<Vec<Instance>, Error>;
    /// Forgets instances whose newest certificate ended before `ended`, and what they said; how many. Who was shut out is remembered.
    async fn sweep_instances(&self, ended: WallTime) -> Result<u64, Error>;
    /// Forgets a node: its instances, join tokens, reports and history.
    async fn forget(&self, node: &NodeName) -> Result<(), Error>;

    /// Writes what instances said last, replacing what they said before.
    async fn put_reported(&self, reported: Vec<Reported>) -> Result<(), Error>;
    /// What every instance said last.
    async fn reported(&self) -> Result<Vec<Reported>, Error>;
    /// Adds points to the history, one for each node and time, and forgets those before `keep_from`.
    async fn add_history(
        &self,
        points: Vec<(NodeName, HistoryPoint)>,
        keep_from: WallTime,
    ) -> Result<(), Error>;
    /// The history of a node, oldest first.
    async fn history(&self, node: &NodeName, since: WallTime) -> Result<Vec<HistoryPoint>, Error>;

    /// Adds events with sequences of its own; one whose webhook event id is known is left out. Keeps the newest `keep`.
    async fn add_events(&self, events: Vec<event::Entry>, keep: u64) -> Result<(), Error>;
    /// Part of the events.
    async fn events(&self, part: Part) -> Result<Vec<event::Entry>, Error>;

    /// Values by name: sealed keys, and what only this module's neighbours understand.
    async fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;
    /// Names and values that begin with `prefix`.
    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error>;
    /// Writes a value (`None` removes it) if it is still `expected`; `false` when somebody was faster.
    async fn swap_value(
        &self,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<bool, Error>;

    /// Leaves a question for the control plane that holds one of the node's streams; those nobody waits for any more are swept.
    async fn ask(&self, asked: Asked) -> Result<(), Error>;
    /// Questions to these nodes that nobody has answered; each is given out once.
    async fn take_asked(&self, nodes: Vec<NodeName>, now: WallTime) -> Result<Vec<Asked>, Error>;
    /// Answers one: JSON of `Result<Answer, Problem>`.
    async fn put_answer(&self, id: &str, answer: Vec<u8>) -> Result<(), Error>;
    /// The answer, once it is there; it is then forgotten.
    async fn take_answer(&self, id: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Whether other control planes may use it at the same time.
    fn is_shared(&self) -> bool {
        true
    }
    /// What changed, whoever changed it: in this process at once, in others as soon as the database says so.
    fn news(&self) -> watch::Receiver<News>;
}
