//! A rule of another node, from its grant to its end: T38, T52 and T55 for what a grant is exchanged for.

use serde_json::json;
use wire::{generation::Generation, scope::Action, withdrawal::Withdrawal};

use super::*;
use crate::sign::Public;

const HUB: &str = "hub.example:5443";
const EDGE: &str = "spiffe://contoso/node/edge";
const OTHER: &str = "spiffe://contoso/node/other";
/// How long the grants here live.
const HOUR: Duration = Duration::from_secs(3600);

fn under(spiffe: &str) -> Origin<'_> {
    Origin {
        spiffe: Some(spiffe),
        ..ORIGIN
    }
}

/// A hub, and the control plane that it believes.
struct Hub {
    authenticate: Authenticate,
    clock: Clock,
    control: Keys,
    trust: Trust,
    accounts: Accounts,
    keys: Arc<Keys>,
    store: Arc<Memory>,
    _tasks: Tasks,
}

fn hub() -> Hub {
    let control = Keys::generate().unwrap();
    let trust = Trust {
        mesh: "contoso".parse().unwrap(),
        issuer: "https://control.example".to_owned(),
        keys: Public::read(&control.points()),
        former: [].into(),
        withdrawn: [].into(),
        plain: false,
    };
    let (clock, tasks) = (Clock::manual(1_800_000_000_000), Tasks::new("test"));
    let (keys, store) = (
        Arc::new(Keys::generate().unwrap()),
        Arc::new(Memory::default()),
    );
    Hub {
        authenticate: built(&keys, &store, &clock, &tasks),
        clock,
        control,
        trust,
        accounts: accounts(&["ci"]),
        keys,
        store,
        _tasks: tasks,
    }
}

fn built(keys: &Arc<Keys>, store: &Arc<Memory>, clock: &Clock, tasks: &Tasks) -> Authenticate {
    let resolve: Resolve = Arc::new(|_| Box::pin(async { Ok(Secret::from("password")) }));
    let config = Config {
        keys: Arc::clone(keys),
        refresh: Arc::clone(store) as Arc<dyn RefreshStore>,
    };
    config.build(resolve, clock, tasks).unwrap()
}

impl Hub {
    fn local(&self) -> Local<'_> {
        Local {
            trust: Some(&self.trust),
            ..at(HUB, &self.accounts)
        }
    }

    fn grant(&self) -> Secret {
        self.grant_bound(Some(EDGE))
    }

    fn grant_bound(&self, spiffe: Option<&str>) -> Secret {
        let s = WallTime(self.clock.wall_ms()).seconds();
        let mut claims = json!({
            "iss": self.trust.issuer, "aud": HUB, "sub": "mesh:contoso:identity:promoter",
            "iat": s, "nbf": s, "exp": s + 3600, "jti": uuid::Uuid::now_v7(),
            "regmesh": {"node": "edge", "rule": "apps", "repositories": ["team/*"], "actions": ["pull"], "generation": 7},
        });
        if let Some(spiffe) = spiffe {
            claims["cnf"] = json!({"spiffe": spiffe});
        }
        self.control.sign(grant::TYP, &claims).unwrap()
    }

    /// The refresh token that a grant is exchanged for.
    async fn session(&self, grant: &Secret, origin: Origin<'_>) -> Result<Secret, Error> {
        let proven = self
            .authenticate
            .exchange(self.local(), grant, origin)
            .await?;
        let refresh = self.authenticate.issue_refresh(self.local(), &proven).await;
        Ok(refresh?.unwrap())
    }

    async fn refreshed(&self, refresh: &Secret, origin: Origin<'_>) -> Result<Proven, Error> {
        self.authenticate
            .refreshed(self.local(), refresh, origin)
            .await
    }

    async fn access(&self, refresh: &Secret, origin: Origin<'_>) -> Issued {
        let proven = self.refreshed(refresh, origin).await.unwrap();
        let mut bound = Bound::default();
        bound.add(
            "team/a"
                .parse::<wire::repository::RepositoryName>()
                .unwrap(),
            Action::Pull.into(),
        );
        self.authenticate
            .issue(self.local(), &proven, bound)
            .unwrap()
    }

    async fn bearer(&self, token: &Secret, origin: Origin<'_>) -> Result<Caller, Error> {
        let shown = Credentials::Bearer(token.clone());
        self.authenticate
            .caller(self.local(), Some(&shown), origin)
            .await
    }
}

