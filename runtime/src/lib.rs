//! What any process of ours stands on; nothing here knows what a registry is.
//!
//! Called by every crate that does I/O; calls none of ours. From the bottom up:
//!
//! - [`clock`], [`backoff`], [`secret`]: time, delays, values that cannot be printed.
//! - [`tasks`], [`reconcile`], [`single`], [`limit`]: work with an owner, an end and a bound.
//! - [`mod@file`], [`sql`]: the disk, with a way to break it, and the database.
//! - [`listener`], [`tls`], [`channel`], [`egress`]: what comes in and what goes out.
//! - [`metric`], [`telemetry`], [`operational`]: what others may know about the process; [`open_files`]: what it may hold open.

#![warn(missing_docs)]

pub mod backoff;
pub mod channel;
pub mod clock;
pub mod egress;
pub mod file;
pub mod limit;
pub mod listener;
pub mod metric;
pub mod open_files;
pub mod operational;
pub mod reconcile;
pub mod secret;
pub mod single;
pub mod sql;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use backoff::Backoff;
pub use clock::Clock;
pub use limit::Limit;
pub use reconcile::{Nudge, Reconciler};
pub use secret::Secret;
pub use single::Single;
pub use sql::Sqlite;
pub use tasks::Tasks;
