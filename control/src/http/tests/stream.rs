//! Events as a stream: from where one left off, with signs of life, until the control plane ends.

use futures_util::StreamExt;
use wire::{api::event::Entry, time::WallTime};

use super::*;

fn event(kind: &str) -> Entry {
    Entry {
        sequence: 0,
        at: WallTime(1),
        node: Some("dev".parse().unwrap()),
        kind: kind.to_owned(),
        text: format!("{kind} happened"),
        event: None,
    }
}

async fn open(rig: &Rig, path: &str, further: &[(&str, &str)]) -> http::Response<Body> {
    let bearer = format!("Bearer {ADMIN}");
    let mut headers = vec![
        ("authorization", bearer.as_str()),
        ("accept", "text/event-stream"),
    ];
    headers.extend(further);
    rig.raw(Method::GET, path, &headers, "").await
}

#[tokio::test]
async fn a_stream_goes_on_where_the_client_left_off_and_ends_with_the_control_plane() {
    let rig = rig().await;
    let before: Vec<_> = ["node_connected", "push"].into_iter().map(event).collect();
    rig.api.state.add_events(before, 1_000).await.unwrap();
    let all = rig.get("/api/v1/events").await;
    let first = all.body["items"].as_array().unwrap().last().unwrap()["sequence"]
        .as_u64()
        .unwrap();
    let response = open(
        &rig,
        "/api/v1/events",
        &[("last-event-id", &first.to_string())],
    )
    .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut body = response.into_body().into_data_stream();
    let mut next =
        async || String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(next().await.starts_with(':'));
    let push = next().await;
    assert!(
        push.starts_with(&format!("id: {}\n", first + 1)) && push.contains("push happened"),
        "{push}"
    );
    rig.api
        .state
        .add_events(vec![event("delete")], 1_000)
        .await
        .unwrap();
    assert!(next().await.contains("delete happened"));
    let beat = async {
        loop {
            rig.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        beat = next() => assert_eq!(beat, ": here\n\n"),
        () = beat => {}
    }
    rig.api.tasks.cancel();
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_quiet_stream_shows_life_while_the_mesh_has_other_news() {
    let rig = rig().await;
    let response = open(&rig, "/api/v1/events?kind=push", &[]).await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b":"));
    let beat = rig.api.settings.heartbeat;
    let other = async {
        // News come well before a sign of life is due, again and again, as reports of nodes do.
        for _ in 0..9 {
            rig.clock.advance(beat / 3);
            let events = vec![event("delete")];
            rig.api.state.add_events(events, 1_000).await.unwrap();
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    };
    other.await;
    rig.api.tasks.cancel();
    let mut beats = 0;
    while let Some(chunk) = body.next().await {
        assert!(chunk.unwrap().starts_with(b": here"));
        beats += 1;
    }
    assert!((2..=3).contains(&beats), "{beats} signs of life");
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_it_before_anything_more_is_told() {
    for how in ["role", "time"] {
        let rig = rig().await;
        let bearer = format!("Bearer {}", rig.session("reader").await);
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", "text/event-stream"),
        ];
        let response = rig.raw(Method::GET, "/api/v1/events", &headers, "").await;
        let mut body = response.into_body().into_data_stream();
        let mut next = async || {
            let chunk = body.next().await?;
            Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
        };
        assert!(next().await.unwrap().starts_with(':'));
        let add = async |kind: &str| {
            let events = vec![event(kind)];
            rig.api.state.add_events(events, 1_000).await.unwrap();
        };
        add("first").await;
        assert!(next().await.unwrap().contains("first happened"));
        match how {
            "role" => {
                let lines = TOPOLOGY.lines().filter(|line| {
                    !(line.contains("mesh-reader") && line.contains("account:reader"))
                });
                let without = lines.collect::<Vec<_>>().join("\n");
                assert_ne!(without.lines().count(), TOPOLOGY.lines().count());
                let got = rig.apply(&without).await;
                assert_eq!(got.status, 200, "{}", got.body);
            }
            _ => rig.clock.advance(crate::sign_in::LIFE),
        }
        add("second").await;
        // What else happened meanwhile is told to nobody either.
        assert_eq!(next().await, None, "{how}");
    }
}

#[tokio::test]
async fn only_so_many_streams_are_open_and_a_closed_one_makes_room() {
    let rig = rig().await;
    let mut open_ones = Vec::new();
    for _ in 0..4 {
        open_ones.push(open(&rig, "/api/v1/events", &[]).await);
    }
    assert_eq!(open(&rig, "/api/v1/events", &[]).await.status(), 429);
    open_ones.clear();
    for _ in 0..1_000 {
        if open(&rig, "/api/v1/events", &[]).await.status() == 200 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("closed streams go on counting");
}

#[tokio::test]
async fn events_are_found_by_kind_and_part_by_part() {
    let rig = rig().await;
    let many: Vec<_> = (0..30)
        .map(|n| event(if n % 10 == 0 { "rare" } else { "push" }))
        .collect();
    rig.api.state.add_events(many, 1_000).await.unwrap();
    let rare = rig.get("/api/v1/events?kind=rare").await;
    assert_eq!(
        rare.body["items"].as_array().unwrap().len(),
        3,
        "{}",
        rare.body
    );
    let (mut after, mut found) = ("0".to_owned(), 0);
    for _ in 0..20 {
        let part = rig
            .get(&format!("/api/v1/events?after={after}&limit=7&node=dev"))
            .await;
        found += part.body["items"].as_array().unwrap().len();
        match part.body["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, 30);
    let all = rig.get("/api/v1/events?after=0&limit=1000").await;
    let third = all.body["items"][2]["sequence"].as_u64().unwrap();
    let between = rig
        .get(&format!("/api/v1/events?after=0&before={third}"))
        .await;
    assert_eq!(
        between.body["items"].as_array().unwrap().len(),
        2,
        "{}",
        between.body
    );
    assert_eq!(
        rig.get("/api/v1/events?node=prod").await.body["items"],
        json!([])
    );
}
