//! What every source promises; each implementation's tests run it while its source can be asked.

use super::{Proof, TokenSource};

/// Panics where a promise is broken.
pub async fn check(source: &dyn TokenSource) {
    let first = source.proof().await.expect("the source can be asked");
    let second = source.proof().await.expect("and asked again");
    assert_eq!(
        first.version, second.version,
        "an unchanged proof is one version"
    );
    assert!(!source.kind().is_empty(), "a kind has a name");
    if let Proof::Password { password, .. } = &first.proof {
        let shown = format!("{first:?}");
        assert!(
            !shown.contains(password.expose()),
            "a proof prints without its secret"
        );
    }
}
