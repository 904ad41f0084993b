//! Who talks to the nodes of a fleet: nobody in particular, or whoever shows a certificate, over whatever they speak.

use std::fs;

use serde_json::Value;

use super::Fleet;
use crate::Client;
use crate::eventually::BOUND;

impl Fleet {
    /// Somebody in particular is nobody here.
    pub fn client(&self, node: &str) -> Client {
        let client = Client::new(self.url(node));
        match self.authorities.is_empty() {
            true => client,
            false => client.over(self.http(None)),
        }
    }

    /// Who has this certificate and key, as PEM, to show: a node's own make it that node.
    pub fn client_showing(&self, node: &str, pem: &str) -> Client {
        Client::new(self.url(node)).over(self.http(Some(pem)))
    }

    /// An HTTP client that trusts the mesh's CA, with something to show.
    pub fn http(&self, shown: Option<&str>) -> reqwest::Client {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .read_timeout(BOUND * 3)
            .redirect(reqwest::redirect::Policy::none());
        if !self.authorities.is_empty() {
            http = http.tls_certs_only(self.authorities.iter().cloned());
        }
        if let Some(pem) = shown {
            let identity = reqwest::Identity::from_pem(pem.as_bytes());
            http = http.identity(identity.expect("a certificate and its key"));
        }
        http.build()
            .expect("a client without a proxy always builds")
    }

    /// The endpoint of a node.
    pub fn url(&self, node: &str) -> String {
        self.node(node).way.url()
    }

    /// `127.0.0.1:PORT`, a node's login server.
    pub fn host(&self, node: &str) -> String {
        self.node(node).way.listen()
    }

    /// A node's own certificate chain and key, as PEM: what somebody has who stole its data directory.
    pub fn certificate_of(&self, node: &str) -> String {
        let agent = self.data(node).join("agent");
        let enrolment = fs::read_to_string(agent.join("enrolment.json")).expect("it joined");
        let enrolment: Value = serde_json::from_str(&enrolment).expect("JSON");
        let chain = enrolment["chain"].as_array().expect("a chain").iter();
        let chain: Vec<_> = chain
            .map(|der| {
                hex::decode(der.as_str().unwrap_or_default())
                    .expect("hex")
                    .into()
            })
            .collect();
        let key = fs::read_to_string(agent.join("key.pem")).expect("it joined");
        identity::certificate::to_pem(&chain) + &key
    }
}
