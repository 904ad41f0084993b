//! What the demo puts on the terminal: bars while bytes move, plain lines else.

use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use super::{
    image::PLATFORMS,
    mesh::{Counts, Mesh, Promoted},
    pull::{Pulled, REPOSITORY},
};
use crate::{args, output};

/// The terminal, or what stands in for one.
pub(super) struct Show {
    lively: bool,
}

impl Show {
    /// Bars only where they can be seen.
    pub(super) fn new(global: &args::Global) -> Self {
        Self {
            lively: output::is_lively(global),
        }
    }

    /// The mesh as a tree.
    pub(super) fn tree(&self, mesh: &Mesh) {
        output::data(&format!(
            "an origin registry    {}   holds {REPOSITORY}:1.0 for {}",
            mesh.origin(),
            PLATFORMS.map(|a| format!("linux/{a}")).join(" and ")
        ));
        for (depth, node) in mesh.tiers().iter().enumerate() {
            output::data(&format!(
                "{}\u{2514} tier {}  {:<7} {}",
                "   ".repeat(depth + 1),
                depth + 1,
                node.name().as_str(),
                node.endpoint()
            ));
        }
    }

    /// A heading.
    pub(super) fn title(&self, text: &str) {
        output::data(&format!("\n{text}"));
    }

    /// Bars for the client and each tier, moving until finished.
    pub(super) fn watch(&self, mesh: &Mesh) -> Watch {
        let total = super::LAYERS.iter().map(|l| *l as u64).sum();
        let bars = MultiProgress::new();
        if !self.lively {
            bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template(
            "   {prefix:<8} {bar:40} {bytes:>10} {binary_bytes_per_sec}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |name: &str| {
            bars.add(
                ProgressBar::new(total)
                    .with_style(style.clone())
                    .with_prefix(name.to_owned()),
            )
        };
        let client = bar("client");
        let tiers = mesh
            .tiers()
            .iter()
            .map(|node| bar(node.name().as_str()))
            .collect();
        Watch { client, tiers }
    }

    /// How the cold pull went.
    pub(super) fn cold(&self, pulled: &Pulled, took: Duration, asked: &Counts) {
        output::data(&format!(
            "   {} in {} blobs, every digest checked, in {} ms",
            HumanBytes(pulled.bytes),
            pulled.blobs,
            took.as_millis()
        ));
        output::data(&format!(
            "   the origin answered {} GETs of blobs for {} blobs: one transfer for the whole tree",
            asked.blob_gets, pulled.blobs
        ));
        output::data(&format!("   Cache-Status: {}", pulled.cache_status));
    }

    /// How the warm pull went.
    pub(super) fn warm(&self, pulled: &Pulled, took: Duration, asked: &Counts) {
        output::data(&format!(
            "   {} in {} ms; the origin answered {} HEAD and {} GETs",
            HumanBytes(pulled.bytes),
            took.as_millis(),
            asked.heads,
            asked.gets
        ));
        output::data(&format!("   Cache-Status: {}", pulled.cache_status));
    }

    /// How the second platform went.
    pub(super) fn second(&self, pulled: &Pulled, asked: &Counts) {
        output::data(&format!(
            "   linux/{}: {} in {} blobs; the origin answered {} GETs of blobs",
            PLATFORMS[1],
            HumanBytes(pulled.bytes),
            pulled.blobs,
            asked.blob_gets
        ));
    }

    /// What the webhook heard.
    pub(super) fn events(&self, events: &[serde_json::Value]) {
        for event in events {
            let text = |pointer: &str| {
                event
                    .pointer(pointer)
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or("-")
                    .to_owned()
            };
            let digest: String = text("/target/digest").chars().take(19).collect();
            output::data(&format!(
                "   {} {}:{} {digest}\u{2026} platform {} cause {}",
                text("/action"),
                text("/target/repository"),
                text("/target/tag"),
                text("/regmesh/platform"),
                text("/regmesh/cause")
            ));
        }
    }

    /// How the promotion went.
    pub(super) fn promoted(&self, progress: &Promoted, events: &[serde_json::Value]) {
        output::data(&format!(
            "   regmesh pull region/{}:{} --wait: complete, {} contents, {}",
            super::mesh::PROMOTED.0,
            super::mesh::PROMOTED.1,
            progress.0.contents.len(),
            HumanBytes(progress.0.contents.iter().map(|content| content.size).sum())
        ));
        self.events(events);
    }

    /// How the promoted image reached the spoke.
    pub(super) fn delivered(&self, pulled: &Pulled) {
        output::data(&format!(
            "   and the spoke gives out {} in {} blobs of it",
            HumanBytes(pulled.bytes),
            pulled.blobs
        ));
        output::data(&format!("   Cache-Status: {}", pulled.cache_status));
    }

    /// What each tier holds at the end.
    pub(super) fn tiers(&self, mesh: &Mesh, stored: &[u64]) {
        self.title("what each tier holds now, complete, without asking anybody");
        for (tier, (node, bytes)) in mesh.tiers().iter().zip(stored).enumerate() {
            output::data(&format!(
                "   tier {}  {:<7} {}",
                tier + 1,
                node.name().as_str(),
                HumanBytes(*bytes)
            ));
        }
    }
}

/// Bars under way.
pub(super) struct Watch {
    client: ProgressBar,
    tiers: Vec<ProgressBar>,
}

impl Watch {
    /// The client got so many more bytes.
    pub(super) fn client(&self, bytes: u64) {
        self.client.inc(bytes);
    }

    /// Each tier has stored so much by now.
    pub(super) fn stored(&self, bytes: &[u64]) {
        for (bar, bytes) in self.tiers.iter().zip(bytes) {
            bar.set_position(*bytes);
        }
    }

    /// Everything is stored.
    pub(super) fn finish(self) {
        self.client.finish();
        self.tiers.iter().for_each(ProgressBar::finish);
    }
}

/// What to try next.
pub(super) fn next(mesh: &Mesh) -> String {
    let spoke = mesh.spoke();
    let server = spoke.trim_start_matches("http://");
    let control = mesh.control();
    format!(
        "
try next, while this runs (Ctrl-C ends it and removes everything):
   docker pull {server}/{REPOSITORY}:1.0
   podman pull --tls-verify=false {server}/{REPOSITORY}:1.0
   skopeo inspect --tls-verify=false docker://{server}/{REPOSITORY}:1.0
   curl -i {spoke}/v2/{REPOSITORY}/manifests/1.0
   curl -s {spoke}/v2/{REPOSITORY}/tags/list
   curl -s http://{}/status
   curl -s http://{}/metrics | grep regmesh_requests_total
   export REGMESH_CONTROL={} REGMESH_TOKEN=$(cat {})
   regmesh status
   regmesh explain spoke/{REPOSITORY}:1.0
   regmesh doctor
   regmesh cache list -r spoke
   regmesh event list
then: regmesh plan --offline examples/quickstart.yaml; regmesh up examples/quickstart.yaml",
        mesh.tiers()
            .last()
            .map(|n| n.admin().to_string())
            .unwrap_or_default(),
        mesh.tiers()
            .first()
            .map(|n| n.admin().to_string())
            .unwrap_or_default(),
        control.0,
        control.1.display(),
    )
}
