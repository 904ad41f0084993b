//! Tokens in hand, of one rule at one upstream.
//!
//! One object per rule, so nothing in it can be borrowed; inside, a token is found by everything that it was granted for:
//! version of the proof, realm, service, sorted scopes. Lives are counted on the monotonic clock from receipt. Bounded: when
//! full, what ended goes first, then what ends soonest. Nothing here is ever written to disk.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runtime::Secret;
use tokio::time::Instant;

use super::reply::{Granted, renew_after};

/// How many tokens are kept for one rule.
const MAX_TOKENS: usize = 2048;
/// How long after a failed renewal the next one is tried while the old token still works.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// What a token was granted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Of the proof.
    pub(super) version: u64,
    pub(super) realm: String,
    pub(super) service: Option<String>,
    /// Sorted.
    pub(super) scopes: Vec<String>,
}

/// A token to send, and which one it is.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) serial: u64,
}

/// What is in hand for a key.
#[derive(Debug)]
pub(super) enum Found {
    /// Send it.
    Good(Token),
    /// Send it, and get the next one meanwhile.
    Due(Token),
    /// Nothing that works.
    Nothing,
}

#[derive(Debug)]
struct Held {
    token: Token,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Key, Held>,
    /// Refresh tokens, whatever the scope.
    refresh: HashMap<Key, Secret>,
    serial: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    state: Mutex<State>,
}

impl Key {
    /// The same for another version of the proof.
    pub(super) fn of(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    /// The same without scopes: what a refresh token is kept under.
    pub(super) fn login(&self) -> Self {
        Self {
            scopes: Vec::new(),
            ..self.clone()
        }
    }
}

impl Tokens {
    pub(super) fn find(&self, key: &Key, now: Instant) -> Found {
        let mut state = self.lock();
        let Some(held) = state.held.get_mut(key).filter(|held| held.ends_at > now) else {
            return Found::Nothing;
        };
        let token = held.token.clone();
        if held.renew_at > now {
            return Found::Good(token);
        }
        // Whoever is told starts the renewal; should it fail, the next one is not due at once.
        held.renew_at = now + RENEW_AGAIN;
        Found::Due(token)
    }

    /// Keeps what was granted at `now`, and forgets what earlier versions of the proof were granted.
    pub(super) fn keep(&self, key: &Key, granted: Granted, now: Instant) -> Token {
        let mut state = self.lock();
        state.serial += 1;
        let token = Token {
            secret: granted.token,
            serial: state.serial,
        };
        state
            .held
            .retain(|other, held| other.version >= key.version && held.ends_at > now);
        state
            .refresh
            .retain(|other, _| other.version >= key.version);
        state.make_room();
        let held = Held {
            token: token.clone(),
            renew_at: now + renew_after(granted.life),
            ends_at: now + granted.life,
        };
        state.held.insert(key.clone(), held);
        if let Some(refresh) = granted.refresh {
            state.refresh.insert(key.login(), refresh);
        }
        token
    }

    /// Forgets this very token; a newer one under the same key stays.
    pub(super) fn drop_one(&self, serial: u64) {
        self.lock()
            .held
            .retain(|_, held| held.token.serial != serial);
    }

    /// Forgets everything: whoever it was given to lost the right to it.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.held.clear();
        state.refresh.clear();
    }

    pub(super) fn refresh_token(&self, key: &Key) -> Option<Secret> {
        self.lock().refresh.get(&key.login()).cloned()
    }

    /// Keeps what an exchange gave, and forgets what earlier versions of the proof were given.
    pub(super) fn keep_refresh_token(&self, key: &Key, refresh: Secret) {
        let mut state = self.lock();
        state
            .refresh
            .retain(|other, _| other.version >= key.version);
        if state.refresh.len() >= MAX_TOKENS {
            state.refresh.clear();
        }
        state.refresh.insert(key.login(), refresh);
    }

