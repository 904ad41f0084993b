//! Five hundred clients of four leaves ask for one cold blob, and some or all of them die on the way (T17).
//!
//! A client that dies drops its connection in the middle of the body. The blob has 6 MiB and not the 64 of the catalogue: what five
//! hundred readers hash would keep two cores busy for minutes, and everything above 1 MiB goes the same way, in pieces through a
//! file that grows.

use futures_util::future::join_all;
use reqwest::{Method, Response};
use runtime::Tasks;
use tests::chance::Chance;
use tests::eventually::soon;
use tests::{Client, Content, Fault, Gate, Mesh, Script, When};
use wire::digest::{Digest, Hasher};

const SIZE: u64 = 6 << 20;
const CLIENTS: usize = 500;
const LEAVES: [&str; 4] = ["spoke", "spoke-2", "spoke-3", "spoke-4"];
const SEED: u64 = 17;

/// The mesh, and a blob that the origin stops sending at the gate.
struct Stampede {
    mesh: Mesh,
    clients: Vec<Client>,
    blob: Digest,
    gate: Gate,
}

impl Stampede {
    async fn held_at(offset: u64) -> Self {
        let mesh = Mesh::builder().leaves(LEAVES.len()).start().await;
        let blob = Content::pattern(SEED, SIZE);
        let blob = mesh.origin.shelf().put_blob("team/app", &blob);
        let gate = Gate::closed();
        let hold = Fault::HoldAt(offset, gate.clone());
        mesh.origin
            .play(Script::new(When::get().blob(&blob), [hold]));
        let clients = LEAVES.map(|leaf| mesh.anonymous(leaf)).into();
        Self {
            mesh,
            clients,
            blob,
            gate,
        }
    }

    /// The body to come of a pull by that client.
    async fn open(&self, client: usize) -> Response {
        let client = &self.clients[client % LEAVES.len()];
        let path = format!("/v2/up/team/app/blobs/{}", self.blob);
        let opened = client.open(Method::GET, &path, &[], None);
        let answer = soon("a pull is answered", opened).await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer
    }

    /// The first reader, then everybody else, all in the middle of the same transfer.
    async fn all_in(&self) -> (Response, Vec<Response>) {
        let first = self.open(0).await;
        self.gate.reached().await;
        let others = (1..CLIENTS).map(|client| self.open(client));
        (first, join_all(others).await)
    }

    /// Each tier asked its parent once for the bytes, got each once, and is done.
    async fn was_one_transfer(&self) {
        self.mesh.filled().await;
        let record = self.mesh.origin.record();
        assert_eq!(record.blob_gets(&self.blob), 1, "{record:#?}");
        assert_eq!(record.bytes_of("/blobs/"), SIZE, "{record:#?}");
        for node in ["dev", "prod"].iter().chain(&LEAVES) {
            let answered = "code=\"200\",method=\"GET\"";
            let asked = self
                .mesh
                .metric(node, "regmesh_upstream_requests_total", answered);
            let stored = self
                .mesh
                .metric(node, "regmesh_fills_total", "result=\"stored\"");
            let fills = self.mesh.metric(node, "regmesh_fills_total", "");
            let counted = (asked, self.received(node), stored, fills);
            assert_eq!(counted, (1.0, SIZE as f64, 1.0, 1.0), "{node}");
        }
    }

    fn received(&self, node: &str) -> f64 {
        self.mesh.metric(node, "regmesh_upstream_bytes_total", "")
    }

    /// And the next pull of each leaf costs no upstream a byte.
    async fn is_stored(&self) {
        self.mesh.origin.record().clear();
        for client in &self.clients {
            let size = client.blob("up/team/app", &self.blob).await.unwrap();
            assert_eq!(size, SIZE);
        }
        assert!(self.mesh.origin.record().is_empty());
        for leaf in LEAVES {
            assert_eq!(self.received(leaf), SIZE as f64, "{leaf}");
        }
    }
}

/// Reads on, to the end or until so many bytes have come, and then dies. What came to the end is right and was one answer.
async fn read(mut answer: Response, until: Option<u64>, blob: Digest) -> u64 {
    let mut hasher = Hasher::new(blob.algorithm());
    while until.is_none_or(|until| hasher.length() < until) {
        match answer.chunk().await.expect("no reader is cut off") {
            Some(chunk) => hasher.update(&chunk),
            None => break,
        }
    }
    let length = hasher.length();
    if until.is_none() {
        assert_eq!((length, hasher.finish()), (SIZE, blob));
    }
    length
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_first_and_a_third_of_five_hundred_die_the_others_are_served_by_one_transfer() {
    let stampede = Stampede::held_at(SIZE / 10).await;
    let (first, others) = stampede.all_in().await;
    // What the tiers hold back aside, the first has what the origin has sent.
    let seen = read(first, Some(1), stampede.blob.clone()).await;
    assert!((1..=SIZE / 10).contains(&seen), "{seen}");
    let mut chance = Chance::new(SEED);
    let tasks = Tasks::new("readers");
    let readers: Vec<_> = others
        .into_iter()
        .map(|answer| {
            let dies = chance.below(100) < 30;
            let until = dies.then(|| chance.below(SIZE));
            let reading = tasks.spawn("reader", read(answer, until, stampede.blob.clone()));
            (until, reading)
        })
        .collect();
    stampede.gate.open();
    let mut survivors = 0;
    for (until, reading) in readers {
        // A reader that hears nothing gives up by itself.
        reading
            .await
            .unwrap_or_else(|error| panic!("seed {SEED}, until {until:?}: {error}"));
        survivors += usize::from(until.is_none());
    }
    assert!((CLIENTS / 2..CLIENTS).contains(&survivors), "{survivors}");
    stampede.was_one_transfer().await;
    stampede.is_stored().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_five_hundred_die_the_transfer_is_finished_for_the_next() {
    let stampede = Stampede::held_at(SIZE / 2).await;
    let (first, others) = stampede.all_in().await;
    let mut chance = Chance::new(SEED);
    // Some read a little first; half of the blob is as far as anybody can get.
    let reads = others.into_iter().map(|answer| {
        let until = chance.below(SIZE / 4);
        read(answer, Some(until), stampede.blob.clone())
    });
    join_all(reads).await;
    drop(first);
    stampede.gate.open();
    stampede.was_one_transfer().await;
    stampede.is_stored().await;
}
