//! Promises of the budget.

use futures_util::FutureExt;

use super::*;
use crate::upstream::{
    conformance::request,
    scripted::{Scripted, Verb},
};

#[test]
fn turns_come_at_the_rate_after_a_seconds_worth_at_once() {
    let clock = Clock::manual(0);
    let mut turns = Turns::default();
    let patience = Duration::from_secs(1);
    let mut take = |clock: &Clock| turns.take(4.0, clock.now(), patience);
    for _ in 0..4 {
        assert_eq!(take(&clock), Ok(Duration::ZERO));
    }
    for quarters in 1..=4 {
        assert_eq!(take(&clock), Ok(Duration::from_millis(250 * quarters)));
    }
    assert_eq!(take(&clock), Err(Duration::from_millis(1250)));
    clock.advance(Duration::from_secs(10));
    assert_eq!(take(&clock), Ok(Duration::ZERO));
}

#[tokio::test]
async fn a_transfer_counts_until_its_stream_has_gone() {
    let clock = Clock::manual(0);
    let scripted = Scripted::new("origin");
    let digest = scripted.blob("a/b", "0123456789");
    let config = Config {
        max_concurrent: 1,
        ..Config::default()
    };
    let account = config.build(clock);
    let budget = Budget::new(scripted, Arc::clone(&account));
    let (repository, request) = ("a/b".parse().unwrap(), request());
    let get = || budget.get_blob(&repository, &digest, None, &request);
    let first = get().await.unwrap();
    assert_eq!(account.transfers(), 1);
    let mut second = get();
    assert!((&mut second).now_or_never().is_none());
    // What is no transfer does not wait.
    assert!(
        budget
            .head_blob(&repository, &digest, &request)
            .await
            .is_ok()
    );
    drop(first);
    let mut second = second.await.unwrap();
    while second.stream.next().await.is_some() {}
    assert_eq!(account.transfers(), 1);
    drop(second);
    assert_eq!(account.transfers(), 0);
}

#[tokio::test]
async fn after_a_429_nobody_asks_until_it_said() {
    let clock = Clock::manual(0);
    let scripted = Scripted::new("origin");
    let limit = Error::rate_limited(Some(Duration::from_secs(20)), "slow down");
    scripted.fail(Verb::HeadManifest, 1, limit);
    let account = Config::default().build(clock.clone());
    let one = Budget::new(Arc::<Scripted>::clone(&scripted), Arc::clone(&account));
    let two = Budget::new(Arc::<Scripted>::clone(&scripted), account);
    let (repository, tag, request) = ("a/b".parse().unwrap(), "1".parse().unwrap(), request());
    for budget in [&one, &two, &one] {
        let head = budget.head_manifest(&repository, &tag, Patience::Short, &request);
        let error = head.await.unwrap_err();
        assert_eq!(error.refusal, Refusal::UpstreamRateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
    }
    assert_eq!(scripted.total(), 1);
    clock.advance(Duration::from_secs(20));
    let tags = two
        .tags(&repository, &Page::default(), Patience::Long, &request)
        .await;
    assert_eq!(tags.unwrap_err().kind, super::super::error::Kind::Gone);
}

#[tokio::test]
async fn who_cannot_wait_for_a_turn_is_told_so() {
    let scripted = Scripted::new("origin");
    let config = Config {
        requests_per_second: Some(0.1),
        ..Config::default()
    };
    let budget = Budget::new(scripted, config.build(Clock::manual(0)));
    let (repository, tag, request) = ("a/b".parse().unwrap(), "1".parse().unwrap(), request());
    let head = || budget.head_manifest(&repository, &tag, Patience::Short, &request);
    assert!(!head().await.unwrap_err().is_away());
    let error = head().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
}
