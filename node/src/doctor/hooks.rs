//! `HOOKS`: the receivers of webhooks can be connected to, take what they are sent, and their secrets can be read.
//!
//! Nothing is sent: receivers act on what they get. `regmesh webhook ping` sends one when somebody wants to see it arrive.

use runtime::egress;
use topology::model::Webhook;
use url::Url;

use super::{Finding, Patient, found, of_each};
use crate::store::metadata::{Delivery, DeliveryState};

/// How many of its last deliveries are looked at.
const LAST: usize = 20;
/// How many events may wait without being told of.
const QUEUE: u64 = 1000;

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let own = patient.topology.node(&patient.node);
    let webhooks = own.map(|own| own.webhooks.as_slice()).unwrap_or_default();
    let enabled = webhooks.iter().filter(|webhook| webhook.enabled);
    let enabled: Vec<Webhook> = enabled.cloned().collect();
    if enabled.is_empty() {
        return vec![Finding::skipped(None, "no webhook is in force")];
    }
    let counts = patient.store.metadata().pending_counts().await;
    let counts = counts.unwrap_or_default();
    let count = enabled.len();
    let findings = of_each(enabled, |webhook| {
        let queued = counts.iter().find(|(name, _)| *name == webhook.name);
        let queued = queued.map_or(0, |(_, queued)| *queued);
        async move { one(patient, &webhook, queued).await.into_iter().collect() }
    })
    .await;
    found(
        findings,
        format!("{count} receivers can be connected to and take what they are sent"),
    )
}

async fn one(patient: &Patient, webhook: &Webhook, queued: u64) -> Option<Finding> {
    let name = &webhook.name;
    let subject = || Some(format!("webhook {name}"));
    let ping = format!(
        "mend the receiver, then `regmesh webhook ping -n {name}`; events are kept and sent again for 24 h, in order"
    );
    if let Some(secret) = &webhook.secret
        && let Err(error) = patient.secrets.read(secret).await
    {
        let text =
            format!("the key of its signature cannot be read: {error}; {queued} events wait");
        let fix = "put the secret where the webhook says, readable for the node's user; deliveries go on by themselves";
        return Some(Finding::failed(subject(), text, fix));
    }
    if let Err(blocked) = connect(webhook).await {
        let text = format!("its receiver cannot be connected to: {blocked}; {queued} events wait");
        return Some(Finding::failed(subject(), text, ping));
    }
    let last = patient.store.metadata().deliveries(name, LAST).await;
    let last: Vec<Delivery> = last
        .unwrap_or_default()
        .into_iter()
        .map(|(_, sent)| sent)
        .collect();
    if let Some(refused) = last.iter().find(|sent| is_refused(sent)) {
        let said = refused.response.as_deref().unwrap_or("no answer");
        let text = format!(
            "its receiver does not take what it is sent ({said}, {} attempts); {queued} events wait",
            refused.attempts
        );
        return Some(Finding::failed(subject(), text, ping));
    }
    (queued > QUEUE).then(|| {
        let text = format!("{queued} events wait for it: it takes them more slowly than they come");
        let fix = "let the receiver answer at once and work afterwards, or narrow the webhook's `scope` and `actions`; beyond 100,000 events the oldest are dropped";
        Finding::warning(subject(), text, fix)
    })
}

fn is_refused(delivery: &Delivery) -> bool {
    match delivery.state {
        DeliveryState::Delivered => false,
        DeliveryState::Failed => true,
        DeliveryState::Pending => delivery.attempts > 0,
    }
}

async fn connect(webhook: &Webhook) -> Result<(), String> {
    let url = Url::parse(&webhook.url).map_err(|error| error.to_string())?;
    let options = egress::Options {
        policy: egress::Policy::naming(url.host_str()),
        ..egress::Options::default()
    };
    let client = options.build().map_err(|error| error.to_string())?;
    let way = client.probe(&url).await;
    way.map(|_| ()).map_err(|blocked| blocked.to_string())
}
