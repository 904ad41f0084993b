//! `regmesh demo`: a mesh of three tiers on this machine, at work.
//!
//! Everything is real: an origin registry that holds a two-platform image made on the spot, a control plane with a hub, a region and a
//! spoke that fill themselves from each other, a webhook receiver. Nothing is needed but a free port on loopback; what it writes is in
//! a temporary directory that goes with it. `--once` ends by itself, and fails if anything was not as promised.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use runtime::{clock::Clock, tasks::Tasks};

use crate::{args, command, exit::Exit, output};

mod hook;
mod image;
mod mesh;
mod pull;
mod show;

use mesh::Mesh;
use show::Show;

/// Layers of each platform, in bytes.
const LAYERS: [usize; 4] = [24 << 20, 12 << 20, 4 << 20, 300_000];
/// How long copies and events may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows it.
///
/// # Errors
/// When a node cannot start, or anything is not as promised.
pub async fn run(demo: args::Demo, global: args::Global) -> anyhow::Result<Exit> {
    let quiet = args::Global {
        log: if std::env::var_os("REGMESH_LOG").is_some() {
            global.log.clone()
        } else {
            "error".to_owned()
        },
        ..global.clone()
    };
    let _log = command::log(&quiet)?;
    let (clock, tasks) = (Clock::system(), Tasks::new("demo"));
    let directory = Scratch::new()?;
    let mesh = Mesh::start(&directory.0, demo.port, &clock, &tasks).await?;
    let shown = story(&mesh, &clock, &global).await;
    if shown.is_ok() && !demo.once {
        output::data(&show::next(&mesh));
        command::until_ended(&global).await?;
    }
    mesh.drain(Duration::from_secs(2)).await;
    tasks.drain(command::up::LAST_TASKS).await;
    shown.map(|()| Exit::Ok)
}

/// A cold pull, the copies and events that follow, a warm pull, and the other platform.
async fn story(mesh: &Mesh, clock: &Clock, global: &args::Global) -> anyhow::Result<()> {
    let show = Show::new(global);
    show.tree(mesh);
    let sample = image::sample(&LAYERS);
    pull::push(mesh.origin(), pull::IMAGE, &mesh.writer(), &sample)
        .await
        .context("the sample image cannot be pushed to the origin")?;

    show.title("1. a cold pull of linux/amd64 through the spoke: three empty tiers fill at once");
    let before = mesh.counts();
    let started = clock.now();
    let watch = show.watch(mesh);
    let looking = async {
        loop {
            watch.stored(&mesh.stored().await);
            clock.sleep(Duration::from_millis(50)).await;
        }
    };
    let pulling = async {
        let pulled = pull::pull(mesh.spoke(), pull::IMAGE, "amd64", |bytes| {
            watch.client(bytes)
        })
        .await?;
        let took = clock.now().duration_since(started);
        let asked = mesh.counts().since(before);
        mesh.settle(clock, PATIENCE)
            .await
            .context("a tier did not copy the whole image")?;
        anyhow::Ok((pulled, took, asked))
    };
    let (pulled, took, asked) = tokio::select! {
        done = pulling => done?,
        () = looking => anyhow::bail!("looking never ends"),
    };
    watch.stored(&mesh.stored().await);
    watch.finish();
    show.cold(&pulled, took, &asked);
    anyhow::ensure!(
        asked.blob_gets == pulled.blobs,
        "the origin should see one GET per blob, {} for {} blobs",
        asked.blob_gets,
        pulled.blobs
    );

    show.title("2. what the spoke's webhook heard when its copy was complete");
    let events = mesh.events(clock, 3, PATIENCE).await?;
    show.events(&events);
    anyhow::ensure!(
        events.len() == 3,
        "one platform of a multi-platform tag gives three push events, not {}",
        events.len()
    );

    show.title(
        "3. the same pull again: one HEAD asks whether the tag moved, no byte comes from above",
    );
    let before = mesh.counts();
    let started = clock.now();
    let pulled = pull::pull(mesh.spoke(), pull::IMAGE, "amd64", |_| ()).await?;
    let asked = mesh.counts().since(before);
    show.warm(&pulled, clock.now().duration_since(started), &asked);
    anyhow::ensure!(
        asked.gets == 0,
        "a warm pull must not fetch anything, the origin saw {} GETs",
        asked.gets
    );

    show.title("4. the other platform: only what is new");
    let before = mesh.counts();
    let pulled = pull::pull(mesh.spoke(), pull::IMAGE, "arm64", |_| ()).await?;
    mesh.settle(clock, PATIENCE).await?;
    show.second(&pulled, &mesh.counts().since(before));
    let events = mesh.events(clock, 4, PATIENCE).await?;
    anyhow::ensure!(
        events.len() == 4,
        "the second platform gives one more push event, {} in all",
        events.len()
    );
    show.tiers(mesh, &mesh.stored().await);
    promotion(mesh, clock, &show, &sample).await
}

/// A push to the hub, promoted to the region without a client, and pulled through the spoke.
async fn promotion(
    mesh: &Mesh,
    clock: &Clock,
    show: &Show,
    sample: &image::Sample,
) -> anyhow::Result<()> {
    show.title("5. a promotion: pushed to the hub, copied by the region because somebody said so, before anybody pulls");
    pull::push(mesh.hub(), mesh::PUSHED, &mesh.writer(), sample)
        .await
        .context("the image cannot be pushed to the hub")?;
    let heard = mesh.heard();
    let promoted = mesh.promote(clock, PATIENCE).await?;
    let events = mesh
        .events(clock, heard + promoted.platforms() + 1, PATIENCE)
        .await?;
    let new = events.get(heard..).unwrap_or_default();
    show.promoted(&promoted, new);
    anyhow::ensure!(
        !new.is_empty(),
        "a promotion is told to the region's webhook"
    );
    let pulled = pull::pull(mesh.spoke(), mesh::PROMOTED, "amd64", |_| ()).await?;
    mesh.settle(clock, PATIENCE).await?;
    show.delivered(&pulled);
    Ok(())
}

/// A temporary directory of our own that goes when we do.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!(
            "regmesh-demo-{}-{}",
            std::process::id(),
            uuid::Uuid::now_v7().simple()
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
