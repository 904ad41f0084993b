//! `regmesh verify DATA_DIR`: is everything that is stored what it says, and is everything that is referred to there?
//!
//! Reads only, and may run beside a node. A content without a record is no damage: the node adopts it. A child of an index that the
//! repository does not link is none either, because an index may be copied for some platforms alone.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use runtime::file::Files;
use serde::Serialize;
use wire::digest::{Digest, Hasher};

use super::{
    Error,
    blob::{ReadAt, local},
    metadata::{
        ChildKind,
        sqlite::{Complete, Inspection},
    },
    recover::{FORMAT_FILE, METADATA},
};

/// Beyond this many problems of one store, the rest is left out.
const MOST: usize = 10_000;
const PAGE: usize = 1_000;
const CHUNK: usize = 1 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Contents read and hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Links of repositories to contents.
    pub links: u64,
    /// Tags.
    pub tags: u64,
    /// What is wrong, one line each; none when all is well.
    pub problems: Vec<String>,
}

/// Verifies the store in `path`, or every store in a directory of them (to two levels). Blocks, as long as reading everything
/// takes. An error when there is no store or it cannot be read at all.
pub fn verify(path: &Path, files: &dyn Files) -> Result<Report, Error> {
    let stores = find(path, files, 2)?;
    if stores.is_empty() {
        let text = format!("there is no store in {}", path.display());
        return Err(Error::failed(text));
    }
    let mut report = Report::default();
    for store in stores {
        let name = store.strip_prefix(path).unwrap_or(&store).display();
        let one = verify_one(&store, files)?;
        report.blobs += one.blobs;
        report.bytes += one.bytes;
        report.links += one.links;
        report.tags += one.tags;
        let problems = one
            .problems
            .into_iter()
            .map(|problem| match &name.to_string() {
                name if name.is_empty() => problem,
                name => format!("{name}: {problem}"),
            });
        report.problems.extend(problems);
    }
    Ok(report)
}

fn find(path: &Path, files: &dyn Files, depth: u32) -> Result<Vec<PathBuf>, Error> {
    let is_store =
        files.len(&path.join(METADATA))?.is_some() || files.len(&path.join(FORMAT_FILE))?.is_some();
    if is_store {
        return Ok(vec![path.to_owned()]);
    }
    let mut stores = Vec::new();
    let mut entries = files.read_dir(path)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    if depth > 0 {
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            stores.extend(find(&path.join(entry.name), files, depth - 1)?);
        }
    }
    Ok(stores)
}

fn verify_one(path: &Path, files: &dyn Files) -> Result<Report, Error> {
    let mut report = Report::default();
    // The records first: what is stored while this runs is then found to have more contents than records, which is no damage.
    let records = Inspection::open(&path.join(METADATA)).and_then(|it| Records::read(&it));
    let found = hash_all(path, files, &mut report)?;
    match records {
        Ok(records) => records.compare(&found, &mut report),
        // The very first start was interrupted: the format is written after the metadata were made, and contents come later.
        Err(_) if found.is_empty() && files.len(&path.join(FORMAT_FILE))?.is_none() => {}
        Err(error) => report.add(format!("the metadata cannot be read: {error}")),
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, problem: String) {
        match self.problems.len() {
            count if count < MOST => self.problems.push(problem),
            MOST => self
                .problems
                .push("there are more problems than these".to_owned()),
            _ => {}
        }
    }
}

/// Reads and hashes every content; their sizes.
fn hash_all(
    path: &Path,
    files: &dyn Files,
    report: &mut Report,
) -> Result<HashMap<Digest, u64>, Error> {
    let mut found = HashMap::new();
    let mut after: Option<Digest> = None;
    loop {
        let page = local::page(path, files, after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (digest, _) in page {
            match hash(path, files, &digest) {
                Ok(Some((computed, size))) => {
                    report.blobs += 1;
                    report.bytes += size;
                    if computed != digest {
                        report.add(format!(
                            "content {digest}: its {size} bytes hash to {computed}"
                        ));
                    }
                    found.insert(digest, size);
                }
                // Deleted since it was listed.
                Ok(None) => {}
                Err(error) => report.add(format!("content {digest} cannot be read: {error}")),
            }
        }
    }
    Ok(found)
}

fn hash(path: &Path, files: &dyn Files, digest: &Digest) -> Result<Option<(Digest, u64)>, Error> {
    let Some(file) = local::reader(path, files, digest)? else {
        return Ok(None);
    };
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read_at(&mut buffer, hasher.length())? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let size = hasher.length();
    Ok(Some((hasher.finish(), size)))
}

/// Everything of the metadata that is compared.
struct Records {
    blobs: Vec<(Digest, u64)>,
    complete: Vec<Complete>,
    links: HashMap<String, HashSet<Digest>>,
    problems: Vec<String>,
    link_count: u64,
    tag_count: u64,
}

impl Records {
    fn read(it: &Inspection) -> Result<Self, Error> {
        let mut problems = it.structure()?;
        let links = it.loose_links()?;
        problems.extend(
            links
                .iter()
                .map(|link| format!("link {link} has no content")),
        );
        let unknown = it.unknown_manifests()?;
        problems.extend(
            unknown
                .iter()
                .map(|link| format!("manifest {link} is not described")),
        );
        let tags = it.loose_tags()?;
        problems.extend(tags.iter().map(|tag| format!("tag {tag} is not linked")));
        let totals = it.totals()?;
        let mut links: HashMap<String, HashSet<Digest>> = HashMap::new();
        let mut link_count = 0;
        for (repository, digest) in it.links()? {
            link_count += 1;
            links.entry(repository).or_default().insert(digest);
        }
        Ok(Self {
            blobs: it.blobs()?,
            complete: it.complete()?,
            links,
            problems,
            link_count,
            tag_count: totals.tags,
        })
    }

    fn compare(self, found: &HashMap<Digest, u64>, report: &mut Report) {
        report.links = self.link_count;
        report.tags = self.tag_count;
        for (digest, size) in &self.blobs {
            match found.get(digest) {
                None => report.add(format!("content {digest} is missing")),
                Some(stored) if stored != size => {
                    report.add(format!(
                        "content {digest} has {stored} bytes instead of {size}"
                    ));
                }
                Some(_) => {}
            }
        }
        for manifest in &self.complete {
            let linked = self.links.get(&manifest.repository);
            let missing = manifest.children.iter().filter(|child| {
                let needed = child.kind != ChildKind::Manifest && !child.foreign;
                let excused = manifest.missing.contains(&child.digest);
                let there = linked.is_some_and(|linked| linked.contains(&child.digest));
                needed && !excused && !there
            });
            for child in missing {
                let Complete {
                    repository, digest, ..
                } = manifest;
                let child = &child.digest;
                report.add(format!(
                    "manifest {repository}@{digest} is complete without {child}"
                ));
            }
        }
        for problem in self.problems {
            report.add(problem);
        }
    }
}

#[cfg(test)]
mod tests;
