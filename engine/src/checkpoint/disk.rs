//! Objects in a folder of the local disk, with the promises of [`Objects`](super::objects::Objects), which calls it: written under
//! another name, synced, and linked to their own.

use super::objects::{Created, Listed, TEMPORARY, own};
use crate::error::{Error, Result};
use crate::failpoint;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// See the module.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    temporaries: AtomicU64,
}

impl Disk {
    /// The objects below a folder. Looks at nothing.
    pub(super) fn at(root: &str) -> Disk {
        Disk { root: PathBuf::from(root), temporaries: AtomicU64::new(0) }
    }

    /// Makes an object. Errors: `user` where a retry cannot help, `external` otherwise.
    pub(super) fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        create_folders(&folder)?;
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        // A process of the same number may have died here.
        remove(&temporary)?;
        let written = failpoint::step("object.write", || write(&temporary, bytes))
            .and_then(|()| failpoint::step("object.link", || link(&temporary, &path)));
        let removed = remove(&temporary);
        let created = written?;
        removed?;
        if created == Created::New {
            failpoint::step("object.sync", || sync_folder(&folder))?;
        }
        Ok(created)
    }

    /// Makes an object whose name is this caller's own. Errors: as [`Disk::create`], and `internal` if there is another one.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        own(name, bytes, self.create(name, bytes)?)
    }

    /// The bytes of an object; `None` if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failure("read", &path, &e)),
        }
    }

    /// All objects in and under a folder, unfinished ones too, by name; none if there is no such folder.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut out = vec![];
        let mut folders = vec![folder.trim_end_matches('/').to_owned()];
        while let Some(folder) = folders.pop() {
            let path = self.root.join(&folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(failure("look into", &path, &e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| failure("look into", &path, &e))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(name),
                    Ok(meta) => {
                        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                        let modified_ms = modified.and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0);
                        out.push(Listed { name, bytes: meta.len(), modified_ms });
                    }
                    // Gone since the folder was read.
                    Err(_) => {}
                }
            }
        }
        out.sort();
        Ok(out)
    }

    /// Removes an object, and the folder that it leaves empty; gone before is gone.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        remove(&path)?;
        // A folder of one checkpoint goes with its last file. Those at the top stay: somebody may be about to write there.
        if let Some(folder) = path.parent().filter(|_| name.matches('/').count() > 1) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn failure(doing: &str, path: &Path, e: &std::io::Error) -> Error {
    let text = format!("{doing} `{}`: {e}", path.display());
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::IsADirectory => Error::user(text),
        _ => Error::external(text),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|e| failure("create", path, &e))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| failure("write", path, &e))
}

/// A link fails where a rename would overwrite.
fn link(temporary: &Path, path: &Path) -> Result<Created> {
    match fs::hard_link(temporary, path) {
        Ok(()) => Ok(Created::New),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            fs::read(path).map(Created::Exists).map_err(|e| failure("read", path, &e))
        }
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            Err(Error::user(format!("create `{}`: this file system has no hard links; use another", path.display())))
        }
        Err(e) => Err(failure("create", path, &e)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failure("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it, each entry on the disk.
fn create_folders(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_folders(parent)?;
    }
    failpoint::step("object.folder", || match fs::create_dir(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(failure("create folder", folder, &e)),
        _ => Ok(()),
    })?;
    folder.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failure("sync folder", folder, &e))
}
