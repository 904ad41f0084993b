//! `regmesh pull`: a node fills and copies an image without a client. With `--wait`, promotion in one line.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use http::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use wire::{
    api::pull::{Content, NodeRequest, Platforms, Progress, Request, State},
    digest::Digest,
    platform::Platform,
    reference::Reference,
};

use crate::{
    args::{self, Global},
    client::{Client, NOTHING},
    exit::{Exit, Wrong},
    fault::Code,
    output, table,
    target::Target,
};

/// `regmesh pull`
#[derive(Debug, Clone, Args)]
pub struct Pull {
    /// `NODE/REPOSITORY[:TAG|@DIGEST]`
    pub target: Target,
    /// `all`, or platforms such as linux/amd64; what the rule says when left out
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM|all")]
    pub platform: Vec<String>,
    /// End when the node holds the whole image
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "1h", value_parser = args::duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// How often a pull is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Does it.
///
/// # Errors
/// When the control plane or the node cannot be asked or refuses, or the image cannot be had.
pub async fn run(pull: Pull, global: &Global) -> anyhow::Result<Exit> {
    let client = Client::new(global)?;
    let request = NodeRequest {
        node: pull.target.node.clone(),
        request: Request {
            repository: pull.target.repository.clone(),
            reference: pull.target.reference_or_latest(),
            platforms: platforms(&pull.platform)?,
        },
    };
    let mut progress: Progress = client
        .send(Method::POST, "/api/v1/pulls", NOTHING, &request)
        .await?;
    if pull.wait {
        let bars = Bars::new(global);
        let waiting = follow(&client, progress, &bars);
        progress = tokio::time::timeout(pull.timeout, waiting).await.map_err(|_| {
            Code::TimedOut.error(format!("the image is not complete after {:?}; the node goes on copying, see `regmesh explain`", pull.timeout))
        })??;
        bars.clear();
    }
    output::object(global, &progress, || text(&progress))?;
    if progress.state == State::Failed {
        let why = progress
            .last_error
            .map_or_else(|| "it cannot be had".to_owned(), |error| error.text);
        anyhow::bail!(Code::PullFailed.says(format!("{why}; `regmesh explain` says more")));
    }
    Ok(Exit::Ok)
}

fn platforms(words: &[String]) -> anyhow::Result<Platforms> {
    match words {
        [] => Ok(Platforms::Rule),
        [all] if all == "all" => Ok(Platforms::All),
        some => {
            let parsed: Result<Vec<Platform>, _> = some.iter().map(|word| word.parse()).collect();
            let parsed = parsed.map_err(|error| Wrong(format!("--platform: {error}")))?;
            Ok(Platforms::Only(parsed))
        }
    }
}

async fn follow(client: &Client, mut progress: Progress, bars: &Bars) -> anyhow::Result<Progress> {
    let path = format!("/api/v1/pulls/{}/{}", progress.node, progress.id);
    loop {
        bars.show(&progress.contents);
        if matches!(progress.state, State::Complete | State::Failed) {
            return Ok(progress);
        }
        tokio::time::sleep(LOOK).await;
        progress = client.get(&path, NOTHING).await?;
    }
}

fn text(progress: &Progress) -> String {
    let stored = progress
        .contents
        .iter()
        .filter(|content| content.stored)
        .count();
    let bytes = progress.contents.iter().map(|content| content.done).sum();
    let (separator, digest) = match &progress.request.reference {
        Reference::Digest(_) => ('@', None),
        Reference::Tag(_) => (':', progress.digest.as_ref()),
    };
    let digest = digest
        .map(|digest| format!(" {digest}"))
        .unwrap_or_default();
    let word = match progress.state {
        State::Resolving => "is being looked up",
        State::Copying => "is being copied",
        State::Complete => "is complete",
        State::Failed => "failed",
    };
    format!(
        "{}/{}{separator}{}{digest} {word}: {stored} of {} contents, {}",
        progress.node,
        progress.request.repository,
        progress.request.reference,
        progress.contents.len(),
        table::bytes(bytes)
    )
}

/// A bar per content, on a terminal.
struct Bars {
    all: MultiProgress,
    by_digest: std::cell::RefCell<HashMap<Digest, ProgressBar>>,
    style: ProgressStyle,
}

impl Bars {
    fn new(global: &Global) -> Self {
        let all = MultiProgress::new();
        if !output::is_lively(global) {
            all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix:<21} {bar:40} {bytes:>11}/{total_bytes}");
        Self {
            all,
            by_digest: std::cell::RefCell::default(),
            style: style.unwrap_or_else(|_| ProgressStyle::default_bar()),
        }
    }

    fn show(&self, contents: &[Content]) {
        let mut bars = self.by_digest.borrow_mut();
        for content in contents {
            let bar = bars.entry(content.digest.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(content.size));
                bar.set_style(self.style.clone());
                let short: String = content.digest.to_string().chars().take(19).collect();
                bar.set_prefix(short);
                bar
            });
            bar.set_position(content.done);
            if content.stored && !bar.is_finished() {
                bar.finish();
            }
        }
    }

    fn clear(&self) {
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_all_or_a_list() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(platforms(&[]).unwrap(), Platforms::Rule);
        assert_eq!(platforms(&words(&["all"])).unwrap(), Platforms::All);
        assert!(
            matches!(platforms(&words(&["linux/amd64"])).unwrap(), Platforms::Only(list) if list.len() == 1)
        );
        assert!(platforms(&words(&["amd64"])).is_err());
    }
}
