//! Pushing as clients do: look whether a blob is there, start, send, finish; manifests children first.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::Method;
use wire::digest::Digest;

use crate::client::{Client, Reply};
use crate::{Content, Image};

impl Client {
    /// The whole image, and its top under each tag.
    pub async fn push(&self, repository: &str, tags: &[&str], image: &Image) -> Result<()> {
        for (digest, content) in &image.blobs {
            self.push_blob(repository, digest, content).await?;
        }
        for manifest in &image.manifests {
            let reply = self
                .put_manifest(
                    repository,
                    &manifest.digest,
                    &manifest.media_type,
                    manifest.bytes.clone(),
                )
                .await?;
            ensure!(reply.status == 201, "{}: {reply:?}", manifest.digest);
        }
        let top = image.top();
        for tag in tags {
            let reply = self
                .put_manifest(repository, tag, &top.media_type, top.bytes.clone())
                .await?;
            ensure!(reply.status == 201, "{tag}: {reply:?}");
        }
        Ok(())
    }

    /// POST, then everything in one PUT; nothing when the blob is there.
    pub async fn push_blob(
        &self,
        repository: &str,
        digest: &Digest,
        content: &Content,
    ) -> Result<()> {
        let there = self
            .head(&format!("/v2/{repository}/blobs/{digest}"))
            .await?;
        if there.status == 200 {
            return Ok(());
        }
        let location = self.start_upload(repository).await?;
        let reply = self
            .finish_upload(&location, digest, Some(content.to_bytes()))
            .await?;
        ensure!(reply.status == 201, "{digest}: {reply:?}");
        Ok(())
    }

    /// The `Location` of a new upload.
    pub async fn start_upload(&self, repository: &str) -> Result<String> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let reply = self
            .send(Method::POST, &path, &[], Some(Bytes::new()))
            .await?;
        ensure!(reply.status == 202, "{path}: {reply:?}");
        reply.location()
    }

    /// One PATCH; `range` is the value of `Content-Range`, if one is sent.
    pub async fn upload_chunk(
        &self,
        location: &str,
        range: Option<&str>,
        bytes: Bytes,
    ) -> Result<Reply> {
        let mut headers = vec![("content-type", "application/octet-stream")];
        if let Some(range) = range {
            headers.push(("content-range", range));
        }
        self.send(Method::PATCH, location, &headers, Some(bytes))
            .await
    }

    pub async fn finish_upload(
        &self,
        location: &str,
        digest: &Digest,
        bytes: Option<Bytes>,
    ) -> Result<Reply> {
        let sign = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{sign}digest={digest}");
        let headers = [("content-type", "application/octet-stream")];
        self.send(
            Method::PUT,
            &path,
            &headers,
            Some(bytes.unwrap_or_default()),
        )
        .await
    }

    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: impl std::fmt::Display,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Reply> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(
            Method::PUT,
            &path,
            &[("content-type", media_type)],
            Some(bytes),
        )
        .await
    }
}

impl Reply {
    pub fn location(&self) -> Result<String> {
        let location = self.header("location");
        location
            .map(str::to_owned)
            .with_context(|| format!("no Location: {self:?}"))
    }
}
