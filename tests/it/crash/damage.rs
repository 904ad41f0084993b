//! T14: what a node makes of a directory whose metadata were cut, zeroed, deleted or swapped for older ones.
//!
//! It may start from what is left or refuse with a clear line; the contents are never touched by it, and what upstreams still
//! have is pulled again without a word to anybody.

use std::fs::{self, OpenOptions};
use std::path::Path;

use tests::lab::HUB;
use tests::{Image, Lab};

use crate::PROGRAM;

type Damage = (&'static str, fn(&Path));

/// What may happen to a store's folder, `old` beside it being an earlier state of the metadata.
const DAMAGES: [Damage; 18] = [
    ("the database lacks 1 byte", |store| {
        cut(&store.join("metadata.db"), 1)
    }),
    ("the database lacks 17 bytes", |store| {
        cut(&store.join("metadata.db"), 17)
    }),
    ("the database lacks 64 bytes", |store| {
        cut(&store.join("metadata.db"), 64)
    }),
    ("the database is zeroes", |store| {
        zero(&store.join("metadata.db"), 0)
    }),
    ("the database is zeroes behind its header", |store| {
        zero(&store.join("metadata.db"), 4096)
    }),
    ("the database is empty", |store| {
        write(&store.join("metadata.db"), b"")
    }),
    ("the database is text", |store| {
        write(&store.join("metadata.db"), b"<html>no database</html>")
    }),
    ("the database is deleted", |store| {
        delete(&store.join("metadata.db"))
    }),
    ("the log lacks 1 byte", |store| {
        cut(&store.join("metadata.db-wal"), 1)
    }),
    ("the log lacks 64 bytes", |store| {
        cut(&store.join("metadata.db-wal"), 64)
    }),
    ("the log is zeroes", |store| {
        zero(&store.join("metadata.db-wal"), 0)
    }),
    ("the log is deleted", |store| {
        delete(&store.join("metadata.db-wal"))
    }),
    ("database and log are deleted", |store| {
        for name in ["metadata.db", "metadata.db-wal", "metadata.db-shm"] {
            delete(&store.join(name));
        }
    }),
    ("the database is an older copy", |store| {
        for name in ["metadata.db", "metadata.db-wal"] {
            let _ = fs::copy(store.join("../old").join(name), store.join(name));
        }
        delete(&store.join("metadata.db-shm"));
    }),
    ("the format is empty", |store| {
        write(&store.join("format"), b"")
    }),
    ("the format is deleted", |store| {
        delete(&store.join("format"))
    }),
    ("the keys are cut", |store| {
        cut(&store.join("token-keys.json"), 7)
    }),
    ("the keys are deleted", |store| {
        delete(&store.join("token-keys.json"))
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_metadata_cost_no_content_and_no_pull() {
    let lab = Lab::new(PROGRAM).await;
    let (first, second) = (Image::single(41).build(), Image::multi(42).build());
    lab.origin.put("team/app", "1", &first);
    lab.origin.put("team/app", "2", &second);
    prepare(&lab).await;
    let good = lab.dir().join("good");
    copy_tree(lab.data(), &good);
    let contents = lab.contents();
    let mut refusals = Vec::new();
    for (what, damage) in DAMAGES {
        fs::remove_dir_all(lab.data()).unwrap();
        copy_tree(&good, lab.data());
        damage(&lab.store());
        match lab.start().await {
            Ok(node) => {
                let client = node.client(HUB);
                for (tag, image) in [("1", &first), ("2", &second)] {
                    let pulled = client.pull("up/team/app", tag, "amd64").await;
                    let pulled = pulled.unwrap_or_else(|error| panic!("{what}: {error:#}"));
                    assert_eq!(pulled.digest, image.digest, "{what}");
                }
                node.kill().await;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(
                    text.starts_with("ended with exit status: 1"),
                    "{what}: {text}"
                );
                assert!(!text.contains("panicked"), "{what}: {text}");
                refusals.push((what, text));
            }
        }
        let left = lab.contents();
        for (digest, size) in &contents {
            assert_eq!(left.get(digest), Some(size), "{what}: {digest}");
        }
    }
    // A lost key is the one thing that a node must not make up for by itself; a cache's metadata it can.
    let refused: Vec<&str> = refusals.iter().map(|(what, _)| *what).collect();
    assert!(
        refused.iter().all(|what| *what == "the keys are cut"),
        "{refusals:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_newer_release_is_refused_untouched() {
    let lab = Lab::new(PROGRAM).await;
    lab.origin.put("team/app", "1", &Image::single(43).build());
    prepare(&lab).await;
    write(&lab.store().join("format"), b"999\n");
    let before = lab.contents();
    let Err(refused) = lab.start().await else {
        panic!("started on format 999")
    };
    let text = refused.to_string();
    assert!(
        text.contains("format 999") && text.contains("newer release"),
        "{text}"
    );
    assert_eq!(lab.contents(), before);
}

/// A store with two pulled images, an older copy of its metadata beside it, and a process killed so that the log is not empty.
async fn prepare(lab: &Lab) {
    for tag in ["1", "2"] {
        let node = lab.start().await.unwrap();
        let client = node.client(HUB);
        if client.pull("up/team/app", tag, "amd64").await.is_ok() {
            node.copied(HUB).await;
        }
        node.kill().await;
        let old = lab.data().join("old");
        if tag == "1" {
            fs::create_dir_all(&old).unwrap();
            for name in ["metadata.db", "metadata.db-wal"] {
                fs::copy(lab.store().join(name), old.join(name)).unwrap();
            }
        }
    }
    assert!(lab.store().join("metadata.db-wal").exists());
}

fn cut(file: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - bytes).unwrap();
}

/// Zeroes from an offset to the end.
fn zero(file: &Path, from: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[from..].fill(0);
    fs::write(file, bytes).unwrap();
}

fn write(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
}

fn delete(file: &Path) {
    let _ = fs::remove_file(file);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
