//! The checks that a node can make of itself, each named, each with one line and what to do about it.
//!
//! Called by `app`. Every check is a file of `doctor/`; all run beside each other, each within a deadline and over a bounded part
//! of what is stored, and leave nothing behind. `TREE` is the control plane's and `CLIENT` the CLI's: both see what no node sees.
//! Source: `spec/operations.md` "doctor".

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt, join_all},
    stream,
};
use identity::secret::Secrets;
use runtime::{Clock, Tasks, telemetry::TraceContext};
use topology::model::Topology;
use wire::{
    api::doctor::{Check, CheckId, Outcome},
    hops::Hops,
    name::{CredentialName, NodeName},
    repository::RepositoryName,
    time::WallTime,
};

use crate::{
    copy::Copies,
    request::Request,
    rule::{ActiveRule, Covered, Rules},
    store::{self, Store},
};

mod children;
mod copy_stall;
mod cred_health;
mod finding;
mod fresh;
mod hooks;
mod ident_scope;
mod net_path;
mod quota;
mod referrers;
mod rule_match;
mod store_write;
#[cfg(test)]
mod tests;

use finding::{Finding, found};

/// How long one check may take.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How many repositories a check looks into.
const REPOSITORIES: usize = 200;
/// How many upstreams a check asks, and how many at once.
const UPSTREAMS: usize = 64;
const AT_ONCE: usize = 8;

/// How many requests of an upstream's rate are left, if it ever said so.
pub type Remaining = dyn Fn(&str) -> Option<u64> + Send + Sync;

/// A node, as far as its checks look at it.
#[derive(Clone)]
pub struct Patient {
    /// Its name.
    pub node: NodeName,
    /// Its store.
    pub store: Store,
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// What the slice says.
    pub topology: Arc<Topology>,
    /// Reads what credentials and webhooks refer to.
    pub secrets: Secrets,
    /// The credential set that CRED-HEALTH is asked about, if it is one.
    pub credentials: Option<CredentialName>,
    /// Its copies.
    pub copies: Copies,
    /// By the upstream's name.
    pub remaining: Arc<Remaining>,
    /// Time.
    pub clock: Clock,
    /// Owns what must not be left half-done.
    pub tasks: Tasks,
}

/// Makes the checks of `only`, or all of them when it is empty. In the order of [`CheckId::ALL`].
pub async fn examine(patient: &Patient, only: &[CheckId]) -> Vec<Check> {
    let wanted = |id: &CheckId| only.is_empty() || only.contains(id);
    let checks = CheckId::ALL
        .into_iter()
        .filter(wanted)
        .map(|id| async move {
            let made = patient.clock.timeout(DEADLINE, check(patient, id)).await;
            let findings = made.unwrap_or_else(|_| vec![late(id)]);
            let at = |finding: Finding| finding.at(id, &patient.node);
            findings.into_iter().map(at).collect::<Vec<_>>()
        });
    join_all(checks).await.into_iter().flatten().collect()
}

fn check(patient: &Patient, id: CheckId) -> BoxFuture<'_, Vec<Finding>> {
    match id {
        CheckId::StoreWrite => store_write::check(patient).boxed(),
        CheckId::CopyStall => copy_stall::check(patient).boxed(),
        CheckId::RuleMatch => rule_match::check(patient).boxed(),
        CheckId::CredHealth => cred_health::check(patient).boxed(),
        CheckId::IdentScope => std::future::ready(ident_scope::check(patient)).boxed(),
        CheckId::NetPath => net_path::check(patient).boxed(),
        CheckId::Fresh => fresh::check(patient).boxed(),
        CheckId::Quota => std::future::ready(quota::check(patient)).boxed(),
        CheckId::Children => children::check(patient).boxed(),
        CheckId::Referrers => referrers::check(patient).boxed(),
        CheckId::Hooks => hooks::check(patient).boxed(),
        CheckId::Tree | CheckId::Client => std::future::ready(Vec::new()).boxed(),
    }
}

fn late(id: CheckId) -> Finding {
    let text = format!("the check did not end within {} s", DEADLINE.as_secs());
    let asks_others = matches!(
        id,
        CheckId::NetPath | CheckId::CredHealth | CheckId::Referrers | CheckId::Hooks
    );
    let fix = if asks_others {
        "somebody takes requests and does not answer, an upstream, its token service or a receiver: look at the network between"
    } else {
        "the disk takes requests and does not answer: look at the machine's disk and its load"
    };
    Finding::failed(None, text, fix)
}

/// Says that the metadata cannot be read: the check could not be made.
fn unreadable(error: &store::Error) -> Vec<Finding> {
    let text = format!("the metadata cannot be read: {error}");
    let fix = "see STORE-WRITE; the node streams through until its disk works again";
    vec![Finding::failed(None, text, fix)]
}

impl Patient {
    fn now(&self) -> WallTime {
        WallTime(self.clock.wall_ms())
    }

    /// The rules that take effect, by name.
    fn working(&self) -> Vec<Arc<ActiveRule>> {
        let rules = self.rules.iter();
        let works = |active: &&Arc<ActiveRule>| active.rule.enabled && !active.state.in_conflict();
        let mut working: Vec<_> = rules.filter(works).cloned().collect();
        working.sort_by(|a, b| a.rule.name.cmp(&b.rule.name));
        working
    }

    /// One working rule for each upstream, by the upstream's name.
    fn upstreams(&self) -> Vec<Arc<ActiveRule>> {
        let mut by_name = BTreeMap::new();
        for active in self.working() {
            let name = active.upstream.name().to_owned();
            by_name.entry(name).or_insert(active);
        }
        by_name.into_values().collect()
    }

    /// A repository that this rule fills: its only one, else one that is known here.
    async fn example(
        &self,
        active: &ActiveRule,
    ) -> Result<Option<(RepositoryName, Covered)>, store::Error> {
        use wire::pattern::Pattern;
        let after = match &active.rule.target {
            Pattern::Exact(name) => {
                let covered = self.rules.resolve(name);
                return Ok(covered.map(|covered| (name.clone(), covered)));
            }
            Pattern::Below(path) => Some(format!("{path}/")),
            Pattern::All => None,
        };
        let metadata = self.store.metadata();
        let known = metadata.repositories(after.as_deref(), 50).await?;
        Ok(known.into_iter().find_map(|name| {
            let covered = self.rules.resolve(&name)?;
            let own = covered.active.rule.name == active.rule.name;
            own.then_some((name, covered))
        }))
    }
}

/// What `look` finds of each of the first [`UPSTREAMS`] items, a few at once.
async fn of_each<T, F, Found>(items: Vec<T>, look: F) -> Vec<Finding>
where
    F: Fn(T) -> Found,
    Found: Future<Output = Vec<Finding>>,
{
    let looks = stream::iter(items.into_iter().take(UPSTREAMS)).map(look);
    let found: Vec<Vec<Finding>> = looks.buffered(AT_ONCE).collect().await;
    found.concat()
}

/// A request on nobody's behalf.
fn request() -> Request {
    Request {
        info: Arc::default(),
        trace: TraceContext::fresh(),
        hops: Hops::default(),
        no_cache: false,
        only_stored: false,
        began: None,
    }
}

/// How long ago, for people.
fn ago(duration: Duration) -> String {
    match duration.as_secs() {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs @ 7200..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}

/// The worst of several outcomes; `Ok` of none.
#[must_use]
pub fn worst(checks: &[Check]) -> Outcome {
    let outcomes = checks.iter().map(|check| check.outcome);
    outcomes.max().unwrap_or(Outcome::Ok)
}
