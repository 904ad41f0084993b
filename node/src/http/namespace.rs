//! Which repository of this node a request means, when it names another registry.
//!
//! `?ns=HOST` (containerd) and `defaultNamespace` (dockerd's mirrors) only ever choose among rules; they never form an address
//! and are never passed on. That no rule covers an `ns` is told to whoever may do what is asked with the name in the path, and to
//! nobody else: what upstreams a node has is not to be found out by trying. What remains is a challenge's scope: it names the
//! repository that a token is needed for, or clients could not get one. Source: `spec/pull-through.md` "Ways in".

use http::HeaderMap;
use runtime::listener::Peer;
use wire::{
    oci_error::{Code, OciError},
    repository::RepositoryName,
    route::Route,
};

use super::{
    View,
    admit::{self, Admitted, Refused},
};
use crate::registry::Registry;

/// A route with its repository on this node.
pub(super) struct Placed {
    /// The route.
    pub(super) route: Route,
    /// The namespace that was named.
    namespace: Option<Named>,
}

struct Named {
    ns: String,
    meant: Meant,
}

/// What a namespace does to a route.
enum Meant {
    /// Nothing: it is this node, or the rule's target is in the path.
    Same,
    /// It leads from this route to another repository.
    Elsewhere(Route),
    /// No rule covers it.
    Nothing,
}

/// Finds the repository.
///
/// What was pushed to this node stays reachable: a default namespace, like a rule, never hides it.
pub(super) async fn place(
    view: &View,
    registry: &Registry,
    route: Route,
    ns: Option<&str>,
) -> Placed {
    let Some(named) = route.repository() else {
        return Placed::without(route);
    };
    let Some(ns) = ns else {
        return Placed::without(by_default(view, registry, route).await);
    };
    let resolver = view.rules.resolver();
    let found = (ns != view.login_server).then(|| resolver.resolve_from(ns, named));
    let (route, meant) = match found {
        None => (route, Meant::Same),
        Some(None) => (route, Meant::Nothing),
        Some(Some(found)) if found.repository == *named => (route, Meant::Same),
        Some(Some(found)) => (
            with_repository(route.clone(), found.repository),
            Meant::Elsewhere(route),
        ),
    };
    let ns = ns.to_owned();
    Placed {
        route,
        namespace: Some(Named { ns, meant }),
    }
}

/// Where dockerd's mirrors read; nobody writes there.
async fn by_default(view: &View, registry: &Registry, route: Route) -> Route {
    let Some(named) = route.repository().filter(|_| is_read(&route)) else {
        return route;
    };
    let default = view
        .default_namespace
        .as_deref()
        .filter(|_| view.rules.resolve(named).is_none());
    let found = default
        .and_then(|host| view.rules.resolver().resolve_from(host, named))
        .map(|found| found.repository);
    match found {
        Some(found) if !registry.holds_pushed(named).await => with_repository(route, found),
        Some(_) | None => route,
    }
}

impl Placed {
    fn without(route: Route) -> Self {
        Self {
            route,
            namespace: None,
        }
    }

    /// What `OCI-Namespace` says to whoever is answered at all.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_ref().map(|named| named.ns.as_str())
    }

    /// Decides whether the request may go on. Who may not read where the namespace leads is answered as if it led nowhere.
    pub(super) async fn admit(
        &self,
        view: &View,
        peer: Option<&Peer>,
        headers: &HeaderMap,
    ) -> Result<Admitted, Box<Refused>> {
        let admitted = admit::admit(view, peer, headers, &self.route).await;
        let Some(Named { ns, meant }) = &self.namespace else {
            return admitted;
        };
        match (admitted, meant) {
            (Ok(admitted), Meant::Nothing) => {
                Err(Refused::unknown(unknown(ns, &self.route), &admitted))
            }
            (Err(refused), Meant::Elsewhere(named)) if refused.hides() => {
                let admitted = admit::admit(view, peer, headers, named).await?;
                Err(Refused::unknown(unknown(ns, named), &admitted))
            }
            (admitted, _) => admitted,
        }
    }
}

fn is_read(route: &Route) -> bool {
    matches!(
        route,
        Route::Manifest { .. } | Route::Blob { .. } | Route::Tags { .. } | Route::Referrers { .. }
    )
}

fn unknown(ns: &str, route: &Route) -> OciError {
    let name = route.repository().map_or("", RepositoryName::as_str);
    let message = format!(
        "no rule of this node fills '{name}' from '{ns}': see `regmesh explain`, or ask {ns} itself"
    );
    OciError::new(Code::NameUnknown, message)
        .with_detail(serde_json::json!({"ns": ns, "name": name}))
}

fn with_repository(mut route: Route, found: RepositoryName) -> Route {
    match &mut route {
        Route::Manifest { repository, .. }
        | Route::ManifestPut { repository, .. }
        | Route::ManifestDelete { repository, .. }
        | Route::Blob { repository, .. }
        | Route::BlobDelete { repository, .. }
        | Route::UploadStart { repository, .. }
        | Route::UploadPatch { repository, .. }
        | Route::UploadPut { repository, .. }
        | Route::UploadStatus { repository, .. }
        | Route::UploadCancel { repository, .. }
        | Route::Tags { repository, .. }
        | Route::Referrers { repository, .. } => *repository = found,
        Route::Base
        | Route::Catalog { .. }
        | Route::TokenGet
        | Route::TokenPost
        | Route::Exchange => {}
    }
    route
}
