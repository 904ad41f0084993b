//! The scripted upstream: a registry that tells the truth until a [`Script`] says otherwise, and records every request.
//!
//! It serves what is on its [`Shelf`], by the distribution-spec: manifests, blobs with ranges, tag lists, referrers; anonymous, with
//! Basic, or with the Docker token protocol at its own `/token`. It takes no pushes: tests put images on the shelf.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use wire::digest::Digest;

use crate::script::Script;
use crate::server::{Answer, Record, Request, Serve, Server};
use crate::{Image, When};

mod answer;
mod shelf;
mod token;

pub use shelf::Shelf;
pub use token::{Access, TokenService};

pub(crate) use answer::answer as honest;
pub(crate) use token::repository_of;

/// A running upstream. Dropped, it is gone.
pub struct Origin {
    server: Server,
    registry: Arc<Registry>,
}

struct Registry {
    shelf: Shelf,
    tokens: TokenService,
    scripts: Mutex<Vec<Script>>,
}

impl Origin {
    pub async fn start() -> Self {
        let registry = Arc::new(Registry {
            shelf: Shelf::default(),
            tokens: TokenService::default(),
            scripts: Mutex::default(),
        });
        let serve: Arc<dyn Serve> = Arc::<Registry>::clone(&registry);
        let server = Server::start("origin", serve).await;
        registry.tokens.stands_at(server.address());
        Self { server, registry }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `127.0.0.1:PORT`, as a rule's source names it.
    pub fn host(&self) -> String {
        self.address().to_string()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn shelf(&self) -> &Shelf {
        &self.registry.shelf
    }

    /// Who may pull, and how the tokens are.
    pub fn tokens(&self) -> &TokenService {
        &self.registry.tokens
    }

    pub fn record(&self) -> &Record {
        self.server.record()
    }

    /// Puts an image on the shelf under a tag.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) {
        self.shelf().put(repository, image);
        self.shelf().tag(repository, tag, &image.digest);
    }

    /// Adds a script behind those there are; the handle tells how often it was met.
    pub fn play(&self, script: Script) -> Script {
        self.registry.scripts.lock().unwrap().push(script.clone());
        script
    }

    /// Every matching answer is this error until [`Origin::heal`].
    pub fn fail(&self, when: When, status: u16) -> Script {
        self.play(Script::new(when, [crate::Fault::Status(status)]))
    }

    /// Forgets all scripts.
    pub fn heal(&self) {
        self.registry.scripts.lock().unwrap().clear();
    }

    /// Goes away: connections are cut, new ones refused.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    pub async fn resume(&self) {
        self.server.resume().await;
    }

    /// GETs of each of these blobs that moved bytes, in their order.
    pub fn blob_gets<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Vec<usize> {
        let gets = |digest| self.record().blob_gets(digest);
        digests.into_iter().map(gets).collect()
    }
}

impl Serve for Registry {
    fn answer(&self, request: &Request) -> Answer {
        let script = {
            let scripts = self.scripts.lock().unwrap();
            scripts.iter().find(|script| script.takes(request)).cloned()
        };
        match script {
            Some(script) => script.play(request, &self.shelf, |request| self.honest(request)),
            None => self.honest(request),
        }
    }
}

impl Registry {
    fn honest(&self, request: &Request) -> Answer {
        if request.path == "/token" {
            return self.tokens.issue(request);
        }
        match self.tokens.refusal(request) {
            Some(refusal) => refusal,
            None => answer::answer(&self.shelf, request),
        }
    }
}

#[cfg(test)]
mod tests;
