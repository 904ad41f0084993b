//! The ops, carried out on the maps. None of them can fail, so all of them or none happen under the one lock.

use std::collections::BTreeSet;

use wire::{digest::Digest, name::WebhookName, repository::RepositoryName, time::WallTime};

use super::State;
use crate::store::metadata::{
    Delivery, DeliveryState, EventRecord, Job, KEPT_DELIVERIES, Link, Op, TagRecord, merge,
};

impl State {
    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Begin(now) => self.begin(now),
            Op::PutBlob(blob) => {
                self.blobs.insert(blob.digest.clone(), blob);
            }
            Op::DeleteBlob(digest) => self.delete_blob(&digest),
            Op::DeleteUnreferenced(digest) => {
                if !self.is_linked(&digest) {
                    self.delete_blob(&digest);
                }
            }
            Op::Verified(digest, at) => {
                if let Some(blob) = self.blobs.get_mut(&digest) {
                    blob.verified_at = at;
                }
            }
            Op::PutLink(link) => self.put_link(link),
            Op::DeleteLink(repository, digest) => self.delete_link(repository, digest),
            Op::Lacking(repository, digest) => {
                for tag in self.tags.values_mut() {
                    let counted = tag.complete.as_ref().is_some_and(|c| c.digest == digest);
                    if tag.repository == repository && counted {
                        tag.complete = None;
                    }
                }
                if let Some(link) = self.links.get_mut(&(repository, digest)) {
                    link.complete = false;
                }
            }
            Op::PutManifest(manifest) => {
                let digest = manifest.digest.clone();
                self.manifests.entry(digest).or_insert(manifest);
            }
            Op::PutTag(tag) => self.put_tag(tag),
            Op::Checked(repository, tag, digest, at) => {
                let stored = self.tags.get(&(repository, tag)).cloned();
                self.set_tag(stored.and_then(|tag| merge::checked(tag, &digest, at)));
            }
            Op::Completed(repository, tag, version) => {
                let stored = self.tags.get(&(repository, tag)).cloned();
                self.set_tag(stored.and_then(|tag| merge::completed(tag, version)));
            }
            Op::DeleteTag(repository, tag) => {
                self.tags.remove(&(repository, tag));
            }
            Op::Used(used, at) => used.into_iter().for_each(|key| self.used(key, at)),
            Op::PutJob(job) => self.put_job(job),
            Op::DeleteJob(id) => self.jobs.retain(|_, job| job.id != id),
            Op::FinishJob(id, tags) => {
                let job = self.jobs.values().find(|job| job.id == id).cloned();
                self.jobs.retain(|_, job| job.id != id);
                if let Some(rest) = job.and_then(|job| merge::finished(job, &tags)) {
                    self.put_job(rest);
                }
            }
            Op::PutEvent(event, webhooks) => self.put_event(event, webhooks),
            Op::PutDelivery(delivery) => self.put_delivery(delivery),
            Op::ForgetDeliveries(before) => self.forget_deliveries(before),
            Op::PutUpload(upload) => {
                self.uploads.insert(upload.id, upload);
            }
            Op::DeleteUpload(id) => {
                self.uploads.remove(&id);
            }
            Op::PutValue(key, Some(value)) => {
                self.values.insert(key, value);
            }
            Op::PutValue(key, None) => {
                self.values.remove(&key);
            }
        }
    }

    fn begin(&mut self, now: WallTime) {
        for tag in self.tags.values_mut() {
            if let Some(begun) = merge::begun(tag.clone(), now) {
                *tag = begun;
            }
        }
        for job in self.jobs.values_mut() {
            job.due_at = job.due_at.min(now);
        }
        for delivery in self.deliveries.values_mut() {
            delivery.due_at = delivery.due_at.min(now);
        }
    }

    fn is_linked(&self, digest: &Digest) -> bool {
        self.links.keys().any(|(_, linked)| linked == digest)
    }

    fn delete_blob(&mut self, digest: &Digest) {
        self.blobs.remove(digest);
        self.forget_manifest(digest);
    }

    fn put_link(&mut self, link: Link) {
        let key = (link.repository.clone(), link.digest.clone());
        let old = self.links.remove(&key);
        self.links.insert(key, merge::link(old, link));
    }

    fn delete_link(&mut self, repository: RepositoryName, digest: Digest) {
        self.tags
            .retain(|(of, _), tag| *of != repository || tag.current.digest != digest);
        for ((of, _), tag) in &mut self.tags {
            if *of == repository && tag.complete.as_ref().is_some_and(|v| v.digest == digest) {
                tag.complete = None;
            }
        }
        let key = (repository, digest);
        self.jobs.remove(&key);
        self.links.remove(&key);
        self.forget_manifest(&key.1);
    }

    /// What a manifest says is known as long as somebody stores it or refers to it.
    fn forget_manifest(&mut self, digest: &Digest) {
        if !self.blobs.contains_key(digest) && !self.is_linked(digest) {
            self.manifests.remove(digest);
        }
    }

    fn put_tag(&mut self, tag: TagRecord) {
        let key = (tag.repository.clone(), tag.tag.clone());
        let old = self.tags.get(&key).cloned();
        self.set_tag(merge::tag(old, tag));
    }

    fn set_tag(&mut self, tag: Option<TagRecord>) {
        if let Some(tag) = tag {
            let key = (tag.repository.clone(), tag.tag.clone());
            self.tags.insert(key, tag);
        }
    }

    /// Who uses a manifest uses what it belongs to as well.
    fn used(&mut self, (repository, digest): (RepositoryName, Digest), at: WallTime) {
        let mut above = vec![digest];
        let mut seen = BTreeSet::new();
        while let Some(digest) = above.pop() {
            let key = (repository.clone(), digest.clone());
            if let Some(link) = self.links.get_mut(&key) {
                link.used_at = link.used_at.max(at);
            }
            if self.manifests.contains_key(&digest) && seen.insert(digest.clone()) {
                let parents = self
                    .manifests
                    .values()
                    .filter(|m| m.children.iter().any(|c| c.digest == digest));
                above.extend(parents.map(|manifest| manifest.digest.clone()));
            }
        }
    }

    fn put_job(&mut self, job: Job) {
        let key = (job.repository.clone(), job.root.clone());
        let old = self.jobs.remove(&key);
        self.jobs.insert(key, merge::job(old, job));
    }

    fn put_event(&mut self, event: EventRecord, webhooks: Vec<WebhookName>) {
        if webhooks.is_empty() || self.events.values().any(|stored| stored.id == event.id) {
            return;
        }
        let number = self.next_event;
        self.next_event += 1;
        for webhook in webhooks {
            let delivery = Delivery {
                webhook: webhook.clone(),
                event: event.id,
                state: DeliveryState::Pending,
                attempts: 0,
                due_at: event.recorded_at,
                sent_at: None,
                response: None,
            };
            self.deliveries.insert((webhook, number), delivery);
        }
        self.events.insert(number, event);
        while self.events.len() as u64 > self.outbox {
            let oldest = self.events.pop_first().map(|(number, _)| number);
            self.deliveries
                .retain(|(_, number), _| Some(*number) != oldest);
            self.events_dropped += 1;
        }
    }

    fn put_delivery(&mut self, delivery: Delivery) {
        let of_event = self
            .events
            .iter()
            .find(|(_, event)| event.id == delivery.event);
        if let Some((number, _)) = of_event {
            let key = (delivery.webhook.clone(), *number);
            self.deliveries.insert(key, delivery);
        }
    }

    fn forget_deliveries(&mut self, before: WallTime) {
        let webhooks: BTreeSet<WebhookName> =
            self.deliveries.keys().map(|(w, _)| w.clone()).collect();
        for webhook in webhooks {
            let numbers = self.deliveries.keys().filter(|(name, _)| *name == webhook);
            let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
            for number in numbers.iter().rev().skip(KEPT_DELIVERIES) {
                let key = (webhook.clone(), *number);
                let pending = self.deliveries[&key].state == DeliveryState::Pending;
                let old = self
                    .events
                    .get(number)
                    .is_none_or(|e| e.recorded_at < before);
                if !pending && old {
                    self.deliveries.remove(&key);
                }
            }
        }
        let told: BTreeSet<u64> = self.deliveries.keys().map(|(_, number)| *number).collect();
        self.events.retain(|number, _| told.contains(number));
    }
}
