//! Three times as many cold pulls as a node has room for, sent whether or not the earlier ones are answered (T28).
//!
//! Room is small by settings and a pull is slow by the origin's script, so that what a node can do is known and no matter of the
//! machine: `ROOM` pulls each `PULL`. The real process, because memory is one of the promises. Bounds on time are far from what is
//! seen; what is exact is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use runtime::{Clock, Tasks};
use tests::bench::usage::Meter;
use tests::client::Reply;
use tests::eventually::eventually_async;
use tests::lab::HUB;
use tests::{Client, Content, Fault, Image, Lab, Regmesh, Script, When};
use wire::digest::Digest;

use crate::PROGRAM;

/// Of the 32 places a quarter is kept for what is stored and for HEAD.
const PLACES: usize = 32;
const ROOM: usize = PLACES - PLACES / 4;
/// How long the origin takes for a cold blob.
const PULL: Duration = Duration::from_millis(400);
const WAVES: usize = 15;
/// Each `PULL` as many as three times the room.
const PULLS: usize = 3 * ROOM * WAVES;
const BLOB: u64 = 4096;
/// A refusal waits for nothing.
const SHED: Duration = Duration::from_secs(2);
const RECOVERED: Duration = Duration::from_secs(5);
const MEMORY: f64 = 256.0 * 1024.0 * 1024.0;

/// How a cold pull ended.
struct Ended {
    blob: Digest,
    reply: Reply,
    took: Duration,
}

/// What those got who asked for what is there, and for HEAD and health.
#[derive(Default, Debug)]
struct Served {
    hits: usize,
    tags: usize,
    shed: usize,
    heads: usize,
    healthy: usize,
}

struct Storm {
    lab: Lab,
    node: Regmesh,
    client: Arc<Client>,
    stored: Image,
    blobs: Vec<Digest>,
}

impl Storm {
    async fn gather() -> Self {
        let lab = Lab::new(PROGRAM).await;
        let lab = lab.flag(&format!("--set=max-in-flight={PLACES}"));
        let stored = Image::single(1).build();
        lab.origin.put("team/app", "1", &stored);
        let cold = (0..PULLS as u64).map(|seed| Content::pattern(seed, BLOB));
        let blobs: Vec<Digest> = cold
            .map(|blob| lab.origin.shelf().put_blob("team/cold", &blob))
            .collect();
        let node = lab.start().await.unwrap();
        let client = node.client(HUB);
        client.pull("up/team/app", "1", "amd64").await.unwrap();
        node.copied(HUB).await;
        let slow = When::get().repository("team/cold").blobs();
        lab.origin.play(Script::new(slow, [Fault::Delay(PULL)]));
        Self {
            lab,
            node,
            client: Arc::new(client),
            stored,
            blobs,
        }
    }

    /// Sends all cold pulls at their times, and comes back when each has its end.
    async fn rage(&self) -> Vec<Ended> {
        let (tasks, clock) = (Tasks::new("storm"), Clock::system());
        let start = clock.now();
        let mut under_way = Vec::new();
        for (number, blob) in self.blobs.iter().enumerate() {
            let due = start + PULL.mul_f64(number as f64 / (3 * ROOM) as f64);
            clock
                .sleep(due.saturating_duration_since(clock.now()))
                .await;
            let pull = pull(Arc::clone(&self.client), blob.clone());
            under_way.push(tasks.spawn("pull", pull));
        }
        let mut ended = Vec::new();
        for pull in under_way {
            ended.push(pull.await.expect("a pull does not panic"));
        }
        ended
    }

    /// Asks for what must still be served, round after round, until the storm is over.
    async fn beside(&self, over: &AtomicBool) -> Served {
        let mut served = Served::default();
        let digest = &self.stored.digest;
        let ready = self.node.admin(HUB, "/readyz");
        while !over.load(Ordering::Relaxed) {
            let client = &self.client;
            for reference in [digest.to_string(), "1".to_owned()] {
                let reply = client.get_manifest("up/team/app", &reference).await;
                let reply = reply.unwrap();
                match reply.status {
                    503 => served.shed += 1,
                    _ if reference == "1" => served.tags += 1,
                    _ => served.hits += 1,
                }
                assert!(
                    reply.status == 503 || reply.verified().unwrap() == *digest,
                    "{reply:?}"
                );
            }
            let head = client.head_manifest("up/team/app", "1").await.unwrap();
            assert_eq!(head.status, 200, "{head:?}");
            served.heads += 1;
            let health = reqwest::get(&ready).await.unwrap();
            assert_eq!(health.status(), 200);
            served.healthy += 1;
            Clock::system().sleep(Duration::from_millis(20)).await;
        }
        served
    }
}

async fn pull(client: Arc<Client>, blob: Digest) -> Ended {
    let clock = Clock::system();
    let start = clock.now();
    let path = format!("/v2/up/team/cold/blobs/{blob}");
    let reply = client.send(Method::GET, &path, &[], None).await;
    Ended {
        blob,
        reply: reply.expect("an answer, whatever it says"),
        took: clock.now() - start,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_room_is_shed_at_once_and_the_rest_is_served() {
    let storm = Storm::gather().await;
    let over = AtomicBool::new(false);
    let (ended, served) = tokio::join!(
        async {
            let ended = storm.rage().await;
            over.store(true, Ordering::Relaxed);
            ended
        },
        storm.beside(&over)
    );
    let (admitted, shed): (Vec<_>, Vec<_>) = ended.iter().partition(|e| e.reply.status == 200);
    for pull in &admitted {
        assert_eq!(pull.reply.verified().unwrap(), pull.blob);
    }
    let mut fast = 0;
    for pull in &shed {
        assert_eq!(pull.reply.status, 503, "{:?}", pull.reply);
        let after = pull.reply.header("retry-after");
        assert_eq!(after, Some("1"), "{:?}", pull.reply);
        assert!(pull.took < SHED, "shed after {:?}", pull.took);
        fast += usize::from(pull.took < PULL);
    }
    // A quarter of what there was room for, since the generator shares the machine.
    let (admitted, shed) = (admitted.len(), shed.len());
    assert!(admitted >= ROOM * WAVES / 4, "{admitted} of {PULLS}");
    assert!(shed >= ROOM * WAVES / 4, "{shed} of {PULLS}");
    assert!(fast * 2 >= shed, "{fast} of {shed} before a pull's time");
    // What is shed costs the origin nothing, and what is admitted one request.
    let is_cold = |path: &str| path.starts_with("/v2/team/cold/blobs/");
    let asked = storm.lab.origin.record().count(|r| is_cold(&r.path));
    assert_eq!(asked, admitted);
    // Hits give way after cold pulls, HEAD and health not at all.
    assert!(served.heads > 0 && served.healthy > 0, "{served:?}");
    assert!(served.hits + served.tags >= 3 * served.shed, "{served:?}");
    let peak = Meter::of(storm.node.process.pid()).peak().unwrap();
    assert!(peak < MEMORY, "{peak} bytes resident");
    let refused = ended.iter().find(|pull| pull.reply.status == 503);
    let refused = &refused.expect("somebody was shed").blob;
    let what = "what was shed is served when the storm is over";
    eventually_async(RECOVERED, what, async || {
        storm.client.blob("up/team/cold", refused).await
    })
    .await;
    let metrics = storm.node.admin(HUB, "/metrics");
    eventually_async(RECOVERED, "no fill is left", async || {
        let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        match text.contains("regmesh_fills_in_flight 0") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    storm.node.end().await;
    storm.lab.assert_verified("after the storm").await;
}
