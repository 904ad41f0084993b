//! `CRED-HEALTH`: the secret can be read, a token is granted, *pull on this repository* is granted.
//!
//! Asked rule by rule with the rule's own credential, the way `upstream::grant` asks: 401, 403 and a disguised 404 are three
//! findings. An upstream that cannot be reached says nothing about a credential; that is `NET-PATH`'s.

use topology::model::rule::{Authentication, UpstreamRef};
use wire::{reference::Reference, refusal::Refusal};

use super::{Finding, Patient, UPSTREAMS, finding::worst_first, found, of_each, request};
use crate::{
    rule::{ActiveRule, describe::as_whom},
    upstream::{
        Patience,
        grant::{self, Answer, Grant, Question},
        pool,
    },
};

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let mut rules = patient.working();
    if let Some(set) = &patient.credentials {
        rules.retain(|active| {
            active.rule.authentication == Authentication::Credentials(set.clone())
        });
    }
    if rules.is_empty() {
        return vec![Finding::skipped(
            None,
            "no rule is in force that could be asked",
        )];
    }
    let asked = rules.len().min(UPSTREAMS);
    let mut findings = of_each(rules.clone(), |active| async move {
        let finding = rule(patient, &active).await;
        let told = patient.credentials.is_some();
        let well = || told.then(|| Finding::ok_of(Some(subject(&active)), WELL));
        finding.or_else(well).into_iter().collect()
    })
    .await;
    // Whoever is not well has one finding, and nobody else has.
    let granted = asked.saturating_sub(findings.len());
    if rules.len() > asked {
        let text = format!("{} more rules were not asked about", rules.len() - asked);
        findings.push(Finding::skipped(None, text));
    }
    if patient.credentials.is_some() {
        return findings;
    }
    match granted {
        0 => worst_first(findings),
        all if all == asked => found(findings, well_of(&all.to_string())),
        some => found(findings, well_of(&format!("{some} of {asked}"))),
    }
}

fn well_of(rules: &str) -> String {
    format!("the credentials of {rules} rules can be read, and their upstreams grant the pull")
}

const WELL: &str = "the credential can be read, and the upstream grants the pull";

async fn rule(patient: &Patient, active: &ActiveRule) -> Option<Finding> {
    let subject = Some(subject(active));
    if let Some(reason) = unreadable(patient, active).await {
        let text = format!("{}: {reason}", Refusal::SecretUnavailable);
        return Some(Finding::failed(
            subject,
            text,
            fix(Refusal::SecretUnavailable, &active.rule.authentication),
        ));
    }
    let example = patient.example(active).await.unwrap_or_default();
    let Some((here, covered)) = example else {
        let text = "nothing was pulled through it yet, so there is no repository to ask about: `regmesh explain` asks about any";
        return Some(Finding::skipped(subject, text));
    };
    let metadata = patient.store.metadata();
    let tags = metadata.tags(&here, None, 1).await.unwrap_or_default();
    let tag = tags.into_iter().flatten().next().map(Reference::Tag);
    let question = Question {
        repository: &covered.source,
        reference: tag.as_ref(),
        is_node: matches!(active.rule.source.upstream, UpstreamRef::Node(_)),
    };
    let request = request();
    let asked = grant::ask(&*active.upstream, question, Patience::Long, &request);
    judged(subject, &active.rule.authentication, &asked.await)
}

fn subject(active: &ActiveRule) -> String {
    let rule = &active.rule;
    format!("rule {} ({})", rule.name, as_whom(rule))
}

/// Why the rule's credential set cannot be read; none when it can, or when the rule has none.
async fn unreadable(patient: &Patient, active: &ActiveRule) -> Option<String> {
    let Authentication::Credentials(name) = &active.rule.authentication else {
        return None;
    };
    let set = patient.topology.credentials.get(name)?;
    let secrets = patient
        .secrets
        .reading_as(pool::reader_of(set, &patient.topology));
    for reference in [&set.username, &set.password] {
        if let Err(error) = secrets.read(reference).await {
            return Some(error.to_string());
        }
    }
    None
}

fn judged(subject: Option<String>, as_whom: &Authentication, grant: &Grant) -> Option<Finding> {
    let refusal = grant.refusal?;
    let fix = |refusal| fix(refusal, as_whom);
    let text = format!("{refusal}: {}", grant.detail);
    let about_us = matches!(
        refusal,
        Refusal::SecretUnavailable | Refusal::IdentityTokenFailed | Refusal::IdentityNotAttached
    );
    match (grant.granted, &grant.answer) {
        (Some(true), _) => None,
        (Some(false), _) => Some(Finding::failed(subject, text, fix(refusal))),
        (None, _) if about_us => Some(Finding::failed(subject, text, fix(refusal))),
        (None, Answer::Failed(error)) if error.is_away() => Some(Finding::skipped(
            subject,
            format!("{text}; see NET-PATH and QUOTA"),
        )),
        (None, _) => Some(Finding::warning(subject, text, fix(refusal))),
    }
}

fn fix(refusal: Refusal, as_whom: &Authentication) -> &'static str {
    let is_identity = matches!(as_whom, Authentication::Identity(_));
    match refusal {
        Refusal::UpstreamUnauthorized if is_identity => {
            "who is named there does not take what this identity shows: at a foreign token service or Entra see whom it trusts (issuer, subject, audience) and whether it knows the client; at the upstream whether it is connected and at the newest generation, and that it is a registry of the identity's kind; and whether the clocks agree"
        }
        Refusal::UpstreamUnauthorized => {
            "the user name or password is wrong, expired or revoked: put the new one where the credential set points to, or give the rule a credential; it is in force with the next request"
        }
        Refusal::UpstreamDenied => {
            "give this identity the right to pull that repository at the upstream (a regmesh node: `regmesh role assign`, role repository-reader)"
        }
        Refusal::UpstreamNotFound => {
            "check the repository's name in the rule's source, and whether this credential may see it: this registry may say 404 to who may not"
        }
        Refusal::SecretUnavailable => {
            "put the secret where the credential set says, readable for the node's user; it is read again with the next request"
        }
        Refusal::UpstreamRealmRefused => {
            "if that token service is the registry's own, name it under `upstreams: HOST: realms`; else do not trust the registry"
        }
        Refusal::IdentityNotAttached => {
            "attach the identity to this node with `regmesh identity assign`"
        }
        Refusal::IdentityTokenFailed => {
            "the source of the identity's token cannot be asked: see whether the control plane, the machine's identity endpoint or the foreign token service is up, and what it says"
        }
        Refusal::NetworkRefused => {
            "let this node's address in: `network.allow` of the upstream node"
        }
        Refusal::UpstreamRateLimited | Refusal::UpstreamUnavailable => {
            "see what NET-PATH and QUOTA say about the upstream"
        }
    }
}
