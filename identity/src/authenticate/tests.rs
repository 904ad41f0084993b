//! Headers as a table, and one session from password to refreshed token to its end.

use std::collections::BTreeMap;

use wire::secret_ref::SecretRef;

use super::{refresh::Memory, *};

const ORIGIN: Origin<'static> = Origin {
    address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    spiffe: None,
    plain_loopback: false,
};

fn parse(lines: &[&str]) -> Result<Option<String>, Refused> {
    let parsed = Credentials::parse(lines.iter().map(|line| line.as_bytes()))?;
    Ok(parsed.map(|credentials| match credentials {
        Credentials::Basic { user, secret } => format!("basic {user} {}", secret.expose()),
        Credentials::Bearer(token) => format!("bearer {}", token.expose()),
    }))
}

#[test]
fn a_header_is_one_of_two_schemes_or_refused() {
    use Refused::{Malformed, Scheme};
    type Case = (
        &'static [&'static str],
        Result<Option<&'static str>, Refused>,
    );
    let cases: &[Case] = &[
        (&[], Ok(None)),
        (&["Basic Y2k6cGFzczp3b3Jk"], Ok(Some("basic ci pass:word"))),
        (&["basic  Y2k6cGFzczp3b3Jk"], Ok(Some("basic ci pass:word"))),
        (&["Basic Y2k6cA"], Ok(Some("basic ci p"))),
        (&["Basic Y2k6cA=="], Ok(Some("basic ci p"))),
        (&["Basic Og=="], Ok(Some("basic  "))),
        (&["Bearer a.b.c"], Ok(Some("bearer a.b.c"))),
        (&["BEARER a.b.c"], Ok(Some("bearer a.b.c"))),
        (&["Basic Y2k="], Err(Malformed)),
        (&["Basic ???"], Err(Malformed)),
        (&["Basic /w=="], Err(Malformed)),
        (&["Basic"], Err(Malformed)),
        (&[""], Err(Malformed)),
        (&["Bearer a", "Bearer b"], Err(Malformed)),
        (&["Basic Y2k6cA==", "Bearer b"], Err(Malformed)),
        (&["Negotiate YWJj"], Err(Scheme)),
    ];
    for (lines, expected) in cases {
        let expected = (*expected).map(|text| text.map(ToOwned::to_owned));
        assert_eq!(parse(lines), expected, "{lines:?}");
    }
    let long = format!("Bearer {}", "a".repeat(MAX_HEADER));
    assert_eq!(parse(&[&long]), Err(Malformed));
}

fn accounts(names: &[&str]) -> Accounts {
    let declared: BTreeMap<_, _> = names
        .iter()
        .map(|name| (name.parse().unwrap(), SecretRef::Env((*name).to_owned())))
        .collect();
    Accounts::new(&declared, None)
}

fn at<'a>(audience: &'a str, accounts: &'a Accounts) -> Local<'a> {
    Local {
        audience,
        accounts,
        trust: None,
        outsiders: &outsiders::Nobody,
    }
}

/// Every account's password is `<name>-<suffix>`.
fn authenticate(suffix: &Arc<std::sync::Mutex<String>>) -> (Authenticate, Clock, Tasks) {
    let suffix = Arc::clone(suffix);
    let resolve: Resolve = Arc::new(move |reference| {
        let SecretRef::Env(name) = reference else {
            unreachable!()
        };
        let password = format!("{name}-{}", suffix.lock().unwrap());
        Box::pin(async move { Ok(Secret::new(password)) })
    });
    let (clock, tasks) = (Clock::manual(1_800_000_000_000), Tasks::new("test"));
    let config = Config {
        keys: Arc::new(Keys::generate().unwrap()),
        refresh: Arc::new(Memory::default()),
    };
    (config.build(resolve, &clock, &tasks).unwrap(), clock, tasks)
}

/// What somebody holds who logged in: an access token, and the refresh token beside it.
struct Given {
    bearer: Credentials,
    refresh: Secret,
}

