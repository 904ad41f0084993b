//! A new slice in force: rules, upstreams, assignments and webhooks are made first and swapped together.
//!
//! A generation never goes back, and a slice without this node changes nothing. What did not change is carried over: the state
//! of a rule, its upstream with tokens and breaker, the hashed passwords of accounts. Requests under way keep the slice they
//! began with.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
};

use topology::{
    model::{Node, Recall, Rule, Topology},
    problem::Problem,
};
use wire::{digest::Digest, event::Action, generation::Generation, name::NodeName, time::WallTime};

use super::{Shared, offer};
use crate::{
    event::Subscription,
    http::{
        View,
        admit::{self, Access},
    },
    metric::Known,
    rule::{ActiveRule, RuleState, Rules, conflict, status::Facts},
    store::metadata::Op,
};

/// What one node needs of a topology, checked.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The generation it was cut from.
    pub generation: Generation,
    /// The node it is for.
    pub node: NodeName,
    /// Valid by construction.
    pub topology: Arc<Topology>,
    /// Keys of a newer release, and what was left out because of them.
    pub newer: Vec<String>,
}

impl Slice {
    /// Reads a slice's document.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn read(
        generation: Generation,
        node: NodeName,
        document: &str,
    ) -> Result<Self, Vec<Problem>> {
        let name = format!("slice of {node}, generation {generation}");
        let loaded = topology::load_slice(&name, document)?;
        for warning in &loaded.warnings {
            tracing::debug!(%node, %warning, "in the slice");
        }
        let newer = (loaded.warnings.iter())
            .filter(|warning| warning.code == "unknown-key")
            .map(|warning| format!("{}; {}", warning.message, warning.advice))
            .collect();
        Ok(Self {
            generation,
            node,
            topology: Arc::new(loaded.topology),
            newer,
        })
    }

    /// What the node is to refuse.
    #[must_use]
    pub fn recalls(&self) -> &BTreeMap<Digest, Recall> {
        static NONE: BTreeMap<Digest, Recall> = BTreeMap::new();
        self.topology
            .slice
            .as_ref()
            .map_or(&NONE, |slice| &slice.recalls)
    }

    /// This node as the slice has it.
    #[must_use]
    pub fn own(&self) -> Option<&Node> {
        self.topology.node(&self.node)
    }
}

/// Whom and what the metrics are to know from now on.
fn known<'a>(rules: &'a Rules, own: &'a Node) -> Known<'a> {
    let webhooks = own.webhooks.iter();
    Known {
        rules: rules
            .iter()
            .map(|active| active.rule.name.as_str())
            .collect(),
        upstreams: rules.iter().map(|active| active.upstream.name()).collect(),
        webhooks: webhooks.map(|webhook| webhook.name.as_str()).collect(),
    }
}

impl Shared {
    /// Puts a slice in force, unless it is older than the one that is.
    pub(super) async fn apply(self: &Arc<Self>, slice: Slice) {
        let _one_at_a_time = self.applying.lock().await;
        if self.closed.get().is_some() {
            return;
        }
        let in_force = self.view.load().as_ref().map(|view| view.generation);
        if in_force.is_some_and(|current| slice.generation < current) {
            tracing::warn!(node = %self.name, generation = %slice.generation, "an older generation was offered and refused");
            return;
        }
        let Some(own) = slice.own() else {
            tracing::error!(node = %self.name, generation = %slice.generation, "the slice is not for this node; the one in force stays");
            return;
        };
        // Refusing comes first: nothing of the new slice is served before.
        self.refuse_recalled(slice.recalls());
        if let (Some(membership), Some(of)) = (&self.membership, &slice.topology.slice) {
            membership.revoke(of.revoked.clone());
        }
        let kept = self.kept_facts().await;
        let active = own
            .rules
            .iter()
            .map(|rule| self.active(rule, &slice.topology, &kept))
            .collect();
        let rules = Arc::new(Rules::new(active));
        if let Err(error) = conflict::detect(&rules, &**self.store.metadata()).await {
            tracing::error!(node = %self.name, %error, "cannot tell whether a rule's target holds pushed content");
        }
        let previous = self.view.load_full();
        let accounts = &slice.topology.accounts;
        let max_offline = (slice.topology.control.as_ref()).and_then(|control| control.max_offline);
        let access = Access::new(
            own,
            accounts,
            &self.authenticate,
            previous.as_deref().map(|view| &*view.access),
        );
        let trust = admit::trust(&slice.topology, own).map(|trust| {
            let before = previous.as_deref().and_then(|view| view.access.trust());
            trust.heard(before, WallTime(self.clock.wall_ms()))
        });
        let access = access
            .ending(max_offline, &self.contact)
            .believing(trust)
            .knowing(self.issuers(&slice.topology, own));
        let access = Arc::new(access.among(self.membership.as_ref()));
        access.warm().await;
        let view = View {
            generation: slice.generation,
            login_server: own.endpoint.login_server(),
            tier: slice.topology.tier(&self.name),
            default_namespace: own.default_namespace.clone(),
            rules: Arc::clone(&rules),
            access,
        };
        self.recorder.subscribe(
            own.webhooks
                .iter()
                .filter(|w| w.enabled)
                .filter_map(subscription)
                .collect(),
        );
        self.metrics.know(&known(&rules, own));
        self.rules.store(rules);
        self.view.store(Some(Arc::new(view)));
        self.deliveries.apply(&own.webhooks);
        self.upstreams
            .retain(&own.rules.iter().map(|rule| rule.name.clone()).collect());
        self.copies.rules_changed();
        if in_force.is_some_and(|before| before < slice.generation) {
            self.registry.topology_changed();
        }
        self.tell_recalls(slice.recalls()).await;
        self.metrics
            .config_generation
            .set([], slice.generation.0 as f64);
        self.metrics
            .config_applied
            .set([], self.clock.wall_ms() as f64 / 1000.0);
        tracing::info!(node = %self.name, generation = %slice.generation, rules = own.rules.len(), "a slice is in force");
        let before = self.slice.load();
        let restarts = offer::new_restarts(&self.started, before.own(), own);
        if !restarts.is_empty() {
            let changes = restarts.join("; ");
            tracing::warn!(node = %self.name, changes, "the topology has changed what this node is started with");
        }
        self.slice.store(Arc::new(slice));
    }

