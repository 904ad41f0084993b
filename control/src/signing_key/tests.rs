//! Keys outlive their process, are shared, and are replaced without a token that nobody can verify.

use super::*;
use crate::state::memory::Memory;

const START: i64 = 1_700_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

struct Rig {
    clock: Clock,
    state: Arc<dyn State>,
    seal: Arc<Seal>,
    tasks: Tasks,
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::manual(START);
        Self {
            state: Arc::new(Memory::new(clock.clone())),
            seal: Arc::new(Seal::generate().unwrap()),
            tasks: Tasks::new("test"),
            clock,
        }
    }

    async fn open(&self) -> SigningKeys {
        self.with(&self.seal).await.unwrap()
    }

    async fn with(&self, seal: &Arc<Seal>) -> Result<SigningKeys, Error> {
        let (state, clock) = (Arc::clone(&self.state), self.clock.clone());
        let config = Config::default();
        SigningKeys::open(state, Arc::clone(seal), clock, config, &self.tasks).await
    }
}

fn signer(keys: &SigningKeys) -> (String, String) {
    let header = |token: Secret| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as URL};
        let header = token.expose().split('.').next().unwrap().to_owned();
        let header: Value = serde_json::from_slice(&URL.decode(header).unwrap()).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    };
    let grant = keys
        .grant("t", &json!({}), &keys.points())
        .unwrap()
        .unwrap();
    (header(grant), header(keys.federation(&json!({})).unwrap()))
}

fn published(keys: &SigningKeys) -> (Vec<String>, Vec<String>) {
    let jwks = keys.jwks();
    let federation = jwks["keys"].as_array().unwrap().iter();
    let mut federation: Vec<_> = federation
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect();
    federation.sort();
    (keys.points().into_keys().collect(), federation)
}

#[tokio::test]
async fn control_planes_over_one_state_have_the_same_keys_and_another_seal_opens_nothing() {
    let rig = Rig::new();
    let (first, second) = (rig.open().await, rig.open().await);
    assert_eq!(signer(&first), signer(&second));
    assert_eq!(published(&first), published(&second));
    let (grant, federation) = signer(&first);
    assert_ne!(grant, federation);
    let stored = rig.state.value(VALUE).await.unwrap().unwrap();
    assert!(
        !stored.windows(5).any(|window| window == b"grant"),
        "sealed"
    );
    let other = Arc::new(Seal::generate().unwrap());
    assert!(matches!(rig.with(&other).await, Err(Error::Seal(_))));
}

#[tokio::test]
async fn a_new_key_is_published_at_once_signs_after_the_overlap_and_the_old_one_stays_for_its_tokens()
 {
    let rig = Rig::new();
    let (keys, elsewhere) = (rig.open().await, rig.open().await);
    let old = signer(&keys);
    let rotated = keys.rotate("admin-token").await.unwrap();
    assert_eq!(rotated.signs_from, WallTime(START).plus(DAY));
    let new = (rotated.grant, rotated.federation);
    assert!(matches!(
        keys.rotate("admin-token").await,
        Err(Error::Rotating(_))
    ));
    elsewhere.refresh().await.unwrap();
    for keys in [&keys, &elsewhere] {
        assert_eq!(signer(keys), old, "the new one does not sign yet");
        let (grant, federation) = published(keys);
        assert!(grant.contains(&new.0) && federation.contains(&new.1));
        assert_eq!((grant.len(), federation.len()), (2, 2));
    }
    rig.clock.advance(DAY);
    for keys in [&keys, &elsewhere] {
        assert_eq!(signer(keys), new);
        assert!(published(keys).0.contains(&old.0), "its tokens live");
    }
    // Federation tokens live for minutes, grants for a day.
    rig.clock.advance(DAY);
    keys.sweep().await.unwrap();
    assert_eq!(published(&keys).1, std::slice::from_ref(&new.1));
    assert_eq!(published(&keys).0.len(), 2);
    rig.clock.advance(DAY / 24);
    keys.sweep().await.unwrap();
    assert_eq!(published(&keys), (vec![new.0], vec![new.1]));
    elsewhere.refresh().await.unwrap();
    assert_eq!(published(&elsewhere), published(&keys));
    assert_eq!(published(&rig.open().await), published(&keys));
}

#[tokio::test]
async fn nothing_is_signed_by_a_key_that_nodes_do_not_know() {
    let rig = Rig::new();
    let keys = rig.open().await;
    let strange = BTreeMap::from([("other".to_owned(), ())]);
    assert!(keys.grant("t", &json!({}), &strange).unwrap().is_none());
}

#[tokio::test]
async fn a_revocation_leaves_nothing_but_new_keys_which_sign_at_once() {
    let rig = Rig::new();
    let (keys, elsewhere) = (rig.open().await, rig.open().await);
    let old = signer(&keys);
    // Also those of a rotation whose keys do not sign yet.
    let next = keys.rotate("admin-token").await.unwrap();
    let revoked = keys.revoke("admin-token").await.unwrap();
    let new = (revoked.grant, revoked.federation);
    let mut all = vec![old.0.clone(), old.1, next.grant, next.federation];
    let mut gone = revoked.revoked;
    all.sort();
    gone.sort();
    assert_eq!(gone, all);
    elsewhere.refresh().await.unwrap();
    for keys in [&keys, &elsewhere] {
        assert_eq!(signer(keys), new);
        assert_eq!(published(keys), (vec![new.0.clone()], vec![new.1.clone()]));
        assert!(!keys.signs_by(&BTreeMap::from([(old.0.clone(), ())])));
        assert!(keys.signs_by(&BTreeMap::from([(new.0.clone(), ())])));
    }
    assert!(
        keys.rotate("admin-token").await.is_ok(),
        "none is under way"
    );
    let part = state::Part {
        after: Some(0),
        limit: 10,
        ..state::Part::default()
    };
    let audit = rig.state.audit(part).await.unwrap();
    let said = audit.iter().find(|entry| entry.action == "revoke").unwrap();
    assert_eq!(said.target, "keys/issuer");
    assert_eq!(said.after.as_ref().unwrap()["grant"], new.0);
}
