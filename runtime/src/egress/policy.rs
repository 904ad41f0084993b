//! Which addresses a client may connect to.
//!
//! Link-local and metadata addresses never, whoever names them: nothing there is a registry, and what is there gives away
//! credentials. Loopback and private ones only for hosts that the operator named, so that a redirect, a realm or a webhook cannot
//! turn us against our own network. IPv6 forms that carry an IPv4 address are judged as what they carry. The one exception is a client
//! made for the machine's own identity endpoint ([`Policy::alone`]), which may go there and nowhere else. Source:
//! `reference/protocols.md` 1.7, 4.1, T49.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use url::{Host, Url};

/// Where an address is, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere on the internet.
    Public,
    /// Loopback, private or otherwise not globally routed.
    Local,
    /// Link-local, metadata, unspecified, multicast, broadcast.
    Never,
}

/// Why a request is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither http nor https, or without a host.
    #[error("`{scheme}:` is not a URL to connect to")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// The URL carries a user name or password.
    #[error("the URL of {host} carries user information")]
    UserInfo {
        /// The host.
        host: String,
    },
    /// The address is loopback or private and nobody named the host.
    #[error(
        "{host} is at {address}, a loopback or private address, and is not a host of the topology"
    )]
    Local {
        /// The host.
        host: String,
        /// Where it is.
        address: IpAddr,
    },
    /// The client was made for another host alone.
    #[error("{host} is not the one host that this client is for")]
    NotAlone {
        /// The host.
        host: String,
    },
    /// The address is never connected to.
    #[error("{host} is at {address}, where no connection is ever made to")]
    Never {
        /// The host.
        host: String,
        /// Where it is.
        address: IpAddr,
    },
}

/// The hosts that the operator named. The default names none.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    named: Arc<HashSet<String>>,
    /// The one host there is, for a client of [`Policy::alone`].
    alone: Option<Arc<str>>,
}

impl Policy {
    /// Allows these hosts (names or IP literals, without port) to be loopback or private.
    pub fn naming<I>(hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let named = hosts.into_iter().map(|host| canonical(host.as_ref()));
        Self {
            named: Arc::new(named.collect()),
            alone: None,
        }
    }

    /// For the client that asks the machine's own identity endpoint (IMDS at 169.254.169.254, or where the platform's environment says):
    /// this host and no other one. Written as an address it may be a link-local one; a name may not lead there.
    pub fn alone(host: &str) -> Self {
        let host = canonical(host);
        Self {
            named: Arc::new(HashSet::from([host.clone()])),
            alone: Some(host.into()),
        }
    }

    /// The same policy with one host more.
    pub fn and_named(&self, host: Option<&str>) -> Self {
        let mut named = HashSet::clone(&self.named);
        named.extend(host.map(canonical));
        Self {
            named: Arc::new(named),
            alone: self.alone.clone(),
        }
    }

