//! A receiver of webhooks: keeps bodies and headers in order of arrival, checks signatures, and can refuse or be slow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::Value;

use crate::eventually::eventually;
use crate::server::{Answer, Record, Recorded, Request, Serve, Server};

pub struct Hook {
    server: Server,
    behaviour: Arc<Behaviour>,
}

struct Behaviour(Mutex<(u16, Duration)>);

impl Serve for Behaviour {
    fn answer(&self, _request: &Request) -> Answer {
        let (status, delay) = *self.0.lock().unwrap();
        let mut answer = Answer::empty(status);
        answer.delivery.delay = delay;
        answer
    }
}

impl Hook {
    pub async fn start() -> Self {
        let behaviour = Arc::new(Behaviour(Mutex::new((200, Duration::ZERO))));
        let serve: Arc<dyn Serve> = Arc::<Behaviour>::clone(&behaviour);
        let server = Server::start("hook", serve).await;
        Self { server, behaviour }
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.server.address())
    }

    pub fn record(&self) -> &Record {
        self.server.record()
    }

    /// From now on it answers with this status; 200 accepts again.
    pub fn answer_with(&self, status: u16) {
        self.behaviour.0.lock().unwrap().0 = status;
    }

    pub fn answer_after(&self, delay: Duration) {
        self.behaviour.0.lock().unwrap().1 = delay;
    }

    pub async fn stop(&self) {
        self.server.stop().await;
    }

    pub async fn resume(&self) {
        self.server.resume().await;
    }

    /// The bodies it accepted, in order of arrival.
    pub fn events(&self) -> Vec<Value> {
        let all = self.record().all();
        let accepted = all.iter().filter(|call| call.status() == 200);
        accepted.map(|call| body(call)).collect()
    }

    /// The accepted events of one action.
    pub fn of_action(&self, action: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["action"] == action);
        events
    }

    /// Waits until there are `count` push events and gives them; more than that is a failure at once.
    pub async fn pushes(&self, count: usize) -> Vec<Value> {
        eventually("the push events arrive", || {
            let pushes = self.of_action("push");
            assert!(
                pushes.len() <= count,
                "more push events than {count}: {pushes:#?}"
            );
            if pushes.len() == count {
                Ok(pushes)
            } else {
                Err(pushes)
            }
        })
        .await
    }

    /// Panics unless every call was signed with `secret`.
    pub fn assert_signed(&self, secret: &str) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        for call in self.record().all() {
            let shown = call.header("x-regmesh-signature").unwrap_or("");
            let signature = shown
                .strip_prefix("sha256=")
                .and_then(|text| hex::decode(text).ok());
            let valid = signature.is_some_and(|tag| hmac::verify(&key, &call.body, &tag).is_ok());
            assert!(valid, "not signed with the webhook's secret: {call:?}");
        }
    }
}

fn body(call: &Recorded) -> Value {
    serde_json::from_slice(&call.body).unwrap_or_else(|error| panic!("no JSON ({error}): {call:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(hook: &Hook, body: &'static str, signature: Option<&str>) -> u16 {
        let mut request = reqwest::Client::new().post(hook.url()).body(body);
        if let Some(signature) = signature {
            request = request.header("X-Regmesh-Signature", signature);
        }
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_accepted_events_count() {
        let hook = Hook::start().await;
        hook.answer_with(500);
        assert_eq!(post(&hook, r#"{"action":"push"}"#, None).await, 500);
        hook.answer_with(200);
        assert_eq!(post(&hook, r#"{"action":"push","n":2}"#, None).await, 200);
        assert_eq!(hook.pushes(1).await[0]["n"], 2);
        assert_eq!(hook.record().len(), 2);
    }

    /// The pair is the one of RFC 4231, test case 2.
    #[tokio::test]
    async fn a_signature_is_the_hmac_of_the_body() {
        let hook = Hook::start().await;
        let right = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        post(&hook, "what do ya want for nothing?", Some(right)).await;
        hook.assert_signed("Jefe");
    }

    #[tokio::test]
    #[should_panic(expected = "not signed")]
    async fn a_missing_signature_is_told() {
        let hook = Hook::start().await;
        post(&hook, "{}", None).await;
        hook.assert_signed("Jefe");
    }
}
