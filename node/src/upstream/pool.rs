//! From a rule to the upstream it is filled from: address, trust, credentials, budget and circuit, put together.
//!
//! A rule that a new slice does not change keeps its upstream, with the tokens in hand and the circuit as it is; any change makes a
//! new one, while pulls in flight go on with theirs; so does another certificate of this node, towards nodes of its mesh. Nothing is shared between rules but the account of one credential at one
//! upstream, which only counts. Source: `spec/identity.md`, "Calling an upstream".

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use identity::{
    authenticator,
    mint::Mint,
    secret::Secrets,
    token_source::{TokenSource, azure::Machine},
};
use runtime::{Clock, Tasks, egress};
use topology::model::{Rule, Topology};
use url::Url;
use wire::{
    digest::Digest,
    name::{NodeName, RuleName},
};

use self::target::Target;
use super::{
    Error, Upstream, breaker,
    budget::{self, Account, Budget},
    observer::Observer,
    remote::{self, Deadlines},
    unusable::Unusable,
};
use crate::membership::Membership;

mod source;
mod target;

pub use source::reader_of;

/// The times of upstreams; all have the spec's defaults.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// For name, TCP and TLS together.
    pub connect: Duration,
    /// For a token request.
    pub token: Duration,
    /// Of requests and transfers.
    pub deadlines: Deadlines,
    /// Of the circuit.
    pub breaker: breaker::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            token: Duration::from_secs(10),
            deadlines: Deadlines::default(),
            breaker: breaker::Config::default(),
        }
    }
}

/// What upstreams stand on.
#[derive(Clone)]
pub struct Parts {
    /// This node.
    pub node: NodeName,
    /// What it shows to nodes of its mesh, and believes of them; none for a node without a control plane.
    pub membership: Option<Membership>,
    /// Asks the control plane for tokens of its rules; none for a node without one.
    pub mint: Option<Arc<dyn Mint>>,
    /// Gives tokens of the Azure identities of this machine or pod.
    pub machine: Machine,
    /// Reads credential sets.
    pub secrets: Secrets,
    /// Time.
    pub clock: Clock,
    /// Owns token requests.
    pub tasks: Tasks,
    /// Is told what passes.
    pub observer: Arc<dyn Observer>,
}

/// Makes upstreams and keeps those of unchanged rules.
pub struct Pool {
    config: Config,
    parts: Parts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By rule: what it was made of, and it.
    upstreams: HashMap<RuleName, (Digest, Arc<dyn Upstream>)>,
    /// By upstream and credential.
    accounts: HashMap<(String, String), Arc<Account>>,
}

impl Config {
    /// An empty pool.
    #[must_use]
    pub fn build(self, parts: Parts) -> Pool {
        Pool {
            config: self,
            parts,
            state: Mutex::default(),
        }
    }
}

impl Pool {
    /// The upstream of a rule of this slice. Never fails: a rule that cannot be carried out gets an upstream that says why.
    #[must_use]
    pub fn build(&self, rule: &Rule, topology: &Topology) -> Arc<dyn Upstream> {
        let made =
            target::target(rule, topology).and_then(|target| self.made(rule, topology, target));
        made.unwrap_or_else(|error| {
            tracing::warn!(rule = %rule.name, %error, "the rule's upstream cannot be asked");
            let name = rule.source.upstream.to_string();
            Arc::new(Unusable::new(name, error))
        })
    }

    /// Forgets upstreams of rules that are no longer there, and accounts that nobody uses.
    pub fn retain(&self, rules: &HashSet<RuleName>) {
        let mut state = self.lock();
        state.upstreams.retain(|name, _| rules.contains(name));
        state
            .accounts
            .retain(|_, account| Arc::strong_count(account) > 1);
    }

