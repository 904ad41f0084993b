//! DELETE of tags, manifests and blobs. In a rule's repository it means *evict here*: the next pull fills again.
//!
//! Deleting takes links away; bytes that no link refers to are the collector's. Evicting a manifest takes the links of its
//! closure along, as far as nothing else in the repository needs them, because nobody else would ever find them.

use std::collections::{HashSet, VecDeque};

use wire::{
    digest::Digest,
    name::RuleName,
    reference::{Reference, Tag},
    repository::RepositoryName,
};

use super::{Error, Registry};
use crate::{
    request::Request,
    rule::conflict,
    store::{
        self,
        metadata::{ChildKind, LinkKind, Op, Origin, Version},
    },
};

/// The most links that one eviction takes away; what is left goes with its own manifest, or is evicted later.
const CLOSURE: usize = 50_000;

impl Registry {
    /// Deletes a tag, or a manifest with all its tags.
    ///
    /// # Errors
    /// `ManifestUnknown` or `NameUnknown` when it is not here, `Store`, `Loop`.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        request: &Request,
    ) -> Result<(), Error> {
        let place = self.place(repository, request)?;
        let rule = place
            .covered()
            .map(|covered| covered.active.rule.name.clone());
        let ops = match reference {
            Reference::Tag(tag) => {
                self.delete_tag_ops(repository, tag, rule.as_ref(), request)
                    .await?
            }
            Reference::Digest(digest) => {
                self.delete_digest_ops(repository, digest, rule.as_ref(), request)
                    .await?
            }
        };
        let Some(ops) = ops else {
            return Err(self.not_here(repository, reference).await);
        };
        self.commit_delete(ops).await
    }

    /// Deletes a blob from a repository.
    ///
    /// # Errors
    /// `BlobUnknown` or `NameUnknown` when it is not here, `Store`, `Loop`.
    pub async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        request: &Request,
    ) -> Result<(), Error> {
        self.place(repository, request)?;
        let link = self.inner.store.metadata().link(repository, digest).await?;
        if link.is_none_or(|link| link.kind != LinkKind::Blob) {
            let unknown = Error::BlobUnknown {
                repository: repository.clone(),
                digest: digest.clone(),
                trouble: None,
            };
            return Err(self.unknown_name(repository).await.unwrap_or(unknown));
        }
        // What needs it is complete no more: said in the same transaction, so that nothing ever claims to be whole and is not.
        let parents = self
            .inner
            .store
            .metadata()
            .parents(repository, digest)
            .await?;
        let lacking = parents
            .into_iter()
            .map(|parent| Op::Lacking(repository.clone(), parent));
        let ops = lacking
            .chain([Op::DeleteLink(repository.clone(), digest.clone())])
            .collect();
        self.commit_delete(ops).await
    }

    async fn delete_tag_ops(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        rule: Option<&RuleName>,
        request: &Request,
    ) -> Result<Option<Vec<Op>>, store::Error> {
        let record = self.inner.store.metadata().tag(repository, tag).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let mut ops = vec![Op::DeleteTag(repository.clone(), tag.clone())];
        let known = &record.current;
        ops.extend(self.inner.events.delete(
            repository,
            Some(tag),
            &known.digest,
            Some(known),
            rule,
            &request.info,
        ));
        Ok(Some(ops))
    }

    async fn delete_digest_ops(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        rule: Option<&RuleName>,
        request: &Request,
    ) -> Result<Option<Vec<Op>>, store::Error> {
        let link = self.inner.store.metadata().link(repository, digest).await?;
        let Some(link) = link.filter(|link| link.kind == LinkKind::Manifest) else {
            return Ok(None);
        };
        let closure = match link.origin {
            Origin::Pushed => vec![digest.clone()],
            Origin::Filled(_) => self.own_closure(repository, digest).await?,
        };
        let gone = closure
            .into_iter()
            .map(|digest| Op::DeleteLink(repository.clone(), digest));
        let mut ops: Vec<Op> = gone.collect();
        let known = self.inner.store.metadata().manifest(digest).await?;
        let known = known.map(|record| Version {
            digest: digest.clone(),
            media_type: record.media_type.clone(),
            size: record.size,
        });
        ops.extend(self.inner.events.delete(
            repository,
            None,
            digest,
            known.as_ref(),
            rule,
            &request.info,
        ));
        Ok(Some(ops))
    }

    /// A filled manifest, and of what it needs whatever nothing else in the repository needs and nobody pulled by a tag.
    async fn own_closure(
        &self,
        repository: &RepositoryName,
        root: &Digest,
    ) -> Result<Vec<Digest>, store::Error> {
        let metadata = self.inner.store.metadata();
        let mut leaving: HashSet<Digest> = HashSet::from([root.clone()]);
        let mut order = vec![root.clone()];
        let mut queue = VecDeque::from([root.clone()]);
        while let Some(digest) = queue.pop_front() {
            let Some(record) = metadata.manifest(&digest).await? else {
                continue;
            };
            for child in &record.children {
                if order.len() >= CLOSURE || leaving.contains(&child.digest) {
                    continue;
                }
                if self.is_needed(repository, &child.digest, &leaving).await? {
                    continue;
                }
                leaving.insert(child.digest.clone());
                order.push(child.digest.clone());
                if child.kind == ChildKind::Manifest {
                    queue.push_back(child.digest.clone());
                }
            }
        }
        Ok(order)
    }

    /// Whether something that stays needs it: another parent, a tag, or a client who pushed it.
    async fn is_needed(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        leaving: &HashSet<Digest>,
    ) -> Result<bool, store::Error> {
        let metadata = self.inner.store.metadata();
        let Some(link) = metadata.link(repository, digest).await? else {
            return Ok(true);
        };
        if link.origin == Origin::Pushed {
            return Ok(true);
        }
        let parents = metadata.parents(repository, digest).await?;
        if parents.iter().any(|parent| !leaving.contains(parent)) {
            return Ok(true);
        }
        Ok(!metadata.tags_of(repository, digest).await?.is_empty())
    }

    async fn commit_delete(&self, ops: Vec<Op>) -> Result<(), Error> {
        let store = &self.inner.store;
        let committed = store.metadata().commit(ops).await;
        committed.inspect_err(|error| store.report("delete", error))?;
        self.inner.events.nudge();
        // A rule that stood back for pushed content takes effect once that is gone.
        let rules = self.inner.rules.load_full();
        if rules.iter().any(|active| active.state.in_conflict()) {
            conflict::detect(&rules, store.metadata().as_ref()).await?;
        }
        Ok(())
    }
}
