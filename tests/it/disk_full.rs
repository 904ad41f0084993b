//! T63: the disk is full, or has no inodes left. Pulls go through all the same, the rule says why nothing is stored, and storing
//! begins again by itself when there is room.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tests::eventually::{eventually, eventually_async};
use tests::lab::HUB;
use tests::mount::{Mount, privileged};
use tests::peer::available;
use tests::{Image, Lab, Regmesh, When};

use crate::PROGRAM;

/// The store looks at its disk every five seconds.
const NOTICED: Duration = Duration::from_secs(40);

async fn lab(options: &str) -> Option<(Lab, Mount)> {
    if !available(&["mount", "umount"]) || !privileged().await {
        return None;
    }
    let disk = Mount::tmpfs(options).await.unwrap();
    let lab = Lab::new(PROGRAM).await.at(&disk.path().join("data"));
    Some((lab, disk))
}

/// Waits until the only rule has that status, and gives it.
async fn rule_becomes(node: &Regmesh, status: &str) -> Value {
    let what = format!("the rule is {status}");
    eventually_async(NOTICED, &what, async || {
        let seen = node.status(HUB).await.map_err(|error| error.to_string())?;
        let rule = seen["rules"][0].clone();
        if rule["status"] == status {
            Ok(rule)
        } else {
            Err(seen.to_string())
        }
    })
    .await
}

