//! A listener where nothing should ever arrive: it records every connection and every byte, and answers so that who asks goes on.
//!
//! What it says is scripted by hand: as a redirect's target it may hand out bytes, as a realm a token. Its record is searched for
//! secrets whatever it was for.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::server::{Answer, Record, Request, Serve, Server};

pub struct Thief {
    server: Server,
}

struct Greedy(Answer);

impl Serve for Greedy {
    fn answer(&self, _request: &Request) -> Answer {
        self.0.clone()
    }
}

impl Thief {
    /// Answers 200 with a token, the most welcome thing a realm can say.
    pub async fn start() -> Self {
        let body =
            serde_json::json!({"token": "stolen", "access_token": "stolen", "expires_in": 300});
        Self::answering(Answer::json(200, &body)).await
    }

    pub async fn answering(answer: Answer) -> Self {
        let server = Server::start("thief", Arc::new(Greedy(answer))).await;
        Self { server }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn record(&self) -> &Record {
        self.server.record()
    }

    /// Panics with what arrived, if anything did.
    pub fn assert_silent(&self) {
        let record = self.record();
        assert!(record.is_empty(), "the thief was visited: {record:#?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "canary-of-this-test")]
    async fn a_visit_is_told_with_all_it_carried() {
        let thief = Thief::start().await;
        thief.assert_silent();
        let request = reqwest::Client::new()
            .get(thief.url())
            .bearer_auth("canary-of-this-test");
        request.send().await.unwrap();
        thief.assert_silent();
    }
}
