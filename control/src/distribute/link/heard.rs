//! What a node says on its stream, and what it changes.

use wire::{
    api::problem::Problem,
    generation::Generation,
    node_service::{
        Ack, Answer as AnswerMessage, FromNode, Nack, Report, answer::Outcome, from_node,
    },
};

use super::{End, Farewell, Link};
use crate::report::Invalid;

impl Link {
    pub(super) fn take(&mut self, message: FromNode) -> Result<(), End> {
        self.stream.heard(self.inner.clock.now());
        match message.kind {
            Some(from_node::Kind::Ack(ack)) => self.ack(&ack),
            Some(from_node::Kind::Nack(nack)) => self.nack(&nack),
            Some(from_node::Kind::Heartbeat(beat)) => {
                self.skew(beat.now_ms);
                self.alive();
                Ok(())
            }
            Some(from_node::Kind::Report(report)) => self.report(&report),
            Some(from_node::Kind::Answer(answer)) => {
                self.answer(answer);
                Ok(())
            }
            Some(from_node::Kind::Hello(_)) => Err(End::wrong("hello is said once")),
            // A message of a newer release.
            None => Ok(()),
        }
    }

    fn ack(&mut self, ack: &Ack) -> Result<(), End> {
        let sent = self
            .stream
            .ack(ack.nonce, Generation(ack.generation))
            .map_err(End::wrong)?;
        self.seen.confirm(sent.generation, &sent.document_digest);
        self.publish();
        Ok(())
    }

    fn nack(&mut self, nack: &Nack) -> Result<(), End> {
        let sent = self
            .stream
            .nack(nack.nonce, Generation(nack.generation))
            .map_err(End::wrong)?;
        self.seen.refuse(sent.generation, &nack.problems);
        self.publish();
        let why = self
            .seen
            .refused
            .as_ref()
            .and_then(|refused| refused.problems.first());
        let why = why
            .map(|problem| problem.message.clone())
            .unwrap_or_default();
        let text = format!(
            "{} refused generation {}: {why}",
            self.who(),
            sent.generation
        );
        self.inner.event(&self.node, "slice_refused", text);
        Ok(())
    }

    fn report(&mut self, report: &Report) -> Result<(), End> {
        let now = self.inner.now();
        let before = self.seen.sequence;
        let news = match self
            .seen
            .report(&self.node, report.sequence, &report.report, now)
        {
            Ok(news) => news,
            Err(foreign @ Invalid::OtherNode(_)) => return Err(self.foreign(&foreign)),
            Err(unreadable) => return Err(End::wrong(unreadable)),
        };
        let confirm = (self.own_orders.clone(), report.sequence);
        if !self.inner.journal.tell(news.events, Some(confirm)) {
            // No room: the node keeps it and says it again.
            self.seen.sequence = before;
            return Ok(());
        }
        if news.fresh {
            self.publish();
        }
        Ok(())
    }

    fn foreign(&self, invalid: &Invalid) -> End {
        let text = format!("{}: {invalid}", self.who());
        tracing::warn!(node = %self.node, reason = %invalid, "a node spoke of another");
        self.inner.audit_refusal(&self.node, text);
        End::Told(Farewell::OtherNode)
    }

    fn answer(&mut self, answer: AnswerMessage) {
        // Without a waiter: it was cancelled meanwhile.
        let Some(reply) = self.asked.remove(&answer.id) else {
            return;
        };
        let unreadable = || {
            Problem::new(
                502,
                "bad-answer",
                "the node's answer cannot be read: compare the versions",
            )
        };
        let outcome = match answer.outcome {
            Some(Outcome::Answer(bytes)) => {
                serde_json::from_slice(&bytes).map_err(|_| unreadable())
            }
            Some(Outcome::Problem(bytes)) => {
                Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| unreadable()))
            }
            None => Err(unreadable()),
        };
        // The asker may have gone.
        let _ = reply.send(outcome);
    }
}
