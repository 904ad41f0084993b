//! The workspace's own sources as something to be checked: which crate and module leans on which, and which words stand where.
//!
//! A [`Tree`] is read from disk once; the checks are pure and answer with every violation, so that each is itself tested against
//! small fake trees. Comments, literals and `#[cfg(test)]` modules are no code here.

use std::fs;
use std::path::{Path, PathBuf};

mod arrow;
mod code;
mod layer;
mod word;

pub use arrow::{ARROWS, arrows};
pub use layer::layers;
pub use word::{docs, no_mod_files, words};

/// The crates of a workspace, as far as they are ours.
#[derive(Debug, Default)]
pub struct Tree {
    pub crates: Vec<Crate>,
}

#[derive(Debug)]
pub struct Crate {
    /// Folder and package.
    pub name: String,
    /// `Cargo.toml` as text.
    pub cargo: String,
    pub files: Vec<File>,
}

#[derive(Debug)]
pub struct File {
    /// From the workspace's root: `wire/src/name.rs`.
    pub path: String,
    pub text: String,
}

impl Tree {
    /// Reads the workspace at `root`: every folder with a `Cargo.toml` in it, and their `.rs` files.
    pub fn read(root: &Path) -> std::io::Result<Self> {
        let mut crates = Vec::new();
        for entry in fs::read_dir(root)? {
            let dir = entry?.path();
            let Ok(cargo) = fs::read_to_string(dir.join("Cargo.toml")) else {
                continue;
            };
            let name = dir.file_name().expect("a folder has a name");
            let name = name.to_string_lossy().into_owned();
            let mut files = Vec::new();
            collect(root, &dir, &mut files)?;
            crates.push(Crate { name, cargo, files });
        }
        crates.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { crates })
    }

    /// This workspace.
    pub fn workspace() -> Self {
        Self::read(&root()).expect("the tests run in their workspace")
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.crates.iter().flat_map(|each| &each.files)
    }
}

/// The root of this workspace.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("this package is in a workspace")
        .to_owned()
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<File>) -> std::io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|e| Ok(e?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != "node_modules" {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root).expect("below the root");
            files.push(File {
                path: shown.to_string_lossy().into_owned(),
                text: fs::read_to_string(&path)?,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn fake(name: &str, cargo: &str, files: &[(&str, &str)]) -> Crate {
    let file = |(path, text): &(&str, &str)| File {
        path: format!("{name}/{path}"),
        text: (*text).to_owned(),
    };
    Crate {
        name: name.to_owned(),
        cargo: cargo.to_owned(),
        files: files.iter().map(file).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_with_everything_below_and_nothing_built() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["one/src/deep", "one/target/debug", "other"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("one/Cargo.toml"), "[package]").unwrap();
        for path in [
            "one/src/lib.rs",
            "one/src/deep/a.rs",
            "one/target/debug/x.rs",
            "other/b.rs",
        ] {
            fs::write(dir.path().join(path), "//! x").unwrap();
        }
        let tree = Tree::read(dir.path()).unwrap();
        let paths: Vec<&str> = tree.files().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["one/src/deep/a.rs", "one/src/lib.rs"]);
    }
}
