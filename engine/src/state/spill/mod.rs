//! State on local disk: where tables put what does not fit into memory. A cache, never the durable copy: checkpoints hold the
//! state itself, and whatever is here dies with the process.
//!
//! | module | what it does |
//! |---|---|
//! | here | the area: files without a name, so that nothing is left behind by any end of a process |
//! | [`run`] | an immutable sorted file of entries, found by hash |
//! | [`merge`] | several runs as one, in order |
//! | [`disk`] | the runs of one table: writes, finds, merges them |
//! | [`encode`] | runs as parts of a snapshot |
//!
//! A table that is over the budget writes all its entries into a new run and begins anew in memory. Entries come back when a batch
//! has their keys, many at a time, and are written again with the next run; the newest version counts. So no entry is read before
//! it is needed, and hot ones are read once per run.
//!
//! Invariants
//! - I1 a file never has a name, or, where the file system cannot do that, loses it at once: no crash leaves more than an empty one.
//! - I2 every block has a checksum; a damaged one is an error, never another value.

pub(crate) mod disk;
pub(crate) mod encode;
pub(crate) mod merge;
pub(crate) mod run;

use crate::error::{Error, Result};
use crate::failpoint;
use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder on local disk for the state of one process.
#[derive(Debug)]
pub struct SpillArea {
    folder: PathBuf,
    files: AtomicU64,
    bytes: AtomicU64,
    written: AtomicU64,
}

impl SpillArea {
    /// In this folder, which is made when the first file is. Touches nothing yet.
    pub fn new(folder: impl Into<PathBuf>) -> Arc<SpillArea> {
        let zero = || AtomicU64::new(0);
        Arc::new(SpillArea { folder: folder.into(), files: zero(), bytes: zero(), written: zero() })
    }

    /// Bytes on disk now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were ever written.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Errors: `user` if no file can be made in the folder.
    pub fn check(&self) -> Result<()> {
        self.make_file().map(drop)
    }

    /// A file to write and read, without a name. Errors: `user` if the folder cannot be used.
    fn file(&self) -> Result<File> {
        failpoint::step("spill.create", || self.make_file())
    }

    fn make_file(&self) -> Result<File> {
        let failed = |doing: &str, e: &std::io::Error| {
            let remedy = "choose another state.spill-dir";
            Error::user(format!("{doing} `{}` for state: {e}; {remedy}", self.folder.display()))
        };
        fs::create_dir_all(&self.folder).map_err(|e| failed("make folder", &e))?;
        if let Some(file) = nameless(&self.folder) {
            return Ok(file);
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!(".thalweg-state-{}-{number}", std::process::id()));
        // One of that name is of a process that died between the next two steps.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| failed("write to", &e))?;
        fs::remove_file(&path).map_err(|e| failed("write to", &e))?;
        Ok(file)
    }

    /// The error of a write: a full disk can be mended, and loses nothing.
    fn write_failed(&self, e: &std::io::Error) -> Error {
        let remedy = "make room there, choose another state.spill-dir, or raise state.memory";
        Error::external(format!("write state to `{}`: {e}; {remedy}", self.folder.display()))
    }

    fn read_failed(&self, what: impl std::fmt::Display) -> Error {
        Error::external(format!("read state back from `{}`: {what}", self.folder.display()))
    }

    fn grew(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrank(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A file that never had a name; `None` if this system or this folder's file system has none.
#[cfg(target_os = "linux")]
fn nameless(folder: &std::path::Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder).ok()
}

/// A file that never had a name: not on this system.
#[cfg(not(target_os = "linux"))]
fn nameless(_folder: &std::path::Path) -> Option<File> {
    None
}
