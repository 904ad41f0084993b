//! The state in memory: for tests, and the plainest statement of what the others must do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use runtime::Clock;
use tokio::sync::watch;
use wire::{
    api::{audit, event, mesh::HistoryPoint},
    generation::Generation,
    name::NodeName,
    time::WallTime,
};

use super::{
    Admitted, Asked, Error, Instance, JoinToken, KEEP_TOKENS, NewEntry, News, Part, Publish,
    Published, Reported, State, admit,
};

/// State that ends with the process.
#[derive(Debug)]
pub struct Memory {
    inner: Mutex<Inner>,
    news: watch::Sender<News>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Inner {
    generations: BTreeMap<Generation, Published>,
    audit: Vec<audit::Entry>,
    last_audit: u64,
    tokens: BTreeMap<String, JoinToken>,
    instances: BTreeMap<String, admit::Known>,
    reported: BTreeMap<String, Reported>,
    history: BTreeMap<NodeName, Vec<HistoryPoint>>,
    events: VecDeque<event::Entry>,
    last_event: u64,
    values: BTreeMap<String, Vec<u8>>,
    asked: Vec<Question>,
}

#[derive(Debug)]
struct Question {
    asked: Asked,
    taken: bool,
    answer: Option<Vec<u8>>,
}

impl Memory {
    /// Nothing yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            inner: Mutex::default(),
            news: watch::Sender::new(News::default()),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }
}

impl Inner {
    fn newest(&self) -> Option<&Published> {
        self.generations.values().next_back()
    }

    fn record(&mut self, entries: Vec<NewEntry>) {
        for entry in entries {
            self.last_audit += 1;
            self.audit.push(entry.numbered(self.last_audit));
        }
    }
}

/// The wanted part of a list that is in order of sequence.
fn part<'a, T: Clone + 'a>(
    all: impl DoubleEndedIterator<Item = &'a T>,
    sequence: fn(&T) -> u64,
    wanted: &Part,
    is_of: impl Fn(&T, &str) -> bool,
) -> Vec<T> {
    let matching = all.filter(|entry| wanted.of.as_deref().is_none_or(|of| is_of(entry, of)));
    if let Some(after) = wanted.after {
        let newer = matching.filter(|entry| sequence(entry) > after);
        return newer.take(wanted.limit).cloned().collect();
    }
    let before = wanted.before.unwrap_or(u64::MAX);
    let older = matching.rev().filter(|entry| sequence(entry) < before);
    older.take(wanted.limit).cloned().collect()
}

#[async_trait]
impl State for Memory {
    async fn newest(&self) -> Result<Option<Published>, Error> {
        Ok(self.lock().newest().cloned())
    }

    async fn generation(&self, generation: Generation) -> Result<Option<Published>, Error> {
        Ok(self.lock().generations.get(&generation).cloned())
    }

    async fn publish(&self, publish: Publish) -> Result<(), Error> {
        let mut inner = self.lock();
        let newest = inner
            .newest()
            .map_or(Generation(0), |newest| newest.generation);
        publish.check(newest)?;
        let (published, entries) = publish.split();
        let generation = published.generation;
        inner.generations.insert(generation, published);
        inner.record(entries);
        drop(inner);
        self.tell(|news| news.generation = generation);
        Ok(())
    }

    async fn record(&self, entries: Vec<NewEntry>) -> Result<(), Error> {
        self.lock().record(entries);
        Ok(())
    }

    async fn audit(&self, wanted: Part) -> Result<Vec<audit::Entry>, Error> {
        let inner = self.lock();
        let entries = inner.audit.iter();
        Ok(part(
            entries,
            |e| e.sequence,
            &wanted,
            |e, of| e.target == of,
        ))
    }

    async fn sweep_audit(&self, to: u64) -> Result<u64, Error> {
        let mut inner = self.lock();
        let before = inner.audit.len();
        inner.audit.retain(|entry| entry.sequence > to);
        Ok((before - inner.audit.len()) as u64)
    }