impl Given {
    async fn to(proven: &Proven, authenticate: &Authenticate, local: Local<'_>) -> Self {
        let issued = authenticate.issue(local, proven, Bound::default());
        let refresh = authenticate.issue_refresh(local, proven).await;
        Self {
            bearer: Credentials::Bearer(issued.unwrap().token),
            refresh: refresh.unwrap().unwrap(),
        }
    }

    /// Whether the two count there, which both do or neither.
    async fn counts(&self, authenticate: &Authenticate, local: Local<'_>) -> bool {
        let caller = authenticate.caller(local, Some(&self.bearer), ORIGIN).await;
        let refreshed = authenticate.refreshed(local, &self.refresh, ORIGIN).await;
        assert_eq!(caller.is_ok(), refreshed.is_ok());
        caller.is_ok()
    }
}

fn basic(user: &str, secret: &Secret) -> Credentials {
    Credentials::Basic {
        user: user.to_owned(),
        secret: secret.clone(),
    }
}

#[tokio::test]
async fn a_session_goes_from_password_to_refresh_token_to_its_end() {
    let suffix = Arc::new(std::sync::Mutex::new("one".to_owned()));
    let (authenticate, clock, _tasks) = authenticate(&suffix);
    let accounts = accounts(&["ci"]);
    let local = at("a:1", &accounts);
    let password = Secret::from("ci-one");
    assert!(authenticate.warm(&accounts).await.is_empty());

    let proven = authenticate
        .prove(local, "ci", &password, ORIGIN)
        .await
        .unwrap();
    let access = authenticate
        .issue(local, &proven, Bound::default())
        .unwrap();
    let refresh = authenticate
        .issue_refresh(local, &proven)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(access.expires_in_seconds(), 3600);
    let caller = authenticate
        .caller(
            local,
            Some(&Credentials::Bearer(access.token.clone())),
            ORIGIN,
        )
        .await
        .unwrap();
    assert_eq!(caller.principal.to_string(), "account:ci");
    assert_eq!(caller.bound.as_deref(), Some(&Bound::default()));

    // A refresh token is a password too, under any of the users clients know.
    for user in [
        "00000000-0000-0000-0000-000000000000",
        "oidc",
        "ci",
        "<token>",
    ] {
        let caller = authenticate
            .caller(local, Some(&basic(user, &refresh)), ORIGIN)
            .await
            .unwrap();
        assert_eq!(caller.principal.to_string(), "account:ci");
    }
    let proven = authenticate
        .refreshed(local, &refresh, ORIGIN)
        .await
        .unwrap();
    let same = authenticate
        .issue_refresh(local, &proven)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(same.expose(), refresh.expose());
    // No bearer token, and no other node's.
    let bearer = authenticate
        .caller(local, Some(&Credentials::Bearer(refresh.clone())), ORIGIN)
        .await;
    assert!(matches!(bearer, Err(Error::Refused(Refused::Token))));
    let elsewhere = at("b:1", &accounts);
    assert!(
        authenticate
            .refreshed(elsewhere, &refresh, ORIGIN)
            .await
            .is_err()
    );

    clock.advance(Duration::from_secs(61));
    "two".clone_into(&mut suffix.lock().unwrap());
    let over = authenticate.refreshed(local, &refresh, ORIGIN).await;
    assert!(
        matches!(over, Err(Error::Refused(Refused::RefreshToken))),
        "a new password ends earlier sessions"
    );
    "one".clone_into(&mut suffix.lock().unwrap());
    assert!(
        authenticate
            .refreshed(local, &refresh, ORIGIN)
            .await
            .is_err(),
        "and they stay ended"
    );
}

