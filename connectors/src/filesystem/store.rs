//! The one door to files, on the local disk or in a bucket: everything that the `filesystem` connector does with them goes through
//! here. Which it is, a path says: `s3://bucket/folder/file` stands in a bucket.
//!
//! Invariants
//! - F1 nothing is overwritten with anything else: files are created new, and published under a name that did not exist.
//! - F2 a published file is durable.
//! - F3 a file that is being written is not there, or hidden.

use super::disk;
use super::objects::{self, Chunks};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_engine::Waker;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::failpoint;
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::s3::transfer::{Incoming, Outgoing};
use thalweg_engine::s3::{self, Bucket, S3Options, Ticket};

/// The most files that one table may have; more would not fit into the enumerator's memory.
pub(super) const FILES_MAX: usize = 1_000_000;

/// A file as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Relative to the table's folder, with `/`.
    pub(super) relative: String,
    pub(super) bytes: u64,
    pub(super) modified_ms: i64,
}

/// Says which file an I/O error is about. What a retry cannot help is the user's.
pub(super) fn failure(doing: &str, path: &Path, e: &std::io::Error) -> Error {
    if let Some(known) = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return known.clone();
    }
    let text = format!("{doing} `{}`: {e}", path.display());
    match e.kind() {
        std::io::ErrorKind::NotFound
        | std::io::ErrorKind::PermissionDenied
        | std::io::ErrorKind::NotADirectory
        | std::io::ErrorKind::IsADirectory => Error::user(text),
        _ => Error::external(text),
    }
}

/// Whether files and folders of this name are no data.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Whether a path is a pattern, if there is no file of that name.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Whether a path leads into a bucket.
pub(super) fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(s3::SCHEME))
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Store {
    s3: S3Options,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Store {
    pub(super) fn new(s3: S3Options) -> Store {
        Store { s3, buckets: Mutex::default() }
    }

    /// Whether the settings allow to reach the path. Asks nobody.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        self.object(path).map(drop)
    }

    /// Bucket and key of a path that leads into one.
    fn object(&self, path: &Path) -> Result<Option<(Bucket, String)>> {
        let Some(url) = path.to_str().filter(|_| is_remote(path)) else { return Ok(None) };
        let (name, key) = s3::parse(url)?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match buckets.get(&name) {
            Some(bucket) => bucket.clone(),
            None => {
                let bucket = Bucket::open(&name, &self.s3)?;
                buckets.insert(name, bucket.clone());
                bucket
            }
        };
        Ok(Some((bucket, key)))
    }

    /// All files in and under a folder that are not hidden, by path; `path` may also be a file, or a pattern.
    pub(super) fn find(&self, path: &Path) -> Result<Vec<Found>> {
        match self.object(path)? {
            Some((bucket, key)) => objects::find(&bucket, &key),
            None => disk::find(path),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> Result<bool> {
        match self.object(path)? {
            Some((bucket, key)) => Ok(bucket.size(&key)?.is_some()),
            None => Ok(path.exists()),
        }
    }

    /// All folders under `root`, so deep, relative, hidden ones aside; empty if there is no such folder.
    pub(super) fn folders(&self, root: &Path, depth: usize) -> Result<Vec<String>> {
        match self.object(root)? {
            Some((bucket, key)) => objects::folders(&bucket, &key, depth),
            None => disk::folders(root, depth),
        }
    }

    /// Opens a file to be read from byte `at`; it has so many bytes. `wake` is called when there is more to read.
    pub(super) fn open(&self, path: &Path, at: u64, bytes: u64, wake: &Waker) -> Result<Input> {
        let Some((bucket, key)) = self.object(path)? else { return Ok(Input::File(disk::open(path, at)?)) };
        let wake = wake.clone();
        let incoming = Incoming::open(&bucket, &key, at, bytes, move || wake.wake())?;
        Ok(Input::Object(Arc::new(Mutex::new(incoming))))
    }

    /// A file of which parts are read in any order; it has so many bytes.
    pub(super) fn chunks(&self, path: &Path, bytes: u64) -> Result<Chunks> {
        Ok(match self.object(path)? {
            Some((bucket, key)) => Chunks::object(bucket, key, bytes),
            None => Chunks::File(disk::open(path, 0)?),
        })
    }

    /// All of a small file.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match self.object(path)? {
            Some((bucket, key)) => {
                bucket.get(&key)?.ok_or_else(|| Error::user(format!("read `{}`: it does not exist", path.display())))
            }
            None => disk::read(path),
        }
    }

    /// Begins a file that must not exist, with the folders above it. `wake` is called when a finished one has arrived.
    pub(super) fn create(&self, path: &Path, wake: &Waker) -> Result<Draft> {
        let Some((bucket, key)) = self.object(path)? else { return Ok(Draft::File(disk::create(path)?)) };
        let wake = wake.clone();
        Ok(Draft::Object(Box::new(Outgoing::begin(&bucket, &key, move || wake.wake())?)))
    }

    /// Makes a small file that must not exist.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        match self.object(path)? {
            Some((bucket, key)) => failpoint::step("file.close", || bucket.put(&key, bytes)),
            None => {
                let mut file = disk::create(path)?;
                file.write_all(bytes).map_err(|e| failure("write", path, &e))?;
                disk::sync(&file, path)
            }
        }
    }

    /// Whether files can be made in a folder; makes the folder.
    pub(super) fn probe(&self, folder: &Path) -> Result<()> {
        let probe = folder.join(format!(".probe-{}", std::process::id()));
        match self.object(&probe)? {
            Some((bucket, key)) => bucket.put(&key, b"").and_then(|()| bucket.delete(&key)),
            None => {
                disk::create_folder(folder)?;
                // Left over from a process of the same number that died right here.
                disk::remove(&probe).and_then(|()| disk::create(&probe))?;
                disk::remove(&probe)
            }
        }
    }

    /// Shows a hidden file under its name. Idempotent: done before is done.
    pub(super) fn publish(&self, hidden: &Path, name: &Path) -> Result<()> {
        failpoint::step("file.publish", || match (self.object(hidden)?, self.object(name)?) {
            (Some((bucket, from)), Some((_, to))) => objects::publish(&bucket, &from, &to),
            _ => disk::publish(hidden, name),
        })
    }

    /// Makes an empty file, or leaves it as it is.
    pub(super) fn touch(&self, path: &Path) -> Result<()> {
        failpoint::step("file.mark", || match self.object(path)? {
            Some((bucket, key)) if bucket.size(&key)?.is_none() => bucket.put(&key, b""),
            Some(_) => Ok(()),
            None => disk::touch(path),
        })
    }

    /// Removes a file; gone before is gone.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        match self.object(path)? {
            Some((bucket, key)) => bucket.delete(&key),
            None => disk::remove(path),
        }
    }

    /// The hidden files under `root` whose name starts with `prefix`.
    pub(super) fn hidden_files(&self, root: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
        match self.object(root)? {
            Some((bucket, key)) => objects::hidden(&bucket, &key, prefix),
            None => Ok(disk::hidden_files(root, prefix)),
        }
    }

    /// Ends uploads of hidden files under `root` whose name starts with `prefix` and is `old`: a crash has left them behind.
    pub(super) fn abort_uploads(&self, root: &Path, prefix: &str, old: impl Fn(&str) -> bool) -> Result<()> {
        let Some((bucket, key)) = self.object(root)? else { return Ok(()) };
        let uploads = bucket.uploads(&objects::prefix(&key))?;
        let name = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
        let ours = uploads.iter().filter(|u| name(&u.key).starts_with(prefix) && old(&name(&u.key)));
        ours.into_iter().try_for_each(|u| bucket.abort(u))
    }
}

