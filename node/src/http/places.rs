//! Places for requests under way, and who gives way first when they are all taken.
//!
//! What an upstream must be asked for can be waited for elsewhere, so it is shed first; then what is stored; HEAD requests, by which
//! clients find out what they need not pull, last. An eighth of all places is kept for each of the latter two. Health has a
//! listener of its own. Source: `reference/faults.md` section 1 (overload) and rule 34; T28.

use runtime::limit::{Limit, Permit};
use wire::route::{ContentVerb, Route};

/// The part of all places that is kept for what is stored, and again for HEAD requests.
const KEPT: usize = 8;

/// The places of a node.
#[derive(Debug, Clone)]
pub struct Places {
    all: Limit,
    stored: Limit,
    heads: Limit,
    uploads: Limit,
}

/// A place, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permits: (Permit, Option<Permit>),
    /// Nobody may be asked for what is not stored.
    pub(super) only_stored: bool,
}

impl Places {
    /// Places for `max` requests, of which at most `uploads` may be uploads.
    #[must_use]
    pub fn new(max: usize, uploads: usize) -> Self {
        let kept = max / KEPT;
        Self {
            all: Limit::new("requests", max - 2 * kept),
            stored: Limit::new("requests-stored", kept),
            heads: Limit::new("requests-head", kept),
            uploads: Limit::new("uploads", uploads),
        }
    }

    /// A place, or `None`: the request is shed.
    pub(super) fn take(&self, route: &Route) -> Option<Place> {
        let (permit, only_stored) = match (self.all.try_acquire(), content(route)) {
            (Some(permit), _) => (permit, false),
            (None, Some(ContentVerb::Head)) => (self.heads.try_acquire()?, false),
            (None, Some(ContentVerb::Get)) => (self.stored.try_acquire()?, true),
            (None, None) => return None,
        };
        let upload = match is_upload(route) {
            true => Some(self.uploads.try_acquire()?),
            false => None,
        };
        Some(Place {
            _permits: (permit, upload),
            only_stored,
        })
    }
}

/// How content is asked for, if the request does.
fn content(route: &Route) -> Option<ContentVerb> {
    if let Route::Manifest { verb, .. } | Route::Blob { verb, .. } = route {
        return Some(*verb);
    }
    matches!(route, Route::Base).then_some(ContentVerb::Head)
}

fn is_upload(route: &Route) -> bool {
    matches!(
        route,
        Route::UploadStart { .. } | Route::UploadPatch { .. } | Route::UploadPut { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, path: &str) -> Route {
        Route::parse(method, path, None).unwrap().route
    }

    #[test]
    fn what_is_stored_gives_way_after_the_rest_and_heads_last() {
        let places = Places::new(16, 16);
        let (get, head) = (
            route("GET", "/v2/a/manifests/1"),
            route("HEAD", "/v2/a/manifests/1"),
        );
        let list = route("GET", "/v2/a/tags/list");
        let mut taken: Vec<Place> = (0..12).filter_map(|_| places.take(&list)).collect();
        assert_eq!(taken.len(), 12);
        assert!(taken.iter().all(|place| !place.only_stored));
        assert!(places.take(&list).is_none());
        for _ in 0..2 {
            taken.extend(places.take(&get).filter(|place| place.only_stored));
        }
        assert!(places.take(&get).is_none());
        for _ in 0..2 {
            taken.extend(places.take(&head).filter(|place| !place.only_stored));
        }
        assert_eq!(taken.len(), 16);
        assert!(places.take(&head).is_none());
        taken.clear();
        assert!(places.take(&get).is_some_and(|place| !place.only_stored));
    }

    #[test]
    fn uploads_have_a_bound_of_their_own_and_few_places_are_for_everybody() {
        let places = Places::new(3, 1);
        let upload = route("POST", "/v2/a/blobs/uploads/");
        let first = places.take(&upload);
        assert!(first.is_some() && places.take(&upload).is_none());
        let list = route("GET", "/v2/a/tags/list");
        let lists: Vec<_> = (0..3).map_while(|_| places.take(&list)).collect();
        assert_eq!(lists.len(), 2);
    }
}
