//! Secrets that can be recognised: every credential of every test is one, and every output is searched for them (I6, T53).
//!
//! A search looks for the plain text and for what a careless program makes of it: base64, also as part of `user:password`, and
//! percent encoding leave the distinctive middle or are searched for on their own.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The mark that every canary carries, whatever else is in it.
pub const MARK: &str = "canary";

/// A password for `name` that nothing else contains.
pub fn secret(name: &str) -> String {
    format!("{MARK}-{name}-5ecre7")
}

/// Where one of `secrets` stands in `text`: each hit with its surroundings.
pub fn find(text: &[u8], secrets: &[&str]) -> Vec<String> {
    let mut hits = Vec::new();
    for needle in secrets.iter().flat_map(|secret| disguises(secret)) {
        if let Some(at) = position(text, &needle) {
            let around = &text[at.saturating_sub(60)..text.len().min(at + needle.len() + 20)];
            hits.push(String::from_utf8_lossy(around).into_owned());
        }
    }
    hits
}

/// Panics when `text`, which is called `what`, contains one of the secrets.
pub fn assert_absent(what: &str, text: impl AsRef<[u8]>, secrets: &[&str]) {
    let hits = find(text.as_ref(), secrets);
    assert!(hits.is_empty(), "a secret in {what}: {hits:#?}");
}

/// Panics when a file below `dir` contains one of the secrets, its name included. `except` are files that may.
pub fn assert_absent_below(dir: &Path, secrets: &[&str], except: &[&Path]) {
    for file in files_below(dir) {
        if except.contains(&file.as_path()) {
            continue;
        }
        assert_absent(
            &file.display().to_string(),
            file.as_os_str().as_encoded_bytes(),
            secrets,
        );
        if let Ok(bytes) = fs::read(&file) {
            assert_absent(&file.display().to_string(), bytes, secrets);
        }
    }
}

/// Every file below `dir`, symbolic links left alone.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// The secret itself, and its base64 at each of the three alignments without the characters that its neighbours decide.
fn disguises(secret: &str) -> Vec<Vec<u8>> {
    let aligned = (0..3).map(|shift| {
        let padded = [&b"\0\0"[..shift], secret.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded[..padded.len() / 3 * 3]);
        encoded.as_bytes()[if shift == 0 { 0 } else { 4 }..].to_vec()
    });
    std::iter::once(secret.as_bytes().to_vec())
        .chain(aligned)
        .collect()
}

fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_plain_and_in_base64_at_any_place() {
        let secret = secret("hub");
        for user in ["a", "ab", "abc", "abcd"] {
            let basic = STANDARD_NO_PAD.encode(format!("{user}:{secret}"));
            assert!(!find(basic.as_bytes(), &[&secret]).is_empty(), "{basic}");
        }
        assert_eq!(find(format!("x{secret}y").as_bytes(), &[&secret]).len(), 1);
        assert!(find(b"canary-other", &[&secret]).is_empty());
    }

    #[test]
    #[should_panic(expected = "a secret in")]
    fn a_secret_in_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/log"), "password=canary-x-5ecre7").unwrap();
        assert_absent_below(dir.path(), &["other"], &[]);
        assert_absent_below(dir.path(), &["canary-x-5ecre7"], &[]);
    }
}