/// A file that is read from its beginning to its end.
#[derive(Clone)]
pub(super) enum Input {
    File(Arc<File>),
    Object(Arc<Mutex<Incoming>>),
}

impl Input {
    /// Whether a read would not wait for the network.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Input::File(_) => true,
            Input::Object(incoming) => incoming.lock().unwrap_or_else(PoisonError::into_inner).is_ready(),
        }
    }
}

/// An input of which the bytes count that are read.
pub(super) struct Counted {
    pub(super) input: Input,
    pub(super) metrics: Arc<NodeMetrics>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = match &self.input {
            Input::File(file) => (&**file).read(bytes)?,
            Input::Object(incoming) => incoming.lock().unwrap_or_else(PoisonError::into_inner).read(bytes)?,
        };
        self.metrics.bytes_in.add(count as u64);
        Ok(count)
    }
}

/// A file that is being written.
pub(super) enum Draft {
    File(File),
    Object(Box<Outgoing>),
}

impl Draft {
    /// Ends the file and makes it durable; a file in a bucket when the ticket says so.
    pub(super) fn close(self, path: &Path) -> Result<Option<Ticket<Result<()>>>> {
        match self {
            Draft::File(file) => disk::sync(&file, path).map(|()| None),
            Draft::Object(outgoing) => failpoint::step("file.close", || outgoing.finish().map(Some)),
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Draft::File(file) => file.write(bytes),
            Draft::Object(outgoing) => outgoing.write(bytes).map(|()| bytes.len()).map_err(std::io::Error::other),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Draft::File(file) => file.flush(),
            Draft::Object(_) => Ok(()),
        }
    }
}
