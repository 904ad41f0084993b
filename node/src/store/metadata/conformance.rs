//! What every implementation of `Metadata` must do. One suite, run by all of them; a new backend brings no new expectations.
//!
//! `make` takes the size of the outbox, so that its bound can be met with a few events.

#![expect(
    clippy::unwrap_used,
    reason = "a suite of tests, also for other crates' implementations"
)]

use std::{future::Future, sync::Arc};

use super::{Metadata, OUTBOX};

mod content;
mod event;
mod job;
mod make;
mod tag;
mod usage;

/// Runs the suite; `make` gives an empty store with an outbox of that many events each time.
pub async fn run<F, Fut>(make: &F)
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Arc<dyn Metadata>>,
{
    content::links_only_gain(make(OUTBOX).await.as_ref()).await;
    content::a_manifest_is_known_while_stored_or_linked(make(OUTBOX).await.as_ref()).await;
    content::deleting_a_link_takes_its_tags_and_job(make(OUTBOX).await.as_ref()).await;
    content::a_manifest_that_lacks_something_is_complete_no_more(make(OUTBOX).await.as_ref()).await;
    content::referrers_and_parents_stay_within_the_repository(make(OUTBOX).await.as_ref()).await;
    content::pushed_content_is_found_by_pattern(make(OUTBOX).await.as_ref()).await;
    content::repositories_are_listed_in_order(make(OUTBOX).await.as_ref()).await;
    content::a_repository_says_how_much_it_has(make(OUTBOX).await.as_ref()).await;
    content::totals_count_what_is_there(make(OUTBOX).await.as_ref()).await;
    tag::a_later_observation_is_never_replaced(make(OUTBOX).await.as_ref()).await;
    tag::a_check_only_moves_forwards(make(OUTBOX).await.as_ref()).await;
    tag::a_clock_that_was_ahead_is_forgotten_when_a_process_begins(make(OUTBOX).await.as_ref())
        .await;
    tag::complete_follows_current(make(OUTBOX).await.as_ref()).await;
    tag::tags_are_listed_in_order(make(OUTBOX).await.as_ref()).await;
    usage::roots_leave_in_the_order_of_last_use(make(OUTBOX).await.as_ref()).await;
    usage::only_what_nobody_links_is_unreferenced(make(OUTBOX).await.as_ref()).await;
    usage::the_least_verified_comes_first(make(OUTBOX).await.as_ref()).await;
    job::there_is_one_job_per_root(make(OUTBOX).await.as_ref()).await;
    job::a_job_finished_for_some_tags_stays_for_the_others(make(OUTBOX).await.as_ref()).await;
    job::what_waits_is_due_when_a_process_begins(make(OUTBOX).await.as_ref()).await;
    job::uploads_and_values_come_and_go(make(OUTBOX).await.as_ref()).await;
    event::events_are_delivered_in_order(make(OUTBOX).await.as_ref()).await;
    event::what_waits_is_sent_when_a_process_begins(make(OUTBOX).await.as_ref()).await;
    event::the_outbox_drops_the_oldest(make(5).await.as_ref()).await;
    event::old_deliveries_are_forgotten_but_the_newest(make(OUTBOX).await.as_ref()).await;
}
