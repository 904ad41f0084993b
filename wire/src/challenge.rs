//! `WWW-Authenticate`, read and written.
//!
//! Read as registries send it rather than as RFC 9110 has it: several header lines, several challenges on one, names in
//! any case, values without quotes, quoted pairs. What makes no sense is skipped, and everything is bounded. Whether a
//! realm may be asked is not decided here. Source: `reference/protocols.md` 1.1; RFC 9110 11.6.1.

mod bearer;

pub(crate) use self::bearer::quote;
pub use self::bearer::{Bearer, TokenError};

/// How many challenges are read from one answer.
pub const MAX_CHALLENGES: usize = 16;
/// How many parameters of one challenge are kept.
pub const MAX_PARAMETERS: usize = 32;
/// How much of all header lines together is read, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// One challenge of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`, …
    pub scheme: String,
    /// Its parameters in order, names in lower case; of a doubled one the first counts.
    pub params: Vec<(String, String)>,
}

impl Challenge {
    /// Reads the values of all `WWW-Authenticate` lines, in order. Never fails; what is not a challenge is left out.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut challenges = Vec::new();
        let mut budget = MAX_LENGTH;
        for value in values {
            let Some(left) = budget.checked_sub(value.len()) else {
                break;
            };
            budget = left;
            read_line(value, &mut challenges);
        }
        challenges
    }

    /// The first value of a parameter, its name in lower case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether it is `Bearer`.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme == "bearer"
    }

    /// Whether it is `Basic`.
    #[must_use]
    pub fn is_basic(&self) -> bool {
        self.scheme == "basic"
    }

    /// Whether it says that the shown token lacks rights (`error="insufficient_scope"`).
    #[must_use]
    pub fn is_insufficient_scope(&self) -> bool {
        self.param("error") == Some("insufficient_scope")
    }
}

fn read_line(value: &str, challenges: &mut Vec<Challenge>) {
    let mut text = Text(value);
    // Challenges of an earlier line take no parameters of this one.
    let mut open = false;
    while text.skip_to_word() {
        let word = text.word();
        if word.is_empty() {
            text.skip_one();
        } else if !text.take_equals() {
            if challenges.len() >= MAX_CHALLENGES {
                return;
            }
            challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                params: Vec::new(),
            });
            open = true;
        } else if let Some(value) = text.value()
            && let Some(challenge) = challenges.last_mut().filter(|_| open)
            && challenge.params.len() < MAX_PARAMETERS
        {
            challenge.params.push((word.to_ascii_lowercase(), value));
        }
    }
}

