//! Content that is stored already, because of another repository: linked after this rule's upstream confirmed it, and not a
//! byte of it is transferred. Source: `spec/pull-through.md` step 4.

use super::{
    Error, Fill, Opened,
    link::{self, Fresh},
    observe::observe,
    table::Flight,
};
use crate::store::{self, blob::Content};

/// Whether the fill is over because its content was stored already.
pub(super) async fn adopt(fill: &Fill, flight: &Flight) -> Result<bool, Error> {
    let Some(content) = stored(fill).await else {
        return Ok(false);
    };
    let size = content.size();
    if let Some(expected) = fill.expected.filter(|expected| *expected != size) {
        return Err(Error::Size {
            expected,
            got: size,
        });
    }
    let origin = &fill.origin;
    let metadata = fill.shared.store.metadata();
    let linked = metadata
        .link(&fill.repository, &origin.digest)
        .await
        .ok()
        .flatten();
    let mut cache_status = None;
    if linked.is_none() {
        let answer = origin
            .active
            .upstream
            .head_blob(&origin.source, &origin.digest, &origin.request)
            .await;
        observe(&origin.active, &answer, &fill.shared.clock);
        cache_status = answer?.cache_status;
    }
    fill.spool.open(Opened {
        size,
        cache_status,
        stores: true,
        linked: true,
    });
    fill.spool.attach(content, size);
    fill.spool.verified();
    let fresh = match metadata.blob(&origin.digest).await {
        Ok(Some(_)) => Ok(Fresh::Known),
        Ok(None) => Ok(Fresh::Found),
        Err(error) => Err(error),
    };
    let linked = match fresh {
        Ok(fresh) => link::link(fill, flight, size, fresh).await,
        Err(error) => Err(error),
    };
    match linked {
        Ok(()) => {
            fill.spool.stored();
            origin.active.state.stored(fill.shared.now());
        }
        Err(error) => {
            fill.shared.store.report("link", &error);
            flight.leave();
            fill.spool.unstored(error);
        }
    }
    Ok(true)
}

/// The stored content. A store that cannot say has none: then it is filled, and streamed through if need be.
async fn stored(fill: &Fill) -> Option<Content> {
    let (store, digest) = (&fill.shared.store, &fill.origin.digest);
    let opened = fill
        .shared
        .clock
        .timeout(fill.shared.config.disk_patience, store.blobs().open(digest))
        .await;
    match opened.unwrap_or_else(|_| Err(store::Error::failed("the disk does not answer"))) {
        Ok(content) => content,
        Err(error) => {
            store.report("open", &error);
            None
        }
    }
}
