//! What the rim takes from the slice in force: swapped whole, so that no request is decided by halves of two.

use std::sync::Arc;

use wire::generation::Generation;

use super::admit::Access;
use crate::rule::Rules;

/// The rim's part of a slice.
pub struct View {
    /// The generation it is of.
    pub generation: Generation,
    /// How clients name this registry: `HOST[:PORT]`.
    pub login_server: String,
    /// The tier of this node, for the log.
    pub tier: u8,
    /// A registry host served at the root.
    pub default_namespace: Option<String>,
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// Who may do what.
    pub access: Arc<Access>,
}
