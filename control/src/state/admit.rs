//! Who is let in by a join token or a renewal. Pure: the databases carry out what is decided here.
//!
//! The answer to an enrolment can be lost on the way too. Who asks again as the same instance with the same key, before it ever renewed,
//! is given what it was given, and no use of the token goes: the key proves that it is the one that was let in.
//! A renewal states how many certificates its directory was given. Fewer than we gave means that there are two of the directory: the
//! instance is shut out, both of them. The answer to a renewal can be lost on the way; then the next one comes with the counter before
//! and the key of the one before. More than we gave means that this database was restored from a backup: the node is right.

use wire::{name::NodeName, time::WallTime};

use super::{Admitted, Instance, JoinToken};

/// What an instance shows to be enrolled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof<'a> {
    /// A join token, as far as it is known.
    Token(Option<&'a JoinToken>),
    /// Something that was checked elsewhere.
    Other,
}

/// An instance as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) instance: Instance,
    /// SHA-256 (hex) of the public key that its newest certificate was given to.
    pub(super) key: Option<String>,
}

/// An instance that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Enrolled {
    /// To be stored like this.
    pub(super) known: Known,
    /// It was let in before and did not hear of it: the token keeps its use.
    pub(super) again: bool,
}

/// How an instance is let in, or why it is not. `key` is that of its request.
pub(super) fn enrol(
    proof: Proof<'_>,
    known: Option<&Known>,
    asking: Instance,
    key: &str,
    now: WallTime,
) -> Result<Enrolled, Admitted> {
    let again =
        known.is_some_and(|known| known.instance.counter == 1 && known.key.as_deref() == Some(key));
    if let Proof::Token(token) = proof {
        let token = token.ok_or(Admitted::UnknownToken)?;
        if token.node != asking.node {
            return Err(Admitted::OtherNode(token.node.clone()));
        }
        if token.expires_at <= now {
            return Err(Admitted::Expired);
        }
        if token.uses == 0 && !again {
            return Err(Admitted::UsedUp);
        }
    }
    let before = match known.map(|known| &known.instance) {
        None => 0,
        Some(known) if known.node != asking.node => {
            return Err(Admitted::OtherNode(known.node.clone()));
        }
        Some(Instance {
            shut_out: Some(reason),
            ..
        }) => return Err(Admitted::ShutOut(reason.clone())),
        Some(_) if again => 0,
        Some(known) => known.counter,
    };
    let instance = Instance {
        counter: before + 1,
        shut_out: None,
        ..asking
    };
    let key = Some(key.to_owned());
    Ok(Enrolled {
        known: Known { instance, key },
        again,
    })
}

/// What a renewal comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Let in, and to be stored like this.
    Next(Known),
    /// There are two of it: to be stored like this, shut out, and told.
    Copied(Known, Admitted),
    /// Not let in, and nothing changes.
    Refused(Admitted),
}

