//! A source that shows what a test gave it, until the test gives it something else.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use runtime::Secret;

use super::{Error, Presented, Proof, TokenSource};

/// Shows the same proof, or fails the same way, each time.
#[derive(Debug)]
pub struct Fixed {
    answer: Mutex<Result<Presented, Error>>,
}

impl Fixed {
    /// Always this answer.
    #[must_use]
    pub fn new(answer: Result<Presented, Error>) -> Self {
        Self {
            answer: Mutex::new(answer),
        }
    }

    /// Always this user name and password, in version 1.
    #[must_use]
    pub fn password(username: &str, password: &str) -> Self {
        Self::new(Ok(Presented {
            proof: Proof::Password {
                username: Secret::from(username),
                password: Secret::from(password),
            },
            version: 1,
        }))
    }

    /// From now on this answer.
    pub fn set(&self, answer: Result<Presented, Error>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

#[async_trait]
impl TokenSource for Fixed {
    fn kind(&self) -> &'static str {
        "fixed"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        answer.clone()
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_conforms() {
        super::super::conformance::check(&super::Fixed::password("robot", "hunter2")).await;
    }
}
