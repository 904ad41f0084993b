//! A mint that does what a test says, and writes down what it was asked.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use runtime::{Clock, Secret};
use tokio::sync::Semaphore;
use wire::time::WallTime;

use super::{Error, Mint, Minted, Wanted};

/// Mints `grant-1`, `grant-2`, … for 24 h, due after one, unless it was told what to answer.
#[derive(Debug)]
pub struct Scripted {
    clock: Clock,
    script: Mutex<Script>,
    gate: Semaphore,
}

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Error>,
    always: Option<Error>,
    asked: Vec<Wanted>,
    anew: usize,
    minted: usize,
}

impl Scripted {
    /// A mint that anybody may ask.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            script: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    /// The next answer is this one.
    pub fn then(&self, error: Error) {
        self.lock().answers.push_back(error);
    }

    /// From now on every answer is this one; none to mint again.
    pub fn always(&self, error: Option<Error>) {
        self.lock().always = error;
    }

    /// Holds every answer back until [`Scripted::open`].
    pub fn shut(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets answers go.
    pub fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Wanted> {
        self.lock().asked.clone()
    }

    /// How often another one was asked for.
    #[must_use]
    pub fn anew(&self) -> usize {
        self.lock().anew
    }

    async fn answer(&self, wanted: &Wanted) -> Result<Minted, Error> {
        self.lock().asked.push(wanted.clone());
        let _open = self.gate.acquire().await;
        let mut script = self.lock();
        if let Some(error) = script.answers.pop_front().or_else(|| script.always.clone()) {
            return Err(error);
        }
        script.minted += 1;
        let now = WallTime(self.clock.wall_ms());
        Ok(Minted {
            token: Secret::new(format!("grant-{}", script.minted)),
            expires: now.plus(Duration::from_secs(86_400)),
            refresh: now.plus(Duration::from_secs(3_600)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Mint for Scripted {
    async fn mint(&self, wanted: &Wanted) -> Result<Minted, Error> {
        self.answer(wanted).await
    }

    async fn mint_anew(&self, wanted: &Wanted, _refused: &Secret) -> Result<Minted, Error> {
        self.lock().anew += 1;
        self.answer(wanted).await
    }
}
