//! One node's stream, as decisions: what to send next, and what to make of what comes. Pure; `link` carries it out.
//!
//! At most one slice is unconfirmed; one that was refused is not sent again, a newer one is. A node ahead of us gets none until an
//! operator confirmed (`ahead`). Every interval one side says something; three silent ones end the stream.
//! Source: `reference/protocols.md` 6.4.

use std::time::Duration;

use tokio::time::Instant;
use wire::generation::Generation;

/// Silent intervals that end a stream.
const SILENT: u32 = 3;

/// How often something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// At least every such interval, each side says something.
    pub heartbeat: Duration,
    /// How often nodes report.
    pub report: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            report: Duration::from_secs(10),
        }
    }
}

/// A slice that was sent and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) nonce: u64,
    pub(super) generation: Generation,
    pub(super) document_digest: String,
}

/// What the node has, was sent and refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    /// In force on the node.
    pub(super) held: Generation,
    /// The document in force on the node.
    pub(super) document_digest: String,
    sent: Option<Sent>,
    /// The newest generation that it has answered or that has nothing for it.
    settled: Generation,
    ahead: bool,
    nonce: u64,
    heard: Instant,
    said: Instant,
}

/// An answer that belongs to nothing that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an answer to a slice that was not sent")]
pub(super) struct NotSent;

impl Stream {
    pub(super) fn new(
        held: Generation,
        document_digest: String,
        ahead: bool,
        now: Instant,
    ) -> Self {
        Self {
            held,
            document_digest,
            sent: None,
            settled: held,
            ahead,
            nonce: 0,
            heard: now,
            said: now,
        }
    }

    /// Whether a slice of `newest` is to be cut and sent now.
    pub(super) fn wants(&self, newest: Generation) -> bool {
        !self.ahead && self.sent.is_none() && newest > self.settled
    }

    /// A slice of `generation` is about to be sent. Returns its nonce, and whether the document may be left out.
    pub(super) fn send(&mut self, generation: Generation, document_digest: &str) -> (u64, bool) {
        self.nonce += 1;
        self.sent = Some(Sent {
            nonce: self.nonce,
            generation,
            document_digest: document_digest.to_owned(),
        });
        (self.nonce, document_digest == self.document_digest)
    }

    /// There is nothing for this node in `generation`.
    pub(super) fn skip(&mut self, generation: Generation) {
        self.settled = self.settled.max(generation);
    }

    /// The node put it in force.
    pub(super) fn ack(&mut self, nonce: u64, generation: Generation) -> Result<Sent, NotSent> {
        let sent = self.answered(nonce, generation)?;
        self.held = sent.generation;
        self.document_digest.clone_from(&sent.document_digest);
        Ok(sent)
    }

    /// The node refused it and keeps what it has.
    pub(super) fn nack(&mut self, nonce: u64, generation: Generation) -> Result<Sent, NotSent> {
        self.answered(nonce, generation)
    }

    fn answered(&mut self, nonce: u64, generation: Generation) -> Result<Sent, NotSent> {
        let fits = |sent: &Sent| sent.nonce == nonce && sent.generation == generation;
        let sent = self.sent.take_if(|sent| fits(sent)).ok_or(NotSent)?;
        self.settled = self.settled.max(generation);
        Ok(sent)
    }

