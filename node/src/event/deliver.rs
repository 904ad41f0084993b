//! The webhook call: what the outbox holds for a webhook is sent, signed, in order, until it is taken.
//!
//! Each webhook has a reconciler of its own, so a receiver that is slow or away delays no other. Redirects are not followed;
//! of an answer 8 KiB are read and none is kept. A delivery's outcome is durable before the next of its key is sent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use identity::secret::Secrets;
use runtime::{clock::Clock, egress, reconcile::Reconciler, tasks::Tasks};
use wire::{event::Action, name::WebhookName, time::WallTime};

use super::{Recorder, attempt};
use crate::{
    metric::Metrics,
    store::{
        Store,
        metadata::{Delivery, DeliveryState, EventRecord, Op},
    },
};

/// How many events of one webhook are under way at once; each has another key.
const PARALLEL: usize = 8;
/// What can become of an attempt, as `regmesh_webhook_deliveries_total` has it.
pub(crate) const RESULTS: [&str; 3] = ["delivered", "failed", "retry"];
/// How many undelivered events are looked at in one run.
const WINDOW: usize = 500;
/// How long a receiver may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the outbox may take to record one event.
const OUTBOX: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const MAX_ANSWER: usize = 8 * 1024;
/// How long settled deliveries are kept for `list-events`.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The deliveries of all webhooks in force.
pub struct Deliveries {
    store: Store,
    recorder: Recorder,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    secrets: Secrets,
    declared: Mutex<Vec<topology::model::Webhook>>,
    running: Mutex<HashMap<WebhookName, (topology::model::Webhook, Tasks)>>,
}

