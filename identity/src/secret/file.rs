//! Secrets in files, as Kubernetes, systemd and compose mount them: a symbolic link that moves is just another content.

use std::path::Path;

use runtime::Secret;
use tokio::io::AsyncReadExt;

use super::MAX_BYTES;

pub(super) async fn read(path: &Path) -> Result<Secret, String> {
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| error.kind().to_string())?;
    let mut bytes = Vec::new();
    // Room for a line end, so that a secret of exactly the limit is one.
    let limit = MAX_BYTES as u64 + 3;
    let read = file.take(limit).read_to_end(&mut bytes).await;
    read.map_err(|error| error.kind().to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    super::checked(text)
}
