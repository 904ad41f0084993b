//! What `/status` and `/metrics` show: gathered from the components, never waited for.
//!
//! What only the database knows (bytes, queues) is looked up once a second by a reconciler and kept; rules are shown as they
//! are at the moment of asking.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use runtime::{metric::Counter, reconcile::Reconciler};
use topology::model::rule::Authentication;
use wire::{
    api::status::{
        CopiesStatus, Delivery, LastError, NodeStatus, RuleStatus, StoreStatus, WebhookStatus,
    },
    time::WallTime,
};

use super::{Shared, offer};
use crate::{
    rule::{Status, describe::describe, status},
    store::metadata::Totals,
};

/// What the database said last.
#[derive(Default)]
pub(super) struct Seen(ArcSwap<Snapshot>, Mutex<BTreeSet<String>>);

impl Seen {
    /// The identities whose tokens are shown.
    fn identities(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Snapshot {
    totals: Totals,
    webhooks: Vec<WebhookStatus>,
    failing: u64,
    last_error: Option<LastError>,
}

/// How many keys of a newer release are told of.
const NEWER: usize = 20;
/// How many copy jobs are looked at for what is failing.
const JOBS: usize = 1000;

/// Starts looking, and the reading of gauges at each scrape.
pub(super) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    Reconciler::new("status", Duration::from_secs(1)).start(
        &shared.tasks,
        &shared.clock,
        move || {
            let shared = weak.upgrade();
            async move {
                if let Some(shared) = shared {
                    look(&shared).await;
                }
            }
        },
    );
    let weak = Arc::downgrade(shared);
    Reconciler::new("rule-facts", Duration::from_secs(15)).start(
        &shared.tasks,
        &shared.clock,
        move || {
            let shared = weak.upgrade();
            async move {
                if let Some(shared) = shared {
                    shared.keep_facts().await;
                }
            }
        },
    );
    let weak = Arc::downgrade(shared);
    shared.families.before_gather(move || {
        if let Some(shared) = weak.upgrade() {
            gauges(&shared);
        }
    });
}

async fn look(shared: &Shared) {
    let metadata = shared.store.metadata();
    let old = shared.seen.0.load_full();
    let totals = metadata.totals().await.unwrap_or(old.totals);
    let jobs = metadata.jobs(JOBS).await.unwrap_or_default();
    let failing = jobs.iter().filter(|job| job.last_error.is_some());
    let last = failing.clone().max_by_key(|job| job.due_at);
    let last_error = last.and_then(|job| {
        Some(LastError {
            at: job.due_at,
            text: job.last_error.clone()?,
        })
    });
    let failing = failing.count() as u64;
    let webhooks = webhooks(shared).await;
    shared.seen.0.store(Arc::new(Snapshot {
        totals,
        webhooks,
        failing,
        last_error,
    }));
}

async fn webhooks(shared: &Shared) -> Vec<WebhookStatus> {
    let slice = shared.slice.load_full();
    let counts = shared
        .store
        .metadata()
        .pending_counts()
        .await
        .unwrap_or_default();
    let mut all = Vec::new();
    for webhook in slice
        .own()
        .map(|own| own.webhooks.as_slice())
        .unwrap_or_default()
    {
        let queued = counts
            .iter()
            .find(|(name, _)| *name == webhook.name)
            .map_or(0, |(_, count)| *count);
        let last = shared
            .store
            .metadata()
            .deliveries(&webhook.name, 1)
            .await
            .unwrap_or_default();
        let last_delivery = last.into_iter().next().and_then(|(_, delivery)| {
            let said = delivery.response.unwrap_or_default();
            let status = said.parse().ok();
            Some(Delivery {
                at: delivery.sent_at?,
                status,
                error: status.is_none().then_some(said),
                attempts: delivery.attempts,
            })
        });
        all.push(WebhookStatus {
            name: webhook.name.clone(),
            queued,
            last_delivery,
        });
    }
    all
}

fn gauges(shared: &Shared) {
    let (metrics, seen) = (&shared.metrics, shared.seen.0.load());
    metrics
        .fills_in_flight
        .set([], shared.fills.in_flight() as f64);
    match shared.contact.is_connected() {
        Some(connected) => metrics
            .control_connected
            .set([], f64::from(u8::from(connected))),
        None => metrics.control_connected.remove([]),
    }
    metrics
        .copy_queue_length
        .set([], shared.copies.queue_length() as f64);
    metrics.store_bytes.set([], seen.totals.bytes as f64);
    metrics
        .store_capacity_bytes
        .set([], shared.store.fullness().capacity as f64);
    metrics.webhook_queue_length.set(
        [],
        seen.webhooks.iter().map(|w| w.queued).sum::<u64>() as f64,
    );
    let cache = shared.store.cache_stats();
    metrics.memory_cache_bytes.set([], cache.bytes as f64);
    raise(&metrics.memory_cache_hits, [], cache.hits);
    raise(&metrics.memory_cache_misses, [], cache.misses);
    for (op, count) in shared.store.errors() {
        raise(&metrics.store_errors, [op], count);
    }
    for (reason, bytes) in shared.store.evicted() {
        raise(&metrics.evicted_bytes, [reason], bytes);
    }
    identity_expiry(shared);
    for active in shared.rules.load().iter() {
        let (name, facts) = (active.rule.name.as_str(), active.state.facts());
        metrics
            .rule_unstored_pulls
            .set([name], facts.unstored_pulls as f64);
        if let Some(at) = facts.last_store {
            metrics.rule_last_store.set([name], at.0 as f64 / 1000.0);
        }
    }
}

/// When the tokens of identities end: of each the one that ends first, since a rule that cannot renew its own is what matters.
fn identity_expiry(shared: &Shared) {
    let mut ends: BTreeMap<String, WallTime> = BTreeMap::new();
    for active in shared.rules.load().iter() {
        let Authentication::Identity(name) = &active.rule.authentication else {
            continue;
        };
        if let Some(at) = active.upstream.token_ends() {
            let first = ends.entry(name.to_string()).or_insert(at);
            *first = at.min(*first);
        }
    }
    let gauge = &shared.metrics.identity_expiry;
    let mut shown = shared.seen.identities();
    for gone in shown.iter().filter(|name| !ends.contains_key(*name)) {
        gauge.remove([gone]);
    }
    for (name, at) in &ends {
        gauge.set([name], at.0 as f64 / 1000.0);
    }
    *shown = ends.into_keys().collect();
}

/// Brings a counter up to what is counted elsewhere.
fn raise<const N: usize>(counter: &Counter<N>, labels: [&str; N], count: u64) {
    counter.add(labels, count.saturating_sub(counter.get(labels)));
}

/// The node's status now.
pub(super) fn status(shared: &Shared) -> NodeStatus {
    let (view, slice, seen) = (
        shared.view.load(),
        shared.slice.load(),
        shared.seen.0.load(),
    );
    let now = WallTime(shared.clock.steady_ms());
    let draining = shared.draining.is_cancelled();
    let mut rules: Vec<RuleStatus> = shared
        .rules
        .load()
        .iter()
        .map(|active| describe(active, now))
        .collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    NodeStatus {
        node: shared.name.clone(),
        mesh: slice.topology.mesh.clone(),
        tier: view.as_ref().map_or(0, |view| view.tier),
        generation: slice.generation,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: view.is_some() && !draining,
        draining,
        store: StoreStatus {
            bytes: seen.totals.bytes,
            capacity: Some(shared.store.fullness().capacity).filter(|c| *c > 0),
            degraded: shared.store.degraded(),
        },
        rules,
        copies: CopiesStatus {
            queued: shared.copies.queue_length() as u64,
            running: shared.copies.in_progress() as u64,
            failing: seen.failing,
            last_error: seen.last_error.clone(),
        },
        webhooks: seen.webhooks.clone(),
        warnings: warnings(shared),
    }
}

fn warnings(shared: &Shared) -> Vec<String> {
    let slice = shared.slice.load();
    let mut warnings = shared.warned.clone();
    warnings.extend(shared.closed.get().cloned());
    warnings.extend(
        slice
            .own()
            .map(|own| offer::restarts(&shared.started, own))
            .unwrap_or_default(),
    );
    warnings.extend(slice.newer.iter().take(NEWER).cloned());
    warnings
}

/// What changes here is told to the control plane at once, and not with the next report: a number that differs when it did.
pub(super) fn fingerprint(shared: &Shared) -> u64 {
    let now = WallTime(shared.clock.steady_ms());
    let rules = shared.rules.load();
    // A sum, because the rules come in no order.
    let rules = rules.iter().fold(0_u64, |sum, active| {
        let status = status::status(active.rule.enabled, &active.state.facts(), now);
        sum.wrapping_add(hashed(&(
            &active.rule.name,
            std::mem::discriminant(&status),
        )))
    });
    let degraded = shared.store.degraded();
    let generation = shared.slice.load().generation;
    hashed(&(rules, degraded, generation, shared.draining.is_cancelled()))
}

fn hashed(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Which rules cannot reach or use their upstream, for `/readyz?verbose`.
pub(super) fn unwell(shared: &Shared) -> Result<(), String> {
    let now = WallTime(shared.clock.steady_ms());
    let rules = shared.rules.load();
    let unwell: Vec<String> = rules
        .iter()
        .map(|active| {
            (
                active,
                status::status(active.rule.enabled, &active.state.facts(), now),
            )
        })
        .filter(|(_, status)| !matches!(status, Status::Active | Status::Disabled))
        .map(|(active, status)| format!("{} is {status:?}", active.rule.name))
        .take(20)
        .collect();
    if unwell.is_empty() {
        Ok(())
    } else {
        Err(unwell.join(", "))
    }
}
