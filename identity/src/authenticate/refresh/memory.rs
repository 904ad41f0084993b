//! Refresh tokens in memory, for tests.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{BoxError, RefreshStore, WallTime, Whose, async_trait};

/// Refresh tokens in memory, for tests.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<[u8; 32], Vec<u8>>>);

impl Memory {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[async_trait]
impl RefreshStore for Memory {
    async fn put(
        &self,
        hash: [u8; 32],
        record: Vec<u8>,
        _expires: WallTime,
        _whose: Whose,
    ) -> Result<(), BoxError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(hash, record);
        Ok(())
    }

    async fn get(&self, hash: [u8; 32]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&hash)
            .cloned())
    }

    async fn delete(&self, hash: [u8; 32]) -> Result<(), BoxError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&hash);
        Ok(())
    }
}
