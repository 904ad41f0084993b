//! Durations, sizes, networks, URLs and hosts, as people write them.
//!
//! Pure grammar: `None` or a reason, without a place; `validate/value.rs` makes problems of it. Durations and sizes are also
//! written back here, in the shortest form that reads as the same value.

use std::{net::IpAddr, time::Duration};

use url::Url;

use crate::model::Endpoint;

const DURATIONS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const SIZES: [(&str, u64); 11] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

/// The longest duration taken: a hundred years.
const LONGEST: u64 = 100 * 366 * 24 * 3_600_000;

/// `30s`, `10m`, `1h30m`, `7d`, `250ms`, `0s`: numbers with units `w`, `d`, `h`, `m`, `s`, `ms`, each unit once, largest first.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(digits(rest));
        let (unit, after) =
            after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let position = DURATIONS.iter().position(|(name, _)| *name == unit)?;
        if position < next {
            return None;
        }
        next = position + 1;
        let milliseconds = number
            .parse::<u64>()
            .ok()?
            .checked_mul(DURATIONS[position].1)?;
        total = total.checked_add(milliseconds)?;
        rest = after;
    }
    (total <= LONGEST).then(|| Duration::from_millis(total))
}

/// The shortest text that `duration` reads as `value` (whole milliseconds).
#[must_use]
pub fn duration_text(value: Duration) -> String {
    let mut rest = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in DURATIONS {
        if unit != "w" && rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// Bytes: `500GiB`, `10GB`, `1048576`; a whole number, then perhaps one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, PiB.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(digits(text));
    let unit = unit.trim_start_matches(' ');
    let factor = if unit.is_empty() {
        1
    } else {
        SIZES.iter().find(|(name, _)| *name == unit)?.1
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest text that `size` reads as `bytes`.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    SIZES
        .iter()
        .rev()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(unit, factor)| format!("{}{}", bytes / factor, unit),
        )
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Why a text is not the URL that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlFault {
    /// It holds a password.
    Secret,
    /// Anything else, in words.
    Invalid(String),
}

/// An absolute URL of one of `schemes` with a host and without a password.
///
/// # Errors
/// `UrlFault`, whose text says what is wrong.
pub fn url(text: &str, schemes: &[&str]) -> Result<Url, UrlFault> {
    let url = Url::parse(text).map_err(|error| {
        let no_scheme = error == url::ParseError::RelativeUrlWithoutBase;
        UrlFault::Invalid(if no_scheme {
            "it has no scheme".to_owned()
        } else {
            error.to_string()
        })
    })?;
    if url.password().is_some() {
        return Err(UrlFault::Secret);
    }
    if !schemes.contains(&url.scheme()) {
        let wanted = schemes.join(" or ");
        return Err(UrlFault::Invalid(format!("the scheme is not {wanted}")));
    }
    if !url.has_host() {
        return Err(UrlFault::Invalid("it has no host".to_owned()));
    }
    Ok(url)
}

/// An endpoint: an `http` or `https` URL with nothing after the host and port.
///
/// # Errors
/// `UrlFault`, whose text says what is wrong.
pub fn endpoint(text: &str) -> Result<Endpoint, UrlFault> {
    let url = url(text, &["http", "https"])?;
    let invalid = |reason: &str| Err(UrlFault::Invalid(reason.to_owned()));
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return invalid("an endpoint has no path");
    }
    if !url.username().is_empty() {
        return invalid("an endpoint has no user name");
    }
    let Some((host, port)) = url.host_str().zip(url.port_or_known_default()) else {
        return invalid("it has no host");
    };
    Ok(Endpoint {
        secure: url.scheme() == "https",
        host: host.to_owned(),
        port,
    })
}

/// `HOST[:PORT]` in lower case, `docker.io` for all of its aliases; `None` when it is neither a name nor an address.
#[must_use]
pub fn host(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (name, port) = match lower.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (lower.as_str(), None),
    };
    if let Some(port) = port {
        port.parse::<u16>().ok().filter(|n| *n > 0)?;
    }
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let legal = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(name),
    };
    if !legal {
        return None;
    }
    let canonical = match (name, port) {
        (
            "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com",
            None | Some("443"),
        ) => "docker.io".to_owned(),
        (name, Some("443")) => name.to_owned(),
        _ => lower,
    };
    Some(canonical)
}

fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

/// The address that a host of an endpoint is without asking anybody: a literal, or loopback for `localhost`.
#[must_use]
pub fn address(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    host.parse().ok()
}

/// Whether a host is this machine itself.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    address(host).is_some_and(|address| address.is_loopback())
}

/// The host of `HOST[:PORT]`.
#[must_use]
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let cases = [
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("7d", Some(604_800_000)),
            ("1w", Some(604_800_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("30", None),
            ("", None),
            ("s", None),
            ("1m1h", None),
            ("1m1m", None),
            ("-1s", None),
            ("1.5h", None),
            ("10 m", None),
            ("ever", None),
            ("99999999999999999999s", None),
            ("99999999d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
        for (text, _) in cases.iter().filter(|(_, value)| value.is_some()) {
            let value = duration(text).expect("legal");
            assert_eq!(duration(&duration_text(value)), Some(value), "{text}");
        }
    }

    #[test]
    fn sizes_are_numbers_with_or_without_units() {
        let cases = [
            ("500GiB", Some(500 << 30)),
            ("10GB", Some(10_000_000_000)),
            ("1024", Some(1024)),
            ("1 MiB", Some(1 << 20)),
            ("1KiB", Some(1024)),
            ("5 apples", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("500G", None),
            ("99999999PiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), expected, "{text}");
        }
        for bytes in [0, 1, 1000, 1024, 500 << 30, (1 << 20) + 1] {
            assert_eq!(size(&size_text(bytes)), Some(bytes));
        }
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        let cases = [
            ("https://dev.example", Some("https://dev.example")),
            ("https://dev.example:443/", Some("https://dev.example")),
            ("http://127.0.0.1:5000", Some("http://127.0.0.1:5000")),
            ("http://[::1]:5000", Some("http://[::1]:5000")),
            ("https://Dev.Example", Some("https://dev.example")),
            ("dev.example", None),
            ("https://dev.example/v2", None),
            ("ftp://dev.example", None),
            ("https://user@dev.example", None),
            ("https://dev.example?a", None),
            ("https://", None),
        ];
        for (text, expected) in cases {
            let found = endpoint(text).ok().map(|e| e.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(endpoint("https://u:p@dev.example"), Err(UrlFault::Secret));
    }

    #[test]
    fn a_host_may_have_a_port_and_docker_hub_has_many_names() {
        let cases = [
            ("GHCR.io", Some("ghcr.io")),
            ("localhost:5000", Some("localhost:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("[::1]", Some("[::1]")),
            ("index.docker.io", Some("docker.io")),
            ("registry-1.docker.io", Some("docker.io")),
            ("registry.hub.docker.com", Some("docker.io")),
            ("docker.io:443", Some("docker.io")),
            ("docker.io:5000", Some("docker.io:5000")),
            ("a..b", None),
            ("host:0", None),
            ("host:99999", None),
            ("-a.b", None),
            ("a b", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(host(text).as_deref(), expected, "{text}");
        }
    }
}
