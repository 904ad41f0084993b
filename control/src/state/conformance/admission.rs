//! Enrolment and renewal as the database carries them out; what is decided is tested in `admit`.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use wire::time::WallTime;

use super::{NOW, entry};
use crate::state::{Admitted, Instance, JoinToken, Part, Reported, State};

fn token(hash: &str, node: &str, uses: u32) -> JoinToken {
    JoinToken {
        hash: hash.to_owned(),
        node: node.parse().unwrap(),
        expires_at: WallTime(NOW + 900_000),
        uses,
    }
}

fn instance(id: &str, node: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        node: node.parse().unwrap(),
        enrolled_at: WallTime(NOW),
        counter: 0,
        certificate: (WallTime(NOW), WallTime(NOW + 1000)),
        shut_out: None,
    }
}

async fn enrol(state: &dyn State, hash: &str, id: &str, node: &str) -> Admitted {
    enrol_with(state, hash, (id, node), &format!("key of {id}")).await
}

async fn enrol_with(
    state: &dyn State,
    hash: &str,
    (id, node): (&str, &str),
    key: &str,
) -> Admitted {
    let (hash, asking) = (Some(hash.to_owned()), instance(id, node));
    let enrolled = state.enrol(hash, asking, key, WallTime(NOW), entry("e"));
    enrolled.await.unwrap()
}

async fn renew(state: &dyn State, id: &str, presented: u64, key: &str) -> Admitted {
    let node = "a".parse().unwrap();
    let certificate = (WallTime(NOW + 5), WallTime(NOW + 6));
    let renewed = state.renew(&node, id, presented, key, certificate, entry("renew"));
    renewed.await.unwrap()
}

async fn recorded(state: &dyn State) -> Vec<(String, Option<String>)> {
    let all = Part {
        after: Some(0),
        limit: 100,
        ..Part::default()
    };
    let entries = state.audit(all).await.unwrap();
    entries.into_iter().map(|e| (e.target, e.refused)).collect()
}

pub(super) async fn a_token_is_used_so_often_and_no_more(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 2), entry("token"))
        .await
        .unwrap();
    let mut expected = instance("one", "a");
    expected.counter = 1;
    assert_eq!(
        enrol(state, "h", "one", "a").await,
        Admitted::Yes(expected.clone())
    );
    assert!(matches!(
        enrol(state, "h", "two", "a").await,
        Admitted::Yes(_)
    ));
    assert_eq!(enrol(state, "h", "three", "a").await, Admitted::UsedUp);
    let mut known = state.instances().await.unwrap();
    known.sort_by(|one, other| one.id.cmp(&other.id));
    let ids: Vec<&str> = known.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(known[0], expected);
    let targets: Vec<String> = recorded(state).await.into_iter().map(|e| e.0).collect();
    assert_eq!(targets, ["token", "e", "e"], "nothing of who was refused");
    let other_proof = state.enrol(
        None,
        instance("one", "a"),
        "k",
        WallTime(NOW),
        entry("oidc"),
    );
    let Admitted::Yes(again) = other_proof.await.unwrap() else {
        panic!("other proof needs no token");
    };
    assert_eq!(again.counter, 2);
}

pub(super) async fn an_enrolment_whose_answer_was_lost_is_given_again(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 1), entry("token"))
        .await
        .unwrap();
    let first = enrol(state, "h", "one", "a").await;
    assert!(matches!(first, Admitted::Yes(_)));
    assert_eq!(enrol(state, "h", "one", "a").await, first, "same counter");
    assert_eq!(
        enrol_with(state, "h", ("one", "a"), "another key").await,
        Admitted::UsedUp,
        "whoever knows token and instance alone is nobody"
    );
    assert_eq!(enrol(state, "h", "two", "a").await, Admitted::UsedUp);
    assert!(matches!(
        renew(state, "one", 1, "k2").await,
        Admitted::Yes(_)
    ));
    assert_eq!(
        enrol(state, "h", "one", "a").await,
        Admitted::UsedUp,
        "it heard of it: it renewed"
    );

    state
        .put_join_token(token("two", "a", 2), entry("token"))
        .await
        .unwrap();
    for id in ["x", "x", "x", "y"] {
        let enrolled = enrol(state, "two", id, "a").await;
        assert!(matches!(enrolled, Admitted::Yes(_)), "{id}: {enrolled:?}");
    }
    assert_eq!(enrol(state, "two", "z", "a").await, Admitted::UsedUp);
}