impl Deliveries {
    /// With no webhooks yet.
    #[must_use]
    pub fn new(
        store: Store,
        recorder: Recorder,
        clock: Clock,
        metrics: Metrics,
        secrets: Secrets,
        tasks: &Tasks,
    ) -> Self {
        Self {
            store,
            recorder,
            clock,
            metrics,
            secrets,
            tasks: tasks.child("webhooks"),
            declared: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Puts these webhooks in force: new and changed ones start, others stop. What waits in the outbox stays there.
    pub fn apply(&self, webhooks: &[topology::model::Webhook]) {
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = webhooks.to_vec();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, (old, tasks)| {
            let stays = webhooks.iter().any(|new| new == old && new.enabled);
            if !stays {
                tasks.cancel();
            }
            stays
        });
        for webhook in webhooks.iter().filter(|w| w.enabled) {
            if !running.contains_key(&webhook.name) {
                match self.start(webhook) {
                    Ok(tasks) => {
                        drop(running.insert(webhook.name.clone(), (webhook.clone(), tasks)))
                    }
                    Err(reason) => {
                        tracing::error!(webhook = %webhook.name, reason, "this webhook cannot be called")
                    }
                }
            }
        }
    }

    /// Sends a ping to a webhook's receiver now, past the outbox, and says what came of it; `None` when there is no such webhook.
    pub async fn ping(&self, name: &WebhookName) -> Option<wire::api::status::Delivery> {
        let declared = {
            let all = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().find(|webhook| webhook.name == *name).cloned()
        }?;
        let now = || WallTime(self.clock.wall_ms());
        let ping = EventRecord {
            id: uuid::Uuid::now_v7(),
            key: String::new(),
            action: Action::Ping.as_str().to_owned(),
            body: wire::event::ping_body(),
            recorded_at: now(),
        };
        let answer = match self.target(&declared) {
            Ok(target) => tokio::time::timeout(DEADLINE, post(&target, &ping))
                .await
                .unwrap_or_else(|_| Err("no answer within 10 s".to_owned())),
            Err(reason) => Err(reason),
        };
        Some(wire::api::status::Delivery {
            at: now(),
            status: answer.as_ref().ok().copied(),
            error: answer.err(),
            attempts: 1,
        })
    }

    fn target(&self, webhook: &topology::model::Webhook) -> Result<Target, String> {
        let url = url::Url::parse(&webhook.url).map_err(|e| e.to_string())?;
        let host = url.host_str().ok_or("its URL has no host")?;
        let options = egress::Options {
            policy: egress::Policy::naming([host]),
            ..egress::Options::default()
        };
        let client = options.build().map_err(|e| e.to_string())?;
        Ok(Target {
            webhook: webhook.clone(),
            url,
            client,
            secrets: self.secrets.clone(),
        })
    }

    fn start(&self, webhook: &topology::model::Webhook) -> Result<Tasks, String> {
        let target = Arc::new(self.target(webhook)?);
        let tasks = self.tasks.child(webhook.name.as_str());
        let (store, clock, metrics) =
            (self.store.clone(), self.clock.clone(), self.metrics.clone());
        let recorder = self.recorder.clone();
        let every = Duration::from_secs(1);
        let nudge = Reconciler::new("webhook", every).start(&tasks, &self.clock, move || {
            let (target, store, clock, metrics) = (
                Arc::clone(&target),
                store.clone(),
                clock.clone(),
                metrics.clone(),
            );
            let recorder = recorder.clone();
            async move {
                send_held(&target, &store, &recorder, &clock, &metrics).await;
                run(&target, &store, &clock, &metrics).await;
            }
        });
        let (mut news, token) = (self.recorder.news(), tasks.token());
        tasks.spawn("webhook-news", async move {
            loop {
                tokio::select! {
                    () = token.cancelled() => break,
                    changed = news.changed() => if changed.is_err() { break },
                }
                nudge.nudge();
            }
        });
        Ok(tasks)
    }
}

/// Whom to call, and how.
struct Target {
    webhook: topology::model::Webhook,
    url: url::Url,
    client: egress::Client,
    secrets: Secrets,
}

/// What the outbox could not take: recorded if that works by now, else sent from memory.
async fn send_held(
    target: &Target,
    store: &Store,
    recorder: &Recorder,
    clock: &Clock,
    metrics: &Metrics,
) {
    let now = WallTime(clock.steady_ms());
    for (event, delivery) in recorder.held.due(&target.webhook.name, now) {
        let Some(put) = recorder.held.record(event.id) else {
            continue;
        };
        let commit = store.metadata().commit(vec![put]);
        if let Ok(Ok(())) = clock.timeout(OUTBOX, commit).await {
            recorder.held.recorded(event.id);
            continue;
        }
        let after = send(target, &event, &delivery, clock, metrics).await;
        recorder.held.sent(after);
    }
}

async fn run(target: &Target, store: &Store, clock: &Clock, metrics: &Metrics) {
    let name = &target.webhook.name;
    loop {
        let pending = match store.metadata().pending_events(name, WINDOW).await {
            Ok(pending) => pending,
            Err(error) => {
                return tracing::warn!(webhook = %name, %error, "the outbox cannot be read; trying again");
            }
        };
        let now = WallTime(clock.steady_ms());
        let due = attempt::due(&pending, now, PARALLEL);
        if due.is_empty() {
            break;
        }
        let mut sends = Vec::new();
        for (event, delivery) in due.into_iter().filter_map(|index| pending.get(index)) {
            sends.push(send(target, event, delivery, clock, metrics));
        }
        let ops = join_all(sends)
            .await
            .into_iter()
            .map(Op::PutDelivery)
            .collect();
        if let Err(error) = store.metadata().commit(ops).await {
            return tracing::warn!(webhook = %name, %error, "deliveries cannot be recorded; they will be repeated");
        }
    }
    let old = WallTime(clock.steady_ms()).minus(KEEP);
    if store
        .metadata()
        .deliveries(name, 1)
        .await
        .is_ok_and(|d| d.iter().any(|(e, _)| e.recorded_at < old))
    {
        let _ = store
            .metadata()
            .commit(vec![Op::ForgetDeliveries(old)])
            .await;
    }
}

async fn send(
    target: &Target,
    event: &EventRecord,
    delivery: &Delivery,
    clock: &Clock,
    metrics: &Metrics,
) -> Delivery {
    let answer = tokio::time::timeout(DEADLINE, post(target, event))
        .await
        .unwrap_or_else(|_| Err("no answer within 10 s".to_owned()));
    let now = WallTime(clock.steady_ms());
    let after = attempt::after(delivery, event.recorded_at, &answer, now, rand::random());
    let result = match after.state {
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Pending => "retry",
    };
    metrics
        .webhook_deliveries
        .inc([target.webhook.name.as_str(), result]);
    if after.state != DeliveryState::Delivered {
        tracing::warn!(webhook = %target.webhook.name, event = %event.id, attempts = after.attempts, response = after.response, "the receiver did not take an event");
    }
    after
}

async fn post(target: &Target, event: &EventRecord) -> Result<u16, String> {
    let mut request = target
        .client
        .request(http::Method::POST, &target.url)
        .map_err(|e| e.to_string())?;
    request = request
        .header("content-type", "application/json")
        .header("x-regmesh-event-id", event.id.to_string());
    if let Some(secret) = &target.webhook.secret {
        let key = target
            .secrets
            .read(secret)
            .await
            .map_err(|e| e.to_string())?;
        request = request.header(
            "x-regmesh-signature",
            signature(key.expose().as_bytes(), &event.body),
        );
    }
    for (name, value) in &target.webhook.headers {
        request = request.header(name, value);
    }
    let response = request
        .body(event.body.clone())
        .send()
        .await
        .map_err(|e| describe(&e))?;
    let status = response.status().as_u16();
    let mut body = response.bytes_stream();
    let mut read = 0;
    while let Some(Ok(chunk)) = body.next().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            break;
        }
    }
    Ok(status)
}

/// `sha256=` and the HMAC of the body, as receivers check it.
fn signature(key: &[u8], body: &[u8]) -> String {
    use aws_lc_rs::hmac;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body);
    format!("sha256={}", hex::encode(tag.as_ref()))
}

/// Why a call failed, without its URL, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_connect() {
        "cannot connect"
    } else if error.is_timeout() {
        "timed out"
    } else {
        "the call failed"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, error) {
        kind.to_owned()
    } else {
        format!("{kind}: {cause}")
    }
}

#[cfg(test)]
mod tests {
    use super::signature;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_hmac_sha256_in_hexadecimal() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(
            signature(b"Jefe", b"what do ya want for nothing?"),
            expected
        );
    }
}
