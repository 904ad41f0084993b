//! A client's upload: begun, grown chunk by chunk, finished under a digest, or given up.
//!
//! Its bytes are the stage of its id and its length is in the metadata, so that it outlives a restart. The hash goes along in
//! memory (`upload/live.rs`) and is made again from the stage where it was lost. Nothing of it is visible before it hashes to
//! what the client said. Source: OCI distribution-spec 1.1.1 "Pushing blobs".

mod live;

use std::{fmt::Display, pin::pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use uuid::Uuid;
use wire::{digest::Digest, range::Span, repository::RepositoryName};

pub(super) use self::live::Uploads;
use self::live::Writer;
use super::{
    Error, Mount, Registry, Upload, UploadStart, UploadStarted,
    push::{pushed_link, wrong_digest},
};
use crate::{
    request::Request,
    store::{
        self,
        blob::StageName,
        metadata::{BlobRecord, LinkKind, Op, UploadRecord},
    },
};

/// How many bytes are written at once.
const BATCH: usize = 1 << 20;

impl Registry {
    /// Begins an upload, or links the blob from another repository instead.
    ///
    /// # Errors
    /// `FilledByRule`, `Store`.
    pub async fn start_upload(
        &self,
        repository: &RepositoryName,
        start: UploadStart,
        _request: &Request,
    ) -> Result<UploadStarted, Error> {
        self.writable(repository)?;
        if let Some(mount) = &start.mount {
            self.not_recalled(&mount.digest)?;
        }
        if let Some(mount) = start.mount.filter(|mount| mount.allowed)
            && self.mount(repository, &mount).await?
        {
            return Ok(UploadStarted::Mounted(mount.digest));
        }
        let now = self.now();
        let record = UploadRecord {
            id: Uuid::from_u128(rand::random()),
            repository: repository.clone(),
            algorithm: start.algorithm,
            length: 0,
            created_at: now,
            touched_at: now,
        };
        let upload = upload_of(&record);
        self.commit_upload(vec![Op::PutUpload(record)]).await?;
        Ok(UploadStarted::Upload(upload))
    }

    /// Takes the next chunk. `expected` is where the client says that it belongs.
    ///
    /// # Errors
    /// `UploadUnknown`, `UploadOutOfOrder`, `UploadInvalid` (what came before the break is kept), `Store`, `Overloaded`.
    pub async fn append_upload<S, E>(
        &self,
        id: Uuid,
        repository: &RepositoryName,
        expected: Option<Span>,
        body: S,
    ) -> Result<Upload, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        self.writable(repository)?;
        let (_, upload) = self.grow(id, repository, expected, body).await?;
        Ok(upload)
    }

    /// Takes the last chunk, perhaps empty, and makes the blob visible if it hashes to `digest`; if it does not, the upload
    /// is over.
    ///
    /// # Errors
    /// As `append_upload`, and `Invalid` for another digest, `FilledByRule` when a rule came to cover the repository meanwhile.
    pub async fn finish_upload<S, E>(
        &self,
        id: Uuid,
        repository: &RepositoryName,
        digest: &Digest,
        expected: Option<Span>,
        body: S,
    ) -> Result<Digest, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        self.writable(repository)?;
        self.not_recalled(digest)?;
        let store = &self.inner.store;
        let _hold = store.hold(digest);
        if let Some(size) = self.committed_before(id, repository, digest).await? {
            return self.conclude(id, repository, digest, size).await;
        }
        let (writer, upload) = self.grow(id, repository, expected, body).await?;
        let computed = writer.digest(digest.algorithm(), upload.length).await?;
        if computed != *digest {
            self.end_upload(id).await?;
            return Err(wrong_digest(digest, &computed));
        }
        let committed = store
            .blobs()
            .commit(writer.stage(), digest, upload.length)
            .await;
        committed.inspect_err(|error| store.report("upload", error))?;
        self.inner.uploads.committed(id, digest);
        self.conclude(id, repository, digest, upload.length).await
    }

    /// The size of an upload whose bytes became durable under this digest in an earlier request, which then could not write
    /// down that they are there. Its stage is gone, so there is nothing to append to.
    async fn committed_before(
        &self,
        id: Uuid,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        if !self.inner.uploads.was_committed(id, digest) {
            return Ok(None);
        }
        let record = self.upload_record(id, repository).await?;
        let size = self.inner.store.blobs().size(digest).await?;
        Ok(size.filter(|size| *size == record.length))
    }

    /// The durable bytes of an upload, which the caller holds, become this repository's blob.
    async fn conclude(
        &self,
        id: Uuid,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> Result<Digest, Error> {
        let now = self.now();
        let blob = BlobRecord {
            digest: digest.clone(),
            size,
            stored_at: now,
            verified_at: now,
        };
        let link = pushed_link(repository, digest, LinkKind::Blob, now);
        let ops = vec![Op::PutBlob(blob), Op::PutLink(link), Op::DeleteUpload(id)];
        self.commit_upload(ops).await?;
        self.inner.uploads.forget(id);
        Ok(digest.clone())
    }

    /// The whole of a blob in one request.
    ///
    /// # Errors
    /// `FilledByRule`, `Invalid` for another digest, `UploadInvalid`, `Store`, `Overloaded`.
    pub async fn push_blob<S, E>(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: S,
    ) -> Result<Digest, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        self.writable(repository)?;
        self.not_recalled(digest)?;
        let now = self.now();
        let record = UploadRecord {
            id: Uuid::from_u128(rand::random()),
            repository: repository.clone(),
            algorithm: digest.algorithm(),
            length: 0,
            created_at: now,
            touched_at: now,
        };
        let id = record.id;
        self.commit_upload(vec![Op::PutUpload(record)]).await?;
        let pushed = self.finish_upload(id, repository, digest, None, body).await;
        if pushed.is_err() && self.end_upload(id).await.is_err() {
            tracing::warn!(%id, "an upload that failed is left to the collector");
        }
        pushed
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// `FilledByRule`, `UploadUnknown`, `Store`.
    pub async fn upload_status(
        &self,
        id: Uuid,
        repository: &RepositoryName,
    ) -> Result<Upload, Error> {
        self.writable(repository)?;
        Ok(upload_of(&self.upload_record(id, repository).await?))
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `UploadUnknown`, `Store`.
    pub async fn cancel_upload(&self, id: Uuid, repository: &RepositoryName) -> Result<(), Error> {
        self.upload_record(id, repository).await?;
        self.end_upload(id).await
    }

    /// Links a blob that another repository has; whether it has.
    async fn mount(&self, repository: &RepositoryName, mount: &Mount) -> Result<bool, Error> {
        let store = &self.inner.store;
        let _hold = store.hold(&mount.digest);
        // Only a blob is mounted as one: a manifest under this digest is none.
        let from = store.metadata().link(&mount.from, &mount.digest).await?;
        if from.is_none_or(|link| link.kind != LinkKind::Blob)
            || store.blobs().size(&mount.digest).await?.is_none()
        {
            return Ok(false);
        }
        let link = pushed_link(repository, &mount.digest, LinkKind::Blob, self.now());
        self.commit_upload(vec![Op::PutLink(link)]).await?;
        Ok(true)
    }

    /// Writes a body to the end of an upload. Whatever came is kept, also when the body broke off.
    async fn grow<S, E>(
        &self,
        id: Uuid,
        repository: &RepositoryName,
        expected: Option<Span>,
        body: S,
    ) -> Result<(Writer, Upload), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let _permit = self.inner.uploads.permit().ok_or(Error::Overloaded)?;
        let record = self.upload_record(id, repository).await?;
        let busy = || Error::UploadInvalid {
            why: "another request is writing to it".to_owned(),
            length: record.length,
        };
        let state = self.inner.uploads.enter(&record).ok_or_else(busy)?;
        let stage = self
            .inner
            .store
            .blobs()
            .stage(StageName::Upload(id))
            .await?;
        let mut writer = Writer::open(state, stage, &record).await?;
        if expected.is_some_and(|span| span.first != record.length) {
            return Err(Error::UploadOutOfOrder {
                length: record.length,
            });
        }
        let written = self.write(&mut writer, body).await;
        let came = writer.length().saturating_sub(record.length);
        if matches!(written, Ok(Ok(()))) && expected.is_some_and(|span| span.length() != came) {
            // Not saved: what came does not count, and the next chunk is written over it.
            return Err(Error::UploadInvalid {
                why: format!("the chunk has {came} bytes, its Content-Range says otherwise"),
                length: record.length,
            });
        }
        let upload = self.save(&writer, record).await?;
        if let Err(why) = written? {
            let length = upload.length;
            return Err(Error::UploadInvalid { why, length });
        }
        Ok((writer, upload))
    }

    /// Writes in batches; the inner error is the client's.
    async fn write<S, E>(
        &self,
        writer: &mut Writer,
        body: S,
    ) -> Result<Result<(), String>, store::Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let mut body = pin!(body);
        let (mut batch, mut size) = (Vec::new(), 0_usize);
        let ended = loop {
            match body.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(format!("the body broke off: {error}")),
                Some(Ok(bytes)) => {
                    size = size.saturating_add(bytes.len());
                    batch.push(bytes);
                }
            }
            if size >= BATCH {
                self.write_batch(writer, std::mem::take(&mut batch), size)
                    .await?;
                size = 0;
            }
        };
        self.write_batch(writer, batch, size).await?;
        Ok(ended)
    }

    async fn write_batch(
        &self,
        writer: &mut Writer,
        batch: Vec<Bytes>,
        size: usize,
    ) -> Result<(), store::Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let store = &self.inner.store;
        let _room = store.make_room(size as u64).await?;
        let written = writer.append(batch).await;
        written.inspect_err(|error| store.report("upload", error))
    }

    /// Makes what was written durable and says so.
    async fn save(&self, writer: &Writer, record: UploadRecord) -> Result<Upload, Error> {
        let length = writer.length();
        if length == record.length {
            return Ok(upload_of(&record));
        }
        let synced = writer.sync().await;
        if synced.is_err() {
            // A stage whose flush failed is never flushed again: the client has to begin anew.
            self.end_upload(record.id).await?;
        }
        synced?;
        let record = UploadRecord {
            length,
            touched_at: self.now(),
            ..record
        };
        let upload = upload_of(&record);
        self.commit_upload(vec![Op::PutUpload(record)]).await?;
        Ok(upload)
    }

    async fn upload_record(
        &self,
        id: Uuid,
        repository: &RepositoryName,
    ) -> Result<UploadRecord, Error> {
        let record = self.inner.store.metadata().upload(id).await?;
        let own = record.filter(|record| record.repository == *repository);
        own.ok_or(Error::UploadUnknown)
    }

    async fn end_upload(&self, id: Uuid) -> Result<(), Error> {
        self.inner.uploads.forget(id);
        self.commit_upload(vec![Op::DeleteUpload(id)]).await?;
        let discarded = self
            .inner
            .store
            .blobs()
            .discard(&StageName::Upload(id))
            .await;
        Ok(discarded?)
    }

    async fn commit_upload(&self, ops: Vec<Op>) -> Result<(), Error> {
        let store = &self.inner.store;
        let committed = store.metadata().commit(ops).await;
        Ok(committed.inspect_err(|error| store.report("upload", error))?)
    }
}

fn upload_of(record: &UploadRecord) -> Upload {
    Upload {
        id: record.id,
        length: record.length,
    }
}
