//! Promises of managed identities, by a mint that does what each test says.

use std::future::Future;

use super::*;
use crate::mint::{Audience, scripted::Scripted};

struct Rig {
    clock: Clock,
    mint: Arc<Scripted>,
    source: Managed,
    tasks: Tasks,
}

fn rig() -> Rig {
    let (clock, tasks) = (Clock::manual(1_800_000_000_000), Tasks::new("test"));
    let mint = Arc::new(Scripted::new(&clock));
    let wanted = Wanted {
        rule: "golden".parse().unwrap(),
        identity: "reader".parse().unwrap(),
        audience: Audience::Upstream("hub.example.com".to_owned()),
    };
    let shared: Arc<dyn Mint> = Arc::<Scripted>::clone(&mint);
    let source = Managed::new(wanted, shared, clock.clone(), &tasks);
    Rig {
        clock,
        mint,
        source,
        tasks,
    }
}

impl Rig {
    async fn shown(&self) -> (String, u64) {
        let presented = self.source.proof().await.unwrap();
        let Proof::Token(token) = presented.proof else {
            unreachable!("a managed identity shows a token");
        };
        (token.expose().clone(), presented.version)
    }

    fn asked(&self) -> usize {
        self.mint.asked().len()
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn away() -> mint::Error {
    mint::Error::Away("the stream is down".to_owned())
}

async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("{what} did not come to pass");
}

#[tokio::test]
async fn it_conforms() {
    super::super::conformance::check(&rig().source).await;
}

#[tokio::test]
async fn a_thousand_at_once_cost_one_question_and_a_warm_pull_none() {
    let rig = rig();
    let asks = (0..1_000).map(|_| rig.shown());
    for shown in futures_util::future::join_all(asks).await {
        assert_eq!(shown, ("grant-1".to_owned(), 1));
    }
    rig.clock.advance(HOUR - Duration::from_secs(1));
    rig.shown().await;
    assert_eq!(rig.asked(), 1);
}

#[tokio::test]
async fn a_grant_that_is_due_is_shown_while_the_next_one_is_asked_for() {
    let rig = rig();
    rig.shown().await;
    rig.clock.advance(HOUR);
    rig.mint.shut();
    for _ in 0..3 {
        assert_eq!(rig.shown().await.0, "grant-1", "nobody waits");
    }
    rig.mint.open();
    eventually("the next grant", || async {
        rig.shown().await == ("grant-2".to_owned(), 1)
    })
    .await;
    assert_eq!(rig.asked(), 2);
}

/// T36: used to its end, never beyond, and healed by the next question.
#[tokio::test]
async fn t36_without_the_control_plane_the_grant_in_hand_serves_until_it_ends_and_then_says_so() {
    let rig = rig();
    rig.shown().await;
    rig.mint.always(Some(away()));
    for _ in 0..23 {
        rig.clock.advance(HOUR);
        assert_eq!(rig.shown().await.0, "grant-1");
    }
    assert!(rig.source.ends().is_some());
    rig.clock.advance(HOUR);
    let error = rig.source.proof().await.unwrap_err();
    let Error::Away { detail, .. } = &error else {
        unreachable!("{error}");
    };
    assert!(detail.contains("the control plane cannot be asked"));
    assert!(detail.contains("ended at 2027-01-16T08:00:00.000Z"));
    rig.mint.always(None);
    assert_eq!(rig.shown().await.0, "grant-2");
}

#[tokio::test]
async fn a_control_plane_that_hangs_is_named_before_the_pull_gives_up() {
    let rig = rig();
    rig.mint.shut();
    let source = rig.source.clone();
    let asking = rig.tasks.spawn("pull", async move { source.proof().await });
    eventually("the question", || async { rig.asked() == 1 }).await;
    rig.clock.advance(WAIT);
    let error = asking.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("has not answered"), "{error}");
    rig.mint.open();
    eventually("what came late", || async {
        matches!(rig.source.find(), Found::Good(_))
    })
    .await;
    assert_eq!(rig.asked(), 1);
}

#[tokio::test]
async fn what_the_control_plane_refuses_is_not_shown_any_more() {
    let rig = rig();
    rig.shown().await;
    let no = || mint::Error::Refused("the rule is not on this node".to_owned());
    rig.mint.always(Some(no()));
    rig.clock.advance(HOUR);
    rig.shown().await;
    eventually("the refusal", || async {
        matches!(rig.source.proof().await, Err(Error::NotAttached { .. }))
    })
    .await;
    let error = rig.source.proof().await.unwrap_err().to_string();
    assert!(error.contains("not on this node"), "{error}");
    assert_eq!(rig.source.ends(), None);
    rig.mint.always(None);
    let (_, version) = rig.shown().await;
    assert!(version > 1, "tokens got before are worth nothing");
}

#[tokio::test]
async fn a_grant_that_the_upstream_refuses_is_replaced_once_in_a_while() {
    let rig = rig();
    let (_, first) = rig.shown().await;
    rig.source.refused(first).await;
    let (token, second) = rig.shown().await;
    assert_eq!((token.as_str(), second), ("grant-2", first + 1));
    rig.source.refused(first).await;
    assert_eq!(rig.mint.anew(), 1, "the first one is gone already");
    rig.source.refused(second).await;
    assert_eq!(rig.mint.anew(), 1, "too soon");
    rig.clock.advance(ANEW_AGAIN);
    rig.mint.then(away());
    rig.source.refused(second).await;
    assert_eq!(rig.shown().await, ("grant-2".to_owned(), second));
}
