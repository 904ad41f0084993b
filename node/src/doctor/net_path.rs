//! `NET-PATH`: the way to each upstream from here: name, TCP, TLS chain, its `network`, and how far its clock is from ours.

use std::time::Duration;

use super::{Finding, Patient, UPSTREAMS, ago, found, of_each};
use wire::time::WallTime;

use crate::upstream::reach::{Reach, Step};

/// How far clocks may differ: the leeway that tokens are given.
const SKEW: Duration = Duration::from_secs(60);
/// From then on certificates and tokens are refused.
const FAR_OFF: Duration = Duration::from_secs(300);
/// How long before its end a certificate is told of; one of a short life in the last quarter of it.
const ENDING: Duration = Duration::from_secs(14 * 24 * 3600);

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let upstreams = patient.upstreams();
    if upstreams.is_empty() {
        return vec![Finding::skipped(None, "no rule is in force")];
    }
    let count = upstreams.len().min(UPSTREAMS);
    let findings = of_each(upstreams, |active| async move {
        let reach = active.upstream.reach().await;
        judged(active.upstream.name(), &reach, patient)
    });
    found(
        findings.await,
        format!(
            "{count} upstreams answer, in time and with a good certificate where they have one"
        ),
    )
}

fn judged(name: &str, reach: &Reach, patient: &Patient) -> Vec<Finding> {
    let subject = || Some(format!("upstream {name}"));
    let mut findings = Vec::new();
    if let Some(blocked) = &reach.blocked {
        findings.push(Finding::failed(
            subject(),
            reach.describe(),
            fix(blocked.step),
        ));
    }
    findings.extend(skew(subject(), reach));
    findings.extend(ending(subject(), reach, patient.now()));
    findings
}

fn ending(subject: Option<String>, reach: &Reach, now: WallTime) -> Option<Finding> {
    let certificate = reach.certificate?;
    let left = now.age(certificate.ends).unwrap_or_default();
    if left >= ENDING.min(certificate.life / 4) {
        return None;
    }
    let text = format!("{}: its certificate ends in {}", reach.at, ago(left));
    let fix = match certificate.renews_itself {
        true => {
            "a node renews its certificate at half of its life, and this one could not: see its log and whether it reaches the control plane; pulls that are not stored fail when it ends"
        }
        false => {
            "have it renewed at the upstream before it ends; pulls that are not stored fail from then on"
        }
    };
    Some(Finding::warning(subject, text, fix))
}

fn skew(subject: Option<String>, reach: &Reach) -> Option<Finding> {
    let ahead = reach.ahead_ms?;
    let off = Duration::from_millis(ahead.unsigned_abs());
    if off <= SKEW {
        return None;
    }
    let word = if ahead > 0 { "ahead of" } else { "behind" };
    let text = format!(
        "{}: its clock is {} {word} this machine's",
        reach.at,
        ago(off)
    );
    let fix = "let both machines keep time (chrony, systemd-timesyncd): tokens and certificates are judged by it";
    Some(match off > FAR_OFF {
        true => Finding::failed(subject, text, fix),
        false => Finding::warning(subject, text, fix),
    })
}

fn fix(step: Step) -> &'static str {
    match step {
        Step::Rule => {
            "mend the rule, its credential or the upstream's `ca`, as the text says, and apply"
        }
        Step::Name => {
            "check the upstream's host in the topology, and this machine's resolver (/etc/resolv.conf, the cluster's DNS)"
        }
        Step::Policy => {
            "only hosts that the topology names may be at private addresses, link-local and metadata addresses never: name the real host, and check what its name resolves to"
        }
        Step::Connect => {
            "is the upstream running, and do firewalls and network policies between let this machine connect to that port?"
        }
        Step::Tls => {
            "the certificate must be valid for that host: a private authority is named under `upstreams: HOST: ca: FILE`; is the machine's clock right?"
        }
        Step::Answer => {
            "the upstream takes connections and does not answer as a registry: look at its log, and at proxies between"
        }
        Step::LetIn => {
            "add this node's address to `network.allow` of the upstream node, or let mesh nodes in with `trustMeshPeers: true`"
        }
    }
}