    /// A rule in force: what stayed the same keeps its state and its upstream.
    fn active(
        &self,
        rule: &Arc<Rule>,
        topology: &Topology,
        kept: &HashMap<String, Facts>,
    ) -> ActiveRule {
        let rules = self.rules.load();
        let state = match rules.get(&rule.name) {
            Some(before) => Arc::clone(&before.state),
            None => Arc::new(RuleState::new(
                kept.get(&key(rule)).cloned().unwrap_or_default(),
            )),
        };
        let upstream = self.upstreams.build(rule, topology);
        ActiveRule {
            rule: Arc::clone(rule),
            upstream,
            state,
        }
    }

    /// How rules fared before this process, by key.
    async fn kept_facts(&self) -> HashMap<String, Facts> {
        let values = self
            .store
            .metadata()
            .values(PREFIX)
            .await
            .unwrap_or_default();
        let now = WallTime(self.clock.steady_ms());
        let parsed = values.into_iter().filter_map(|(key, value)| {
            let mut facts: Facts = serde_json::from_slice(&value).ok()?;
            // A clock that went back must not make a refusal last for ever.
            facts.denied_since = facts.denied_since.filter(|since| *since <= now);
            Some((key, facts))
        });
        parsed.collect()
    }

    /// Writes down how rules fare, for the next start: those that changed since the last time.
    pub(super) async fn keep_facts(&self) {
        let mut changed = Vec::new();
        for active in self.rules.load().iter() {
            let (key, facts) = (key(&active.rule), active.state.facts());
            let known = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&key)
                == Some(&facts);
            if !known && facts != Facts::default() {
                changed.push((key, facts));
            }
        }
        // Few at a time: the one writer has others waiting.
        for some in changed.chunks(200) {
            let values = some
                .iter()
                .filter_map(|(key, facts)| Some((key, serde_json::to_vec(facts).ok()?)));
            let ops: Vec<Op> = values
                .map(|(key, value)| Op::PutValue(key.clone(), Some(value)))
                .collect();
            if let Err(error) = self.store.metadata().commit(ops).await {
                tracing::debug!(%error, "the state of rules was not kept");
                return;
            }
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(some.iter().cloned());
        }
    }
}

/// What keys of rules' states begin with.
const PREFIX: &str = "rule/";

fn key(rule: &Rule) -> String {
    format!("{PREFIX}{}", rule.name)
}

fn subscription(webhook: &topology::model::Webhook) -> Option<Subscription> {
    let every = [
        Action::Push,
        Action::Delete,
        Action::Ping,
        Action::CopyFailed,
        Action::ServedStale,
        Action::Recalled,
    ];
    let actions = every
        .into_iter()
        .filter(|action| {
            webhook
                .actions
                .iter()
                .any(|wanted| wanted == action.as_str())
        })
        .collect();
    Some(Subscription {
        webhook: webhook.name.clone(),
        actions,
        scope: webhook.scope.parse().ok()?,
    })
}