    /// Judges what a URL shows before any name is resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let (true, Some(host)) = (matches!(url.scheme(), "http" | "https"), url.host()) else {
            let scheme = url.scheme().to_owned();
            return Err(Refused::Scheme { scheme });
        };
        if !url.username().is_empty() || url.password().is_some() {
            let host = host.to_string();
            return Err(Refused::UserInfo { host });
        }
        self.check_alone(&host.to_string())?;
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check(&host.to_string(), address.into()),
            Host::Ipv6(address) => self.check(&host.to_string(), address.into()),
        }
    }

    /// Judges an address that `host` resolved to.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let refused = |make: fn(String, IpAddr) -> Refused| Err(make(host.to_owned(), address));
        self.check_alone(host)?;
        match reach(address) {
            Reach::Never if self.is_alone_at(address) => Ok(()),
            Reach::Public => Ok(()),
            Reach::Local if self.named.contains(&canonical(host)) => Ok(()),
            Reach::Local => refused(|host, address| Refused::Local { host, address }),
            Reach::Never => refused(|host, address| Refused::Never { host, address }),
        }
    }

    fn check_alone(&self, host: &str) -> Result<(), Refused> {
        match &self.alone {
            Some(alone) if **alone != canonical(host) => Err(Refused::NotAlone {
                host: host.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether it is for this link-local IPv4 address, and was named by it.
    fn is_alone_at(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else {
            return false;
        };
        let alone = self.alone.as_deref();
        v4.is_link_local() && alone == Some(v4.to_string().as_str())
    }
}

/// One spelling per host: as the URL standard parses it, without a trailing dot.
fn canonical(host: &str) -> String {
    let bare = host.strip_suffix('.').unwrap_or(host);
    match Host::parse(bare).or_else(|_| Host::parse(&format!("[{bare}]"))) {
        Ok(host) => host.to_string(),
        Err(_) => bare.to_ascii_lowercase(),
    }
}

/// Where an address is.
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => match carried(v6) {
            Some(v4) => reach_v4(v4),
            None => reach_v6(v6),
        },
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    let metadata = address == Ipv4Addr::new(100, 100, 100, 200);
    let never =
        a == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast();
    let shared = a == 100 && (64..128).contains(&b);
    let special = (a == 192 && b == 0 && c == 0) || (a == 198 && matches!(b, 18 | 19)) || a >= 240;
    if never || metadata {
        Reach::Never
    } else if address.is_loopback() || address.is_private() || shared || special {
        Reach::Local
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let first = address.segments()[0];
    let metadata = address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let site_local = first & 0xffc0 == 0xfec0;
    if address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || metadata
    {
        Reach::Never
    } else if address.is_loopback() || address.is_unique_local() || site_local {
        Reach::Local
    } else {
        Reach::Public
    }
}

/// The IPv4 address inside a mapped, compatible, translated (NAT64) or 6to4 address.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) => v4(g, h),
        // `::` and `::1` are addresses of their own.
        (0, 0, 0, 0, 0, 0) if (g, h) != (0, 0) && (g, h) != (0, 1) => v4(g, h),
        (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, ..) => v4(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Verdict {
        Allowed,
        Local,
        Never,
        UserInfo,
        Scheme,
        NotAlone,
    }
    use Verdict::{Allowed, Local, Never};

    fn verdict(policy: &Policy, url: &str) -> Verdict {
        match policy.check_url(&Url::parse(url).unwrap()) {
            Ok(()) => Allowed,
            Err(Refused::Local { .. }) => Local,
            Err(Refused::Never { .. }) => Never,
            Err(Refused::NotAlone { .. }) => Verdict::NotAlone,
            Err(Refused::UserInfo { .. }) => Verdict::UserInfo,
            Err(Refused::Scheme { .. }) => Verdict::Scheme,
        }
    }

    /// T49: for each URL what happens when nobody named its host, and when the operator did.
    #[test]
    fn t49_literals_are_judged_by_where_they_are() {
        let cases = [
            ("http://127.0.0.1/", Local, Allowed),
            ("http://127.8.8.8:5000/", Local, Allowed),
            ("http://2130706433/", Local, Allowed),
            ("http://0x7f.1/", Local, Allowed),
            ("http://0177.0.0.1/", Local, Allowed),
            ("http://[::1]/", Local, Allowed),
            ("http://[::ffff:127.0.0.1]/", Local, Allowed),
            ("http://[::127.0.0.1]/", Local, Allowed),
            ("http://[64:ff9b::10.0.0.1]/", Local, Allowed),
            ("http://[2002:0a00:0001::1]/", Local, Allowed),
            ("http://10.0.0.1/", Local, Allowed),
            ("http://172.16.0.1/", Local, Allowed),
            ("http://192.168.1.1/", Local, Allowed),
            ("http://100.64.0.1/", Local, Allowed),
            ("http://[fd12::1]/", Local, Allowed),
            ("http://[fec0::1]/", Local, Allowed),
            ("http://0.0.0.0/", Never, Never),
            ("http://0/", Never, Never),
            ("http://[::]/", Never, Never),
            ("http://169.254.169.254/latest", Never, Never),
            ("http://2852039166/", Never, Never),
            ("http://0xa9fea9fe/", Never, Never),
            ("http://0251.0376.0251.0376/", Never, Never),
            ("http://[::ffff:169.254.169.254]/", Never, Never),
            ("http://[::ffff:a9fe:a9fe]/", Never, Never),
            ("http://[64:ff9b::a9fe:a9fe]/", Never, Never),
            ("http://[2002:a9fe:a9fe::]/", Never, Never),
            ("http://[::ffff:0:a9fe:a9fe]/", Never, Never),
            ("http://[fe80::1]/", Never, Never),
            ("http://[fd00:ec2::254]/", Never, Never),
            ("http://100.100.100.200/", Never, Never),
            ("http://224.0.0.1/", Never, Never),
            ("http://255.255.255.255/", Never, Never),
            ("http://[ff02::1]/", Never, Never),
            ("https://192.0.2.1/", Allowed, Allowed),
            ("https://[2001:db8::1]/", Allowed, Allowed),
            ("https://registry.example/", Allowed, Allowed),
        ];
        for (url, unnamed, named) in cases {
            let host = Url::parse(url).unwrap().host_str().unwrap().to_owned();
            assert_eq!(verdict(&Policy::default(), url), unnamed, "{url}");
            assert_eq!(verdict(&Policy::naming([host]), url), named, "{url}, named");
        }
    }

    #[test]
    fn t49_user_information_and_other_schemes_are_refused() {
        let policy = Policy::naming(["registry.example"]);
        for (url, expected) in [
            ("https://registry.example@127.0.0.1/", Verdict::UserInfo),
            ("https://user:secret@registry.example/", Verdict::UserInfo),
            ("https://:secret@registry.example/", Verdict::UserInfo),
            ("ftp://registry.example/", Verdict::Scheme),
            ("file:///etc/passwd", Verdict::Scheme),
            ("https://127.0.0.1#@registry.example/", Local),
        ] {
            assert_eq!(verdict(&policy, url), expected, "{url}");
        }
    }

    #[test]
    fn a_host_is_named_in_any_spelling_and_a_neighbour_is_not() {
        let policy = Policy::naming(["Registry.Example.", "127.0.0.1", "::1", "[fd12::1]"]);
        let local = IpAddr::from([10, 0, 0, 1]);
        assert!(policy.check("registry.example", local).is_ok());
        assert!(policy.check("REGISTRY.example.", local).is_ok());
        assert!(policy.check("other.example", local).is_err());
        assert!(policy.check("a.registry.example", local).is_err());
        for url in ["http://127.1/", "http://[::1]/", "http://[fd12:0::1]/"] {
            assert_eq!(verdict(&policy, url), Allowed, "{url}");
        }
        assert_eq!(verdict(&policy, "http://127.0.0.2/"), Local);
    }

    #[test]
    fn t49_the_metadata_address_is_reached_by_the_client_made_for_it_and_that_one_goes_nowhere_else()
     {
        let imds = Policy::alone("169.254.169.254");
        for (url, expected) in [
            ("http://169.254.169.254/metadata", Allowed),
            ("http://0xa9fea9fe/", Allowed),
            ("http://169.254.169.253/", Verdict::NotAlone),
            ("http://[::ffff:169.254.169.254]/", Verdict::NotAlone),
            ("http://127.0.0.1/", Verdict::NotAlone),
            ("https://registry.example/", Verdict::NotAlone),
            ("http://100.100.100.200/", Verdict::NotAlone),
        ] {
            assert_eq!(verdict(&imds, url), expected, "{url}");
        }
        let metadata = IpAddr::from([169, 254, 169, 254]);
        assert!(imds.check("169.254.169.254", metadata).is_ok());
        assert!(imds.check("metadata.example", metadata).is_err());
        let named = Policy::alone("metadata.example");
        assert!(named.check("metadata.example", metadata).is_err());
        assert!(
            named
                .check("metadata.example", IpAddr::from([127, 0, 0, 1]))
                .is_ok()
        );
        for never in [
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "[fe80::1]",
            "[fd00:ec2::254]",
        ] {
            let url = format!("http://{never}/");
            assert_eq!(verdict(&Policy::alone(never), &url), Never, "{never}");
        }
        let widened = imds.and_named(Some("10.0.0.1"));
        assert_eq!(verdict(&widened, "http://10.0.0.1/"), Verdict::NotAlone);
    }
}
