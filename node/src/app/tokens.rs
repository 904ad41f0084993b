//! What identity asks of the node: secrets by reference, and a place for refresh tokens.

use std::sync::Arc;

use async_trait::async_trait;
use identity::{
    authenticate::{
        account::Resolve,
        refresh::{Record, RefreshStore},
    },
    error::BoxError,
    secret::Secrets,
};
use wire::time::WallTime;

use crate::store::{Store, metadata::Op};

/// Reads the passwords of accounts.
pub(super) fn resolve(secrets: &Secrets) -> Resolve {
    let secrets = secrets.clone();
    Arc::new(move |reference| {
        let secrets = secrets.clone();
        Box::pin(async move { secrets.read(&reference).await.map_err(Into::into) })
    })
}

/// How many sessions are kept at once; more get no refresh token.
const MAX_SESSIONS: usize = 10_000;
const PREFIX: &str = "refresh/";

/// Refresh tokens beside the metadata. What has expired is forgotten when the sessions are counted.
#[derive(Clone)]
pub(super) struct InStore(pub(super) Store);

impl std::fmt::Debug for InStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InStore")
    }
}

fn key(hash: [u8; 32]) -> String {
    format!("{PREFIX}{}", hex::encode(hash))
}

#[async_trait]
impl RefreshStore for InStore {
    async fn put(&self, hash: [u8; 32], record: Vec<u8>, _expires: WallTime) -> Result<bool, BoxError> {
        let now = self.0.now();
        let mut kept = 0;
        let mut ops = vec![Op::PutValue(key(hash), Some(record))];
        for (name, value) in self.0.metadata().values(PREFIX).await? {
            match Record::parse(&value) {
                Some(session) if session.expires > now => kept += 1,
                _ => ops.push(Op::PutValue(name, None)),
            }
        }
        if kept >= MAX_SESSIONS {
            return Ok(false);
        }
        self.0.metadata().commit(ops).await?;
        Ok(true)
    }

    async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(self.0.metadata().value(&key(hash)).await?)
    }

    async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError> {
        Ok(self.0.metadata().commit(vec![Op::PutValue(key(hash), None)]).await?)
    }
}