/// What is left of a header line.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Past white space and commas; whether anything is left.
    fn skip_to_word(&mut self) -> bool {
        self.0 = self
            .0
            .trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        !self.0.is_empty()
    }

    fn skip_one(&mut self) {
        let mut chars = self.0.chars();
        chars.next();
        self.0 = chars.as_str();
    }

    /// A scheme's or parameter's name; perhaps empty.
    fn word(&mut self) -> &'a str {
        self.until(|c| matches!(c, ',' | '=' | '"') || c.is_ascii_whitespace())
    }

    fn take_equals(&mut self) -> bool {
        let rest = self.0.trim_start();
        rest.strip_prefix('=')
            .inspect(|rest| self.0 = rest)
            .is_some()
    }

    /// What follows `=`; `None` for the padding of a `token68`, which is no parameter.
    fn value(&mut self) -> Option<String> {
        self.0 = self.0.trim_start();
        if let Some(rest) = self.0.strip_prefix('"') {
            self.0 = rest;
            return Some(self.quoted());
        }
        let value = self.until(|c| c == ',' || c.is_ascii_whitespace());
        (!value.is_empty() && !value.bytes().all(|b| b == b'=')).then(|| value.to_owned())
    }

    /// Up to the closing quote, or to the end when there is none.
    fn quoted(&mut self) -> String {
        let mut out = String::new();
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => out.extend(chars.next()),
                c => out.push(c),
            }
        }
        self.0 = chars.as_str();
        out
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (head, rest) = self
            .0
            .split_at_checked(self.0.find(end).unwrap_or(self.0.len()))
            .unwrap_or((self.0, ""));
        self.0 = rest;
        head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scope::Scope;

    /// A scheme and its parameters.
    type Expected = (&'static str, &'static [(&'static str, &'static str)]);

    fn params(challenge: &Challenge) -> Vec<(&str, &str)> {
        challenge
            .params
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect()
    }

    #[test]
    fn every_form_seen_at_a_registry_is_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        let cases: &[(&[&str], &[Expected])] = &[
            (
                &[hub],
                &[(
                    "bearer",
                    &[
                        ("realm", "https://auth.docker.io/token"),
                        ("service", "registry.docker.io"),
                        ("scope", "repository:library/alpine:pull"),
                    ],
                )],
            ),
            // Several challenges on one line.
            (
                &[
                    r#"Basic realm="quay", Bearer realm="https://quay.io/v2/auth",service="quay.io""#,
                ],
                &[
                    ("basic", &[("realm", "quay")]),
                    (
                        "bearer",
                        &[("realm", "https://quay.io/v2/auth"), ("service", "quay.io")],
                    ),
                ],
            ),
            // Several lines.
            (
                &[r#"Basic realm="a""#, r#"Bearer realm="b""#],
                &[("basic", &[("realm", "a")]), ("bearer", &[("realm", "b")])],
            ),
            // Unquoted, any case, spaces around the equals sign.
            (
                &["BEARER Realm=https://gcr.io/v2/token,SERVICE = gcr.io"],
                &[(
                    "bearer",
                    &[("realm", "https://gcr.io/v2/token"), ("service", "gcr.io")],
                )],
            ),
            // Unquoted, with a query of its own.
            (
                &["Bearer realm=https://nvcr.io/proxy_auth?scope=repository:a:pull"],
                &[(
                    "bearer",
                    &[(
                        "realm",
                        "https://nvcr.io/proxy_auth?scope=repository:a:pull",
                    )],
                )],
            ),
            // Quoted pairs, commas and equals signs inside quotes.
            (
                &[r#"Bearer realm="a\"b\\c, d=e", scope="repository:a:pull,push""#],
                &[(
                    "bearer",
                    &[
                        ("realm", r#"a"b\c, d=e"#),
                        ("scope", "repository:a:pull,push"),
                    ],
                )],
            ),
            // ECR private.
            (
                &[
                    r#"Basic realm="https://1.dkr.ecr.us-east-1.amazonaws.com/",service="ecr.amazonaws.com""#,
                ],
                &[(
                    "basic",
                    &[
                        ("realm", "https://1.dkr.ecr.us-east-1.amazonaws.com/"),
                        ("service", "ecr.amazonaws.com"),
                    ],
                )],
            ),
            // A scheme without parameters, and one with a token.
            (
                &["Negotiate, NTLM TlRMTVNTUAAB==, Bearer realm=x"],
                &[
                    ("negotiate", &[]),
                    ("ntlm", &[]),
                    ("bearer", &[("realm", "x")]),
                ],
            ),
            // No challenge at all.
            (&["", ",,,", "=\"\"", "\"realm\""], &[]),
            // An unterminated quote ends with the line, and no parameter leaks into the next one.
            (
                &[r#"Bearer realm="https://a"#, r#"service="b""#],
                &[("bearer", &[("realm", "https://a")])],
            ),
        ];
        for (lines, wanted) in cases {
            let got = Challenge::parse(lines.iter().copied());
            let known: Vec<_> = got
                .iter()
                .filter(|c| ["bearer", "basic", "negotiate", "ntlm"].contains(&c.scheme.as_str()))
                .map(|c| (c.scheme.as_str(), params(c)))
                .collect();
            let wanted: Vec<_> = wanted.iter().map(|(s, p)| (*s, p.to_vec())).collect();
            assert_eq!(known, wanted, "{lines:?}");
        }
    }

    #[test]
    fn endless_headers_are_read_in_part() {
        let many = "Basic realm=x, ".repeat(1000);
        assert!(Challenge::parse([many.as_str()]).len() <= MAX_CHALLENGES);
        let wide = format!("Bearer {}", "a=b,".repeat(1000));
        let got = Challenge::parse([wide.as_str()]);
        assert_eq!(got.first().map(|c| c.params.len()), Some(MAX_PARAMETERS));
        let huge = "x".repeat(MAX_LENGTH + 1);
        assert!(Challenge::parse([huge.as_str()]).is_empty());
    }

    #[test]
    fn ours_is_written_to_the_letter() {
        let scopes = Scope::parse_list("repository:team/app:pull,push registry:catalog:*");
        let mut ours = Bearer {
            realm: "https://prod.example/oauth2/token",
            service: "prod.example",
            scopes: &scopes,
            error: Some(TokenError::InsufficientScope),
        };
        assert_eq!(
            ours.to_string(),
            r#"Bearer realm="https://prod.example/oauth2/token",service="prod.example",scope="repository:team/app:pull,push registry:catalog:*",error="insufficient_scope""#
        );
        ours.scopes = &[];
        ours.error = None;
        assert_eq!(
            ours.to_string(),
            r#"Bearer realm="https://prod.example/oauth2/token",service="prod.example""#
        );
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_within_bounds(lines in prop::collection::vec(".{0,200}", 0..5)) {
            for challenge in Challenge::parse(lines.iter().map(String::as_str)) {
                prop_assert!(!challenge.scheme.is_empty());
                prop_assert!(challenge.params.len() <= MAX_PARAMETERS);
            }
        }

        #[test]
        fn what_looks_like_a_challenge_never_panics(line in r#"[a-zA-Z=",\\ ]{0,80}"#) {
            Challenge::parse([line.as_str()]);
        }

        #[test]
        fn what_we_write_reads_back(realm in "[ -~]{0,60}", service in "[ -~]{0,60}") {
            let ours = Bearer { realm: &realm, service: &service, scopes: &[], error: Some(TokenError::InvalidToken) }.to_string();
            let read = Challenge::parse([ours.as_str()]);
            prop_assert_eq!(read.len(), 1);
            let read = read.first().expect("one was read");
            prop_assert!(read.is_bearer());
            prop_assert_eq!(read.param("realm"), Some(realm.as_str()));
            prop_assert_eq!(read.param("service"), Some(service.as_str()));
            prop_assert_eq!(read.param("error"), Some("invalid_token"));
        }
    }
}
