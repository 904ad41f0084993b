//! A new slice in force: rules, upstreams, assignments and webhooks are made first and swapped together.
//!
//! A generation never goes back, and a slice without this node changes nothing. What did not change is carried over: the state
//! of a rule, its upstream with tokens and breaker, the hashed passwords of accounts. Requests under way keep the slice they
//! began with.

use std::sync::Arc;

use topology::{
    model::{Node, Rule, Topology},
    problem::Problem,
};
use wire::{event::Action, generation::Generation, name::NodeName, time::WallTime};

use super::Shared;
use crate::{
    event::Subscription,
    http::{View, admit::Access},
    rule::{ActiveRule, RuleState, Rules, status::Facts},
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
        Ok(Self {
            generation,
            node,
            topology: Arc::new(loaded.topology),
        })
    }

    /// This node as the slice has it.
    #[must_use]
    pub fn own(&self) -> Option<&Node> {
        self.topology.node(&self.node)
    }
}

impl Shared {
    /// Puts a slice in force, unless it is older than the one that is.
    pub(super) async fn apply(self: &Arc<Self>, slice: Slice) {
        let _one_at_a_time = self.applying.lock().await;
        let in_force = self.view.load().as_ref().map(|view| view.generation);
        if in_force.is_some_and(|current| slice.generation < current) {
            tracing::warn!(node = %self.name, generation = %slice.generation, "an older generation was offered and refused");
            return;
        }
        let Some(own) = slice.own() else {
            tracing::error!(node = %self.name, generation = %slice.generation, "the slice is not for this node; the one in force stays");
            return;
        };
        let mut active = Vec::with_capacity(own.rules.len());
        for rule in &own.rules {
            active.push(self.active(rule, &slice.topology).await);
        }
        let rules = Arc::new(Rules::new(active));
        let previous = self.view.load_full();
        let accounts = &slice.topology.accounts;
        let access = Arc::new(Access::new(
            own,
            accounts,
            &self.authenticate,
            previous.as_deref().map(|view| &*view.access),
        ));
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
        self.rules.store(rules);
        self.view.store(Some(Arc::new(view)));
        self.deliveries.apply(&own.webhooks);
        self.upstreams
            .retain(&own.rules.iter().map(|rule| rule.name.clone()).collect());
        self.copies.nudge();
        self.metrics
            .config_generation
            .set([], slice.generation.0 as f64);
        self.metrics
            .config_applied
            .set([], self.clock.wall_ms() as f64 / 1000.0);
        tracing::info!(node = %self.name, generation = %slice.generation, rules = own.rules.len(), "a slice is in force");
        self.slice.store(Arc::new(slice));
    }

    /// A rule in force: what stayed the same keeps its state and its upstream.
    async fn active(&self, rule: &Arc<Rule>, topology: &Topology) -> ActiveRule {
        let rules = self.rules.load();
        let state = match rules.get(&rule.name) {
            Some(before) => Arc::clone(&before.state),
            None => Arc::new(RuleState::new(self.kept_facts(rule).await)),
        };
        let upstream = self.upstreams.build(rule, topology);
        match self.store.metadata().pushed_repository(&rule.target).await {
            Ok(conflict) => {
                if let Some(repository) = &conflict {
                    tracing::warn!(rule = %rule.name, %repository, "the rule's target holds pushed content: the rule does not take effect there");
                }
                state.conflict(conflict);
            }
            Err(error) => {
                tracing::error!(rule = %rule.name, %error, "cannot tell whether the rule's target holds pushed content")
            }
        }
        ActiveRule {
            rule: Arc::clone(rule),
            upstream,
            state,
        }
    }

    async fn kept_facts(&self, rule: &Rule) -> Facts {
        let kept = self.store.metadata().value(&key(rule)).await.ok().flatten();
        let mut facts: Facts = kept
            .and_then(|kept| serde_json::from_slice(&kept).ok())
            .unwrap_or_default();
        // A clock that went back must not make a refusal last for ever.
        let now = WallTime(self.clock.wall_ms());
        facts.denied_since = facts.denied_since.filter(|since| *since <= now);
        facts
    }

    /// Writes down how rules fare, for the next start.
    pub(super) async fn keep_facts(&self) {
        let rules = self.rules.load_full();
        let values = rules.iter().filter_map(|active| {
            Some((
                key(&active.rule),
                serde_json::to_vec(&active.state.facts()).ok()?,
            ))
        });
        let ops: Vec<Op> = values
            .map(|(key, value)| Op::PutValue(key, Some(value)))
            .collect();
        if !ops.is_empty()
            && let Err(error) = self.store.metadata().commit(ops).await
        {
            tracing::debug!(%error, "the state of rules was not kept");
        }
    }
}

fn key(rule: &Rule) -> String {
    format!("rule/{}", rule.name)
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
