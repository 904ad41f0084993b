//! A crowd of light nodes in this process: real enrolment, certificates, TLS and streams, with no registry behind them.
//!
//! What costs a control plane something is real: handshakes, hellos, ACKs, heartbeats, reports, and the pauses of `runtime::Backoff` after a
//! loss. A light node keeps its document and never parses it, so that a thousand of them fit beside what they test. Each slice is checked
//! by its digest; every so many-th member also checks who signed it, as all real nodes do on processors of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use runtime::{Backoff, Clock, Tasks};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::generation::Generation;

mod agent;
mod report;
mod tally;

use agent::Member;
use tally::Tally;
pub use tally::{Behind, Heard};

/// How many join at a time.
const JOINING: usize = 32;

/// What its members are like.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pauses after a loss.
    pub backoff: Backoff,
    /// Every so many-th member checks signatures, the first one always.
    pub checks: usize,
    /// How many rules each report tells of.
    pub rules: usize,
}

/// Nodes that have joined and keep their streams. Gone when dropped.
pub struct Crowd {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    clock: Clock,
    tasks: Tasks,
    tally: Tally,
    cut: watch::Sender<u64>,
}

impl Config {
    /// As real nodes are by default; all check signatures; a rule each.
    pub fn of_nodes() -> Self {
        let settings = node::settings::Settings::default();
        Self {
            backoff: Backoff {
                base: settings.control_retry,
                max: settings.control_retry_most,
            },
            checks: 1,
            rules: 1,
        }
    }

    /// Joins a member with each token; they connect from then on.
    pub async fn join(self, tokens: &[String]) -> Result<Crowd> {
        runtime::tls::install_crypto();
        let clock = Clock::system();
        let shared = Arc::new(Shared {
            config: self,
            tally: Tally::new(tokens.len(), clock.now()),
            clock,
            tasks: Tasks::new("crowd"),
            cut: watch::Sender::new(0),
        });
        let crowd = Crowd { shared };
        let joins = tokens
            .iter()
            .enumerate()
            .map(|(index, token)| Member::join(index, token, &crowd.shared));
        let members: Vec<Member> = stream::iter(joins)
            .buffer_unordered(JOINING)
            .try_collect()
            .await?;
        for member in members {
            let shared = Arc::clone(&crowd.shared);
            crowd.shared.tasks.spawn("member", member.run(shared));
        }
        Ok(crowd)
    }
}

impl Crowd {
    /// How many have a stream now.
    pub fn connected(&self) -> usize {
        self.shared.tally.connected()
    }

    /// When each member confirmed what it holds, once all are connected and hold `generation` or a newer one.
    pub fn confirmed(&self, generation: Generation) -> Result<Vec<Instant>, Behind> {
        self.shared.tally.confirmed(generation)
    }

    /// What all of them were told so far.
    pub fn heard(&self) -> Heard {
        self.shared.tally.heard()
    }

    /// Why streams ended or did not begin, and how often.
    pub fn losses(&self) -> BTreeMap<String, usize> {
        self.shared.tally.losses()
    }

    /// Cuts every stream at once. Each comes back after its own pause.
    pub fn cut(&self) {
        self.shared
            .cut
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.tasks.abort();
    }
}
