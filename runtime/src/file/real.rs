//! The disk itself, by `std` and one system call of `rustix`.
//!
//! New files are readable and writable by their owner alone (0600, directories 0700): what is stored may be private content. No
//! caching, no retries; `EINTR` is handled by `std`.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Entry, FileHandle, Files, Space};

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Files for Real {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        boxed(options.open(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        boxed(File::open(path))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn FileHandle>> {
        boxed(OpenOptions::new().read(true).write(true).open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        match DirBuilder::new().mode(0o700).create(path) {
            // Somebody else was faster; that its name is durable is as much our promise as theirs.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            result => result?,
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let here = path.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { path })?.sync_all()
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => entries.push(describe(name, &metadata)),
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            inodes_total: stat.f_files,
            inodes_free: stat.f_favail,
        })
    }
}

impl FileHandle for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset.saturating_add(filled as u64);
            match FileExt::read_at(self, &mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

fn boxed(file: io::Result<File>) -> io::Result<Box<dyn FileHandle>> {
    Ok(Box::new(file?))
}

fn describe(name: String, metadata: &Metadata) -> Entry {
    let nanos_as_ms = metadata.mtime_nsec() / 1_000_000;
    Entry {
        name,
        is_dir: metadata.is_dir(),
        len: metadata.len(),
        modified_ms: metadata
            .mtime()
            .saturating_mul(1_000)
            .saturating_add(nanos_as_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_under_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a/b/spool"), dir.path().join("a/b/blob"));
        Real.create_dir_all(&dir.path().join("a/b")).unwrap();
        Real.create_dir_all(&dir.path().join("a/b")).unwrap();
        let file = Real.create_new(&from).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_all_at(b"world", 6).unwrap();
        file.write_all_at(b"hello ", 0).unwrap();
        file.sync().unwrap();
        Real.rename(&from, &to).unwrap();
        Real.sync_dir(&dir.path().join("a/b")).unwrap();

        let again = Real.open(&to).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(again.read_at(&mut buffer, 0).unwrap(), 11);
        assert_eq!(&buffer[..11], b"hello world");
        assert_eq!(again.read_at(&mut buffer, 11).unwrap(), 0);
        assert!(
            again.write_all_at(b"x", 0).is_err(),
            "opened for reading only"
        );
        Real.open_rw(&to).unwrap().set_len(5).unwrap();
        assert_eq!(Real.len(&to).unwrap(), Some(5));
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let file = Real.create_new(&path).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        Real.remove(&path).unwrap();
        assert_eq!(Real.len(&path).unwrap(), None);
        assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 1);
    }

    #[test]
    fn an_existing_file_is_never_created_over_and_a_missing_one_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let missing = Real.open(&path).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            Real.open_rw(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        Real.create_new(&path).unwrap();
        assert_eq!(
            Real.create_new(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_listing_tells_files_from_directories_and_room_is_known() {
        let dir = tempfile::tempdir().unwrap();
        Real.create_dir_all(&dir.path().join("sub")).unwrap();
        let file = Real.create_new(&dir.path().join("file")).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        let mut entries = Real.read_dir(dir.path()).unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(
            (entries[0].name.as_str(), entries[0].is_dir, entries[0].len),
            ("file", false, 3)
        );
        assert_eq!((entries[1].name.as_str(), entries[1].is_dir), ("sub", true));
        assert!(entries[0].modified_ms > 1_700_000_000_000);
        let space = Real.space(dir.path()).unwrap();
        assert!(space.free > 0 && space.free <= space.total);
    }
}
