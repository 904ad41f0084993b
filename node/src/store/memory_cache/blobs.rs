//! Contents with memory in front: small ones are verified on their way in and served from there.
//!
//! This is also where rot and loss are met: a content that does not hash to its name is quarantined, a record without its
//! content is taken away, and either way the answer is *not there*, which makes the next pull fill it again.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use runtime::Tasks;
use wire::digest::Digest;

use super::{Key, MemoryCache, Touched, Value};
use crate::store::{
    Error,
    blob::{Blobs, Content, Space, Stage, StageInfo, StageName},
    holds::Holds,
    metadata::{Metadata, Op},
};

/// The decorator.
pub(crate) struct CachedBlobs {
    inner: Arc<dyn Blobs>,
    metadata: Arc<dyn Metadata>,
    cache: MemoryCache,
    holds: Holds,
    tasks: Tasks,
}

impl CachedBlobs {
    /// `metadata` is the decorated one, so that what is repaired here is seen everywhere.
    pub(crate) fn new(
        inner: Arc<dyn Blobs>,
        metadata: Arc<dyn Metadata>,
        cache: MemoryCache,
        holds: Holds,
        tasks: Tasks,
    ) -> Self {
        Self {
            inner,
            metadata,
            cache,
            holds,
            tasks,
        }
    }

    async fn open_stored(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        match self.inner.open(digest).await {
            Ok(Some(content)) => Ok(Some(content)),
            Ok(None) => {
                self.forget_lost(digest).await?;
                Ok(None)
            }
            Err(Error::Corrupt(what)) => {
                tracing::error!(%digest, what, "stored content is damaged and was quarantined");
                self.quarantine(digest).await?;
                let gone = Op::DeleteBlob(digest.clone());
                self.metadata.commit(vec![gone]).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes away the record of a content that is not there. Not while somebody holds it: a fill may be about to commit it.
    async fn forget_lost(&self, digest: &Digest) -> Result<(), Error> {
        if self.metadata.blob(digest).await?.is_none() {
            return Ok(());
        }
        let Some(claim) = self.holds.claim(digest) else {
            return Ok(());
        };
        if self.inner.size(digest).await?.is_none() {
            tracing::error!(%digest, "stored content is missing; the next pull fills it again");
            let gone = Op::DeleteBlob(digest.clone());
            self.metadata.commit(vec![gone]).await?;
        }
        drop(claim);
        Ok(())
    }

    /// Runs a removal to its end, whoever waits for it.
    async fn removal<T, F>(&self, touched: Touched, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let cache = self.cache.clone();
        let run = self.tasks.spawn("remove content", async move {
            let result = work.await;
            cache.moved(&touched);
            result
        });
        run.await.unwrap_or(Err(Error::Closed))
    }
}

#[async_trait]
impl Blobs for CachedBlobs {
    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        if let Some(bytes) = self.cache.content(digest) {
            return Ok(Some(bytes.len() as u64));
        }
        self.holds.settled(digest).await;
        self.inner.size(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        if let Some(bytes) = self.cache.content(digest) {
            return Ok(Some(Content::Memory(bytes)));
        }
        self.holds.settled(digest).await;
        let key = Key::Content(digest.clone());
        let stamp = self.cache.stamp(&key);
        let content = self.open_stored(digest).await?;
        if let Some(Content::Memory(bytes)) = &content {
            let value = Value::Content(bytes.clone());
            self.cache.insert(key, stamp, value);
        }
        Ok(content)
    }

    async fn stage(&self, name: StageName) -> Result<Arc<dyn Stage>, Error> {
        self.inner.stage(name).await
    }

    async fn commit(&self, stage: Arc<dyn Stage>, digest: &Digest, size: u64) -> Result<(), Error> {
        self.holds.settled(digest).await;
        self.inner.commit(stage, digest, size).await
    }

    async fn discard(&self, name: &StageName) -> Result<(), Error> {
        self.inner.discard(name).await
    }

    async fn stages(&self) -> Result<Vec<StageInfo>, Error> {
        self.inner.stages().await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let touched = self.cache.touched_content(digest);
        let (inner, digest) = (Arc::clone(&self.inner), digest.clone());
        self.removal(touched, async move { inner.delete(&digest).await })
            .await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<bool, Error> {
        let touched = self.cache.touched_content(digest);
        let (inner, digest) = (Arc::clone(&self.inner), digest.clone());
        self.removal(touched, async move { inner.quarantine(&digest).await })
            .await
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        self.inner.list(after, limit).await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.inner.space().await
    }
}
