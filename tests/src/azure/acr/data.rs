//! The data endpoint: blobs for whoever has the signed address, and for nobody who shows more than that.

use std::sync::Arc;

use crate::origin::{self, Shelf};
use crate::server::{Answer, Request, Serve};

pub(super) struct Data(pub(super) Arc<Shelf>);

impl Serve for Data {
    fn answer(&self, request: &Request) -> Answer {
        // "Authentication information is not given in the correct format."
        if request.header("authorization").is_some() {
            return Answer::new(400, "<Error><Code>InvalidAuthenticationInfo</Code></Error>");
        }
        if request.params("sig") != ["presigned"] {
            return Answer::new(403, "<Error><Code>AuthenticationFailed</Code></Error>");
        }
        origin::honest(&self.0, request)
    }
}
