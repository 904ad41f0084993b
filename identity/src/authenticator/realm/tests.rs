//! The table of realms, row by row.

use super::*;

fn policy(upstream: &str, profile: Option<&[&str]>, declared: &[&str]) -> Policy {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    Policy {
        upstream: Origin::of(&upstream.parse().unwrap()).unwrap(),
        profile: profile.map(owned),
        declared: owned(declared),
        aliases: Vec::new(),
    }
}

#[test]
fn the_first_row_that_applies_decides() {
    type Row = (
        &'static str,
        Option<&'static [&'static str]>,
        &'static [&'static str],
        &'static str,
        bool,
    );
    let hub: Option<&[&str]> = Some(&["auth.docker.io"]);
    let cases: &[Row] = &[
        // Profile first, and nothing but the profile.
        (
            "https://registry-1.docker.io",
            hub,
            &[],
            "https://auth.docker.io/token",
            true,
        ),
        (
            "https://registry-1.docker.io",
            hub,
            &[],
            "https://evil.docker.io/token",
            false,
        ),
        (
            "https://registry-1.docker.io",
            hub,
            &[],
            "https://registry-1.docker.io/token",
            false,
        ),
        (
            "https://registry-1.docker.io",
            hub,
            &[],
            "https://auth.docker.io:8443/token",
            false,
        ),
        (
            "https://a.azurecr.io",
            Some(&["a.azurecr.io"]),
            &[],
            "https://b.azurecr.io/oauth2/token",
            false,
        ),
        (
            "https://a.azurecr.io",
            Some(&["a.azurecr.io"]),
            &[],
            "https://a.azurecr.io/oauth2/token",
            true,
        ),
        // What the operator says is right.
        (
            "https://a.azurecr.io",
            Some(&["a.azurecr.io"]),
            &["sso.contoso.com"],
            "https://sso.contoso.com/t",
            true,
        ),
        (
            "https://r.example.com",
            None,
            &["sso.other.org:8443"],
            "https://sso.other.org:8443/t",
            true,
        ),
        (
            "https://r.example.com",
            None,
            &["sso.other.org:8443"],
            "https://sso.other.org/t",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &["sso.other.org"],
            "https://sso.other.org:8443/t",
            false,
        ),
        // Same origin, same registrable domain.
        (
            "https://r.example.com",
            None,
            &[],
            "https://r.example.com/token",
            true,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "https://R.EXAMPLE.com:443/token",
            true,
        ),
        (
            "https://r.example.com:5050",
            None,
            &[],
            "https://example.com/jwt/auth",
            true,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "https://auth.example.com/token",
            true,
        ),
        (
            "https://r.example.co.uk",
            None,
            &[],
            "https://auth.example.co.uk/token",
            true,
        ),
        (
            "https://r.example.co.uk",
            None,
            &[],
            "https://other.co.uk/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "https://example.com.evil.org/token",
            false,
        ),
        (
            "https://alice.github.io",
            None,
            &[],
            "https://mallory.github.io/token",
            false,
        ),
        // Domains that strangers share.
        (
            "https://a.jfrog.io",
            None,
            &[],
            "https://b.jfrog.io/token",
            false,
        ),
        (
            "https://a.azurecr.io",
            None,
            &[],
            "https://b.azurecr.io/token",
            false,
        ),
        (
            "https://eu-docker.pkg.dev",
            None,
            &[],
            "https://us-docker.pkg.dev/token",
            false,
        ),
        (
            "https://1.dkr.ecr.eu-west-1.amazonaws.com",
            None,
            &[],
            "https://x.amazonaws.com/",
            false,
        ),
        // Literals and names of one label: the same origin only.
        (
            "http://127.0.0.1:5000",
            None,
            &[],
            "http://127.0.0.1:5000/token",
            true,
        ),
        (
            "http://127.0.0.1:5000",
            None,
            &[],
            "http://127.0.0.1:5001/token",
            false,
        ),
        (
            "http://127.0.0.1:5000",
            None,
            &["127.0.0.1:5001"],
            "http://127.0.0.1:5001/token",
            true,
        ),
        (
            "http://[::1]:5000",
            None,
            &[],
            "http://[::1]:5000/token",
            true,
        ),
        (
            "http://localhost:5000",
            None,
            &[],
            "http://localhost:5001/token",
            false,
        ),
        (
            "https://registry",
            None,
            &[],
            "https://registry/token",
            true,
        ),
        ("https://registry", None, &[], "https://auth/token", false),
        (
            "https://10.0.0.5",
            None,
            &[],
            "https://10.0.0.6/token",
            false,
        ),
        // Never down to http, and never to these.
        (
            "https://r.example.com",
            None,
            &[],
            "http://r.example.com/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &["r.example.com"],
            "http://r.example.com/token",
            false,
        ),
        (
            "http://r.example.com",
            None,
            &[],
            "https://r.example.com/token",
            true,
        ),
        (
            "http://127.0.0.1:1",
            None,
            &["169.254.169.254"],
            "http://169.254.169.254/token",
            false,
        ),
        (
            "http://127.0.0.1:1",
            None,
            &["[::ffff:169.254.169.254]"],
            "http://[::ffff:a9fe:a9fe]/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &["0.0.0.0"],
            "https://0.0.0.0/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &["[fd00:ec2::254]"],
            "https://[fd00:ec2::254]/token",
            false,
        ),
        // 169.254.169.254 in decimal.
        (
            "http://127.0.0.1:1",
            None,
            &["169.254.169.254"],
            "http://2852039166/token",
            false,
        ),
        // Shapes.
        (
            "https://r.example.com",
            None,
            &[],
            "https://user:pass@r.example.com/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "https://r.example.com@evil.org/token",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "https://r.example.com/token#x",
            false,
        ),
        (
            "https://r.example.com",
            None,
            &[],
            "ftp://r.example.com/token",
            false,
        ),
        ("https://r.example.com", None, &[], "/token", false),
        ("https://r.example.com", None, &[], "", false),
    ];
    for (upstream, profile, declared, realm, allowed) in cases {
        let got = check(realm, &policy(upstream, *profile, declared));
        assert_eq!(got.is_ok(), *allowed, "{upstream} {realm}: {got:?}");
    }
}

#[test]
fn a_refusal_names_the_host_and_nothing_else_of_the_url() {
    let policy = policy("https://r.example.com", None, &[]);
    let refused = check("https://u:hunter2@evil.org:8443/p?sig=hunter2", &policy);
    let refused = refused.unwrap_err();
    assert_eq!(refused.realm, "evil.org:8443");
    assert!(!refused.to_string().contains("hunter2"));
}

#[test]
fn another_name_of_the_upstream_is_asked_at_the_upstream_itself() {
    let of = |origin: &str| Origin::of(&origin.parse().unwrap()).unwrap();
    let policy = Policy {
        aliases: vec![of("https://hub.example.com"), of("http://hub.internal")],
        ..policy("https://10.0.0.5:5443", None, &[])
    };
    for (realm, asked) in [
        (
            "https://hub.example.com/oauth2/token",
            Some("https://10.0.0.5:5443/oauth2/token"),
        ),
        (
            "http://hub.internal/t?x=1",
            Some("https://10.0.0.5:5443/t?x=1"),
        ),
        ("https://hub.example.com:8443/oauth2/token", None),
        ("https://u:p@hub.example.com/oauth2/token", None),
        ("https://hub.example.org/oauth2/token", None),
    ] {
        let got = check(realm, &policy).ok();
        assert_eq!(got.as_ref().map(Url::as_str), asked, "{realm}");
    }
}
