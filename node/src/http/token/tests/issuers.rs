//! Tokens of a declared issuer at the token endpoint, genuinely verified: long claims, and an issuer that is away.

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as URL},
};
use identity::{
    authenticate::oidc::{Declared, Issuers},
    keys::{KeySet, KeySource, discovery::Place, memory::Memory},
    sign::Keys,
};
use topology::model::Network;
use wire::{
    assignment::{Assignee, Role},
    time::WallTime,
};

use super::*;

const URL_OF_CORP: &str = "https://login.corp.example";

/// The key set of an issuer that signs by `keys`.
fn published(keys: &Keys) -> KeySet {
    let jwk = |(kid, point): (String, String)| {
        let point = URL
            .decode(&point)
            .or_else(|_| STANDARD.decode(&point))
            .unwrap();
        let (x, y) = point[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": URL.encode(x), "y": URL.encode(y)})
    };
    let keys: Vec<Value> = keys.points().into_iter().map(jwk).collect();
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

struct Corp {
    rig: Rig,
    keys: Keys,
    source: Arc<Memory>,
}

/// A node that declares an issuer; the group `g-7` reads `team/*`.
fn corp() -> Corp {
    let mut rig = rig(false);
    let keys = Keys::generate().unwrap();
    let source = Arc::new(Memory::publishing(published(&keys)));
    let declared = Declared {
        name: "corp".parse().unwrap(),
        place: Place {
            url: URL_OF_CORP.to_owned(),
            keys: None,
            ca: None,
            token: None,
        },
        audiences: vec!["prod.example:5443".to_owned()],
        client_id: None,
        algorithms: Vec::new(),
        assigned: true,
    };
    let to = Assignee::Claims {
        issuer: "corp".parse().unwrap(),
        claims: [("groups".to_owned(), "g-7".to_owned())].into(),
    };
    let roles = [assign(Role::RepositoryReader, to, "team/*")];
    let issuers = Issuers::with([(
        declared,
        Arc::<Memory>::clone(&source) as Arc<dyn KeySource>,
    )]);
    let made = access(&rig.authenticate, &roles, Network::default());
    rig.access = Arc::new(made.knowing(Arc::new(issuers)));
    Corp { rig, keys, source }
}

impl Corp {
    fn token(&self, groups: usize) -> String {
        let now = WallTime(self.rig.clock.wall_ms()).seconds();
        let groups: Vec<String> = (0..groups).map(|n| format!("g-{n}")).collect();
        let claims = json!({
            "iss": URL_OF_CORP, "aud": "prod.example:5443", "sub": "job", "iat": now, "exp": now + 600, "groups": groups
        });
        self.keys.sign("JWT", &claims).unwrap().expose().clone()
    }
}

const PULL: &str = "repository:team/a:pull";

#[tokio::test]
async fn who_is_in_a_thousand_groups_gets_a_short_token_with_the_same_rights() {
    let corp = corp();
    for groups in [8, 1000] {
        let query = format!("?scope={PULL},push");
        let answer = get(&corp.rig, &query, basic("oidc", &corp.token(groups))).await;
        assert_eq!(scope(&answer), PULL);
        let token = answer.body["token"].as_str().unwrap();
        assert!(token.len() < 2048, "{} bytes", token.len());
        let claims = URL.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let said = &claims["regmesh"]["claims"];
        assert_eq!(said["iss"], URL_OF_CORP);
        assert_eq!(said["sub"], "job");
        assert!(said["groups"].as_array().unwrap().contains(&json!("g-7")));
        let shown = Credentials::Bearer(Secret::from(token));
        let origin = Origin {
            address: [192, 0, 2, 9].into(),
            spiffe: None,
            plain_loopback: false,
        };
        let local = corp.rig.access.local();
        let caller = corp.rig.authenticate.caller(local, Some(&shown), origin);
        let caller = caller.await.unwrap();
        let again = corp
            .rig
            .access
            .grant(&caller.principal, None, &Scope::parse_list(PULL));
        assert_eq!(Scope::write_list(&again.scopes()), PULL);
    }
    let outside = get(
        &corp.rig,
        &format!("?scope={PULL}"),
        basic("oidc", &corp.token(7)),
    )
    .await;
    assert_eq!(scope(&outside), "");
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_the_callers_fault() {
    let corp = corp();
    corp.source.set_away(true);
    let token = corp.token(8);
    let query = format!("?scope={PULL}");
    let away = get(&corp.rig, &query, basic("oidc", &token)).await;
    assert_eq!(away.status, 503, "{}", away.body);
    assert!(!away.headers.contains_key(header::WWW_AUTHENTICATE));
    assert!(!away.body.to_string().contains(&token));
    assert!(away.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(away.body["error"], "temporarily_unavailable");
    assert_eq!(
        away.body["error_description"],
        away.body["errors"][0]["message"]
    );
    assert!(
        !away.body.to_string().contains("SECRET_UNAVAILABLE"),
        "no secret is missing: {}",
        away.body
    );
    // Whoever needs no issuer notices nothing.
    let reader = get(&corp.rig, "", reader()).await;
    assert_eq!(reader.status, 200);
    corp.source.set_away(false);
    assert_eq!(
        scope(&get(&corp.rig, &query, basic("oidc", &token)).await),
        PULL
    );
    let over = corp.token(8);
    corp.rig.clock.advance(std::time::Duration::from_secs(661));
    assert_eq!(
        get(&corp.rig, &query, basic("oidc", &over)).await.status,
        401
    );
}
