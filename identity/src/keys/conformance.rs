//! What every source of keys promises.

use std::sync::Arc;

use super::{KeySet, KeySource};

/// A source that publishes `first`, and after `rotate` something else. `rotate` also lets as much time pass as lies between two
/// questions.
///
/// # Panics
/// When the source breaks a promise.
pub async fn suite(source: &dyn KeySource, first: &KeySet, rotate: impl FnOnce()) {
    let known = source.keys().await.expect("it publishes keys");
    assert_eq!(*known, *first);
    let again = source.keys().await.expect("they are known");
    assert!(Arc::ptr_eq(&known, &again), "nothing changed");
    rotate();
    let newer = source.newer(&known).await.expect("it can be asked");
    assert_ne!(*newer, *known, "a new key is found");
    let late = source.newer(&known).await.expect("it is known");
    assert!(Arc::ptr_eq(&newer, &late), "who comes later gets the same");
    let none = source.newer(&newer).await.expect("it can be asked");
    assert_eq!(*none, *newer, "there is no newer one");
    let last = source.keys().await.expect("they are known");
    assert_eq!(*last, *newer);
}
