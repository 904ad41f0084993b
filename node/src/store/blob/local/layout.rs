//! Which name stands for what, and back. Only parsed digests and ids become paths, so no path leaves the directory.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use wire::digest::{Algorithm, Digest};

use crate::store::blob::StageName;

/// The directories of a store.
#[derive(Debug)]
pub(super) struct Layout(PathBuf);

/// The directories of stages.
pub(super) const STAGES: [&str; 3] = ["fill", "upload", "scratch"];

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// `blobs/sha256`
    pub(super) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.0.join("blobs").join(algorithm.as_str())
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let prefix = &digest.hex()[..2];
        self.blobs(digest.algorithm())
            .join(prefix)
            .join(digest.hex())
    }

    pub(super) fn quarantined(&self, digest: &Digest) -> PathBuf {
        self.0.join("quarantine").join(file_name(digest))
    }

    pub(super) fn stages(&self, kind: &str) -> PathBuf {
        self.0.join("stage").join(kind)
    }

    pub(super) fn stage(&self, name: &StageName) -> PathBuf {
        match name {
            StageName::Fill(digest) => self.stages(STAGES[0]).join(file_name(digest)),
            StageName::Upload(id) => self.stages(STAGES[1]).join(id.to_string()),
            StageName::Scratch(id) => self.stages(STAGES[2]).join(id.to_string()),
        }
    }
}

/// The stage that a file in `stage/KIND` is; `None` for what is not ours.
pub(super) fn stage_name(kind: &str, file: &str) -> Option<StageName> {
    match kind {
        "fill" => {
            let (algorithm, hex) = file.split_once('-')?;
            let digest = format!("{algorithm}:{hex}").parse().ok()?;
            Some(StageName::Fill(digest))
        }
        "upload" => Uuid::try_parse(file).ok().map(StageName::Upload),
        "scratch" => Uuid::try_parse(file).ok().map(StageName::Scratch),
        _ => None,
    }
}

/// The content that a file in `blobs/ALGORITHM/PREFIX` is; `None` for what is not ours.
pub(super) fn blob_name(algorithm: Algorithm, prefix: &str, file: &str) -> Option<Digest> {
    let digest: Digest = format!("{}:{file}", algorithm.as_str()).parse().ok()?;
    file.starts_with(prefix).then_some(digest)
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_stand_for() {
        let layout = Layout::new(PathBuf::from("/d"));
        let digest = Digest::sha256(b"a");
        for name in [
            StageName::Fill(Digest::of(Algorithm::Sha512, b"a")),
            StageName::Fill(digest.clone()),
            StageName::Upload(Uuid::now_v7()),
            StageName::Scratch(Uuid::now_v7()),
        ] {
            let path = layout.stage(&name);
            let file = path.file_name().unwrap().to_str().unwrap();
            let kind = path.parent().unwrap().file_name().unwrap();
            assert_eq!(stage_name(kind.to_str().unwrap(), file), Some(name));
        }
        let hex = digest.hex();
        assert_eq!(
            blob_name(Algorithm::Sha256, &hex[..2], hex),
            Some(digest.clone())
        );
        assert_eq!(blob_name(Algorithm::Sha256, "zz", hex), None);
        assert_eq!(blob_name(Algorithm::Sha512, &hex[..2], hex), None);
        assert_eq!(stage_name("upload", "../x"), None);
        assert_eq!(stage_name("other", hex), None);
    }
}
