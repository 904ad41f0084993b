//! Promises of copies, over a scripted upstream and a store in memory.

mod event;
mod job;
mod part;
mod room;
mod world;
