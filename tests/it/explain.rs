//! `explain` and `doctor` of running nodes, over three tiers: they tell what is so, and the origin hears next to nothing of it.

use node::app::Running;
use tests::{Image, Mesh};
use wire::api::{
    ask::{Answer, Question},
    doctor,
    explain::{Hop, Outcome, Query},
};

async fn explain(node: &Running, repository: &str) -> Hop {
    let query = Query {
        repository: repository.parse().unwrap(),
        reference: "1".parse().unwrap(),
        platform: None,
    };
    match node.ask(Question::Explain(query)).await {
        Ok(Answer::Explain(hop)) => *hop,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_is_explained_at_each_tier_before_and_after_and_moves_nothing() {
    let mesh = Mesh::start().await;
    let image = Image::single(4).build();
    mesh.origin.put("team/app", "1", &image);
    for node in ["spoke", "prod"] {
        let hop = explain(mesh.running(node), "up/team/app").await;
        assert_eq!(hop.next.outcome, Outcome::Fill, "{hop:#?}");
        assert_eq!(hop.authentication.as_ref().unwrap().granted, Some(true));
        assert!(hop.network.as_ref().unwrap().reachable && hop.stored.is_empty());
    }
    let asked = mesh.origin.record().all();
    assert!(
        asked.is_empty(),
        "nodes further up asked the origin: {asked:#?}"
    );

    let hop = explain(mesh.running("dev"), "up/team/app").await;
    assert_eq!((hop.tier, hop.next.outcome), (1, Outcome::Fill), "{hop:#?}");
    assert_eq!(hop.upstream_digest.as_ref(), Some(&image.digest));
    let asked = mesh.origin.record().all();
    assert!(
        !asked.iter().any(|r| r.path.contains("/blobs/")),
        "{asked:#?}"
    );

    mesh.anonymous("spoke")
        .pull("up/team/app", "1", "amd64")
        .await
        .unwrap();
    mesh.copied().await;
    for node in ["spoke", "prod", "dev"] {
        let hop = explain(mesh.running(node), "up/team/app").await;
        assert_eq!(hop.next.outcome, Outcome::Check, "{hop:#?}");
        assert!(hop.stored.iter().all(|stored| stored.complete), "{hop:#?}");
        assert_eq!(hop.copy.unwrap().state, "done");
        let checks = mesh.running(node).doctor(&[], None).await;
        let well = checks
            .iter()
            .all(|check| check.outcome <= doctor::Outcome::Skipped);
        assert!(well, "{checks:#?}");
    }
}
