//! The record of everything a server was asked: the oracle for economy ("exactly one GET") and for leaks.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::Clock;
use tokio::time::Instant;
use wire::digest::Digest;

use crate::server::request::Request;

/// Grows while the server runs. Clones are one record.
#[derive(Clone)]
pub struct Record {
    clock: Clock,
    start: Instant,
    requests: Arc<Mutex<Vec<Arc<Recorded>>>>,
}

/// One request and what became of it.
pub struct Recorded {
    /// Since the server started.
    pub at: Duration,
    request: Request,
    status: AtomicU16,
    sent: AtomicU64,
    finished: AtomicBool,
}

impl Record {
    #[expect(
        clippy::new_without_default,
        reason = "a record begins now, which is no default"
    )]
    pub fn new() -> Self {
        let clock = Clock::system();
        Self {
            start: clock.now(),
            clock,
            requests: Arc::default(),
        }
    }

    pub(crate) fn begin(&self, request: &Request) -> Arc<Recorded> {
        let recorded = Arc::new(Recorded {
            at: self.clock.now() - self.start,
            request: request.clone(),
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        });
        self.requests.lock().unwrap().push(Arc::clone(&recorded));
        recorded
    }

    /// All requests so far, in order of arrival.
    pub fn all(&self) -> Vec<Arc<Recorded>> {
        self.requests.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was: a test's next act begins.
    pub fn clear(&self) {
        self.requests.lock().unwrap().clear();
    }

    pub fn count(&self, mut is: impl FnMut(&Recorded) -> bool) -> usize {
        self.all().iter().filter(|recorded| is(recorded)).count()
    }

    /// How often a method met a path that ends so.
    pub fn of(&self, method: &str, path_end: &str) -> usize {
        self.count(|r| r.method == method && r.path.ends_with(path_end))
    }

    /// Body transfers of a blob: GETs that were answered with bytes.
    pub fn blob_gets(&self, digest: &Digest) -> usize {
        let path = format!("/blobs/{digest}");
        self.count(|r| {
            r.method == "GET" && r.path.ends_with(&path) && matches!(r.status(), 200 | 206)
        })
    }

    /// GETs of a manifest by tag or digest that were answered with it.
    pub fn manifest_gets(&self, reference: &str) -> usize {
        let path = format!("/manifests/{reference}");
        self.count(|r| r.method == "GET" && r.path.ends_with(&path) && r.status() == 200)
    }

    /// HEADs of a manifest by tag or digest, however answered except with a challenge.
    pub fn manifest_heads(&self, reference: &str) -> usize {
        let path = format!("/manifests/{reference}");
        self.count(|r| r.method == "HEAD" && r.path.ends_with(&path) && r.status() != 401)
    }

    /// Bytes of bodies that went out for paths with this in them.
    pub fn bytes_of(&self, part: &str) -> u64 {
        let all = self.all();
        let of = all.iter().filter(|r| r.path.contains(part));
        of.map(|r| r.sent.load(Ordering::Relaxed)).sum()
    }

    /// Everything that came in as text, for a search for secrets.
    pub fn text(&self) -> String {
        self.all().iter().map(|r| format!("{r:?}\n")).collect()
    }
}

impl Recorded {
    /// 0 while it is being decided.
    pub fn status(&self) -> u16 {
        self.status.load(Ordering::Relaxed)
    }

    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the answer went out as intended, whatever was intended.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }
}

impl Deref for Recorded {
    type Target = Request;
    fn deref(&self) -> &Request {
        &self.request
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request {
            method,
            path,
            query,
            headers,
            body,
            ..
        } = &self.request;
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        write!(
            f,
            "{:?} {method} {path}{query} -> {} ({} bytes sent)",
            self.at,
            self.status(),
            self.bytes_sent()
        )?;
        for (name, value) in headers {
            write!(f, "\n    {name}: {value}")?;
        }
        if !body.is_empty() {
            write!(f, "\n    {}", String::from_utf8_lossy(body))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}
