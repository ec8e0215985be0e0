//! Tables in buckets: listings as if there were folders, publishing by copy, and parquet files read by column.
//!
//! Invariants
//! - O1 a key that ends in `/`, as some tools make for folders, and an object without bytes are no files.
//! - O2 an object is published by a copy within the server, which appears whole; then the hidden one goes.

use super::store::{FILES_MAX, Found, is_hidden};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use thalweg_engine::checkpoint::objects::Listed;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::s3::Bucket;

/// What every key in a folder begins with.
pub(super) fn prefix(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

/// All files in and under a folder that are not hidden, by path; the key may also be a file's, or a pattern.
pub(super) fn find(bucket: &Bucket, key: &str) -> Result<Vec<Found>> {
    if key.contains(['*', '?', '[']) {
        return by_pattern(bucket, key);
    }
    let mut listed = bucket.list(&prefix(key))?;
    let base = if listed.is_empty() {
        // A file stands in a folder too.
        listed = bucket.list(key)?;
        listed.retain(|l| l.name == key);
        key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
    } else {
        key.to_owned()
    };
    if listed.is_empty() {
        let text = format!("folder `{}` does not exist; correct `path`", bucket.url(key));
        return Err(Error::user(text));
    }
    let base = prefix(&base);
    let relative = |l: &Listed| Some(l.name.strip_prefix(&base)?.to_owned());
    collect(bucket, listed, relative)
}

fn collect(bucket: &Bucket, listed: Vec<Listed>, relative: impl Fn(&Listed) -> Option<String>) -> Result<Vec<Found>> {
    let mut out = vec![];
    for object in listed.into_iter().filter(|l| l.bytes > 0) {
        let Some(relative) = relative(&object) else { continue };
        if relative.split('/').any(is_hidden) {
            continue;
        }
        let path = PathBuf::from(bucket.url(&object.name));
        out.push(Found { path, relative, bytes: object.bytes, modified_ms: object.modified_ms });
    }
    if out.len() > FILES_MAX {
        return Err(Error::user(format!("bucket `{}`: more than {FILES_MAX} files", bucket.name())));
    }
    Ok(out)
}

/// Files that match, and those in and under folders that match.
fn by_pattern(bucket: &Bucket, pattern: &str) -> Result<Vec<Found>> {
    let url = bucket.url(pattern);
    let bad = |e: glob::PatternError| Error::user(format!("option `path`: '{url}' is no pattern: {e}"));
    let compiled = glob::Pattern::new(pattern).map_err(bad)?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let literal = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
    let begin = prefix(folder);
    let mut listed = bucket.list(&begin)?;
    listed.retain(|l| {
        let ends = l.name.match_indices('/').map(|(at, _)| at).chain([l.name.len()]);
        let inside = l.name.strip_prefix(&begin).is_some_and(|rest| !rest.split('/').any(is_hidden));
        inside && ends.into_iter().any(|end| l.name.get(..end).is_some_and(|n| compiled.matches_with(n, options)))
    });
    // The whole path, so that partitions above the match count, and names of several folders do not meet.
    let found = collect(bucket, listed, |l| Some(l.name.clone()))?;
    if found.is_empty() {
        return Err(Error::user(format!("no file matches `{url}`; correct `path`")));
    }
    Ok(found)
}

/// All folders so deep, relative, hidden ones aside.
pub(super) fn folders(bucket: &Bucket, root: &str, depth: usize) -> Result<Vec<String>> {
    let begin = prefix(root);
    let mut out = BTreeSet::new();
    for object in bucket.list(&begin)? {
        let parts: Vec<&str> = object.name.strip_prefix(&begin).into_iter().flat_map(|n| n.split('/')).collect();
        let folders = parts.get(..depth).filter(|f| parts.len() > depth && !f.iter().any(|name| is_hidden(name)));
        out.extend(folders.map(|f| f.join("/")));
    }
    Ok(out.into_iter().collect())
}

/// The hidden files under a folder whose name starts so.
pub(super) fn hidden(bucket: &Bucket, root: &str, start: &str) -> Result<Vec<PathBuf>> {
    let begin = prefix(root);
    let mut listed = bucket.list(&begin)?;
    listed.retain(|l| {
        let relative = l.name.strip_prefix(&begin).unwrap_or_default();
        let (folder, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        name.starts_with(start) && !folder.split('/').any(is_hidden)
    });
    Ok(listed.into_iter().map(|l| PathBuf::from(bucket.url(&l.name))).collect())
}

/// Shows a hidden file under its name. Idempotent: done before is done.
pub(super) fn publish(bucket: &Bucket, hidden: &str, name: &str) -> Result<()> {
    if bucket.size(name)?.is_none() && !bucket.copy(hidden, name)? && bucket.size(name)?.is_none() {
        let text = format!("publish `{}`: neither it nor `{}` exists", bucket.url(name), bucket.url(hidden));
        return Err(Error::external(text).with_retry(false));
    }
    bucket.delete(hidden)
}

/// A parquet file.
#[derive(Clone)]
pub(super) enum Chunks {
    File(Arc<File>),
    Object(Arc<Object>),
}

/// An object, read by whole column chunks: one request each, instead of one for each page.
pub(super) struct Object {
    bucket: Bucket,
    key: String,
    bytes: u64,
    /// What will be read, by row group; known once the metadata is read.
    groups: OnceLock<Vec<Vec<Range<u64>>>>,
    loaded: Mutex<Loaded>,
}

/// What was read of the row group that is being read.
#[derive(Default)]
struct Loaded {
    group: usize,
    chunks: Vec<(Range<u64>, Bytes)>,
}

impl Chunks {
    pub(super) fn object(bucket: Bucket, key: String, bytes: u64) -> Chunks {
        let (groups, loaded) = (OnceLock::new(), Mutex::default());
        Chunks::Object(Arc::new(Object { bucket, key, bytes, groups, loaded }))
    }

    /// Says which byte ranges will be read, by row group.
    pub(super) fn plan(&self, groups: Vec<Vec<Range<u64>>>) {
        if let Chunks::Object(object) = self {
            let _ = object.groups.set(groups);
        }
    }
}

impl Object {
    fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let url = || self.bucket.url(&self.key);
        let changed = || Error::user(format!("`{}` has changed since the job started", url()));
        let piece = self.bucket.range(&self.key, range.clone())?.ok_or_else(changed)?;
        if piece.of != self.bytes || piece.bytes.len() as u64 != range.end - range.start {
            return Err(changed());
        }
        Ok(piece.bytes.into())
    }

    /// The bytes from a place on: to the end of the column chunk that it is in, else `least`.
    fn from(&self, at: u64, least: u64) -> Result<Bytes> {
        let groups = self.groups.get().into_iter().flatten().enumerate();
        let mut ranges = groups.flat_map(|(g, ranges)| ranges.iter().map(move |r| (g, r)));
        let Some((group, range)) = ranges.find(|(_, r)| r.contains(&at) && at + least <= r.end) else {
            return self.fetch(at..self.bytes.min(at + least));
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.group != group {
            *loaded = Loaded { group, chunks: vec![] };
        }
        let skip = usize::try_from(at - range.start).unwrap_or(usize::MAX);
        if let Some((_, bytes)) = loaded.chunks.iter().find(|(r, _)| r == range) {
            return Ok(bytes.slice(skip..));
        }
        let bytes = self.fetch(range.clone())?;
        loaded.chunks.push((range.clone(), bytes.clone()));
        Ok(bytes.slice(skip..))
    }
}

/// Bytes asked for at once where it is not known how many are wanted.
const READ_BYTES: u64 = 64 * 1024;

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Chunks::File(file) => Length::len(&**file),
            Chunks::Object(object) => object.bytes,
        }
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Box<dyn Read>> {
        match self {
            Chunks::File(file) => Ok(Box::new(file.get_read(start)?)),
            Chunks::Object(object) => {
                let first = object.from(start, 1).map_err(failed)?;
                let rest = Rest { object: object.clone(), at: start + first.len() as u64 };
                Ok(Box::new(std::io::Cursor::new(first).chain(rest)))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Chunks::File(file) => file.get_bytes(start, length),
            Chunks::Object(object) => {
                let mut bytes = object.from(start, length as u64).map_err(failed)?;
                bytes.truncate(length);
                Ok(bytes)
            }
        }
    }
}

/// What comes behind a column chunk.
struct Rest {
    object: Arc<Object>,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let end = self.object.bytes.min(self.at + READ_BYTES.min(into.len() as u64));
        if self.at >= end {
            return Ok(0);
        }
        let bytes = self.object.fetch(self.at..end).map_err(std::io::Error::other)?;
        let count = bytes.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count as u64;
        Ok(count)
    }
}

fn failed(e: Error) -> ParquetError {
    ParquetError::External(Box::new(e))
}