#[tokio::test]
async fn a_grant_becomes_five_minutes_of_its_identity_under_its_nodes_certificate() {
    let hub = hub();
    let refresh = hub.session(&hub.grant(), under(EDGE)).await.unwrap();
    let proven = hub.refreshed(&refresh, under(EDGE)).await.unwrap();
    let most = proven.bound.unwrap();
    assert!(most.allows(Action::Pull, &"team/a".parse().unwrap()));
    assert!(!most.allows(Action::Pull, &"other/a".parse().unwrap()));
    assert!(!most.allows(Action::Push, &"team/a".parse().unwrap()));
    let issued = hub.access(&refresh, under(EDGE)).await;
    assert_eq!(issued.expires_in_seconds(), 300);
    let caller = hub.bearer(&issued.token, under(EDGE)).await.unwrap();
    assert_eq!(caller.principal.to_string(), "identity:promoter");
    let via = caller.via.unwrap();
    assert_eq!((via.node.as_str(), via.rule.as_str()), ("edge", "apps"));
    // Shown directly, it is the same.
    let shown = basic("00000000-0000-0000-0000-000000000000", &refresh);
    let caller = hub
        .authenticate
        .caller(hub.local(), Some(&shown), under(EDGE))
        .await;
    assert_eq!(caller.unwrap().principal.to_string(), "identity:promoter");
    hub.clock.advance(Duration::from_secs(361));
    assert!(hub.bearer(&issued.token, under(EDGE)).await.is_err());
}

/// T55: an access token, or a refresh token, of a grant over another connection.
#[tokio::test]
async fn what_was_given_for_a_grant_is_worth_nothing_over_another_connection() {
    let hub = hub();
    let refresh = hub.session(&hub.grant(), under(EDGE)).await.unwrap();
    let token = hub.access(&refresh, under(EDGE)).await.token;
    let here = Origin {
        plain_loopback: true,
        ..ORIGIN
    };
    for origin in [
        ORIGIN,
        under(OTHER),
        here,
        under("spiffe://contoso/control"),
    ] {
        assert!(hub.session(&hub.grant(), origin).await.is_err());
        assert!(hub.refreshed(&refresh, origin).await.is_err());
        assert!(hub.bearer(&token, origin).await.is_err());
        let shown = basic("oidc", &refresh);
        let caller = hub.authenticate.caller(hub.local(), Some(&shown), origin);
        assert!(caller.await.is_err());
    }
    assert!(
        hub.bearer(&token, under(EDGE)).await.is_ok(),
        "after all the tries"
    );
}

#[tokio::test]
async fn a_grant_is_worth_something_at_the_exchange_alone() {
    let hub = hub();
    let grant = hub.grant();
    for user in [
        "oidc",
        "00000000-0000-0000-0000-000000000000",
        "ci",
        "promoter",
    ] {
        let proven = hub
            .authenticate
            .prove(hub.local(), user, &grant, under(EDGE));
        assert!(
            matches!(proven.await, Err(Error::Refused(Refused::Kind))),
            "{user}"
        );
    }
    let bearer = hub.bearer(&grant, under(EDGE)).await;
    assert!(matches!(bearer, Err(Error::Refused(Refused::Token))));
    let subject = hub.authenticate.subject(hub.local(), &grant).await;
    assert!(matches!(subject, Err(Error::Refused(Refused::Kind))));
    let refreshed = hub.refreshed(&grant, under(EDGE)).await;
    assert!(matches!(
        refreshed,
        Err(Error::Refused(Refused::RefreshToken))
    ));

    // And the exchange takes nothing that this node gave itself.
    let refresh = hub.session(&grant, under(EDGE)).await.unwrap();
    let token = hub.access(&refresh, under(EDGE)).await.token;
    let password = Secret::from("password");
    let proven = hub
        .authenticate
        .prove(hub.local(), "ci", &password, ORIGIN)
        .await
        .unwrap();
    let account = hub
        .authenticate
        .issue(hub.local(), &proven, Bound::default())
        .unwrap()
        .token;
    for secret in [&refresh, &token, &account, &password] {
        let exchanged = hub
            .authenticate
            .exchange(hub.local(), secret, under(EDGE))
            .await;
        assert!(matches!(exchanged, Err(Error::Refused(Refused::Kind))));
    }
    for secret in [&token, &account] {
        let proven = hub
            .authenticate
            .prove(hub.local(), "oidc", secret, under(EDGE))
            .await;
        assert!(matches!(proven, Err(Error::Refused(Refused::Kind))));
    }
}

