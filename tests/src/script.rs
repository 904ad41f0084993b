//! What the scripted upstream does wrong, when, and how often.
//!
//! Without a script an [`crate::Origin`] is an honest registry. A script names requests and a list of faults that change the honest
//! answer one after the other. The first script that matches and is not used up plays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wire::digest::Digest;

use crate::origin::Shelf;
use crate::server::{Answer, Request};

pub mod fault;

pub use crate::server::Cut;
pub use fault::Fault;

type Condition = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
type Effect = Arc<dyn Fn(&Shelf) + Send + Sync>;

/// Which requests are meant. Every condition added must hold.
#[derive(Clone, Default)]
pub struct When(Vec<Condition>);

impl When {
    pub fn any() -> Self {
        Self::default()
    }

    pub fn get() -> Self {
        Self::any().method("GET")
    }

    pub fn head() -> Self {
        Self::any().method("HEAD")
    }

    pub fn method(self, method: &'static str) -> Self {
        self.also(move |request| request.method == method)
    }

    pub fn blob(self, digest: &Digest) -> Self {
        self.path_ends(format!("/blobs/{digest}"))
    }

    pub fn blobs(self) -> Self {
        self.also(|request| request.path.contains("/blobs/"))
    }

    /// By tag or digest.
    pub fn manifest(self, reference: impl std::fmt::Display) -> Self {
        self.path_ends(format!("/manifests/{reference}"))
    }

    pub fn manifests(self) -> Self {
        self.also(|request| request.path.contains("/manifests/"))
    }

    pub fn repository(self, name: &str) -> Self {
        let start = format!("/v2/{name}/");
        self.also(move |request| request.path.starts_with(&start))
    }

    pub fn token(self) -> Self {
        self.also(|request| request.path == "/token")
    }

    pub fn path_ends(self, end: impl Into<String>) -> Self {
        let end = end.into();
        self.also(move |request| request.path.ends_with(&end))
    }

    /// With a `Range`.
    pub fn ranged(self) -> Self {
        self.also(|request| request.header("range").is_some())
    }

    pub fn also(mut self, condition: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.0.push(Arc::new(condition));
        self
    }

    pub fn holds(&self, request: &Request) -> bool {
        self.0.iter().all(|condition| condition(request))
    }
}

/// Faults for matching requests. Clones share how often it was used.
#[derive(Clone)]
pub struct Script {
    when: When,
    faults: Vec<Fault>,
    then: Option<Effect>,
    skip: usize,
    times: usize,
    met: Arc<AtomicUsize>,
}

impl Script {
    /// Plays on every match until [`Script::times`] says otherwise.
    pub fn new(when: When, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            when,
            faults: faults.into_iter().collect(),
            then: None,
            skip: 0,
            times: usize::MAX,
            met: Arc::default(),
        }
    }

    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Lets so many matches pass untouched first.
    pub fn skip(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// What changes on the shelf right after the answer was decided: a tag that moves between HEAD and GET.
    pub fn then(mut self, effect: impl Fn(&Shelf) + Send + Sync + 'static) -> Self {
        self.then = Some(Arc::new(effect));
        self
    }

    /// How often a request matched, skipped ones and those after the last play included.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }

    /// Whether it is this script's turn; counts the match.
    pub(crate) fn takes(&self, request: &Request) -> bool {
        if !self.when.holds(request) {
            return false;
        }
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        number >= self.skip && number - self.skip < self.times
    }

    /// Plays on top of what `honest` answers.
    pub(crate) fn play(
        &self,
        request: &Request,
        shelf: &Shelf,
        honest: impl Fn(&Request) -> Answer,
    ) -> Answer {
        let mut request = request.clone();
        if self.faults.iter().any(|f| matches!(f, Fault::IgnoreRange)) {
            request.headers.retain(|(name, _)| name != "range");
        }
        let answer = self
            .faults
            .iter()
            .fold(honest(&request), |answer, fault| fault.apply(answer));
        if let Some(effect) = &self.then {
            effect(shelf);
        }
        answer
    }
}
