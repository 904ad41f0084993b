//! A CA outlives its process, is shared, and is replaced without anybody being left behind.

use identity::certificate::{At, Invalid, Key, verify};

use super::*;
use crate::state::memory::Memory;

const START: WallTime = WallTime(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

struct Rig {
    clock: Clock,
    state: Arc<dyn State>,
    seal: Arc<Seal>,
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::manual(START.0);
        Self {
            state: Arc::new(Memory::new(clock.clone())),
            seal: Arc::new(Seal::generate().unwrap()),
            clock,
        }
    }

    async fn open(&self) -> Ca {
        let (state, seal) = (Arc::clone(&self.state), Arc::clone(&self.seal));
        Ca::open(state, seal, self.clock.clone(), Config::default())
            .await
            .unwrap()
    }

    fn leaf(&self, ca: &Ca) -> Vec<CertificateDer<'static>> {
        let now = WallTime(self.clock.wall_ms());
        let request = Request::read(&Key::generate().unwrap().request("x").unwrap()).unwrap();
        let leaf = Leaf {
            id: "spiffe://acme/control".parse().unwrap(),
            instance: None,
            hosts: Vec::new(),
            begins: now,
            ends: now.plus(DAY),
        };
        ca.issue(&request, &leaf).unwrap()
    }

    fn believed(
        &self,
        chain: &[CertificateDer<'static>],
        roots: &[CertificateDer<'static>],
    ) -> Result<(), Invalid> {
        verify(chain, roots, At::Valid(WallTime(self.clock.wall_ms()))).map(drop)
    }
}

#[tokio::test]
async fn control_planes_over_one_state_have_one_ca_and_another_seal_opens_nothing() {
    let rig = Rig::new();
    let (first, second) = (rig.open().await, rig.open().await);
    assert_eq!(first.pin(), second.pin());
    let stored = rig.state.value(VALUE).await.unwrap().unwrap();
    assert!(!stored.windows(11).any(|window| window == b"PRIVATE KEY"));
    let other = Arc::new(Seal::generate().unwrap());
    let opened = Ca::open(
        Arc::clone(&rig.state),
        other,
        rig.clock.clone(),
        Config::default(),
    )
    .await;
    assert!(matches!(opened, Err(Error::Seal(_))));
}

#[tokio::test]
async fn a_rotation_leaves_nobody_behind() {
    let rig = Rig::new();
    let (ca, elsewhere) = (rig.open().await, rig.open().await);
    let (old_pin, old_roots) = (ca.pin(), ca.roots());
    ca.rotate("admin-token").await.unwrap();
    assert_eq!(ca.pin(), old_pin, "the new one does not sign yet");
    assert_eq!(ca.roots().len(), 2, "and is believed at once");
    assert!(matches!(
        ca.rotate("admin-token").await,
        Err(Error::Rotating(_))
    ));
    let before = rig.leaf(&ca);

    rig.clock.advance(DAY);
    elsewhere.refresh().await.unwrap();
    assert_ne!(ca.pin(), old_pin);
    assert_eq!(elsewhere.pin(), ca.pin());
    let after = rig.leaf(&elsewhere);
    assert_eq!(rig.believed(&after, &ca.roots()), Ok(()));
    assert_eq!(
        rig.believed(&after, &old_roots),
        Ok(()),
        "a node that was away"
    );
    let pinned = old_pin.find(&after).unwrap();
    assert_eq!(
        rig.believed(&after, std::slice::from_ref(pinned)),
        Ok(()),
        "a token of before"
    );
    assert_eq!(
        verify(&before, &ca.roots(), At::Begun(START)).map(drop),
        Ok(())
    );

    rig.clock.advance(RENEWABLE + DAY + DAY);
    assert_eq!(ca.roots().len(), 1, "nothing needs the old one any more");
    assert_eq!(rig.believed(&before, &ca.roots()), Err(Invalid::Foreign));
    let audit = rig
        .state
        .audit(state::Part {
            limit: 10,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(audit[0].action, "rotate");
}

#[tokio::test]
async fn the_signer_renews_itself_and_takes_the_name_of_the_mesh() {
    let rig = Rig::new();
    let ca = Arc::new(rig.open().await);
    let signer = Signer::new(Arc::clone(&ca), None, START).unwrap();
    let node = "prod".parse().unwrap();
    let sign = |now| {
        signer
            .sign(&node, wire::generation::Generation(1), "x", now)
            .unwrap()
    };
    let first = sign(START);
    assert_eq!(first.mesh.as_str(), "unnamed");
    let acme = "acme".parse().unwrap();
    signer.keep(Some(&acme), START).unwrap();
    let named = sign(START);
    assert_eq!(named.mesh, acme);
    signer.keep(Some(&acme), START).unwrap();
    assert_eq!(sign(START).chain, named.chain, "nothing to do");
    rig.clock.advance(DAY * 2);
    let later = START.plus(DAY * 2);
    signer.keep(Some(&acme), later).unwrap();
    assert_ne!(sign(later).chain, named.chain);
    let opened =
        identity::certificate::open(&sign(later), &node, None, &ca.roots(), later).map(str::len);
    assert_eq!(opened, Ok(1));
}