/// Pulls until what is pulled is stored: there is no other way in for content than a pull.
async fn storing_resumes(lab: &Lab, node: &Regmesh, repository: &str, image: &Image) {
    eventually_async(NOTICED, "storing resumes", async || {
        let pulled = node.client(HUB).pull(repository, "1", "amd64").await;
        assert_eq!(pulled.unwrap().digest, image.digest);
        let seen = node.status(HUB).await.map_err(|error| error.to_string())?;
        if seen["rules"][0]["status"] == "Active" {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    })
    .await;
    node.copied(HUB).await;
    lab.origin.fail(When::any(), 503);
    let pulled = node.client(HUB).pull(repository, "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, image.digest);
}

/// Nothing under a digest is short.
fn assert_no_partial(lab: &Lab, images: &[&Image]) {
    for (digest, size) in lab.contents() {
        let expected = images.iter().find_map(|image| {
            let blobs = image
                .blobs
                .iter()
                .map(|(known, content)| (known, content.len()));
            let manifests = image
                .manifests
                .iter()
                .map(|manifest| (&manifest.digest, manifest.bytes.len() as u64));
            let mut all = blobs.chain(manifests);
            all.find(|(known, _)| **known == digest)
                .map(|(_, size)| size)
        });
        assert_eq!(expected, Some(size), "{digest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_larger_than_the_disk_are_pulled_all_the_same() {
    let Some((lab, _disk)) = lab("size=64m").await else {
        return;
    };
    let images: Vec<Image> = (61..66)
        .map(|seed| {
            Image::single(seed)
                .layer_of(10 << 20)
                .layer_of(10 << 20)
                .layer_of(20 << 20)
                .build()
        })
        .collect();
    let node = lab.start().await.unwrap();
    for (number, image) in images.iter().enumerate() {
        let tag = number.to_string();
        lab.origin.put("team/app", &tag, image);
        let pulled = node.client(HUB).pull("up/team/app", &tag, "amd64").await;
        assert_eq!(pulled.unwrap().digest, image.digest);
    }
    // One blob that could never fit.
    let huge = Image::single(66).layer_of(100 << 20).build();
    lab.origin.put("team/huge", "1", &huge);
    for _ in 0..2 {
        let pulled = node.client(HUB).pull("up/team/huge", "1", "amd64").await;
        assert_eq!(pulled.unwrap().digest, huge.digest);
    }
    let ready = reqwest::get(node.admin(HUB, "/readyz")).await.unwrap();
    assert_eq!(ready.status(), 200, "degraded is not dead");
    node.kill().await;
    let mut all: Vec<&Image> = images.iter().collect();
    all.push(&huge);
    assert_no_partial(&lab, &all);
    lab.assert_verified("killed on a full disk").await;
    let node = lab.start().await.unwrap();
    let pulled = node.client(HUB).pull("up/team/huge", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, huge.digest);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_from_outside_is_told_of_and_storing_resumes_when_it_is_freed() {
    let Some((lab, disk)) = lab("size=64m").await else {
        return;
    };
    let kept = Image::single(67).build();
    lab.origin.put("team/kept", "1", &kept);
    let node = lab.start().await.unwrap();
    let client = node.client(HUB);
    client.pull("up/team/kept", "1", "amd64").await.unwrap();
    node.copied(HUB).await;
    // Everything but what the file system keeps for itself.
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let image = Image::single(68).layer_of(12 << 20).build();
    lab.origin.put("team/app", "1", &image);
    let pulled = client.pull("up/team/app", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, image.digest);
    let rule = rule_becomes(&node, "NotStoring").await;
    let reason = rule["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "{rule}");
    let reason = eventually("the failed copy is told of", || {
        let failed = lab.hook.of_action("copy_failed");
        let own = failed
            .iter()
            .find(|event| event["target"]["repository"] == "up/team/app");
        own.map(|event| event["regmesh"]["reason"].clone())
            .ok_or(failed)
    })
    .await;
    assert!(reason.as_str().is_some_and(|reason| !reason.is_empty()));
    let metrics = reqwest::get(node.admin(HUB, "/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("regmesh_rule_unstored_pulls{rule=\"all\"} ")
            && !metrics.contains("regmesh_rule_unstored_pulls{rule=\"all\"} 0"),
        "{metrics}"
    );
    // What is stored is served, and is still there: nothing of it was evicted for what cannot fit.
    assert_eq!(
        client
            .pull("up/team/kept", "1", "amd64")
            .await
            .unwrap()
            .digest,
        kept.digest
    );
    fs::remove_file(&ballast).unwrap();
    // Nobody pulls it again.
    rule_becomes(&node, "Active").await;
    node.copied(HUB).await;
    lab.origin.fail(When::any(), 503);
    let pulled = client.pull("up/team/app", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, image.digest);
    lab.origin.heal();
    let pulled = client.pull("up/team/kept", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, kept.digest);
    node.end().await;
    lab.assert_verified("freed again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_inodes_is_told_of_and_storing_resumes_when_there_are_some() {
    let Some((lab, disk)) = lab("size=256m,nr_inodes=300").await else {
        return;
    };
    let node = lab.start().await.unwrap();
    let client = node.client(HUB);
    let mut ballast = Vec::new();
    for number in 0..400 {
        let file = disk.path().join(format!("ballast-{number}"));
        if fs::write(&file, b"").is_err() {
            break;
        }
        ballast.push(file);
    }
    assert!(ballast.len() < 400, "inodes were to run out");
    let image = Image::single(69).layer_of(2 << 20).build();
    lab.origin.put("team/app", "1", &image);
    let pulled = client.pull("up/team/app", "1", "amd64").await;
    assert_eq!(pulled.unwrap().digest, image.digest);
    rule_becomes(&node, "NotStoring").await;
    for file in ballast {
        fs::remove_file(file).unwrap();
    }
    storing_resumes(&lab, &node, "up/team/app", &image).await;
    node.end().await;
    lab.assert_verified("inodes again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_full_disk_is_refused_and_leaves_nothing() {
    let Some((lab, disk)) = lab("size=64m").await else {
        return;
    };
    let node = lab.start().await.unwrap();
    let client = node.client(HUB);
    let kept = Image::single(70).build();
    client.push("own/app", &["kept"], &kept).await.unwrap();
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let image = Image::single(71).layer_of(30 << 20).build();
    let refused = client.push("own/app", &["1"], &image).await;
    assert!(refused.is_err(), "stored on a full disk");
    let pulled = client.pull("own/app", "kept", "amd64").await;
    assert_eq!(pulled.unwrap().digest, kept.digest);
    fs::remove_file(&ballast).unwrap();
    eventually_async(NOTICED, "there is room for a push", async || {
        client
            .push("own/app", &["1"], &image)
            .await
            .map_err(|error| format!("{error:#}"))
    })
    .await;
    node.end().await;
    assert_no_partial(&lab, &[&kept, &image]);
    lab.assert_verified("pushed in the end").await;
}

/// Writes until nothing more fits.
fn fill(file: &PathBuf) {
    let mut file = fs::File::create(file).unwrap();
    let block = vec![1_u8; 64 << 10];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}
