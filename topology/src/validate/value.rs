//! Values that have to parse: the grammar's answer becomes a problem at the value's place.

use std::{str::FromStr, time::Duration};

use ipnet::IpNet;
use wire::{name::NameError, pattern::Pattern, platform::Platform, secret_ref::SecretRef};

use crate::{
    document::{Secret, Text, value::Word},
    glob::Glob,
    model::Endpoint,
    place::At,
    problem::{Code, Finding, Findings},
    value::{self, UrlFault},
};

pub(super) fn name<N: FromStr<Err = NameError>>(
    at: &At<String>,
    findings: &mut Findings,
) -> Option<N> {
    at.value
        .parse()
        .map_err(|error: NameError| {
            let message = format!("`{}` is not a {}", error.text, error.kind);
            findings.push(
                Finding::error(Code::InvalidName, at.place, message)
                    .advice(format!("write {}", error.reason)),
            );
        })
        .ok()
}

pub(super) fn pattern(at: &At<String>, findings: &mut Findings) -> Option<Pattern> {
    let parsed = at.value.parse();
    if parsed.is_err() {
        let message = format!("`{}` is not a repository pattern", at.value);
        findings.push(Finding::error(Code::InvalidPattern, at.place, message).advice(
            "write a repository in lower case, PATH/* or * alone; `*` is only the last path component",
        ));
    }
    parsed.ok()
}

pub(super) fn glob(at: &At<String>, findings: &mut Findings) -> Option<Glob> {
    let parsed = at.value.parse();
    if parsed.is_err() {
        let message = format!("`{}` is not a tag glob", at.value);
        findings.push(
            Finding::error(Code::InvalidPattern, at.place, message).advice(
                "write letters, digits, `.`, `_`, `-`, with `*` for any characters and `?` for one",
            ),
        );
    }
    parsed.ok()
}

pub(super) fn duration(at: &At<Word>, findings: &mut Findings) -> Option<Duration> {
    duration_or(at, "", findings)
}

/// `words` are what else could have been written, for the advice.
pub(super) fn duration_or(at: &At<Word>, words: &str, findings: &mut Findings) -> Option<Duration> {
    let parsed = value::duration(&at.value.0);
    if parsed.is_none() {
        let message = format!("`{}` is not a duration", at.value.0);
        findings.push(Finding::error(Code::InvalidDuration, at.place, message).advice(format!(
            "write {words}a number with a unit (ms, s, m, h, d, w), for example 30s, 10m or 1h30m"
        )));
    }
    parsed
}

pub(super) fn size(at: &At<Word>, findings: &mut Findings) -> Option<u64> {
    let parsed = value::size(&at.value.0);
    if parsed.is_none() {
        let message = format!("`{}` is not a size", at.value.0);
        findings.push(
            Finding::error(Code::InvalidSize, at.place, message)
                .advice("write a whole number with a unit, for example 500GiB, 10GB or 64MiB"),
        );
    }
    parsed
}

pub(super) fn cidr(at: &At<String>, findings: &mut Findings) -> Option<IpNet> {
    let parsed = at.value.parse();
    if parsed.is_err() {
        let message = format!("`{}` is not a network", at.value);
        let advice = if at.value.parse::<std::net::IpAddr>().is_ok() {
            let bits = if at.value.contains(':') { 128 } else { 32 };
            format!("for this address alone write `{}/{bits}`", at.value)
        } else {
            "write ADDRESS/BITS, for example 10.0.0.0/8 or fd00::/8".to_owned()
        };
        findings.push(Finding::error(Code::InvalidCidr, at.place, message).advice(advice));
    }
    parsed.ok()
}

pub(super) fn platform(at: &At<String>, findings: &mut Findings) -> Option<Platform> {
    let parsed = at.value.parse();
    if parsed.is_err() {
        let message = format!("`{}` is not a platform", at.value);
        findings.push(
            Finding::error(Code::InvalidPlatform, at.place, message).advice(
                "write os/arch or os/arch/variant, for example linux/amd64 or linux/arm/v7",
            ),
        );
    }
    parsed.ok()
}

pub(super) fn endpoint(at: &At<String>, findings: &mut Findings) -> Option<Endpoint> {
    value::endpoint(&at.value)
        .map_err(|fault| {
            let wanted =
                "write http:// or https://, a host and perhaps a port, and nothing after them";
            url_fault(at, fault, wanted, findings);
        })
        .ok()
}

/// The URL as it was written.
pub(super) fn url(at: &At<String>, schemes: &[&str], findings: &mut Findings) -> Option<String> {
    match value::url(&at.value, schemes) {
        Ok(_) => Some(at.value.clone()),
        Err(fault) => {
            let wanted = format!(
                "write an absolute URL that begins with {}://",
                schemes.join(":// or ")
            );
            url_fault(at, fault, &wanted, findings);
            None
        }
    }
}

fn url_fault(at: &At<String>, fault: UrlFault, wanted: &str, findings: &mut Findings) {
    if fault == UrlFault::Secret {
        findings.conceal(at.place);
    }
    findings.push(match fault {
        UrlFault::Secret => {
            Finding::error(Code::LiteralSecret, at.place, "a URL with a password in it")
                .advice("leave user name and password out of the URL, and change this password: it has been written down")
        }
        UrlFault::Invalid(reason) => {
            let message = format!("`{}` is not a URL that can stand here: {reason}", at.value);
            Finding::error(Code::InvalidUrl, at.place, message).advice(wanted)
        }
    });
}

pub(super) fn host(at: &At<String>, findings: &mut Findings) -> Option<String> {
    let parsed = value::host(&at.value);
    if parsed.is_none() {
        let message = format!("`{}` is not a host", at.value);
        findings.push(
            Finding::error(Code::InvalidUrl, at.place, message)
                .advice("write HOST or HOST:PORT, without a scheme and without a path"),
        );
    }
    parsed
}

/// An address to bind.
pub(super) fn socket(at: &Text, findings: &mut Findings) -> Option<std::net::SocketAddr> {
    let at = at.as_ref()?;
    let parsed = at.value.parse();
    if parsed.is_err() {
        let message = format!("`{}` is not an address to listen on", at.value);
        findings.push(
            Finding::error(Code::InvalidUrl, at.place, message).advice(
                "write ADDRESS:PORT, for example 0.0.0.0:5000, 127.0.0.1:5080 or [::]:5000",
            ),
        );
    }
    parsed.ok()
}

pub(super) fn secret(secret: &Secret, findings: &mut Findings) -> Option<SecretRef> {
    if let Some(env) = &secret.env {
        return Some(SecretRef::Env(env.value.clone()));
    }
    if let Some(file) = &secret.file {
        return Some(SecretRef::File(file.value.clone().into()));
    }
    url(secret.key_vault.as_ref()?, &["https", "http"], findings).map(SecretRef::KeyVault)
}

pub(super) fn path(text: &Text) -> Option<std::path::PathBuf> {
    text.as_ref().map(|at| at.value.clone().into())
}

pub(super) fn text(text: &Text) -> Option<String> {
    text.as_ref().map(|at| at.value.clone())
}