pub(super) async fn instances_that_vanished_are_swept(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 9), entry("token"))
        .await
        .unwrap();
    for id in ["gone", "out", "here"] {
        enrol(state, "h", id, "a").await;
    }
    let said = ["gone", "out", "here"].map(|id| Reported {
        instance: id.to_owned(),
        node: Some("a".parse().unwrap()),
        ..Reported::default()
    });
    state.put_reported(said.to_vec()).await.unwrap();
    state.shut_out("out", "copied", entry("out")).await.unwrap();
    // Those of enrolment end at NOW + 1000, those of renewal at NOW + 6.
    renew(state, "gone", 1, "k").await;
    let before = state.news().borrow().revocations;
    assert_eq!(state.sweep_instances(WallTime(NOW + 6)).await, Ok(0));
    assert_eq!(state.sweep_instances(WallTime(NOW + 7)).await, Ok(1));
    assert_eq!(state.sweep_instances(WallTime(NOW + 1001)).await, Ok(1));
    let known = state.instances().await.unwrap();
    let ids: Vec<&str> = known.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["out"], "who was shut out is remembered");
    let said = state.reported().await.unwrap();
    assert!(said.iter().all(|said| said.instance == "out"), "{said:?}");
    assert_eq!(
        renew(state, "gone", 2, "k").await,
        Admitted::UnknownInstance
    );
    assert_eq!(
        state.news().borrow().revocations,
        before,
        "nobody lost a right"
    );
}

pub(super) async fn uses_of_a_token_do_not_race(state: Arc<dyn State>) {
    state
        .put_join_token(token("h", "a", 3), entry("token"))
        .await
        .unwrap();
    let enrol = |n: u32| {
        let state = Arc::clone(&state);
        async move { enrol(state.as_ref(), "h", &format!("i{n}"), "a").await }
    };
    let admitted = join_all((0..8).map(enrol)).await;
    let yes = admitted.iter().filter(|a| matches!(a, Admitted::Yes(_)));
    assert_eq!(yes.count(), 3, "{admitted:?}");
    assert_eq!(state.instances().await.unwrap().len(), 3);
}

pub(super) async fn a_token_that_is_refused_says_why(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 1), entry("token"))
        .await
        .unwrap();
    assert_eq!(enrol(state, "x", "one", "a").await, Admitted::UnknownToken);
    let other = Admitted::OtherNode("a".parse().unwrap());
    assert_eq!(enrol(state, "h", "one", "b").await, other);
    let late = WallTime(NOW + 900_000);
    let late = state.enrol(
        Some("h".to_owned()),
        instance("one", "a"),
        "k",
        late,
        entry("e"),
    );
    assert_eq!(late.await.unwrap(), Admitted::Expired);
    let mut old = token("old", "a", 1);
    old.expires_at = WallTime(NOW).minus(Duration::from_secs(8 * 24 * 3600));
    state.put_join_token(old, entry("token")).await.unwrap();
    assert_eq!(enrol(state, "old", "one", "a").await, Admitted::Expired);
    state
        .put_join_token(token("new", "a", 1), entry("token"))
        .await
        .unwrap();
    assert_eq!(
        enrol(state, "old", "one", "a").await,
        Admitted::UnknownToken,
        "swept"
    );
    assert!(state.instances().await.unwrap().is_empty());
    assert!(
        matches!(enrol(state, "h", "one", "a").await, Admitted::Yes(_)),
        "no use was lost"
    );
}

pub(super) async fn a_copied_directory_is_shut_out(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 1), entry("token"))
        .await
        .unwrap();
    enrol(state, "h", "one", "a").await;
    let Admitted::Yes(second) = renew(state, "one", 1, "k2").await else {
        panic!("not renewed");
    };
    assert_eq!(
        (second.counter, second.certificate),
        (2, (WallTime(NOW + 5), WallTime(NOW + 6)))
    );
    let Admitted::Yes(again) = renew(state, "one", 1, "k2").await else {
        panic!("the answer may have been lost");
    };
    assert_eq!(again.counter, 2);
    let revocations = state.news().borrow().revocations;
    let copied = Admitted::Copied {
        presented: 1,
        given: 2,
    };
    assert_eq!(renew(state, "one", 1, "k3").await, copied);
    assert!(
        matches!(renew(state, "one", 2, "k4").await, Admitted::ShutOut(_)),
        "both of them"
    );
    let known = state.instances().await.unwrap();
    assert!(known[0].shut_out.is_some());
    assert_eq!(known[0].counter, 2);
    let told = recorded(state).await;
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(
        told[4].1.as_ref().is_some_and(|why| why.contains("copied")),
        "{told:?}"
    );
    assert!(state.news().borrow().revocations > revocations);
}

pub(super) async fn who_is_shut_out_or_forgotten_does_not_come_back(state: &dyn State) {
    state
        .put_join_token(token("h", "a", 9), entry("token"))
        .await
        .unwrap();
    enrol(state, "h", "one", "a").await;
    enrol(state, "h", "two", "a").await;
    state
        .shut_out("one", "revoked", entry("one"))
        .await
        .unwrap();
    let out = Admitted::ShutOut("revoked".to_owned());
    assert_eq!(renew(state, "one", 1, "k").await, out);
    assert_eq!(enrol(state, "h", "one", "a").await, out);
    assert!(matches!(
        renew(state, "two", 1, "k").await,
        Admitted::Yes(_)
    ));
    assert_eq!(
        renew(state, "nobody", 1, "k").await,
        Admitted::UnknownInstance
    );
    state.forget(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(renew(state, "two", 2, "k").await, Admitted::UnknownInstance);
    assert_eq!(
        enrol(state, "h", "three", "a").await,
        Admitted::UnknownToken
    );
    assert!(state.instances().await.unwrap().is_empty());
}
