//! An Azure Container Registry: its exchange, its tokens without `expires_in`, and blobs that redirect to a data endpoint.
//!
//! The data endpoint listens on a port of its own, refuses whoever shows `Authorization` there (as Azure's storage does) and keeps a
//! record of its own for [`Acr::assert_data_saw_no_secret`]. Who may pull what is by object id and repository, looked at when a token
//! is given and again on every request.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::Directory;
use crate::Image;
use crate::jwt::Key;
use crate::origin::Shelf;
use crate::server::{At, Record, Serve, Server};

mod data;
mod registry;
mod token;

/// A running registry with its data endpoint. Dropped, both are gone.
pub struct Acr {
    registry: Server,
    data: Server,
    desk: Arc<Desk>,
}

struct Desk {
    directory: Directory,
    shelf: Arc<Shelf>,
    key: Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `SCHEME://LOGIN-SERVER`.
    url: String,
    data_url: String,
    /// Object id and repository, or `*`.
    pullers: HashSet<(String, String)>,
    made: u64,
}

impl Acr {
    pub async fn start(directory: &Directory) -> Self {
        Self::start_at([At::loopback(), At::loopback()], directory).await
    }

    /// Registry and data endpoint there.
    pub async fn start_at([registry, data]: [At; 2], directory: &Directory) -> Self {
        let shelf = Arc::new(Shelf::default());
        let desk = Arc::new(Desk {
            directory: directory.clone(),
            shelf: Arc::clone(&shelf),
            key: Key::rs256("acr-1"),
            state: Mutex::default(),
        });
        let serve: Arc<dyn Serve> = Arc::<Desk>::clone(&desk);
        let acr = Self {
            registry: Server::start_at("acr", registry, serve).await,
            data: Server::start_at("acr data", data, Arc::new(data::Data(shelf))).await,
            desk,
        };
        acr.is_called(&acr.registry.url(), &acr.data.url());
        acr
    }

    /// The public names of registry and data endpoint, if those are not where they listen.
    pub fn is_called(&self, url: &str, data_url: &str) {
        let mut state = self.desk.state.lock().unwrap();
        url.clone_into(&mut state.url);
        data_url.clone_into(&mut state.data_url);
    }

    /// Its login server, as a rule's source begins.
    pub fn host(&self) -> String {
        self.desk.service()
    }

    pub fn address(&self) -> SocketAddr {
        self.registry.address()
    }

    /// Puts an image on the shelf under a tag.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) {
        self.desk.shelf.put(repository, image);
        self.desk.shelf.tag(repository, tag, &image.digest);
    }

    /// Lets somebody pull a repository, or `*`.
    pub fn allow(&self, object_id: &str, repository: &str) {
        let mut state = self.desk.state.lock().unwrap();
        state
            .pullers
            .insert((object_id.to_owned(), repository.to_owned()));
    }

    pub fn forbid(&self, object_id: &str) {
        let mut state = self.desk.state.lock().unwrap();
        state.pullers.retain(|(each, _)| each != object_id);
    }

    /// Requests to the registry.
    pub fn record(&self) -> &Record {
        self.registry.record()
    }

    /// Requests to the data endpoint.
    pub fn data_record(&self) -> &Record {
        self.data.record()
    }

    /// Exchanges of Entra tokens so far, refused ones too.
    pub fn exchanges(&self) -> usize {
        self.record().of("POST", "/oauth2/exchange")
    }

    /// Panics if the data endpoint was shown a credential.
    pub fn assert_data_saw_no_secret(&self) {
        for call in self.data_record().all() {
            for name in ["authorization", "cookie", "x-ms-token"] {
                assert_eq!(call.header(name), None, "{call:?}");
            }
        }
        crate::canary::assert_absent("the data endpoint", self.data_record().text(), &["canary-"]);
    }

    pub async fn stop(&self) {
        self.registry.stop().await;
    }

    pub async fn resume(&self) {
        self.registry.resume().await;
    }
}

impl Desk {
    /// What its tokens call it.
    fn service(&self) -> String {
        let url = self.state.lock().unwrap().url.clone();
        let (_, host) = url.split_once("://").expect("a URL");
        host.to_owned()
    }

    fn may_pull(&self, object_id: &str, repository: &str) -> bool {
        let state = self.state.lock().unwrap();
        [repository, "*"].iter().any(|each| {
            let right = (object_id.to_owned(), (*each).to_owned());
            state.pullers.contains(&right)
        })
    }
}
