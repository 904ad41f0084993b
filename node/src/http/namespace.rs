//! Which repository of this node a request means, when it names another registry.
//!
//! `?ns=HOST` (containerd) and `defaultNamespace` (dockerd's mirrors) only ever choose among rules; they never form an address
//! and are never passed on. Source: `spec/pull-through.md` "Ways in".

use wire::{
    oci_error::{Code, OciError},
    repository::RepositoryName,
    route::Route,
};

use super::View;
use crate::registry::Registry;

/// A route with its repository on this node.
pub(super) struct Placed {
    /// The route.
    pub(super) route: Route,
    /// What `OCI-Namespace` answers, where a namespace was named.
    pub(super) namespace: Option<String>,
}

/// Finds the repository; an `ns` that no rule covers is an unknown name.
///
/// What was pushed to this node stays reachable: a default namespace, like a rule, never hides it.
pub(super) async fn place(
    view: &View,
    registry: &Registry,
    route: Route,
    ns: Option<&str>,
) -> Result<Placed, OciError> {
    let Some(named) = route.repository().filter(|_| is_read(&route)) else {
        return Ok(Placed {
            route,
            namespace: None,
        });
    };
    match ns {
        Some(ns) if ns != view.login_server => {
            let found = view
                .rules
                .resolver()
                .resolve_from(ns, named)
                .ok_or_else(|| unknown(ns, named))?
                .repository;
            Ok(Placed {
                route: with_repository(route, found),
                namespace: Some(ns.to_owned()),
            })
        }
        Some(ns) => Ok(Placed {
            route,
            namespace: Some(ns.to_owned()),
        }),
        None => {
            let default = view
                .default_namespace
                .as_deref()
                .filter(|_| view.rules.resolve(named).is_none());
            let found = default
                .and_then(|host| view.rules.resolver().resolve_from(host, named))
                .map(|found| found.repository);
            let route = match found {
                Some(found) if !registry.holds_pushed(named).await => with_repository(route, found),
                Some(_) | None => route,
            };
            Ok(Placed {
                route,
                namespace: None,
            })
        }
    }
}

fn is_read(route: &Route) -> bool {
    matches!(
        route,
        Route::Manifest { .. } | Route::Blob { .. } | Route::Tags { .. } | Route::Referrers { .. }
    )
}

fn unknown(ns: &str, repository: &RepositoryName) -> OciError {
    let message = format!(
        "no rule of this node fills '{repository}' from '{ns}': see `regmesh explain`, or ask {ns} itself"
    );
    OciError::new(Code::NameUnknown, message)
        .with_detail(serde_json::json!({"ns": ns, "name": repository}))
}

fn with_repository(route: Route, repository: RepositoryName) -> Route {
    match route {
        Route::Manifest {
            reference, verb, ..
        } => Route::Manifest {
            repository,
            reference,
            verb,
        },
        Route::Blob { digest, verb, .. } => Route::Blob {
            repository,
            digest,
            verb,
        },
        Route::Tags { page, .. } => Route::Tags { repository, page },
        Route::Referrers {
            digest,
            artifact_type,
            page,
            ..
        } => Route::Referrers {
            repository,
            digest,
            artifact_type,
            page,
        },
        unread @ (Route::Base
        | Route::ManifestPut { .. }
        | Route::ManifestDelete { .. }
        | Route::BlobDelete { .. }
        | Route::UploadStart { .. }
        | Route::UploadPatch { .. }
        | Route::UploadPut { .. }
        | Route::UploadStatus { .. }
        | Route::UploadCancel { .. }
        | Route::Catalog { .. }
        | Route::TokenGet
        | Route::TokenPost
        | Route::Exchange) => unread,
    }
}