#[tokio::test]
async fn a_removed_account_ends_its_tokens_at_once() {
    let suffix = Arc::new(std::sync::Mutex::new("one".to_owned()));
    let (authenticate, _clock, _tasks) = authenticate(&suffix);
    let (before, after) = (accounts(&["ci", "other"]), accounts(&["other"]));
    let local = at("a:1", &before);
    let password = Secret::from("ci-one");
    let proven = authenticate.prove(local, "ci", &password, ORIGIN).await;
    let given = Given::to(&proven.unwrap(), &authenticate, local).await;
    assert!(given.counts(&authenticate, local).await);
    assert!(!given.counts(&authenticate, at("a:1", &after)).await);
}

/// T38: a password is changed because somebody has the old one, who may have a token as well.
/// Nothing is assigned to it here any more, and its secret was taken away with that.
#[tokio::test]
async fn the_login_of_an_idle_account_waits_for_its_password() {
    let suffix = Arc::new(std::sync::Mutex::new("one".to_owned()));
    let (authenticate, _clock, _tasks) = authenticate(&suffix);
    let assigned = accounts(&["ci"]);
    let local = at("a:1", &assigned);
    let password = Secret::from("ci-one");
    let proven = authenticate.prove(local, "ci", &password, ORIGIN).await;
    let refresh = authenticate.issue_refresh(local, &proven.unwrap()).await;
    let refresh = refresh.unwrap().unwrap();
    "x".repeat(5000).clone_into(&mut suffix.lock().unwrap());
    let away = authenticate.refreshed(local, &refresh, ORIGIN).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })));
    let idle = accounts(&["ci"]).assigned(|_| false);
    let refused = authenticate.refreshed(at("a:1", &idle), &refresh, ORIGIN);
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refused::RefreshToken)));
    "one".clone_into(&mut suffix.lock().unwrap());
    let idle = authenticate.refreshed(at("a:1", &idle), &refresh, ORIGIN);
    assert!(idle.await.is_ok(), "it is kept");
}

#[tokio::test]
async fn a_new_password_ends_the_access_tokens_of_the_old_one_and_the_same_one_does_not() {
    let suffix = Arc::new(std::sync::Mutex::new("one".to_owned()));
    let (authenticate, _clock, _tasks) = authenticate(&suffix);
    let accounts = accounts(&["ci"]);
    let local = at("a:1", &accounts);
    let token = async |password: &'static str| {
        let password = Secret::from(password);
        let proven = authenticate.prove(local, "ci", &password, ORIGIN).await;
        let issued = authenticate.issue(local, &proven.unwrap(), Bound::default());
        Credentials::Bearer(issued.unwrap().token)
    };
    let counts = async |token: &Credentials| {
        let caller = authenticate.caller(local, Some(token), ORIGIN);
        caller.await.is_ok()
    };
    let old = token("ci-one").await;
    assert!(counts(&old).await);
    authenticate.warm(&accounts).await;
    assert!(counts(&old).await, "nothing changed");
    "two".clone_into(&mut suffix.lock().unwrap());
    authenticate.warm(&accounts).await;
    assert!(!counts(&old).await);
    assert!(counts(&token("ci-two").await).await);
}

#[tokio::test]
async fn nobody_gets_a_token_and_no_refresh_token() {
    let suffix = Arc::new(std::sync::Mutex::new("one".to_owned()));
    let (authenticate, _clock, _tasks) = authenticate(&suffix);
    let accounts = accounts(&[]);
    let local = at("a:1", &accounts);
    let nobody = Proven::by_connection(ORIGIN);
    let token = authenticate
        .issue(local, &nobody, Bound::default())
        .unwrap()
        .token;
    assert!(
        authenticate
            .issue_refresh(local, &nobody)
            .await
            .unwrap()
            .is_none()
    );
    let caller = authenticate
        .caller(local, Some(&Credentials::Bearer(token)), ORIGIN)
        .await
        .unwrap();
    assert_eq!(caller.principal, Principal::Anonymous);
    assert!(caller.bound.is_some());
    let shown = authenticate.caller(local, None, ORIGIN).await.unwrap();
    assert!(shown.bound.is_none());
}

mod granted;
mod outsider;