    async fn put_join_token(&self, token: JoinToken, audit: NewEntry) -> Result<(), Error> {
        let swept = WallTime(self.clock.wall_ms()).minus(KEEP_TOKENS);
        let mut inner = self.lock();
        inner.tokens.retain(|_, token| token.expires_at >= swept);
        inner.tokens.insert(token.hash.clone(), token);
        inner.record(vec![audit]);
        Ok(())
    }

    async fn enrol(
        &self,
        hash: Option<String>,
        instance: Instance,
        key: &str,
        now: WallTime,
        audit: NewEntry,
    ) -> Result<Admitted, Error> {
        let mut inner = self.lock();
        let proof = match &hash {
            Some(hash) => admit::Proof::Token(inner.tokens.get(hash)),
            None => admit::Proof::Other,
        };
        let known = inner.instances.get(&instance.id);
        let enrolled = match admit::enrol(proof, known, instance, key, now) {
            Ok(enrolled) => enrolled,
            Err(refused) => return Ok(refused),
        };
        let hash = hash.filter(|_| !enrolled.again);
        if let Some(token) = hash.and_then(|hash| inner.tokens.get_mut(&hash)) {
            token.uses -= 1;
        }
        let instance = enrolled.known.instance.clone();
        inner.instances.insert(instance.id.clone(), enrolled.known);
        inner.record(vec![audit]);
        Ok(Admitted::Yes(instance))
    }

    async fn renew(
        &self,
        node: &NodeName,
        instance: &str,
        presented: u64,
        key: &str,
        certificate: (WallTime, WallTime),
        audit: NewEntry,
    ) -> Result<Admitted, Error> {
        let mut inner = self.lock();
        let known = inner.instances.get(instance);
        match admit::renew(known, node, presented, key, certificate) {
            admit::Renewal::Refused(refused) => Ok(refused),
            admit::Renewal::Next(next) => {
                let answer = Admitted::Yes(next.instance.clone());
                inner.instances.insert(instance.to_owned(), next);
                inner.record(vec![audit]);
                Ok(answer)
            }
            admit::Renewal::Copied(stored, told) => {
                let refused = stored.instance.shut_out.clone();
                inner.instances.insert(instance.to_owned(), stored);
                inner.record(vec![NewEntry { refused, ..audit }]);
                drop(inner);
                self.tell(|news| news.revocations += 1);
                Ok(told)
            }
        }
    }

    async fn shut_out(&self, instance: &str, reason: &str, audit: NewEntry) -> Result<(), Error> {
        let mut inner = self.lock();
        if let Some(known) = inner.instances.get_mut(instance) {
            known.instance.shut_out = Some(reason.to_owned());
        }
        inner.record(vec![audit]);
        drop(inner);
        self.tell(|news| news.revocations += 1);
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let inner = self.lock();
        Ok(inner
            .instances
            .values()
            .map(|known| known.instance.clone())
            .collect())
    }

    async fn sweep_instances(&self, ended: WallTime) -> Result<u64, Error> {
        let mut inner = self.lock();
        let vanished = |known: &admit::Known| {
            known.instance.certificate.1 < ended && known.instance.shut_out.is_none()
        };
        let swept: Vec<String> = inner
            .instances
            .iter()
            .filter(|(_, known)| vanished(known))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &swept {
            inner.instances.remove(id);
            inner.reported.remove(id);
        }
        Ok(swept.len() as u64)
    }

    async fn forget(&self, node: &NodeName) -> Result<(), Error> {
        let mut inner = self.lock();
        inner
            .instances
            .retain(|_, known| known.instance.node != *node);
        inner
            .reported
            .retain(|_, reported| reported.node.as_ref() != Some(node));
        inner.tokens.retain(|_, token| token.node != *node);
        inner.history.remove(node);
        drop(inner);
        self.tell(|news| news.revocations += 1);
        Ok(())
    }

    async fn put_reported(&self, reported: Vec<Reported>) -> Result<(), Error> {
        if reported.is_empty() {
            return Ok(());
        }
        let mut inner = self.lock();
        for reported in reported {
            inner.reported.insert(reported.instance.clone(), reported);
        }
        drop(inner);
        self.tell(|news| news.reports += 1);
        Ok(())
    }

    async fn reported(&self) -> Result<Vec<Reported>, Error> {
        Ok(self.lock().reported.values().cloned().collect())
    }

