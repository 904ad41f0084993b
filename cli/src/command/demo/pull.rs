//! A client of the demo: pushes an image, pulls one platform of it, checks every digest.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, header};
use runtime::egress;
use url::Url;
use wire::{
    digest::{Digest, Hasher},
    manifest::{Kind, Manifest},
    media_type,
};

use super::image::{Content, Sample};

/// What a pull brought.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    /// Blobs, the configuration included.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first byte of the first layer came, from the beginning of its request.
    pub cache_status: String,
}

/// The repository of the sample image.
pub(super) const REPOSITORY: &str = "demo/hello";
/// The sample image.
pub(super) const IMAGE: (&str, &str) = (REPOSITORY, "1.0");

/// Pushes the sample image to a repository, under a tag.
pub(super) async fn push(
    endpoint: String,
    (repository, tag): (&str, &str),
    (user, password): &(String, String),
    sample: &Sample,
) -> anyhow::Result<()> {
    let client = client()?;
    let send = |method: Method, path: String, content: Option<(&Content, &'static str)>| {
        let (client, endpoint) = (client.clone(), endpoint.clone());
        let body = content.map(|(content, content_type)| (content.bytes.clone(), content_type));
        async move {
            let mut request = client
                .request(method, &Url::parse(&format!("{endpoint}{path}"))?)?
                .basic_auth(user, Some(password));
            if let Some((bytes, content_type)) = body {
                request = request
                    .header(header::CONTENT_TYPE, content_type)
                    .body(bytes);
            }
            let response = request.send().await?;
            ensure!(
                response.status().is_success(),
                "{} {}",
                response.status(),
                response.text().await.unwrap_or_default()
            );
            Ok(response)
        }
    };
    for image in &sample.images {
        for blob in &image.blobs {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
            send(Method::POST, path, Some((blob, "application/octet-stream"))).await?;
        }
        let path = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
        send(
            Method::PUT,
            path,
            Some((&image.manifest, image.manifest.media_type)),
        )
        .await?;
    }
    send(
        Method::PUT,
        format!("/v2/{repository}/manifests/{tag}"),
        Some((&sample.index, sample.index.media_type)),
    )
    .await?;
    Ok(())
}

/// Pulls one platform by tag; `progress` hears of bytes as they come.
pub(super) async fn pull(
    endpoint: String,
    (repository, tag): (&str, &str),
    architecture: &str,
    progress: impl Fn(u64),
) -> anyhow::Result<Pulled> {
    let client = client()?;
    let endpoint = format!("{endpoint}/v2/{repository}");
    let (index, cache_status) = manifest(&client, &endpoint, tag).await?;
    let Kind::Index { manifests } = &index.kind else {
        anyhow::bail!("the tag is no index")
    };
    let child = manifests
        .iter()
        .find(|m| {
            m.platform
                .as_ref()
                .is_some_and(|p| p.architecture == architecture)
        })
        .with_context(|| format!("the index has no linux/{architecture}"))?;
    let (image, _) = manifest(&client, &endpoint, child.digest.as_str()).await?;
    let Kind::Image { config, layers } = &image.kind else {
        anyhow::bail!("the platform is no image")
    };
    let (client, endpoint, progress) = (&client, &endpoint, &progress);
    let sizes: Vec<u64> = stream::iter(std::iter::once(config).chain(layers))
        .map(|blob| async move { fetch(client, endpoint, &blob.digest, progress).await })
        .buffer_unordered(4)
        .try_collect()
        .await?;
    Ok(Pulled {
        blobs: sizes.len() as u64,
        bytes: sizes.iter().sum(),
        cache_status,
    })
}

async fn manifest(
    client: &egress::Client,
    endpoint: &str,
    reference: &str,
) -> anyhow::Result<(Manifest, String)> {
    let url = Url::parse(&format!("{endpoint}/manifests/{reference}"))?;
    let response = client
        .request(Method::GET, &url)?
        .header(header::ACCEPT, media_type::ACCEPT_MANIFESTS)
        .send()
        .await?;
    ensure!(
        response.status().is_success(),
        "{reference}: {} {}",
        response.status(),
        response.text().await.unwrap_or_default()
    );
    let text = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let (digest, cache_status, content_type) = (
        text("docker-content-digest"),
        text("cache-status"),
        text("content-type"),
    );
    let bytes = response.bytes().await?;
    ensure!(
        Digest::sha256(&bytes).as_str() == digest,
        "{reference}: the bytes do not hash to {digest}"
    );
    Ok((Manifest::parse(&bytes, Some(&content_type))?, cache_status))
}

async fn fetch(
    client: &egress::Client,
    endpoint: &str,
    digest: &Digest,
    progress: &impl Fn(u64),
) -> anyhow::Result<u64> {
    let url = Url::parse(&format!("{endpoint}/blobs/{digest}"))?;
    let response = client.request(Method::GET, &url)?.send().await?;
    ensure!(
        response.status().is_success(),
        "{digest}: {} {}",
        response.status(),
        response.text().await.unwrap_or_default()
    );
    let mut hasher = Hasher::new(digest.algorithm());
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.with_context(|| format!("{digest}: the transfer broke off"))?;
        hasher.update(&chunk);
        progress(chunk.len() as u64);
    }
    let length = hasher.length();
    ensure!(
        hasher.finish() == *digest,
        "{digest}: the bytes hash to something else"
    );
    Ok(length)
}

fn client() -> anyhow::Result<egress::Client> {
    let options = egress::Options {
        policy: egress::Policy::naming(["127.0.0.1"]),
        read_timeout: Duration::from_secs(30),
        ..egress::Options::default()
    };
    Ok(options.build()?)
}
