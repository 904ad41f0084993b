//! Contents with memory in front: small ones are verified on their way in and served from there.
//!
//! This is also where rot and loss are met first; `repair` takes them away and the answer is *not there*, which makes the next
//! pull fill the content again.

use std::sync::Arc;

use async_trait::async_trait;
use wire::digest::Digest;

use super::{Key, Value};
use crate::store::{
    Error,
    blob::{Blobs, Content, Space, Stage, StageInfo, StageName},
    repair::Repair,
};

/// The decorator.
pub(crate) struct CachedBlobs(Arc<Repair>);

impl CachedBlobs {
    pub(crate) fn new(repair: Arc<Repair>) -> Self {
        Self(repair)
    }

    fn inner(&self) -> &dyn Blobs {
        self.0.blobs.as_ref()
    }

    async fn open_stored(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        match self.inner().open(digest).await {
            Ok(Some(content)) => Ok(Some(content)),
            Ok(None) => self.0.lost(digest).await.map(|()| None),
            Err(Error::Corrupt(what)) => self.0.rotten(digest, &what).await.map(|()| None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Blobs for CachedBlobs {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(bytes) = self.0.cache.content(digest) {
            return Ok(Some(bytes.len() as u64));
        }
        self.0.holds.settled(digest).await;
        self.inner().size(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        if let Some(bytes) = self.0.cache.content(digest) {
            return Ok(Some(Content::Memory(bytes)));
        }
        self.0.holds.settled(digest).await;
        let key = Key::Content(digest.clone());
        let stamp = self.0.cache.stamp(&key);
        let content = self.open_stored(digest).await?;
        if let Some(Content::Memory(bytes)) = &content {
            let value = Value::Content(bytes.clone());
            self.0.cache.insert(key, stamp, value);
        }
        Ok(content)
    }

    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error> {
        self.inner().stage(name).await
    }

    async fn commit(&self, stage: Arc<dyn Stage>, digest: &Digest, size: u64) -> Result<(), Error> {
        self.0.holds.settled(digest).await;
        self.inner().commit(stage, digest, size).await
    }

    async fn discard(&self, name: &StageName) -> Result<(), Error> {
        self.inner().discard(name).await
    }

    async fn stages(&self) -> Result<Vec<StageInfo>, Error> {
        self.inner().stages().await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let (inner, wanted) = (Arc::clone(&self.0.blobs), digest.clone());
        self.0
            .removal(digest, async move { inner.delete(&wanted).await })
            .await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool, Error> {
        let (inner, wanted) = (Arc::clone(&self.0.blobs), digest.clone());
        self.0
            .removal(digest, async move { inner.quarantine(&wanted).await })
            .await
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        self.inner().list(after, limit).await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.inner().space().await
    }
}
