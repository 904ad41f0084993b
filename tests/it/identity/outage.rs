//! The control plane away for longer than a grant's refresh: what is in hand goes on until it ends, and then it is said why (T36).

use control::issuer::Lives;
use serde_json::json;
use tests::eventually::eventually;
use tests::jwt;

use super::{SECOND, explain, fresh, grant, started, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_go_on_without_a_control_plane_until_the_grant_ends_and_then_say_so() {
    let settings = control::config::Settings {
        grants: Lives {
            grant: SECOND * 6,
            refresh: SECOND,
        },
        ..crate::control_away::brisk()
    };
    let mut fleet = started(2, settings.clone()).await;
    let (first, image) = fresh(&fleet, "before", 40);
    fleet.pulls("prod", &first, &image).await;
    fleet.kill_control().await;
    let expires = jwt::parts(&grant(&fleet, "prod", "prod-up").await).unwrap();
    let expires = expires.claims["exp"].as_i64().unwrap();
    // Checks and fills go on, past the time at which the grant was to be refreshed.
    let (mut n, mut moved) = (0, image);
    while jwt::now() + 2 < expires {
        let (repository, image) = fresh(&fleet, &format!("away-{n}"), 41 + n);
        fleet.pulls("prod", &repository, &image).await;
        moved = image;
        n += 1;
        fleet.origin.put("team/before", "1", &moved);
        fleet.pulls("prod", &first, &moved).await;
    }
    assert!(n > 0);
    eventually("the grant ends", || {
        let now = jwt::now();
        if now > expires { Ok(()) } else { Err(now) }
    })
    .await;
    // Nothing but a new process has no access token of before: what the grant would be needed for fails by name now.
    fleet.restart("prod").await;
    let (never, _) = fresh(&fleet, "never", 90);
    let client = fleet.client("prod");
    let failed = until(&client, &never, "1", "it is said why", |reply| {
        reply.status == 503
    })
    .await;
    let text = String::from_utf8_lossy(&failed.body).into_owned();
    assert!(text.contains("IDENTITY_TOKEN_FAILED"), "{text}");
    // What is stored is served: by digest as ever, by tag with a warning.
    client.pull(&first, &moved.digest, "amd64").await.unwrap();
    let stale = client.get_manifest(&first, "1").await.unwrap();
    assert_eq!(stale.verified().unwrap(), moved.digest);
    assert!(stale.header("warning").is_some(), "{stale:?}");
    // Back: within seconds, without a restart.
    fleet.start_control_here(settings).await;
    until(
        &client,
        &never,
        "1",
        "the rule has a grant again",
        |reply| reply.status == 200,
    )
    .await;
    let hops = explain(&fleet, &format!("prod/{never}:1")).await;
    assert_eq!(
        hops[0]["authentication"]["granted"],
        json!(true),
        "{hops:#?}"
    );
}
