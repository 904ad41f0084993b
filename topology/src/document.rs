//! The topology document as people write it: one type for each section, every value with its place.
//!
//! No logic: a document may be nonsense; `validate` says so and makes a `Topology` of it. The types are read (`read`), written
//! (serde) and described (`schema`) from one declaration each. Required keys are optional here, because a document with a
//! misfit is still looked at as a whole.

use std::collections::BTreeMap;

use crate::{place::At, read::section::section};

pub mod access;
pub mod control;
pub mod credential;
pub mod identity;
pub mod issuer;
pub mod node;
pub mod rule;
pub mod secret;
pub mod selector;
pub mod slice;
pub mod upstream;
pub mod value;
pub mod webhook;

pub use access::{Access, Assignee};
pub use control::Control;
pub use credential::{Account, Credential};
pub use identity::Identity;
pub use issuer::Issuer;
pub use node::Node;
pub use rule::Rule;
pub use secret::Secret;
pub use selector::Selector;
pub use slice::Slice;
pub use upstream::Upstream;
pub use webhook::Webhook;

/// A section: entries by name.
pub type Entries<T> = BTreeMap<At<String>, T>;

/// Text with its place, if it is there.
pub type Text = Option<At<String>>;

section! {
    /// A topology document: it declares a mesh. Several files may each hold any of the sections.
    Document = "a topology" {
        /// Version of the document's format: 1.
        version: Option<At<u64>> = "version";
        /// Name of the mesh: the trust domain.
        mesh: Text = "mesh";
        /// The control plane.
        control: Option<Control> = "control";
        /// Nodes by name.
        nodes: Entries<Node> = "nodes";
        /// Identities by name; one must be attached to a node before a rule there may use it.
        identities: Entries<Identity> = "identities";
        /// Credential sets by name: references to secrets, never secrets.
        credentials: Entries<Credential> = "credentials";
        /// Cache rules by name.
        rules: Entries<Rule> = "rules";
        /// OIDC issuers whose tokens nodes accept, by name.
        issuers: Entries<Issuer> = "issuers";
        /// Local accounts by name.
        accounts: Entries<Account> = "accounts";
        /// Role assignments.
        access: Vec<Access> = "access";
        /// Registries outside the mesh about which something must be said, by `HOST[:PORT]`.
        upstreams: Entries<Upstream> = "upstreams";
        /// Webhooks by name.
        webhooks: Entries<Webhook> = "webhooks";
        /// What a node is told beside the sections it needs; only in slices, which the control plane writes.
        slice: Option<At<Slice>> = "slice";
    }
}

impl Document {
    /// The document as YAML.
    ///
    /// # Errors
    /// When the serialiser fails, which it does for no value of these types.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}
