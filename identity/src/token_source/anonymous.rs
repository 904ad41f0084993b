//! A rule that calls as nobody; its registry may still want it to fetch an anonymous token.

use async_trait::async_trait;

use super::{Error, Presented, Proof, TokenSource};

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl TokenSource for Anonymous {
    fn kind(&self) -> &'static str {
        "anonymous"
    }

    async fn proof(&self) -> Result<Presented, Error> {
        Ok(Presented {
            proof: Proof::None,
            version: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_conforms() {
        super::super::conformance::check(&super::Anonymous).await;
    }
}