pub(super) fn renew(
    known: Option<&Known>,
    node: &NodeName,
    presented: u64,
    key: &str,
    certificate: (WallTime, WallTime),
) -> Renewal {
    let Some(known) = known.filter(|known| known.instance.node == *node) else {
        return Renewal::Refused(Admitted::UnknownInstance);
    };
    if let Some(reason) = &known.instance.shut_out {
        return Renewal::Refused(Admitted::ShutOut(reason.clone()));
    }
    let given = known.instance.counter;
    let answer_was_lost = presented + 1 == given && known.key.as_deref() == Some(key);
    if presented < given && !answer_was_lost {
        let mut known = known.clone();
        known.instance.shut_out = Some(format!(
            "its data directory was copied: it came with certificate {presented} after it was given {given}"
        ));
        return Renewal::Copied(known, Admitted::Copied { presented, given });
    }
    Renewal::Next(Known {
        instance: Instance {
            counter: presented.saturating_add(1),
            certificate,
            ..known.instance.clone()
        },
        key: Some(key.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(node: &str, counter: u64, shut_out: Option<&str>) -> Instance {
        Instance {
            id: "one".to_owned(),
            node: node.parse().unwrap(),
            enrolled_at: WallTime(1),
            counter,
            certificate: (WallTime(1), WallTime(2)),
            shut_out: shut_out.map(str::to_owned),
        }
    }

    #[test]
    fn a_token_admits_its_node_while_it_lasts() {
        let token = |node: &str, expires_at, uses| JoinToken {
            hash: "h".to_owned(),
            node: node.parse().unwrap(),
            expires_at: WallTime(expires_at),
            uses,
        };
        let out = || Some(instance("a", 3, Some("revoked")));
        let gone = Admitted::ShutOut("revoked".to_owned());
        let other = |name: &str| Err(Admitted::OtherNode(name.parse().unwrap()));
        let cases = [
            (Some(token("a", 100, 1)), None, Ok(1)),
            (
                Some(token("a", 100, 1)),
                Some(instance("a", 4, None)),
                Ok(5),
            ),
            (Some(token("a", 51, 1)), None, Ok(1)),
            (Some(token("a", 50, 1)), None, Err(Admitted::Expired)),
            (Some(token("a", 100, 0)), None, Err(Admitted::UsedUp)),
            (Some(token("b", 100, 1)), None, other("b")),
            (Some(token("b", 10, 0)), None, other("b")),
            (None, None, Err(Admitted::UnknownToken)),
            (Some(token("a", 100, 1)), out(), Err(gone)),
            (
                Some(token("a", 100, 1)),
                Some(instance("c", 1, None)),
                other("c"),
            ),
        ];
        for (token, known, expected) in cases {
            let proof = Proof::Token(token.as_ref());
            let known = known.map(|instance| Known {
                instance,
                key: Some("before".to_owned()),
            });
            let found = enrol(
                proof,
                known.as_ref(),
                instance("a", 0, None),
                "k",
                WallTime(50),
            );
            let counter = found.map(|enrolled| enrolled.known.instance.counter);
            assert_eq!(counter, expected, "{token:?} {known:?}");
        }
        let asking = instance("a", 9, None);
        let found = enrol(Proof::Other, None, asking, "k", WallTime(50)).unwrap();
        assert_eq!(found.known.instance.counter, 1, "proved elsewhere");
    }

    #[test]
    fn an_enrolment_that_was_not_heard_of_is_given_again() {
        let out = Some("copied");
        // (counter, shut out, last key, uses left, ends) -> the counter given now, and whether as before
        let cases = [
            ((1, None, Some("k"), 0, 100), Ok((1, true))),
            ((1, None, Some("k"), 3, 100), Ok((1, true))),
            ((2, None, Some("k"), 3, 100), Ok((3, false))),
            ((1, None, Some("other"), 3, 100), Ok((2, false))),
            ((1, None, None, 3, 100), Ok((2, false))),
            ((2, None, Some("k"), 0, 100), Err(Admitted::UsedUp)),
            ((1, None, Some("other"), 0, 100), Err(Admitted::UsedUp)),
            ((1, None, Some("k"), 0, 50), Err(Admitted::Expired)),
            (
                (1, out, Some("k"), 0, 100),
                Err(Admitted::ShutOut("copied".to_owned())),
            ),
        ];
        for ((counter, shut_out, last, uses, expires_at), expected) in cases {
            let token = JoinToken {
                hash: "h".to_owned(),
                node: "a".parse().unwrap(),
                expires_at: WallTime(expires_at),
                uses,
            };
            let known = Known {
                instance: instance("a", counter, shut_out),
                key: last.map(str::to_owned),
            };
            let (proof, asking) = (Proof::Token(Some(&token)), instance("a", 0, None));
            let found = enrol(proof, Some(&known), asking, "k", WallTime(50));
            let found = found.map(|enrolled| (enrolled.known.instance.counter, enrolled.again));
            assert_eq!(found, expected, "{known:?} {token:?}");
        }
    }

    #[test]
    fn an_older_counter_is_a_copied_directory() {
        let node = "a".parse().unwrap();
        let known = |key: Option<&str>| Known {
            instance: instance("a", 5, None),
            key: key.map(str::to_owned),
        };
        // (last key, presented, key) -> the counter given now, or none for a copy
        let cases = [
            (None, 5, "new", Some(6)),
            (Some("old"), 5, "new", Some(6)),
            (Some("old"), 5, "old", Some(6)),
            (Some("last"), 4, "last", Some(5)),
            (Some("last"), 4, "other", None),
            (None, 4, "new", None),
            (Some("last"), 3, "last", None),
            (Some("last"), 0, "last", None),
            (Some("last"), 9, "new", Some(10)),
        ];
        let certificate = (WallTime(7), WallTime(8));
        for (last, presented, key, expected) in cases {
            let found = renew(Some(&known(last)), &node, presented, key, certificate);
            match (found, expected) {
                (Renewal::Next(next), Some(counter)) => {
                    assert_eq!(next.instance.counter, counter, "{presented} {key}");
                    assert_eq!(next.instance.certificate, certificate);
                    assert_eq!(next.key.as_deref(), Some(key));
                }
                (Renewal::Copied(stored, told), None) => {
                    assert!(stored.instance.shut_out.is_some());
                    assert_eq!(stored.instance.counter, 5);
                    assert_eq!(
                        told,
                        Admitted::Copied {
                            presented,
                            given: 5
                        }
                    );
                }
                (found, _) => panic!("{last:?} {presented} {key}: {found:?}"),
            }
        }
    }

    #[test]
    fn who_is_not_known_or_shut_out_renews_nothing() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let certificate = (WallTime(7), WallTime(8));
        let known = |shut_out| Known {
            instance: instance("a", 5, shut_out),
            key: None,
        };
        let refused = |known: Option<&Known>, node| renew(known, node, 5, "k", certificate);
        assert_eq!(
            refused(None, &a),
            Renewal::Refused(Admitted::UnknownInstance)
        );
        assert_eq!(
            refused(Some(&known(None)), &b),
            Renewal::Refused(Admitted::UnknownInstance)
        );
        assert_eq!(
            refused(Some(&known(Some("why"))), &a),
            Renewal::Refused(Admitted::ShutOut("why".to_owned()))
        );
    }
}
