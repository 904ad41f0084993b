//! Generations: only upwards, one writer at a time, whole or not at all.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use wire::{
    generation::Generation,
    time::WallTime,
    withdrawal::{Left, Withdrawal},
};

use super::{NOW, entry, publish};
use crate::state::{Error, Grants, Part, Recall, State};

pub(super) async fn a_generation_is_published_with_its_audit(state: &dyn State) {
    assert_eq!(state.newest().await.unwrap(), None);
    assert_eq!(state.generation(Generation(1)).await.unwrap(), None);
    let mut first = publish(0, 1, "version: 1\n");
    first.audit = vec![entry("nodes/a"), entry("nodes/b")];
    state.publish(first).await.unwrap();
    let newest = state.newest().await.unwrap().unwrap();
    assert_eq!(newest.generation, Generation(1));
    assert_eq!(newest.at, WallTime(NOW + 1));
    assert_eq!(newest.by, "account:ci");
    assert_eq!(newest.desired.document, "version: 1\n");
    let found = state.generation(Generation(1)).await.unwrap();
    assert_eq!(found, Some(newest));
    let all = Part {
        after: Some(0),
        limit: 10,
        ..Part::default()
    };
    let entries = state.audit(all).await.unwrap();
    let targets: Vec<&str> = entries.iter().map(|e| e.target.as_str()).collect();
    assert_eq!(targets, ["nodes/a", "nodes/b"]);
}

pub(super) async fn only_on_top_of_the_newest(state: &dyn State) {
    state.publish(publish(0, 1, "one")).await.unwrap();
    state.publish(publish(1, 9, "nine")).await.unwrap();
    let newest = Generation(9);
    for (after, generation) in [(0, 1), (1, 2), (8, 10), (9, 9), (9, 8), (10, 11), (0, 10)] {
        let refused = state.publish(publish(after, generation, "no")).await;
        assert_eq!(
            refused,
            Err(Error::Moved { newest }),
            "{after} {generation}"
        );
    }
    let found = state.newest().await.unwrap().unwrap();
    assert_eq!(found.desired.document, "nine");
    assert_eq!(state.generation(Generation(2)).await.unwrap(), None);
    let one = state.generation(Generation(1)).await.unwrap().unwrap();
    assert_eq!(one.desired.document, "one");
    let part = Part {
        limit: 100,
        ..Part::default()
    };
    assert_eq!(
        state.audit(part).await.unwrap().len(),
        2,
        "no entry of what was refused"
    );
}

pub(super) async fn of_two_writers_one_is_told_to_look_again(state: Arc<dyn State>) {
    for round in 0..5 {
        let write = |name: u64| {
            let state = Arc::clone(&state);
            async move {
                let publish = publish(round, round + 1, &format!("writer {name}"));
                state.publish(publish).await
            }
        };
        let results = join_all((0..4).map(write)).await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        let newest = Generation(round + 1);
        let lost = Err(Error::Moved { newest });
        assert_eq!(
            results.iter().filter(|result| **result == lost).count(),
            3,
            "{results:?}"
        );
    }
    let part = Part {
        limit: 100,
        ..Part::default()
    };
    assert_eq!(state.audit(part).await.unwrap().len(), 5);
}

pub(super) async fn a_document_comes_back_as_it_was(state: &dyn State) {
    let mut whole = publish(0, 1, &"rule: ümlaut \u{1F600}\n".repeat(20_000));
    let recall = Recall {
        reason: "bad \"thing\"\n".to_owned(),
        at: WallTime(NOW),
        by: "admin-token".to_owned(),
        generation: Generation(1),
    };
    let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    whole.desired.recalls.insert(digest, recall);
    let name = "dev".parse().unwrap();
    whole.desired.revoked.insert(name, WallTime(NOW - 1));
    let withdrawal = Withdrawal {
        before: Generation(1),
        at: WallTime(NOW),
        left: Some(Left {
            before: Generation(2),
            at: WallTime(NOW),
        }),
    };
    whole.desired.grants = Grants {
        issuer: "https://control.example".to_owned(),
        former: [("http://10.0.0.1:7080".to_owned(), WallTime(NOW - 5))].into(),
        keys: [("kid".to_owned(), "BHdX".to_owned())].into(),
        withdrawn: [(
            "dev".parse().unwrap(),
            [("prod/promote".parse().unwrap(), withdrawal)].into(),
        )]
        .into(),
    };
    let desired = whole.desired.clone();
    state.publish(whole).await.unwrap();
    assert_eq!(state.newest().await.unwrap().unwrap().desired, desired);
}

pub(super) async fn news_follow_what_was_written(state: &dyn State) {
    let mut news = state.news();
    let before = *news.borrow_and_update();
    state.publish(publish(0, 7, "seven")).await.unwrap();
    let wait = news.wait_for(|news| news.generation == Generation(7));
    let after = tokio::time::timeout(Duration::from_secs(20), wait).await;
    let after = *after.expect("told in time").unwrap();
    assert_eq!(before.generation, Generation(0));
    assert_eq!(after.revocations, before.revocations);
    state.forget(&"dev".parse().unwrap()).await.unwrap();
    let wait = news.wait_for(|news| news.revocations > after.revocations);
    let told = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(told.is_ok(), "whoever was forgotten is told");
}