    fn made(
        &self,
        rule: &Rule,
        topology: &Topology,
        target: Target,
    ) -> Result<Arc<dyn Upstream>, Error> {
        let ca = target.settings.ca.as_deref().map(ca).transpose()?;
        let (proof, mutual) = self.mutual(&target).unzip();
        let fingerprint = fingerprint(rule, topology, &target, (ca.as_deref(), proof));
        if let Some((made_of, upstream)) = self.lock().upstreams.get(&rule.name)
            && *made_of == fingerprint
        {
            return Ok(Arc::clone(upstream));
        }
        let source = self.source(rule, topology, &target, mutual.is_some())?;
        let account = self.account(rule, &target);
        let client = self.client(&target, ca, mutual)?;
        let remote = self.remote(topology, target, client, source);
        let clock = self.parts.clock.clone();
        let breaker = self.config.breaker.build(Arc::new(remote), clock);
        let upstream: Arc<dyn Upstream> = Arc::new(Budget::new(Arc::new(breaker), account));
        let kept = (fingerprint, Arc::clone(&upstream));
        self.lock().upstreams.insert(rule.name.clone(), kept);
        Ok(upstream)
    }

    /// What goes between this node and a node of its mesh, and what that is made of.
    fn mutual(&self, target: &Target) -> Option<(String, egress::Mutual)> {
        let node = target.node.as_ref();
        let node = node.filter(|_| target.realms.upstream.secure)?;
        self.parts.membership.as_ref()?.towards(node)
    }

    fn remote(
        &self,
        topology: &Topology,
        target: Target,
        client: egress::Client,
        source: Arc<dyn TokenSource>,
    ) -> remote::Remote {
        let (clock, tasks) = (self.parts.clock.clone(), &self.parts.tasks);
        let origin = target.realms.upstream.clone();
        let authentication = authenticator::Config {
            realms: target.realms,
            known: target.profile.known.clone(),
            basic_first: target.profile.basic_first,
            refusal_may_mean_missing: target.profile.refusal_may_mean_missing,
            timeout: self.config.token,
        };
        let config = remote::Config {
            name: target.name,
            origin,
            profile: target.profile,
            mesh: topology.mesh.clone(),
            node: self.parts.node.clone(),
            deadlines: self.config.deadlines,
        };
        config.build(remote::Parts {
            authenticator: authentication.build(source, client.clone(), clock.clone(), tasks),
            client,
            clock,
            observer: Arc::clone(&self.parts.observer),
        })
    }

    fn client(
        &self,
        target: &Target,
        ca: Option<Vec<u8>>,
        mutual: Option<egress::Mutual>,
    ) -> Result<egress::Client, Error> {
        let proxy = target.settings.proxy.as_deref().map(Url::parse).transpose();
        let proxy = proxy.map_err(|_| Error::away("the upstream's proxy is not a URL"))?;
        let deadlines = self.config.deadlines;
        let options = egress::Options {
            ca_pem: ca,
            mutual,
            proxy,
            connect_timeout: self.config.connect,
            // Silence is timed by who waits for it; this only ends connections that nobody waits for.
            read_timeout: deadlines.first_byte.max(deadlines.progress) + Duration::from_secs(5),
            policy: egress::Policy::naming(&target.named),
            user_agent: concat!("regmesh/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        options.build().map_err(|error| {
            Error::away(format!(
                "no connection to the upstream can be made: {error}"
            ))
        })
    }

    /// The account of the rule's credential at its upstream, shared with other rules that show the same.
    fn account(&self, rule: &Rule, target: &Target) -> Arc<Account> {
        let config = budget::Config {
            max_concurrent: target.settings.max_concurrent,
            requests_per_second: target.settings.requests_per_second,
            ..budget::Config::default()
        };
        let key = (target.name.clone(), format!("{:?}", rule.authentication));
        let mut state = self.lock();
        if let Some(account) = state.accounts.get(&key).filter(|a| *a.config() == config) {
            return Arc::clone(account);
        }
        let account = config.build(self.parts.clock.clone());
        state.accounts.insert(key, Arc::clone(&account));
        account
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ca(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        let what = "the upstream's CA file cannot be read";
        Error::away(format!("{what}: {}: {}", path.display(), error.kind()))
    })
}

/// What an upstream is made of, as one value. Secrets are no part of it: they are read when they are used.
fn fingerprint(
    rule: &Rule,
    topology: &Topology,
    target: &Target,
    trust: (Option<&[u8]>, Option<String>),
) -> Digest {
    let shown = source::definition(rule, topology);
    let made_of = format!("{} {target:?} {shown} {trust:?}", topology.mesh);
    Digest::sha256(made_of.as_bytes())
}

#[cfg(test)]
mod tests;
