//! Who calls a node, and as whom a node calls its upstream.
//!
//! Called by `node`, which hands over what a slice says; knows neither topology nor HTTP servers nor disk layout.
//!
//! | direction | modules |
//! |---|---|
//! | being called | `network`, `authenticate`, `keys`, `principal`, `decide`, `sign` |
//! | calling an upstream | `secret`, `mint` -> `token_source` -> `authenticator` |
//! | both | `error` |
//! | among ourselves | `certificate` |

#![warn(missing_docs)]

pub mod authenticate;
pub mod authenticator;
pub mod certificate;
pub mod decide;
pub mod error;
pub mod keys;
pub mod mint;
pub mod network;
pub mod principal;
pub mod secret;
pub mod sign;
pub mod token_source;
