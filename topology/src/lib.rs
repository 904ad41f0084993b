//! The topology document, and every rule that makes one valid. Pure: text in, values out; reads no file and no clock.
//!
//! Text -> `read` -> `document` -> `validate` -> `model`; `resolve`, `slice` and `change` work on the model.
#![warn(missing_docs)]

pub mod glob;
pub mod model;
pub mod resolve;
