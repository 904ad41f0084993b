//! Hearing what other control planes wrote: LISTEN, and a look every few seconds in case a notification was lost with its connection.

use std::time::Duration;

use runtime::{Clock, sql::postgres::PgPool};
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::write::CHANNEL;
use crate::state::{Error, News, sql};

/// How often to look without having heard anything.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How long to wait before connecting again.
const AGAIN: Duration = Duration::from_millis(500);

/// What the counters say now.
pub(super) async fn look(pool: &PgPool) -> Result<News, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql::COUNTERS).fetch_all(pool).await?;
    Ok(sql::news(&rows))
}

/// Follows until `ended`.
pub(super) async fn follow(
    pool: PgPool,
    told: watch::Sender<News>,
    clock: Clock,
    ended: CancellationToken,
) {
    let mut heard = true;
    while !ended.is_cancelled() {
        let lost = tokio::select! {
            lost = listen(&pool, &told, &clock, &mut heard) => lost,
            () = ended.cancelled() => return,
        };
        if std::mem::take(&mut heard) {
            tracing::warn!(
                error = &lost as &dyn std::error::Error,
                "the database's news are not heard; connecting again"
            );
            continue;
        }
        tokio::select! {
            () = clock.sleep(AGAIN) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Listens until the connection fails. `heard` is set once it listens.
async fn listen(
    pool: &PgPool,
    told: &watch::Sender<News>,
    clock: &Clock,
    heard: &mut bool,
) -> Error {
    let listened = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        loop {
            sql::tell(told, look(pool).await?);
            *heard = true;
            tokio::select! {
                notified = listener.try_recv() => drop(notified?),
                () = clock.sleep(LOOK) => {}
            }
            while listener.next_buffered().is_some() {}
        }
    };
    let never: Result<std::convert::Infallible, Error> = listened.await;
    match never {
        Err(error) => error,
        Ok(never) => match never {},
    }
}
