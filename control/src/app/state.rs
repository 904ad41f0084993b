//! Which database, and whether it takes writes.
//!
//! Reads go on when it does not: nodes keep what they have, `status` says what is wrong. That is found out by writing, now and then, since a
//! full disk looks fine until somebody does.

use std::{sync::Arc, time::Duration};

use runtime::{Clock, Reconciler, Tasks};

use super::Error;
use crate::{
    config::Config,
    distribute::Distribute,
    state::{State, postgres::Postgres, sqlite::Sqlite},
    status::Alarms,
};

/// The folder of everything but the admin token, below the data directory.
pub(super) const DIRECTORY: &str = "control";
/// The database's file in it.
const FILE: &str = "control.db";
/// The value that is written to find out.
const PROBE: &str = "probe";

pub(super) async fn open(
    config: &Config,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Arc<dyn State>, Error> {
    match &config.store {
        Some(url) => Ok(Arc::new(
            Postgres::connect(url, clock.clone(), tasks).await?,
        )),
        None => {
            let path = config.data_dir.join(DIRECTORY).join(FILE);
            Ok(Arc::new(Sqlite::open(&path, clock.clone(), tasks).await?))
        }
    }
}

/// Raises and ends the alarms about the store.
pub(super) fn watch(
    state: &Arc<dyn State>,
    distribute: &Distribute,
    alarms: &Alarms,
    every: Duration,
    clock: &Clock,
    tasks: &Tasks,
) {
    let (state, distribute, alarms) = (Arc::clone(state), distribute.clone(), alarms.clone());
    let now = clock.clone();
    Reconciler::new("store-probe", every).start(tasks, clock, move || {
        let (state, distribute, alarms) = (Arc::clone(&state), distribute.clone(), alarms.clone());
        let now = now.wall_ms();
        async move {
            match write(&*state, now).await {
                Err(error) => alarms.raise(
                    "store",
                    format!("{error}: changes are refused, nodes keep what they have"),
                ),
                Ok(()) => match distribute.failing() {
                    Some(why) => {
                        alarms.raise("store", format!("what nodes report is not stored: {why}"))
                    }
                    None => alarms.clear("store"),
                },
            }
        }
    });
}

/// Writes something. That another control plane wrote at the same time shows as well that it can be done.
async fn write(state: &dyn State, now: i64) -> Result<(), crate::state::Error> {
    let before = state.value(PROBE).await?;
    let now = now.to_string().into_bytes();
    state.swap_value(PROBE, before, Some(now)).await.map(drop)
}