    /// Forgets this very refresh token; a newer one stays.
    pub(super) fn drop_refresh_token(&self, key: &Key, refresh: &Secret) {
        let mut state = self.lock();
        let login = key.login();
        let same = |kept: &Secret| kept.expose() == refresh.expose();
        if state.refresh.get(&login).is_some_and(same) {
            state.refresh.remove(&login);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_room(&mut self) {
        if self.refresh.len() >= MAX_TOKENS {
            self.refresh.clear();
        }
        while self.held.len() >= MAX_TOKENS {
            let soonest = self.held.iter().min_by_key(|(_, held)| held.ends_at);
            let Some(key) = soonest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.held.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    fn key(version: u64, scope: &str) -> Key {
        Key {
            version,
            realm: "https://r/token".into(),
            service: None,
            scopes: vec![scope.into()],
        }
    }

    fn granted(token: &str, life: u64) -> Granted {
        Granted {
            token: Secret::from(token),
            life: Duration::from_secs(life),
            refresh: Some(Secret::from("refresh")),
        }
    }

    #[test]
    fn a_token_is_good_then_due_once_then_gone() {
        let (tokens, clock) = (Tokens::default(), Clock::manual(0));
        let key = key(1, "a");
        tokens.keep(&key, granted("t", 300), clock.now());
        clock.advance(Duration::from_secs(149));
        assert!(matches!(tokens.find(&key, clock.now()), Found::Good(_)));
        clock.advance(Duration::from_secs(1));
        assert!(matches!(tokens.find(&key, clock.now()), Found::Due(_)));
        assert!(matches!(tokens.find(&key, clock.now()), Found::Good(_)));
        clock.advance(RENEW_AGAIN);
        assert!(matches!(tokens.find(&key, clock.now()), Found::Due(_)));
        clock.advance(Duration::from_secs(145));
        assert!(matches!(tokens.find(&key, clock.now()), Found::Nothing));
    }

    #[test]
    fn scope_service_realm_and_version_keep_tokens_apart() {
        let (tokens, clock) = (Tokens::default(), Clock::manual(0));
        let now = clock.now();
        tokens.keep(&key(1, "a"), granted("t", 300), now);
        let other_service = Key {
            service: Some("s".into()),
            ..key(1, "a")
        };
        let other_realm = Key {
            realm: "https://q/token".into(),
            ..key(1, "a")
        };
        for other in [key(1, "b"), key(2, "a"), other_service, other_realm] {
            assert!(
                matches!(tokens.find(&other, now), Found::Nothing),
                "{other:?}"
            );
        }
        assert!(tokens.refresh_token(&key(1, "b")).is_some());
        tokens.keep(&key(2, "b"), granted("u", 300), now);
        assert!(matches!(tokens.find(&key(1, "a"), now), Found::Nothing));
        assert!(tokens.refresh_token(&key(1, "a")).is_none());
    }

    #[test]
    fn only_the_token_that_was_refused_is_dropped() {
        let (tokens, clock) = (Tokens::default(), Clock::manual(0));
        let (key, now) = (key(1, "a"), clock.now());
        let first = tokens.keep(&key, granted("t", 300), now);
        tokens.keep(&key, granted("u", 300), now);
        tokens.drop_one(first.serial);
        let Found::Good(token) = tokens.find(&key, now) else {
            unreachable!("the second one stays");
        };
        assert_eq!(token.secret.expose(), "u");
        tokens.drop_one(token.serial);
        assert!(matches!(tokens.find(&key, now), Found::Nothing));
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let (tokens, clock) = (Tokens::default(), Clock::manual(0));
        let now = clock.now();
        for n in 0..=MAX_TOKENS {
            let life = if n == 7 { 100 } else { 300 };
            tokens.keep(&key(1, &n.to_string()), granted("t", life), now);
        }
        assert_eq!(tokens.lock().held.len(), MAX_TOKENS);
        assert!(matches!(tokens.find(&key(1, "7"), now), Found::Nothing));
    }
}
