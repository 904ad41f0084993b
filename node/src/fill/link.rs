//! The end of a fill in the metadata: the content is stored, and every repository that joined may show it.

use wire::time::WallTime;

use super::{
    Fill,
    table::{Flight, Owner},
};
use crate::store::{
    self,
    metadata::{BlobRecord, Link, LinkKind, Op, Origin},
};

/// What has to be said about the content itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// It was hashed just now.
    Verified,
    /// Its file was found without a record: the scrubber is to look at it soon.
    Found,
    /// Its record is there.
    Known,
}

/// Records the content and links it to all owners, also to those that join meanwhile; then the fill has left the table.
pub(super) async fn link(
    fill: &Fill,
    flight: &Flight,
    size: u64,
    fresh: Fresh,
) -> Result<(), store::Error> {
    let now = fill.shared.now();
    let mut ops: Vec<Op> = blob(fill, size, fresh, now).into_iter().collect();
    let mut known = 0;
    loop {
        let owners = flight.owners(known);
        known += owners.len();
        ops.extend(
            owners
                .into_iter()
                .map(|owner| Op::PutLink(link_of(fill, owner, now))),
        );
        if !ops.is_empty() {
            fill.shared
                .store
                .metadata()
                .commit(std::mem::take(&mut ops))
                .await?;
        }
        if flight.leave_if(known) {
            return Ok(());
        }
    }
}

fn blob(fill: &Fill, size: u64, fresh: Fresh, now: WallTime) -> Option<Op> {
    let verified_at = match fresh {
        Fresh::Verified => now,
        Fresh::Found => WallTime(0),
        Fresh::Known => return None,
    };
    Some(Op::PutBlob(BlobRecord {
        digest: fill.origin.digest.clone(),
        size,
        stored_at: now,
        verified_at,
    }))
}

fn link_of(fill: &Fill, owner: Owner, now: WallTime) -> Link {
    Link {
        repository: owner.repository,
        digest: fill.origin.digest.clone(),
        kind: LinkKind::Blob,
        complete: true,
        origin: Origin::Filled(owner.rule),
        created_at: now,
        used_at: now,
    }
}