    async fn add_history(
        &self,
        points: Vec<(NodeName, HistoryPoint)>,
        keep_from: WallTime,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        for (node, point) in points {
            let of_node = inner.history.entry(node).or_default();
            of_node.retain(|other| other.at != point.at);
            of_node.push(point);
            of_node.sort_by_key(|point| point.at);
        }
        for of_node in inner.history.values_mut() {
            of_node.retain(|point| point.at >= keep_from);
        }
        Ok(())
    }

    async fn history(&self, node: &NodeName, since: WallTime) -> Result<Vec<HistoryPoint>, Error> {
        let inner = self.lock();
        let points = inner.history.get(node).into_iter().flatten();
        Ok(points.filter(|point| point.at >= since).cloned().collect())
    }

    async fn add_events(&self, events: Vec<event::Entry>, keep: u64) -> Result<(), Error> {
        let mut inner = self.lock();
        let before = inner.last_event;
        for entry in events {
            let id = entry.event.as_ref().map(|event| event.id);
            let known = |other: &event::Entry| other.event.as_ref().map(|event| event.id) == id;
            if id.is_some() && inner.events.iter().any(known) {
                continue;
            }
            inner.last_event += 1;
            let sequence = inner.last_event;
            inner.events.push_back(event::Entry { sequence, ..entry });
        }
        let newest = inner.last_event;
        inner.events.retain(|entry| entry.sequence + keep > newest);
        drop(inner);
        if newest > before {
            self.tell(|news| news.events += 1);
        }
        Ok(())
    }

    async fn events(&self, wanted: Part) -> Result<Vec<event::Entry>, Error> {
        let inner = self.lock();
        let is_of = |e: &event::Entry, of: &str| e.node.as_ref().is_some_and(|n| n.as_str() == of);
        Ok(part(inner.events.iter(), |e| e.sequence, &wanted, is_of))
    }

    async fn value(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock().values.get(name).cloned())
    }

    async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let inner = self.lock();
        let from = inner.values.range(prefix.to_owned()..);
        let matching = from.take_while(|(name, _)| name.starts_with(prefix));
        Ok(matching
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }

    async fn swap_value(
        &self,
        name: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<bool, Error> {
        let mut inner = self.lock();
        if inner.values.get(name) != expected.as_ref() {
            return Ok(false);
        }
        match value {
            Some(value) => drop(inner.values.insert(name.to_owned(), value)),
            None => drop(inner.values.remove(name)),
        }
        Ok(true)
    }

    async fn ask(&self, asked: Asked) -> Result<(), Error> {
        let now = WallTime(self.clock.wall_ms());
        let mut inner = self.lock();
        inner.asked.retain(|question| question.asked.until > now);
        inner.asked.push(Question {
            asked,
            taken: false,
            answer: None,
        });
        drop(inner);
        self.tell(|news| news.asks += 1);
        Ok(())
    }

    async fn take_asked(&self, nodes: Vec<NodeName>, now: WallTime) -> Result<Vec<Asked>, Error> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        for question in &mut inner.asked {
            let wanted = !question.taken && question.asked.until > now;
            if wanted && nodes.contains(&question.asked.node) {
                question.taken = true;
                taken.push(question.asked.clone());
            }
        }
        Ok(taken)
    }

    async fn put_answer(&self, id: &str, answer: Vec<u8>) -> Result<(), Error> {
        let mut inner = self.lock();
        let waiting = inner
            .asked
            .iter_mut()
            .find(|question| question.asked.id == id);
        if let Some(question) = waiting {
            question.answer = Some(answer);
        }
        drop(inner);
        self.tell(|news| news.asks += 1);
        Ok(())
    }

    async fn take_answer(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut inner = self.lock();
        let answered = |question: &Question| question.asked.id == id && question.answer.is_some();
        let Some(position) = inner.asked.iter().position(answered) else {
            return Ok(None);
        };
        Ok(inner.asked.swap_remove(position).answer)
    }

    fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::conformance;

    #[tokio::test]
    async fn memory_keeps_the_promises() {
        let make = async |clock: Clock| Arc::new(Memory::new(clock)) as Arc<dyn State>;
        conformance::run(&make).await;
    }
}
