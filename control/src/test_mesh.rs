//! For tests: a control plane over memory on loopback. Its nodes are the rim's ([`Node`], [`Line`]).

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Tasks, tls};
use wire::{
    api::resource::{Apply, File},
    generation::Generation,
    time::WallTime,
};

use crate::{
    ca::{self, Ca, Signer},
    distribute::{self, Distribute, Rhythm},
    enrol::Enrol,
    grpc,
    issuer::Issuer,
    publish::Publisher,
    seal::Seal,
    sign_in::oidc,
    signing_key::{self, SigningKeys},
    state::{State, memory::Memory},
};

pub(crate) use crate::grpc::test_node::{Line, Node};

pub(crate) const WHO: &str = "admin-token";

pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) state: Arc<dyn State>,
    pub(crate) tasks: Tasks,
    pub(crate) publisher: Publisher,
    pub(crate) enrol: Arc<Enrol>,
    pub(crate) distribute: Distribute,
    pub(crate) ca: Arc<Ca>,
    pub(crate) address: String,
    seal: Arc<Seal>,
    rhythm: Rhythm,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Control {
    pub(crate) async fn new() -> Self {
        Self::with(
            Clock::system(),
            Rhythm {
                heartbeat: Duration::from_secs(2),
                report: Duration::from_secs(2),
            },
        )
        .await
    }

    pub(crate) async fn with(clock: Clock, rhythm: Rhythm) -> Self {
        tls::install_crypto();
        let state = Arc::new(Memory::new(clock.clone()));
        Self::over(state, Arc::new(Seal::generate().unwrap()), clock, rhythm).await
    }

    /// Another control plane over the same state.
    pub(crate) async fn beside(&self) -> Self {
        let (state, seal) = (Arc::clone(&self.state), Arc::clone(&self.seal));
        Self::over(state, seal, self.clock.clone(), self.rhythm).await
    }

    pub(crate) async fn over(
        state: Arc<dyn State>,
        seal: Arc<Seal>,
        clock: Clock,
        rhythm: Rhythm,
    ) -> Self {
        let tasks = Tasks::new("control");
        let ca = Ca::open(
            Arc::clone(&state),
            Arc::clone(&seal),
            clock.clone(),
            ca::Config::default(),
        )
        .await
        .unwrap();
        let ca = Arc::new(ca);
        let keys = SigningKeys::open(
            Arc::clone(&state),
            Arc::clone(&seal),
            clock.clone(),
            signing_key::Config::default(),
            &tasks,
        );
        let keys = Arc::new(keys.await.unwrap());
        let publishing =
            Publisher::issuing(Arc::clone(&state), Arc::clone(&keys), clock.clone(), &tasks);
        let publisher = publishing.await.unwrap();
        let issuer = Issuer::new(publisher.clone(), keys, clock.clone(), tasks.clone());
        let signer =
            Arc::new(Signer::new(Arc::clone(&ca), None, WallTime(clock.wall_ms())).unwrap());
        // Its deadlines are the machine's, so that a test may move the other clock.
        let bound = grpc::bind(([127, 0, 0, 1], 0).into(), &ca, &signer, &clock)
            .await
            .unwrap();
        let address = bound.local_addr().to_string();
        let enrol = Enrol::build(
            publisher.clone(),
            Arc::clone(&state),
            Arc::clone(&ca),
            oidc::fake::oidc(&clock),
            clock.clone(),
            address.clone(),
        );
        let enrol = Arc::new(enrol.await.unwrap());
        let config = distribute::Config {
            rhythm,
            publisher: publisher.clone(),
            enrol: Arc::clone(&enrol),
            signer,
            state: Arc::clone(&state),
        };
        let distribute = config.build(clock.clone(), &tasks).await.unwrap();
        bound.serve(
            grpc::service(
                Arc::clone(&enrol),
                distribute.clone(),
                issuer,
                clock.clone(),
            ),
            &tasks,
        );
        Self {
            clock,
            state,
            tasks,
            publisher,
            enrol,
            distribute,
            ca,
            address,
            seal,
            rhythm,
        }
    }

    /// Applies a topology of these nodes, with something in it that `text` changes.
    pub(crate) async fn apply(&self, nodes: &[&str], text: &str) -> Generation {
        let nodes: String = nodes
            .iter()
            .enumerate()
            .map(|(n, name)| {
                format!(
                    "  {name}: {{endpoint: 'http://127.0.0.1:{}', labels: {{text: '{text}'}}}}\n",
                    5000 + n
                )
            })
            .collect();
        let text = format!("version: 1\nmesh: acme\nnodes:\n{nodes}");
        self.apply_text(&text).await
    }

    /// Applies a topology.
    pub(crate) async fn apply_text(&self, text: &str) -> Generation {
        let apply = Apply {
            files: vec![File {
                name: "t.yaml".into(),
                text: text.to_owned(),
            }],
            dry_run: false,
            prune: true,
        };
        let applied = self.publisher.apply(&apply, WHO, None).await;
        applied.unwrap().generation
    }

    pub(crate) async fn token(&self, node: &str, uses: u32) -> String {
        let node = node.parse().unwrap();
        self.enrol
            .join_token(&node, Duration::ZERO, uses, WHO)
            .await
            .unwrap()
            .token
    }

    /// A node that has joined by the network.
    pub(crate) async fn joined(&self, node: &str) -> Node {
        let token = self.token(node, 1).await;
        Node::join(self, &token, node).await.unwrap()
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<String> {
        let part = crate::state::Part {
            limit: 10_000,
            ..Default::default()
        };
        let events = self.state.events(part).await.unwrap();
        events
            .into_iter()
            .filter(|event| event.kind == kind)
            .map(|event| event.text)
            .collect()
    }

    pub(crate) async fn refusals(&self) -> Vec<String> {
        let part = crate::state::Part {
            limit: 10_000,
            ..Default::default()
        };
        let audit = self.state.audit(part).await.unwrap();
        audit
            .into_iter()
            .filter_map(|entry| entry.refused)
            .collect()
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    for _ in 0..4_000 {
        if so().await {
            return;
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
