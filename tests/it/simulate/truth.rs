//! What is true, to judge answers by: which images there are, where each tag was when, and what was seen to be wrong.
//!
//! Times are those of a clock that nobody sets. A violation does not end the run: the first one is seldom alone, and the log says
//! what led to it.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use runtime::Clock;
use tests::Image;
use tokio::time::Instant;
use wire::digest::Digest;

use super::plan::{Name, Place, SITES};

/// Shared by everything that happens in one run.
pub(super) struct Truth {
    pub(super) clock: Clock,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    moves: HashMap<Name, Vec<(Duration, Digest)>>,
    images: HashMap<Digest, Image>,
    leaps: Vec<(Duration, Duration)>,
    lied: bool,
    /// By site, its run and name: when a fresh answer ended, and which of the tag's places it showed.
    seen: HashMap<(Place, u32, Name), Vec<(Duration, usize)>>,
    log: Vec<String>,
    broken: Vec<String>,
}

/// A fresh or stale answer to a request by tag.
pub(super) struct Sight {
    pub(super) place: Place,
    pub(super) run: u32,
    pub(super) name: Name,
    pub(super) began: Duration,
    pub(super) digest: Digest,
    /// Marked by a `Warning`.
    pub(super) is_stale: bool,
    /// How old a fresh answer may be at this site.
    pub(super) bound: Duration,
}

impl Truth {
    pub(super) fn new() -> Self {
        let clock = Clock::manual(1_800_000_000_000);
        Self {
            start: clock.now(),
            clock,
            state: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now() - self.start
    }

    pub(super) fn log(&self, what: impl Display) {
        let line = format!("{:>9.3} {what}", self.now().as_secs_f64());
        self.lock().log.push(line);
    }

    /// An invariant does not hold.
    pub(super) fn broken(&self, invariant: &str, what: impl Display) {
        let line = format!("{invariant} at {:.3}: {what}", self.now().as_secs_f64());
        self.log(format!("!!! {line}"));
        self.lock().broken.push(line);
    }

    /// What was broken, and everything that happened.
    pub(super) fn verdict(&self) -> (Vec<String>, Vec<String>) {
        let state = self.lock();
        (state.broken.clone(), state.log.clone())
    }

    pub(super) fn knows(&self, image: &Image) {
        let mut state = self.lock();
        state.images.insert(image.digest.clone(), image.clone());
    }

    pub(super) fn moved(&self, name: Name, digest: &Digest) {
        let now = self.now();
        let mut state = self.lock();
        let moves = state.moves.entry(name).or_default();
        moves.push((now, digest.clone()));
    }

    pub(super) fn leapt(&self, by: Duration) {
        let now = self.now();
        self.lock().leaps.push((now, by));
    }

    /// The origin sends wrong bytes from now on, now and then.
    pub(super) fn lies(&self) {
        self.lock().lied = true;
    }

    pub(super) fn lied(&self) -> bool {
        self.lock().lied
    }

    /// Whether everybody slept since then, and connections may have been found too old.
    pub(super) fn leapt_since(&self, then: Duration) -> bool {
        self.lock().leaps.iter().any(|(at, _)| *at >= then)
    }

    /// Where a tag is.
    pub(super) fn current(&self, name: Name) -> Image {
        self.places(name).pop().expect("every tag is somewhere")
    }

    /// Everywhere a tag was, the last place last.
    pub(super) fn places(&self, name: Name) -> Vec<Image> {
        let state = self.lock();
        let moves = state.moves.get(&name).map_or(&[][..], Vec::as_slice);
        let image = |(_, digest): &(Duration, Digest)| state.images[digest].clone();
        moves.iter().map(image).collect()
    }

    pub(super) fn image(&self, digest: &Digest) -> Option<Image> {
        self.lock().images.get(digest).cloned()
    }

    /// I4: how old an answer by tag is, and that a site never goes back while it runs.
    pub(super) fn judge(&self, sight: &Sight) {
        let now = self.now();
        let mut state = self.lock();
        let moves = state.moves.get(&sight.name).cloned().unwrap_or_default();
        let shown = |(at, digest): &(Duration, Digest)| *digest == sight.digest && *at <= now;
        let Some(index) = moves.iter().rposition(shown) else {
            drop(state);
            return self.broken("I4", format!("{sight} was never there: {moves:?}"));
        };
        if sight.is_stale {
            return;
        }
        // Whoever slept in the meantime could not know better.
        let slept: Duration = state
            .leaps
            .iter()
            .map(|(at, by)| recent(*at, *by, sight))
            .sum();
        let oldest = sight.began.saturating_sub(sight.bound + slept);
        let left = moves.get(index + 1).map(|(at, _)| *at);
        if left.is_some_and(|left| left < oldest) {
            drop(state);
            return self.broken("I4", format!("{sight} left at {left:?}, oldest {oldest:?}"));
        }
        let key = (sight.place, sight.run, sight.name);
        let seen = state.seen.entry(key).or_default();
        let before = seen.iter().filter(|(end, _)| *end < sight.began);
        let newest = before.map(|(_, index)| *index).max();
        seen.push((now, index));
        drop(state);
        if newest.is_some_and(|newest| newest > index) {
            self.broken(
                "I4",
                format!("{sight} is place {index}, after {newest:?} was shown"),
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn recent(at: Duration, by: Duration, sight: &Sight) -> Duration {
    let matters = at + by + sight.bound >= sight.began;
    if matters { by } else { Duration::ZERO }
}

impl Display for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name: (repository, tag),
            digest,
            began,
            ..
        } = self;
        let site = SITES[self.place];
        write!(
            f,
            "{site} {repository}:{tag} = {digest:.20}, asked at {began:?}"
        )
    }
}
