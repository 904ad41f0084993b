//! Distribution as the API asks it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use wire::{
    api::ask::{Answer, Question},
    generation::Generation,
    name::NodeName,
};

use crate::{
    ask,
    asking::{Asking, Seen},
    distribute::Distribute,
    enrol::Enrol,
    publish,
};

pub(super) struct Nodes(pub(super) Distribute, pub(super) Arc<Enrol>);

pub(super) fn seen(distribute: &Distribute, enrol: &Enrol) -> Seen {
    Seen {
        nodes: Arc::new(distribute.nodes()),
        shut_out: enrol.shut_out(),
    }
}

#[async_trait]
impl Asking for Nodes {
    fn seen(&self) -> Seen {
        seen(&self.0, &self.1)
    }

    async fn ask(
        &self,
        node: &NodeName,
        question: Question,
        within: Duration,
    ) -> Result<Answer, ask::Error> {
        self.0.ask(node, question, within).await
    }

    async fn recover(&self, who: &str) -> Result<Generation, publish::Error> {
        self.0.recover(who).await
    }
}
