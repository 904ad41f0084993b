//! The issuer over what is published: whose keys nodes believe, when, and what grants say meanwhile.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
use identity::mint::Audience;
use topology::model::{Grants, SliceOf};
use wire::{
    api::resource::{Apply, File},
    generation::Generation,
};

use super::*;
use crate::{
    seal::Seal,
    state::{Part, State, memory::Memory},
};

const START: i64 = 1_800_000_000_500;
const DAY: Duration = Duration::from_secs(86_400);
const MESH: &str = r#"
version: 1
mesh: acme
nodes:
  dev: {endpoint: "https://dev.example"}
  prod: {endpoint: "https://prod.example", parent: dev}
identities:
  reader: {kind: managed, on: prod}
  sister: {kind: federated, on: prod, audience: hub.sister.example}
rules:
  promote: {on: prod, source: node://dev/team/api, target: api, identity: reader}
  more: {on: prod, source: node://dev/team/more, target: more, identity: reader}
  federal: {on: prod, source: hub.sister.example/api, target: sister/api, identity: sister}
access:
  - {allow: repository-reader, to: "identity:reader", on: dev}
"#;

/// A database and the key of its seal.
struct Store {
    clock: Clock,
    state: Arc<dyn State>,
    seal: Arc<Seal>,
    tasks: Tasks,
}

/// A control plane over it.
struct Control {
    publisher: Publisher,
    issuer: Issuer,
}

impl Store {
    fn new() -> Self {
        let clock = Clock::manual(START);
        Self {
            state: Arc::new(Memory::new(clock.clone())),
            seal: Arc::new(Seal::generate().unwrap()),
            tasks: Tasks::new("test"),
            clock,
        }
    }

    async fn control(&self) -> Control {
        let (state, seal) = (Arc::clone(&self.state), Arc::clone(&self.seal));
        let kept = signing_key::Config::default();
        let keys = SigningKeys::open(state, seal, self.clock.clone(), kept, &self.tasks);
        let keys = Arc::new(keys.await.unwrap());
        let (state, clock) = (Arc::clone(&self.state), self.clock.clone());
        let publisher = Publisher::issuing(state, Arc::clone(&keys), clock.clone(), &self.tasks);
        let publisher = publisher.await.unwrap();
        let issuer = Issuer::new(publisher.clone(), keys, clock, self.tasks.clone());
        Control { publisher, issuer }
    }

    /// What wrote to the audit log.
    async fn targets(&self) -> Vec<String> {
        let part = Part {
            after: Some(0),
            limit: 100,
            ..Part::default()
        };
        let entries = self.state.audit(part).await.unwrap().into_iter();
        entries
            .map(|entry| format!("{} {}", entry.action, entry.target))
            .collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Control {
    async fn apply(&self, text: &str) -> Generation {
        let file = File {
            name: "t.yaml".into(),
            text: text.into(),
        };
        let apply = Apply {
            files: vec![file],
            dry_run: false,
            prune: true,
        };
        self.publisher
            .apply(&apply, "me", None)
            .await
            .unwrap()
            .generation
    }

    fn section(&self, node: &str) -> SliceOf {
        let slice = self.publisher.slice(&node.parse().unwrap()).unwrap();
        let loaded = topology::load_slice("slice", &slice.document).unwrap();
        loaded.topology.slice.unwrap()
    }

    /// What a node believes grants by.
    fn believed(&self, node: &str) -> Grants {
        self.section(node).grants.unwrap()
    }

    async fn mint(&self, rule: &str, identity: &str, audience: Audience) -> Result<Minted, Error> {
        let wanted = Wanted {
            rule: rule.parse().unwrap(),
            identity: identity.parse().unwrap(),
            audience,
        };
        let (generation, minted) = self
            .issuer
            .mint("prod".parse().unwrap(), vec![Ok(wanted)])
            .await;
        assert_eq!(generation, self.publisher.current().generation());
        minted.into_iter().next().unwrap()
    }

    async fn grant(&self) -> (String, Claims) {
        let audience = Audience::Upstream("dev.example".into());
        let minted = self.mint("promote", "reader", audience).await.unwrap();
        let (kid, claims) = parts(minted.token.expose());
        (kid, serde_json::from_value(claims).unwrap())
    }

    async fn news(&self, generation: Generation) {
        let mut watched = self.publisher.watch();
        watched
            .wait_for(|known| *known >= generation)
            .await
            .unwrap();
    }
}

fn parts(token: &str) -> (String, serde_json::Value) {
    let mut parts = token.split('.').map(|part| {
        serde_json::from_slice::<serde_json::Value>(&URL.decode(part).unwrap_or_default())
            .unwrap_or_default()
    });
    let header = parts.next().unwrap();
    (
        header["kid"].as_str().unwrap().to_owned(),
        parts.next().unwrap(),
    )
}

#[tokio::test]
async fn the_first_apply_brings_the_keys_and_what_a_grant_says_is_what_slices_believe() {
    let store = Store::new();
    let control = store.control().await;
    control.issuer.renew().await.unwrap();
    assert_eq!(control.publisher.current().generation(), Generation(0));
    assert_eq!(control.apply(MESH).await, Generation(1));
    control.issuer.renew().await.unwrap();
    assert_eq!(control.publisher.current().generation(), Generation(1));

    let (kid, claims) = control.grant().await;
    let now = WallTime(START).seconds();
    for node in ["dev", "prod"] {
        let believed = control.believed(node);
        assert_eq!(believed.issuer, claims.iss);
        assert!(believed.keys.contains_key(&kid));
        assert!(believed.withdrawn.is_empty());
    }
    assert_eq!(
        (claims.iat, claims.nbf, claims.exp),
        (now, now, now + 86_400)
    );
    assert_eq!(claims.sub, "mesh:acme:identity:reader");
    assert_eq!(claims.aud, "dev.example");
    assert_eq!(claims.cnf.unwrap().spiffe, "spiffe://acme/node/prod");
    assert_eq!(claims.regmesh.generation, Generation(1));
    assert_eq!(claims.regmesh.repositories, ["team/api".parse().unwrap()]);
    assert_eq!(claims.regmesh.actions, [Action::Pull]);
    let (_, again) = control.grant().await;
    assert_ne!(again.jti, claims.jti);
}

#[tokio::test]
async fn a_federation_token_is_for_one_audience_by_a_key_that_the_world_can_read() {
    let store = Store::new();
    let control = store.control().await;
    control.publisher.reached_at("http://127.0.0.1:7999");
    control.apply(MESH).await;
    let audience = Audience::Foreign("hub.sister.example".into());
    let minted = control.mint("federal", "sister", audience).await.unwrap();
    let (kid, claims) = parts(minted.token.expose());
    assert_eq!(minted.expires, WallTime(START).plus(FEDERATION_LIFE));
    assert_eq!(minted.refresh, WallTime(START).plus(FEDERATION_LIFE / 2));
    let discovery = control.issuer.discovery();
    assert_eq!(discovery["issuer"], "http://127.0.0.1:7999");
    assert_eq!(claims["iss"], discovery["issuer"]);
    assert_eq!(claims["aud"], "hub.sister.example", "one, and no list");
    assert_eq!(claims["sub"], "mesh:acme:identity:sister");
    assert_eq!(claims["regmesh"]["rule"], "federal");
    let jwks = control.issuer.jwks();
    assert_eq!(jwks["keys"][0]["kid"], kid);
    assert_eq!(
        jwks["keys"].as_array().unwrap().len(),
        1,
        "no key of grants"
    );
    let text = "control: {endpoint: 'https://c.example', issuer: 'https://id.example'}\n";
    control.apply(&format!("{MESH}{text}")).await;
    assert_eq!(control.issuer.url(), "https://id.example");
    assert_eq!(control.believed("dev").issuer, "https://id.example");
}

#[tokio::test]
async fn a_store_of_an_earlier_release_gets_the_keys_by_a_generation_of_its_own() {
    let store = Store::new();
    let (state, clock) = (Arc::clone(&store.state), store.clock.clone());
    let old = Publisher::build(state, clock, &store.tasks).await.unwrap();
    let file = File {
        name: "t.yaml".into(),
        text: MESH.into(),
    };
    let apply = Apply {
        files: vec![file],
        dry_run: false,
        prune: false,
    };
    old.apply(&apply, "me", None).await.unwrap();

    let control = store.control().await;
    assert_eq!(control.section("dev").grants, None);
    let audience = || Audience::Upstream("dev.example".into());
    let minted = control.mint("promote", "reader", audience()).await;
    assert!(
        matches!(minted, Err(Error::Away(_))),
        "nobody would believe it: {minted:?}"
    );
    control.issuer.renew().await.unwrap();
    assert_eq!(control.publisher.current().generation(), Generation(2));
    assert!(control.mint("promote", "reader", audience()).await.is_ok());
    let beside = store.control().await;
    beside.issuer.renew().await.unwrap();
    assert_eq!(beside.publisher.current().generation(), Generation(2));
    assert_eq!(store.targets().await.last().unwrap(), "publish keys/grants");
}

#[tokio::test]
async fn two_control_planes_mint_by_the_same_keys_through_a_rotation() {
    let store = Store::new();
    let (one, two) = (store.control().await, store.control().await);
    one.apply(MESH).await;
    two.news(Generation(1)).await;
    let old = one.grant().await.0;
    assert_eq!(two.grant().await.0, old);

    let rotated = one.issuer.rotate("admin-token").await.unwrap();
    assert_eq!(one.publisher.current().generation(), Generation(2));
    // The other one has not looked since, and still publishes the new key.
    two.news(Generation(2)).await;
    let more = MESH.replace("target: more", "target: other");
    assert_eq!(two.apply(&more).await, Generation(3));
    one.news(Generation(3)).await;
    for control in [&one, &two] {
        let believed = control.believed("dev");
        assert!(believed.keys.contains_key(&rotated.grant) && believed.keys.contains_key(&old));
        assert_eq!(
            control.grant().await.0,
            old,
            "until every node knows the new one"
        );
    }
    store.clock.advance(DAY);
    for control in [&one, &two] {
        assert_eq!(control.grant().await.0, rotated.grant);
    }
    // The old one is believed as long as a grant by it may live.
    store.clock.advance(DAY);
    two.issuer.renew().await.unwrap();
    assert!(two.believed("dev").keys.contains_key(&old));
    store.clock.advance(Duration::from_secs(600));
    two.issuer.renew().await.unwrap();
    let believed = two.believed("dev");
    assert_eq!(
        believed.keys.into_keys().collect::<Vec<_>>(),
        [rotated.grant]
    );
    assert_eq!(two.publisher.current().generation(), Generation(4));
}

#[tokio::test]
async fn what_a_change_makes_wrong_is_withdrawn_at_its_upstream_and_minted_anew() {
    let store = Store::new();
    let control = store.control().await;
    control.apply(MESH).await;
    let before = control.grant().await.1;
    let changed = MESH.replace("node://dev/team/api", "node://dev/team/app");
    control.apply(&changed).await;
    let withdrawn = control.believed("dev").withdrawn;
    let names: Vec<&str> = withdrawn.keys().map(|rule| rule.as_str()).collect();
    assert_eq!(names, ["prod/promote"], "and not what stayed right");
    let by = *withdrawn.values().next().unwrap();
    assert_eq!(by.before, Generation(2));
    assert!(before.regmesh.generation < by.before);
    assert!(
        control.believed("prod").withdrawn.is_empty(),
        "it is asked by nobody"
    );
    let after = control.grant().await.1;
    assert_eq!(after.iat, WallTime(START).seconds(), "good at once");
    assert_eq!(after.regmesh.generation, by.before);
    assert_eq!(after.regmesh.repositories, ["team/app".parse().unwrap()]);

    // It survives what has nothing to do with it, and a restart.
    control
        .publisher
        .revoke(&"dev".parse().unwrap(), "me")
        .await
        .unwrap();
    assert_eq!(store.control().await.believed("dev").withdrawn, withdrawn);
    store.clock.advance(Duration::from_secs(30));
    let node = "prod".parse().unwrap();
    control.publisher.revoke(&node, "me").await.unwrap();
    let all = control.believed("dev").withdrawn;
    assert_eq!(all.len(), 2, "every grant of a revoked node");
    assert!(all.values().all(|each| each.before > by.before));
    store.clock.advance(DAY * 2);
    control.apply(MESH).await;
    let names = control.believed("dev").withdrawn;
    assert_eq!(
        names.len(),
        1,
        "older ones concern no grant any more: {names:?}"
    );
}

#[tokio::test]
async fn after_a_revocation_no_node_believes_an_older_key_and_every_control_plane_mints_by_the_new_one()
 {
    let store = Store::new();
    let (one, two) = (store.control().await, store.control().await);
    one.apply(MESH).await;
    two.news(Generation(1)).await;
    let old = one.grant().await.0;

    let revoked = one.issuer.revoke("admin-token").await.unwrap();
    assert_eq!(revoked.generation, Generation(2));
    assert!(revoked.keys.revoked.contains(&old));
    two.news(Generation(2)).await;
    for control in [&one, &two] {
        let keys = control.believed("dev").keys;
        assert_eq!(
            keys.into_keys().collect::<Vec<_>>(),
            std::slice::from_ref(&revoked.keys.grant)
        );
        // The other one has not looked at the store since.
        assert_eq!(control.grant().await.0, revoked.keys.grant);
    }
    let targets = store.targets().await;
    assert!(
        targets.contains(&"revoke keys/issuer".to_owned()),
        "{targets:?}"
    );
}

#[tokio::test]
async fn a_control_plane_whose_clock_is_behind_withdraws_what_one_ahead_has_minted() {
    let store = Store::new();
    let right = store.control().await;
    right.apply(MESH).await;
    let before = right.grant().await.1;
    let late = Store {
        clock: Clock::manual(START - 3_600_000),
        state: Arc::clone(&store.state),
        seal: Arc::clone(&store.seal),
        tasks: Tasks::new("behind"),
    };
    let behind = late.control().await;
    let changed = MESH.replace("node://dev/team/api", "node://dev/team/app");
    behind.apply(&changed).await;
    right.news(Generation(2)).await;
    let withdrawn = right.believed("dev").withdrawn;
    let by = withdrawn[&"prod/promote".parse().unwrap()];
    assert!(
        before.regmesh.generation < by.before,
        "whatever the clocks say"
    );
    assert!(right.grant().await.1.regmesh.generation >= by.before);
}

/// Nodes hold grants of generations that the backup did not know.
#[tokio::test]
async fn what_was_withdrawn_stays_so_when_a_restored_control_plane_goes_on() {
    let store = Store::new();
    let control = store.control().await;
    control.apply(MESH).await;
    let changed = MESH.replace("node://dev/team/api", "node://dev/team/app");
    control.apply(&changed).await;
    let seen = Generation(41);
    let recovered = control.publisher.recover(seen, "me").await.unwrap();
    let withdrawn = control.believed("dev").withdrawn;
    assert!(withdrawn.values().all(|by| by.before == recovered));
    assert!(control.grant().await.1.regmesh.generation >= recovered);
}

#[tokio::test]
async fn another_url_of_the_issuer_makes_no_grant_wrong() {
    let store = Store::new();
    let control = store.control().await;
    control.publisher.reached_at("http://127.0.0.1:7999");
    control.apply(MESH).await;
    let before = control.grant().await.1;
    let text = "control: {endpoint: 'https://c.example'}\n";
    control.apply(&format!("{MESH}{text}")).await;
    let believed = control.believed("dev");
    assert_eq!(believed.issuer, "https://c.example");
    assert_eq!(control.grant().await.1.iss, believed.issuer);
    assert!(believed.former.contains(&before.iss));
    assert!(believed.withdrawn.is_empty());
    store.clock.advance(DAY * 2);
    control.issuer.renew().await.unwrap();
    assert!(control.believed("dev").former.is_empty());
}
