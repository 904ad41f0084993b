//! `STORE-WRITE`: a real write, read and delete in the blob store and in the metadata store.

use super::{Finding, Patient};
use crate::store::Error;

pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let store = patient.store.clone();
    // Its own task: who gives up waiting must not leave a file behind.
    let probing = patient
        .tasks
        .spawn("doctor-store-write", async move { store.probe().await });
    let probed = probing.await.unwrap_or(Err(Error::Closed));
    vec![match (probed, patient.store.degraded()) {
        (Ok(()), None) => Finding::ok("wrote, read and deleted in the blob and the metadata store"),
        (Ok(()), Some(degraded)) => Finding::warning(
            None,
            format!("writes pass now, but the store is marked degraded: {degraded}"),
            "if it stays so, look at the disk and run `regmesh verify DATA_DIR`",
        ),
        (Err(error), _) => {
            let fix = fix(&error);
            Finding::failed(None, format!("a test write failed: {error}"), fix)
        }
    }]
}

fn fix(error: &Error) -> &'static str {
    match error {
        Error::Full => {
            "make room on the node's disk or give it a larger one; pulls stream through meanwhile, and copies complete by themselves afterwards"
        }
        Error::ReadOnly => {
            "remount the node's data directory writable and let the node's user own it; pulls stream through meanwhile, and copies complete by themselves afterwards"
        }
        Error::Corrupt(_) => {
            "the disk gives back other bytes than were written: replace it, then run `regmesh verify DATA_DIR`"
        }
        Error::Failed(_) | Error::Closed => {
            "look at the machine's disk (dmesg, smartctl) and at who owns the data directory"
        }
    }
}