/// T38: nothing waits for a token to run out.
#[tokio::test]
async fn what_was_given_for_a_grant_ends_with_its_rule_its_key_and_its_issuer() {
    let mut hub = hub();
    let refresh = hub.session(&hub.grant(), under(EDGE)).await.unwrap();
    let token = hub.access(&refresh, under(EDGE)).await.token;
    let good = hub.trust.clone();
    let now = WallTime(hub.clock.wall_ms());
    let withdrawn = Trust {
        withdrawn: [(
            "edge/apps".parse().unwrap(),
            Withdrawal {
                before: Generation(1_000),
                at: now.minus(Duration::from_secs(60)),
                left: None,
            },
        )]
        .into(),
        ..good.clone()
    };
    let rotated = Trust {
        keys: Public::read(&Keys::generate().unwrap().points()),
        ..good.clone()
    };
    for trust in [withdrawn, rotated] {
        hub.trust = trust;
        assert!(hub.refreshed(&refresh, under(EDGE)).await.is_err());
        assert!(hub.bearer(&token, under(EDGE)).await.is_err());
        assert!(
            hub.session(&hub.grant_bound(Some(OTHER)), under(OTHER))
                .await
                .is_err()
        );
    }
    hub.trust = good;
    assert!(hub.refreshed(&refresh, under(EDGE)).await.is_ok());
    let untrusting = at(HUB, &hub.accounts);
    let shown = Credentials::Bearer(token);
    assert!(
        hub.authenticate
            .caller(untrusting, Some(&shown), under(EDGE))
            .await
            .is_err()
    );

    hub.clock.advance(HOUR - Duration::from_secs(1));
    assert!(hub.refreshed(&refresh, under(EDGE)).await.is_ok());
    hub.clock.advance(Duration::from_secs(1));
    assert!(
        hub.refreshed(&refresh, under(EDGE)).await.is_err(),
        "over with its grant"
    );
}

#[tokio::test]
async fn a_session_of_a_grant_outlives_a_restart_and_is_one_however_often_the_grant_is_shown() {
    let hub = hub();
    let grant = hub.grant();
    let refresh = hub.session(&grant, under(EDGE)).await.unwrap();
    let token = hub.access(&refresh, under(EDGE)).await.token;
    let tasks = Tasks::new("again");
    let again = Hub {
        authenticate: built(&hub.keys, &hub.store, &hub.clock, &tasks),
        _tasks: tasks,
        ..hub
    };
    assert!(again.bearer(&token, under(EDGE)).await.is_ok());
    let proven = again.refreshed(&refresh, under(EDGE)).await.unwrap();
    assert_eq!(proven.bound_to.as_deref(), Some(EDGE));
    let most = proven.bound.unwrap();
    assert!(most.allows(Action::Pull, &"team/x/y".parse().unwrap()));
    for _ in 0..5 {
        let same = again.session(&grant, under(EDGE)).await.unwrap();
        assert_eq!(same.expose(), refresh.expose());
    }
    assert_eq!(again.store.count(), 1);
}

/// Trying things out: no TLS anywhere, so this machine itself is the boundary.
#[tokio::test]
async fn without_tls_a_grant_counts_on_its_own_machine_while_the_endpoint_is_plain() {
    let mut hub = hub();
    let here = Origin {
        plain_loopback: true,
        ..ORIGIN
    };
    let grant = hub.grant_bound(None);
    assert!(
        hub.session(&grant, here).await.is_err(),
        "this endpoint has TLS"
    );
    hub.trust.plain = true;
    let refresh = hub.session(&grant, here).await.unwrap();
    let token = hub.access(&refresh, here).await.token;
    assert!(hub.bearer(&token, here).await.is_ok());
    for origin in [ORIGIN, under(EDGE)] {
        assert!(hub.refreshed(&refresh, origin).await.is_err());
        assert!(hub.bearer(&token, origin).await.is_err());
    }
    hub.trust.plain = false;
    assert!(hub.refreshed(&refresh, here).await.is_err(), "TLS since");
    assert!(hub.bearer(&token, here).await.is_err());
}
