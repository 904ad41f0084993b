//! One pull from end to end, as clients make it, with the copies that follow.

use wire::{event::Action, media_type::OCI_INDEX};

use super::rig::{Image, Rig, index, layer_of, publish, read};
use crate::{
    registry::Outcome,
    upstream::{self, scripted::Verb},
};

impl Rig {
    /// An image for two platforms under `1`.
    fn publish_two(&self) -> (String, Image, Image) {
        let amd = publish(&self.origin, "library/app", None, "amd");
        let arm = publish(&self.origin, "library/app", None, "arm");
        let index = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
        let digest = self
            .origin
            .manifest("library/app", Some("1"), OCI_INDEX, index);
        (digest.to_string(), amd, arm)
    }
}

#[tokio::test]
async fn a_cold_pull_of_one_platform_is_told_by_three_events_and_survives_the_upstream() {
    let rig = Rig::copying();
    rig.subscribe(&[Action::Push]);
    let (index, amd, arm) = rig.publish_two();
    // As containerd does: HEAD by tag, then everything by digest.
    assert_eq!(rig.head("1").await.unwrap().digest.as_str(), index);
    rig.get(&index).await.unwrap();
    rig.get(amd.digest.as_str()).await.unwrap();
    let layer = rig.blob("mirror/app", &amd.layer, None).await.unwrap();
    assert_eq!(read(&layer).await, layer_of("amd"));
    let mut told = rig.told(3).await;
    told.sort();
    assert_eq!(told, ["push -", "push -", "push 1"]);
    assert_eq!(
        rig.origin.count_of(Verb::GetBlob, amd.layer.as_str()),
        1,
        "copy and client share one transfer"
    );
    rig.get(arm.digest.as_str()).await.unwrap();
    assert_eq!(rig.told(4).await[3], "push -");
    rig.origin.fail_all(&upstream::Error::away("gone for good"));
    assert_eq!(
        rig.head("1").await.unwrap().provenance.outcome,
        Outcome::Stale
    );
    for image in [&amd, &arm] {
        for reference in [index.as_str(), image.digest.as_str()] {
            assert_eq!(
                rig.get(reference).await.unwrap().provenance.outcome,
                Outcome::Hit
            );
        }
        let layer = rig.blob("mirror/app", &image.layer, None).await.unwrap();
        assert_eq!(layer.provenance.outcome, Outcome::Hit);
    }
    assert_eq!(rig.told(4).await.len(), 4);
}

#[tokio::test]
async fn a_single_platform_tag_is_told_by_two_events_and_a_moved_one_by_two_more() {
    let rig = Rig::copying();
    rig.subscribe(&[Action::Push]);
    rig.publish("1", "old");
    rig.get("1").await.unwrap();
    let mut told = rig.told(2).await;
    told.sort();
    assert_eq!(told, ["push -", "push 1"]);
    rig.later(1);
    let new = rig.publish("1", "new");
    assert_eq!(rig.get("1").await.unwrap().digest, new.digest);
    rig.told(4).await;
    let record = rig.tag("1").await.unwrap();
    assert_eq!(record.complete, Some(record.current));
    rig.get("1").await.unwrap();
    assert_eq!(rig.told(4).await.len(), 4, "an unchanged tag is no event");
}

#[tokio::test]
async fn a_pull_by_digest_is_told_by_one_event() {
    let rig = Rig::copying();
    rig.subscribe(&[Action::Push]);
    let image = rig.publish("1", "a");
    rig.get(image.digest.as_str()).await.unwrap();
    assert_eq!(rig.told(1).await, ["push -"]);
}
