//! Slow clients are closed at their limits and hold nobody up (T27).

use std::time::Duration;

use runtime::Clock;
use tests::eventually::soon;
use tests::{Content, Image, Mesh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_millis(400);

async fn impatient() -> Mesh {
    let set = |s: &mut node::settings::Settings| {
        s.accept_to_first_byte = LIMIT;
        s.header = LIMIT;
        s.keep_alive = LIMIT;
        s.write_stall = LIMIT;
        s.upload_silence = LIMIT;
    };
    Mesh::builder().tiers(1).set(set).start().await
}

/// Whether the node closed the connection, whatever it said before.
async fn closed(mut stream: TcpStream, what: &str) -> String {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = soon(what, stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_half_is_closed() {
    let mesh = impatient().await;
    let address = mesh.running("dev").address();
    for start in [
        "",
        "G",
        "GET /v2/ HTTP/1.1\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Half: ",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        closed(stream, &format!("{start:?} is closed")).await;
    }
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let said = closed(idle, "an idle connection is closed").await;
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_drips_is_closed_however_often_it_drips() {
    let mesh = impatient().await;
    let mut stream = TcpStream::connect(mesh.running("dev").address())
        .await
        .unwrap();
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Long: ")
        .await
        .unwrap();
    let clock = Clock::system();
    let drip = async {
        for _ in 0..200 {
            clock.sleep(Duration::from_millis(50)).await;
            if stream.write_all(b"x").await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(drip.await, "ten seconds of dripping were put up with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_goes_silent_is_given_up() {
    let mesh = impatient().await;
    let client = mesh.client("dev");
    let location = client.start_upload("own/app").await.unwrap();
    let path = location
        .strip_prefix(&mesh.url("dev"))
        .unwrap_or(&location)
        .to_owned();
    let path = path
        .find("/v2/")
        .map_or(path.clone(), |at| path[at..].to_owned());
    let mut stream = TcpStream::connect(mesh.running("dev").address())
        .await
        .unwrap();
    let basic = base64_of(&format!("ci:{}", tests::canary::secret("ci")));
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {basic}\r\nContent-Length: 100000\r\n\r\n0123456789"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    closed(stream, "a silent upload is closed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_closed_for_lack_of_progress_and_a_slow_one_is_not() {
    let mesh = impatient().await;
    let layer = mesh
        .origin
        .shelf()
        .put_blob("team/app", &Content::pattern(1, 32 << 20));
    let client = mesh.client("dev");
    client.blob("up/team/app", &layer).await.unwrap();
    let clock = Clock::system();
    // Reads a little, four times an interval, for twice the limit; then all the rest.
    let path = format!("/v2/up/team/app/blobs/{layer}");
    let mut slow = client
        .open(reqwest::Method::GET, &path, &[], None)
        .await
        .unwrap();
    let mut seen = 0;
    for _ in 0..8 {
        clock.sleep(LIMIT / 4).await;
        let mut step = 0;
        while step < 2 << 20 {
            step += slow.chunk().await.unwrap().expect("more").len() as u64;
        }
        seen += step;
    }
    while let Some(chunk) = slow.chunk().await.unwrap() {
        seen += chunk.len() as u64;
    }
    assert_eq!(seen, 32 << 20);
    // Reads nothing at all.
    let mut stuck = TcpStream::connect(mesh.running("dev").address())
        .await
        .unwrap();
    let basic = base64_of(&format!("ci:{}", tests::canary::secret("ci")));
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {basic}\r\n\r\n");
    stuck.write_all(head.as_bytes()).await.unwrap();
    clock.sleep(LIMIT * 4).await;
    let said = closed(stuck, "a reader that does not read is closed").await;
    assert!(said.len() < 32 << 20, "the whole body was still sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_silent_connections_hold_nobody_up() {
    let mesh = Mesh::builder()
        .tiers(1)
        .set(|s| s.max_per_address = 4096)
        .start()
        .await;
    let image = Image::single(2).build();
    mesh.origin.put("team/app", "1", &image);
    let client = mesh.client("dev");
    client.pull("up/team/app", "1", "amd64").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2000 {
        match TcpStream::connect(mesh.running("dev").address()).await {
            Ok(stream) => silent.push(stream),
            // The machine's own limit on descriptors: as many as it gives.
            Err(_) => break,
        }
    }
    silent.truncate(silent.len().saturating_sub(64));
    let clock = Clock::system();
    let start = clock.now();
    client.manifest("up/team/app", &image.digest).await.unwrap();
    let took = clock.now() - start;
    assert!(
        took < Duration::from_secs(2),
        "{took:?} beside {} silent connections",
        silent.len()
    );
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
