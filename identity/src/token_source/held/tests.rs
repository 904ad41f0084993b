//! Promises of what is kept in hand, on a clock that moves when told.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, future::join_all};

use super::*;

/// Answers in this order, counted; the last one again and again.
struct Giver {
    answers: Vec<Result<Fresh, Error>>,
    asked: AtomicUsize,
}

fn rig(answers: Vec<Result<Fresh, Error>>) -> (Tasks, Clock, Arc<Giver>, Held) {
    let (tasks, clock) = (Tasks::new("test"), Clock::manual(1_000_000));
    let giver = Arc::new(Giver {
        answers,
        asked: AtomicUsize::new(0),
    });
    let asked = Arc::clone(&giver);
    let make: Make = Arc::new(move || {
        let number = asked.asked.fetch_add(1, Ordering::SeqCst);
        let last = asked.answers.len() - 1;
        let answer = asked.answers[number.min(last)].clone();
        async move {
            tokio::task::yield_now().await;
            answer
        }
        .boxed()
    });
    let held = Held::new("test", make, clock.clone(), &tasks);
    (tasks, clock, giver, held)
}

impl Giver {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn token(value: &str) -> Result<Fresh, Error> {
    Ok(Fresh::token(Secret::from(value), Duration::from_secs(600)))
}

fn away(retry_after: Option<u64>) -> Result<Fresh, Error> {
    Err(Error::Away {
        detail: "IMDS is silent".to_owned(),
        retry_after: retry_after.map(Duration::from_secs),
    })
}

fn refused() -> Result<Fresh, Error> {
    Err(Error::NotAttached {
        detail: "not assigned".to_owned(),
    })
}

async fn shown(held: &Held) -> (String, u64) {
    let (value, version) = held.get().await.unwrap();
    (value.expose().clone(), version)
}

/// Lets what was started in the background end.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_at_once_cost_one_question_and_a_warm_one_costs_none() {
    let (_tasks, _clock, giver, held) = rig(vec![token("a")]);
    let all = join_all((0..1000).map(|_| shown(&held))).await;
    assert!(all.iter().all(|got| *got == ("a".to_owned(), 1)));
    assert_eq!(shown(&held).await.0, "a");
    assert_eq!(giver.asked(), 1);
}

#[tokio::test]
async fn at_half_life_the_next_one_comes_behind_and_what_was_got_stays_good() {
    let (_tasks, clock, giver, held) = rig(vec![token("a"), away(None), token("b")]);
    assert_eq!(shown(&held).await, ("a".to_owned(), 1));
    assert_eq!(held.ends(), Some(WallTime(1_600_000)));
    clock.advance(Duration::from_secs(300));
    assert_eq!(shown(&held).await, ("a".to_owned(), 1));
    settle().await;
    assert_eq!(giver.asked(), 2);
    assert_eq!(shown(&held).await, ("a".to_owned(), 1));
    settle().await;
    assert_eq!(giver.asked(), 2, "not again at once");
    clock.advance(RENEW_AGAIN);
    assert_eq!(shown(&held).await, ("a".to_owned(), 1));
    settle().await;
    assert_eq!(shown(&held).await, ("b".to_owned(), 1));
    assert_eq!(giver.asked(), 3);
}

#[tokio::test]
async fn an_ended_token_is_never_shown_and_a_failure_costs_its_time_once() {
    let (_tasks, clock, giver, held) = rig(vec![token("a"), away(Some(20)), token("b")]);
    shown(&held).await;
    clock.advance(Duration::from_secs(600));
    for _ in 0..3 {
        let error = held.get().await.unwrap_err();
        assert!(error.to_string().contains("IMDS is silent"), "{error}");
    }
    assert_eq!(giver.asked(), 2);
    clock.advance(Duration::from_secs(19));
    assert!(held.get().await.is_err());
    clock.advance(Duration::from_secs(1));
    assert_eq!(shown(&held).await.0, "b");
}

#[tokio::test]
async fn what_may_be_used_while_its_giver_is_away_is_used_to_its_end_and_not_after_a_no() {
    let secret = |value: &str| {
        Ok(Fresh {
            value: Secret::from(value),
            due: Duration::from_secs(150),
            good: Duration::from_secs(300),
            ends: Duration::from_secs(86_400),
        })
    };
    let (_tasks, clock, giver, held) = rig(vec![secret("a"), away(None), secret("b"), refused()]);
    shown(&held).await;
    clock.advance(Duration::from_secs(301));
    assert_eq!(shown(&held).await.0, "a", "away");
    assert_eq!(shown(&held).await.0, "a", "and remembered to be");
    assert_eq!(giver.asked(), 2);
    clock.advance(Duration::from_secs(5));
    assert_eq!(shown(&held).await.0, "b", "no longer what is old");
    clock.advance(Duration::from_secs(301));
    assert!(matches!(held.get().await, Err(Error::NotAttached { .. })));
    assert!(matches!(held.get().await, Err(Error::NotAttached { .. })));
    assert_eq!(giver.asked(), 4);
}

#[tokio::test]
async fn a_refused_token_is_asked_for_anew_once_and_moves_the_version() {
    let (_tasks, clock, giver, held) = rig(vec![token("a"), token("a"), token("b")]);
    assert_eq!(shown(&held).await, ("a".to_owned(), 1));
    held.refused(7).await;
    assert_eq!(giver.asked(), 1, "another version is not this one");
    held.refused(1).await;
    assert_eq!(
        shown(&held).await,
        ("a".to_owned(), 1),
        "the same is no other"
    );
    held.refused(1).await;
    assert_eq!(giver.asked(), 2, "once in a while");
    clock.advance(ANEW_AGAIN);
    held.refused(1).await;
    assert_eq!(shown(&held).await, ("b".to_owned(), 2));
}

#[tokio::test]
async fn after_a_failure_nobody_waits_long_for_the_next_attempt() {
    let (tasks, clock) = (Tasks::new("test"), Clock::manual(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let make: Make = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => std::future::ready(away(None)).boxed(),
        _ => std::future::pending().boxed(),
    });
    let held = Held::new("test", make, clock.clone(), &tasks);
    assert!(held.get().await.is_err());
    clock.advance(Duration::from_secs(5));
    let mut second = Box::pin(held.get());
    assert!((&mut second).now_or_never().is_none());
    clock.advance(IMPATIENT);
    let error = second.await.unwrap_err();
    assert!(error.to_string().contains("IMDS is silent"), "{error}");
}

#[tokio::test]
async fn that_nobody_has_heard_of_us_is_a_refusal_only_after_the_first_minutes() {
    let unheard = Err(Error::Refused {
        detail: "AADSTS70021".to_owned(),
        unheard: true,
    });
    let (_tasks, _clock, _giver, held) = rig(vec![unheard.clone()]);
    let early = held.get().await.unwrap_err();
    assert!(matches!(early, Error::Away { .. }), "{early:?}");
    assert!(early.to_string().contains("AADSTS70021"), "{early}");
    let (_tasks, clock, _giver, held) = rig(vec![token("a"), unheard]);
    shown(&held).await;
    clock.advance(Duration::from_secs(YOUNG.as_secs() - 1));
    assert_eq!(shown(&held).await.0, "a", "what is in hand is shown on");
    settle().await;
    clock.advance(Duration::from_secs(60));
    let error = held.get().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}