    /// Whether the node is held back; `true` when that changed.
    pub(super) fn set_ahead(&mut self, ahead: bool) -> bool {
        if !ahead && self.ahead {
            // What it holds came from elsewhere: begin again with whatever is newest.
            self.settled = self.held;
        }
        std::mem::replace(&mut self.ahead, ahead) != ahead
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// Whether a heartbeat is due: nothing was said for an interval, less a little, since the timer that asks is the interval's.
    pub(super) fn must_speak(&self, rhythm: Rhythm, now: Instant) -> bool {
        now.saturating_duration_since(self.said) >= rhythm.heartbeat / 2
    }

    /// Whether the node was silent for too long.
    pub(super) fn is_dead(&self, rhythm: Rhythm, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > rhythm.heartbeat * SILENT
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    fn stream(held: u64, ahead: bool) -> Stream {
        Stream::new(
            Generation(held),
            format!("d{held}"),
            ahead,
            Clock::manual(0).now(),
        )
    }

    #[test]
    fn a_slice_is_wanted_when_newer_and_nothing_is_unconfirmed() {
        let sent = |mut stream: Stream, generation| {
            stream.send(Generation(generation), "d");
            stream
        };
        let answered = |mut stream: Stream, good: bool| {
            let (nonce, generation) = (stream.nonce, Generation(5));
            let answer = if good {
                stream.ack(nonce, generation)
            } else {
                stream.nack(nonce, generation)
            };
            answer.unwrap();
            stream
        };
        let cases = [
            ("fresh", stream(0, false), 5, true),
            ("nothing was ever published", stream(0, false), 0, false),
            ("older", stream(4, false), 5, true),
            ("the same", stream(5, false), 5, false),
            ("newer than ours", stream(6, false), 5, false),
            ("ahead", stream(4, true), 5, false),
            ("one is unconfirmed", sent(stream(4, false), 5), 6, false),
            (
                "confirmed",
                answered(sent(stream(4, false), 5), true),
                5,
                false,
            ),
            (
                "confirmed, and there is a newer one",
                answered(sent(stream(4, false), 5), true),
                6,
                true,
            ),
            (
                "refused",
                answered(sent(stream(4, false), 5), false),
                5,
                false,
            ),
            (
                "refused, and there is a newer one",
                answered(sent(stream(4, false), 5), false),
                6,
                true,
            ),
        ];
        for (name, stream, newest, expected) in cases {
            assert_eq!(stream.wants(Generation(newest)), expected, "{name}");
        }
    }

    #[test]
    fn a_refused_slice_leaves_what_was_in_force_and_the_document_is_left_out_only_when_held() {
        let mut stream = stream(4, false);
        assert_eq!(stream.send(Generation(5), "d5"), (1, false));
        stream.nack(1, Generation(5)).unwrap();
        assert_eq!(
            (stream.held, stream.document_digest.as_str()),
            (Generation(4), "d4")
        );
        assert_eq!(stream.send(Generation(6), "d4"), (2, true));
        stream.ack(2, Generation(6)).unwrap();
        assert_eq!(
            (stream.held, stream.document_digest.as_str()),
            (Generation(6), "d4")
        );
        stream.skip(Generation(7));
        assert!(!stream.wants(Generation(7)));
    }

    #[test]
    fn answers_to_what_was_not_sent_change_nothing() {
        let mut stream = stream(4, false);
        assert_eq!(stream.ack(1, Generation(5)), Err(NotSent));
        stream.send(Generation(5), "d5");
        for (nonce, generation) in [(0, 5), (2, 5), (1, 6)] {
            assert_eq!(stream.ack(nonce, Generation(generation)), Err(NotSent));
            assert_eq!(stream.nack(nonce, Generation(generation)), Err(NotSent));
        }
        assert!(stream.ack(1, Generation(5)).is_ok());
        assert_eq!(stream.ack(1, Generation(5)), Err(NotSent), "twice");
    }

    #[test]
    fn a_node_ahead_gets_nothing_until_released_and_then_the_newest() {
        let mut stream = stream(9, true);
        assert!(!stream.wants(Generation(10)));
        assert!(stream.set_ahead(false));
        assert!(stream.wants(Generation(10)));
        assert!(!stream.set_ahead(false), "nothing changed");
    }

    #[test]
    fn silence_is_noticed_in_both_directions() {
        let rhythm = Rhythm::default();
        let clock = Clock::manual(0);
        let mut stream = Stream::new(Generation(0), String::new(), false, clock.now());
        // (seconds since the start, must speak, dead)
        for (seconds, speak, dead) in [
            (1, false, false),
            (10, true, false),
            (30, true, false),
            (31, true, true),
        ] {
            let now = clock.now() + Duration::from_secs(seconds);
            assert_eq!(
                (stream.must_speak(rhythm, now), stream.is_dead(rhythm, now)),
                (speak, dead),
                "{seconds}"
            );
        }
        let now = clock.now() + Duration::from_secs(31);
        stream.heard(now);
        stream.said(now);
        assert_eq!(
            (stream.must_speak(rhythm, now), stream.is_dead(rhythm, now)),
            (false, false)
        );
    }
}
