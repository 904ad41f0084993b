//! What a connection has been doing, and when it is due to be closed for not doing it.
//!
//! The watched stream, the response bodies and the connection's loop write down what happens; `due` is the whole policy, as a pure
//! function. A transfer that moves is never due. hyper's own header time-out is not used: it cannot tell an idle connection from a
//! half-sent header.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Config;
use crate::clock::Clock;

/// After a goodbye, this long for what is already written to leave.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It never sent anything.
    FirstByte,
    /// It began a request and did not finish the headers.
    Header,
    /// It has had no request for long: it is asked to go, not cut.
    Idle,
    /// It does not read.
    WriteStall,
    /// It was asked to go and has nothing left to do.
    Closing,
}

/// The state of one connection, shared by all that watch it.
#[derive(Clone)]
pub(super) struct Pulse {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    accepted: Instant,
    read_any: bool,
    http2: bool,
    in_flight: usize,
    /// The first byte of a request whose headers are not complete.
    head_since: Option<Instant>,
    idle_since: Instant,
    /// The socket takes nothing since.
    blocked_since: Option<Instant>,
    last_write: Instant,
    closing_since: Option<Instant>,
    /// Bodies that gave a chunk and were not asked for the next one.
    waiting: BTreeMap<u64, Instant>,
    bodies: u64,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            accepted: now,
            read_any: false,
            http2: false,
            in_flight: 0,
            head_since: None,
            idle_since: now,
            blocked_since: None,
            last_write: now,
            closing_since: None,
            waiting: BTreeMap::new(),
            bodies: 0,
        }
    }
}

/// When the connection is due, and why; `None` while it works.
pub(super) fn due(state: &State, config: &Config) -> Option<(Instant, Cause)> {
    // What hyper still has to write outlives the body it came from.
    let works = state.in_flight > 0 || state.blocked_since.is_some();
    let quiet = (!works).then(|| due_when_quiet(state, config));
    let blocked = state
        .blocked_since
        .map(|since| (since + config.write_stall, Cause::WriteStall));
    [quiet, blocked, due_in_flow_control(state, config)]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
}

fn due_when_quiet(state: &State, config: &Config) -> (Instant, Cause) {
    let quiet_since = state.idle_since.max(state.last_write);
    if let Some(since) = state.closing_since {
        // HTTP/2 may hold the tail of a response that the client's window does not let out yet.
        let linger = if state.http2 {
            config.write_stall
        } else {
            LINGER
        };
        return (since.max(quiet_since) + linger, Cause::Closing);
    }
    if !state.read_any {
        return (
            state.accepted + config.first_byte_deadline,
            Cause::FirstByte,
        );
    }
    match state.head_since {
        Some(since) if !state.http2 => (since + config.header_timeout, Cause::Header),
        _ => (quiet_since + config.keep_alive, Cause::Idle),
    }
}

/// An HTTP/2 client that opens no window blocks no socket: its bodies are just not asked for more.
fn due_in_flow_control(state: &State, config: &Config) -> Option<(Instant, Cause)> {
    let oldest = state.waiting.values().min().filter(|_| state.http2)?;
    let since = (*oldest).max(state.last_write);
    Some((since + config.write_stall, Cause::WriteStall))
}

impl Pulse {
    pub(super) fn new(clock: &Clock) -> Self {
        let state = State::new(clock.now());
        Self {
            state: Arc::new(Mutex::new(state)),
            clock: clock.clone(),
        }
    }

    pub(super) fn due(&self, config: &Config) -> Option<(Instant, Cause)> {
        due(&self.lock(), config)
    }

    /// Bytes of a request arrived.
    pub(super) fn read(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.read_any = true;
        if state.in_flight == 0 {
            state.head_since.get_or_insert(now);
        }
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.last_write = now;
        state.blocked_since = None;
    }

    /// The socket takes no more bytes for now.
    pub(super) fn blocked(&self) {
        let now = self.clock.now();
        self.lock().blocked_since.get_or_insert(now);
    }

    /// The connection was asked to end.
    pub(super) fn closing(&self) {
        let now = self.clock.now();
        self.lock().closing_since.get_or_insert(now);
    }

    /// A request has come in whole; it is in flight until the guard is dropped.
    pub(super) fn request(&self, http2: bool) -> InFlight {
        let mut state = self.lock();
        state.in_flight += 1;
        state.http2 = http2;
        state.head_since = None;
        state.bodies += 1;
        InFlight {
            pulse: self.clone(),
            body: state.bodies,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request being answered.
pub(super) struct InFlight {
    pulse: Pulse,
    body: u64,
}

impl InFlight {
    /// The response's body is asked for more.
    pub(super) fn asked(&self) {
        self.pulse.lock().waiting.remove(&self.body);
    }

    /// The response's body gave a chunk.
    pub(super) fn gave(&self) {
        let now = self.pulse.clock.now();
        self.pulse.lock().waiting.insert(self.body, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = self.pulse.clock.now();
        let mut state = self.pulse.lock();
        state.waiting.remove(&self.body);
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.idle_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_do_nothing_has_its_deadline_and_a_moving_transfer_has_none() {
        let start = Clock::manual(0).now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let config = Config::new(([127, 0, 0, 1], 0).into());
        let new = State::new(start);
        let read = State {
            read_any: true,
            ..new.clone()
        };
        let flying = State {
            in_flight: 1,
            ..read.clone()
        };
        let h2 = State {
            http2: true,
            ..flying.clone()
        };
        let closing = |state: &State| State {
            closing_since: Some(at(5)),
            ..state.clone()
        };
        let cases = [
            ("silent", new.clone(), Some((at(10), Cause::FirstByte))),
            (
                "half a header",
                State {
                    head_since: Some(at(3)),
                    ..read.clone()
                },
                Some((at(13), Cause::Header)),
            ),
            (
                "idle",
                State {
                    idle_since: at(9),
                    ..read.clone()
                },
                Some((at(84), Cause::Idle)),
            ),
            ("working", flying.clone(), None),
            ("working, asked to go", closing(&flying), None),
            (
                "blocked with the rest of a finished body",
                State {
                    blocked_since: Some(at(7)),
                    ..closing(&read)
                },
                Some((at(67), Cause::WriteStall)),
            ),
            (
                "blocked",
                State {
                    blocked_since: Some(at(7)),
                    ..flying.clone()
                },
                Some((at(67), Cause::WriteStall)),
            ),
            (
                "an HTTP/1 body not asked for more",
                State {
                    waiting: [(1, at(7))].into(),
                    ..flying
                },
                None,
            ),
            (
                "no window",
                State {
                    waiting: [(1, at(7)), (2, at(9))].into(),
                    ..h2.clone()
                },
                Some((at(67), Cause::WriteStall)),
            ),
            (
                "no window, yet reading",
                State {
                    waiting: [(1, at(7))].into(),
                    last_write: at(50),
                    ..h2
                },
                Some((at(110), Cause::WriteStall)),
            ),
            (
                "idle, asked to go",
                closing(&read),
                Some((at(6), Cause::Closing)),
            ),
            (
                "silent, asked to go",
                closing(&new),
                Some((at(6), Cause::Closing)),
            ),
            (
                "writing its tail, asked to go",
                State {
                    last_write: at(20),
                    ..closing(&read)
                },
                Some((at(21), Cause::Closing)),
            ),
        ];
        for (name, state, expected) in cases {
            assert_eq!(due(&state, &config), expected, "{name}");
        }
    }
}
