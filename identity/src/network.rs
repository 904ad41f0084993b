//! Who may connect at all, by address: the table of `spec/topology.md` `nodes.NAME.network`. Pure.
//!
//! Asked before authentication. `X-Forwarded-For` counts only when the connection itself comes from a declared proxy, and is
//! read from the right: what stands to the left of the first address that is no proxy of ours was written by strangers.

use std::net::IpAddr;

use ipnet::IpNet;

/// How many `X-Forwarded-For` entries are looked at; a longer chain of declared proxies is not believed.
pub const MAX_FORWARDED: usize = 32;

/// A node's `network` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Who may connect.
    pub access: Access,
    /// The networks let in under `selected`.
    pub allow: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether mesh nodes that prove themselves by certificate pass whatever their address.
    pub trust_mesh_peers: bool,
}

/// The three policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Public,
    /// The networks in `allow`.
    Selected,
    /// Loopback and trusted mesh peers.
    Private,
}

impl Policy {
    /// Whether somebody at `address` may connect. `None` is an address that could not be found out, which is nobody's.
    /// `mesh_peer`: the connection shows a valid node certificate of this mesh.
    #[must_use]
    pub fn admits(&self, address: Option<IpAddr>, mesh_peer: bool) -> bool {
        let address = address.map(|address| address.to_canonical());
        match self.access {
            Access::Public => true,
            _ if mesh_peer && self.trust_mesh_peers => true,
            // A mesh peer that is not trusted as one is a client like any other.
            Access::Selected => address.is_some_and(|address| contains(&self.allow, address)),
            Access::Private => address.is_some_and(|address| address.is_loopback()),
        }
    }

    /// The client's address: the connection's, or what a declared proxy says. `forwarded` are the values of all
    /// `X-Forwarded-For` lines in order. `None` when a declared proxy says something that is no address.
    #[must_use]
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if self.trusted_proxies.is_empty() {
            return Some(client);
        }
        let mut entries = forwarded
            .rev()
            .flat_map(|line| line.rsplit(','))
            .map(str::trim);
        for _ in 0..=MAX_FORWARDED {
            if !contains(&self.trusted_proxies, client) {
                return Some(client);
            }
            match entries.next() {
                None => return Some(client),
                Some(entry) => client = address(entry)?,
            }
        }
        None
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An entry of `X-Forwarded-For`: an address, perhaps in brackets, perhaps with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(entry);
    let parsed = bare.parse().ok().or_else(|| {
        let socket: std::net::SocketAddr = entry.parse().ok()?;
        Some(socket.ip())
    });
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(access: Access, trust_mesh_peers: bool) -> Policy {
        Policy {
            access,
            allow: vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
            trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
            trust_mesh_peers,
        }
    }

    #[test]
    fn the_table_of_the_spec_holds() {
        let (inside, outside) = ("10.1.2.3", "203.0.113.9");
        // access, trusted?, client in allow, mesh peer in allow, mesh peer outside, anyone else, loopback
        let rows = [
            (Access::Public, true, [true, true, true, true, true]),
            (Access::Public, false, [true, true, true, true, true]),
            (Access::Selected, true, [true, true, true, false, false]),
            (Access::Selected, false, [true, true, false, false, false]),
            (Access::Private, true, [false, true, true, false, true]),
            (Access::Private, false, [false, false, false, false, true]),
        ];
        for (access, trusted, expected) in rows {
            let policy = policy(access, trusted);
            let ask = |address: &str, peer| policy.admits(Some(address.parse().unwrap()), peer);
            let got = [
                ask(inside, false),
                ask(inside, true),
                ask(outside, true),
                ask(outside, false),
                ask("127.0.0.1", false),
            ];
            assert_eq!(got, expected, "{access:?}, trustMeshPeers {trusted}");
            assert_eq!(policy.admits(None, false), access == Access::Public);
        }
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let selected = policy(Access::Selected, false);
        assert!(selected.admits(Some("::ffff:10.1.2.3".parse().unwrap()), false));
        assert!(
            policy(Access::Private, false).admits(Some("::ffff:127.0.0.1".parse().unwrap()), false)
        );
    }

    #[test]
    fn only_declared_proxies_are_believed_and_only_their_own_words() {
        let policy = policy(Access::Selected, false);
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            // A stranger's header is ignored.
            ("203.0.113.9", &["10.0.0.1"], Some("203.0.113.9")),
            ("192.0.2.1", &["10.0.0.1"], Some("10.0.0.1")),
            // The client's own claim stands to the left of what the proxy saw.
            ("192.0.2.1", &["10.0.0.1, 203.0.113.9"], Some("203.0.113.9")),
            (
                "192.0.2.1",
                &["10.0.0.1", "203.0.113.9"],
                Some("203.0.113.9"),
            ),
            (
                "192.0.2.1",
                &["203.0.113.9, 192.0.2.7"],
                Some("203.0.113.9"),
            ),
            (
                "::ffff:192.0.2.1",
                &["[2001:db8::1]:443"],
                Some("2001:db8::1"),
            ),
            ("192.0.2.1", &["10.0.0.1:5000"], Some("10.0.0.1")),
            ("192.0.2.1", &[], Some("192.0.2.1")),
            ("192.0.2.1", &["unknown"], None),
            ("192.0.2.1", &["10.0.0.1,"], None),
            ("192.0.2.1", &["127.0.0.1 10.0.0.1"], None),
        ];
        for (peer, forwarded, expected) in cases {
            let got = policy.client(peer.parse().unwrap(), forwarded.iter().copied());
            assert_eq!(
                got,
                expected.map(|text| text.parse().unwrap()),
                "{peer} {forwarded:?}"
            );
        }
        let long = ["192.0.2.7"; MAX_FORWARDED + 2];
        assert_eq!(
            policy.client("192.0.2.1".parse().unwrap(), long.iter().copied()),
            None
        );
    }
}
