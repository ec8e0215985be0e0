//! The one door to checkpoint storage: whole objects under names that are never used twice. Called by the vault.
//!
//! Invariants
//! - B1 an object appears whole or not at all, and once a call returns it survives a power failure.
//! - B2 nothing is overwritten: of several who create one name, one wins, and the others learn what is there.

use crate::error::{Error, Result};
use crate::failpoint;
use crate::s3::S3Options;
use crate::s3::folder::{Folder, TEMPORARY};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// The answer to [`Objects::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now, with these bytes.
    New,
    /// It was there, with these bytes.
    Exists(Vec<u8>),
}

/// An object as listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Relative to the root, with `/`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, in ms since 1970; 0 if the storage does not say.
    pub modified_ms: i64,
}

/// Objects below a root: of the local disk, or of a bucket.
#[derive(Debug)]
pub struct Objects {
    /// The folder on the disk; empty if they are in a bucket.
    root: PathBuf,
    bucket: Option<Folder>,
    url: String,
    temporaries: AtomicU64,
}

impl Objects {
    /// The objects at a path or a URL: `file:///folder`, `s3://bucket/folder`. Looks at nothing. Errors: `user` for a scheme that is
    /// not known, and for options with which no bucket can be reached.
    pub fn at(url: &str, s3: &S3Options) -> Result<Objects> {
        let made = |root, bucket| Objects { root, bucket, url: url.to_owned(), temporaries: AtomicU64::new(0) };
        if url.starts_with(crate::s3::SCHEME) {
            return Ok(made(PathBuf::new(), Some(Folder::at(url, s3)?)));
        }
        let path = match url.split_once("://") {
            None => url,
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", path)) => {
                let text = format!("`file://{path}` names a host; write file:///{path}, or a path without `file://`");
                return Err(Error::user(text));
            }
            Some((scheme, _)) => {
                return Err(Error::user(format!(
                    "no storage is called `{scheme}://`; write a path, file:///PATH or s3://BUCKET/FOLDER"
                )));
            }
        };
        if path.is_empty() {
            return Err(Error::user("an empty path names no folder"));
        }
        Ok(made(PathBuf::from(path), None))
    }

    /// The URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an object. Errors: `user` where a retry cannot help, `external` otherwise.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        if let Some(bucket) = &self.bucket {
            return bucket.create(name, bytes);
        }
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

    /// Makes an object whose name is this caller's own. Errors: as [`Objects::create`], and `internal` if there is another one.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            return bucket.put(name, bytes);
        }
        match self.create(name, bytes)? {
            Created::New => Ok(()),
            // Our own write, whose answer was lost.
            Created::Exists(found) if found == bytes => Ok(()),
            Created::Exists(_) => Err(Error::internal(format!("`{name}` exists, with other content"))),
        }
    }

    /// The bytes of an object; `None` if there is none.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(bucket) = &self.bucket {
            return bucket.get(name);
        }
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failure("read", &path, &e)),
        }
    }

    /// All objects in and under a folder, by name; none if there is no such folder.
    pub fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut all = self.files(folder)?;
        all.retain(|l| !is_temporary(&l.name));
        Ok(all)
    }

    /// Removes what died half-written before `modified_ms`.
    pub fn remove_unfinished(&self, modified_ms: i64) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            bucket.abort_uploads(modified_ms)?;
        }
        let old = |l: &Listed| is_temporary(&l.name) && l.modified_ms < modified_ms;
        self.files("")?.into_iter().filter(old).try_for_each(|l| self.delete(&l.name))
    }

    fn files(&self, folder: &str) -> Result<Vec<Listed>> {
        if let Some(bucket) = &self.bucket {
            return bucket.list(folder);
        }
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
    pub fn delete(&self, name: &str) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            return bucket.delete(name);
        }
        let path = self.root.join(name);
        remove(&path)?;
        // A folder of one checkpoint goes with its last file. Those at the top stay: somebody may be about to write there.
        if let Some(folder) = path.parent().filter(|_| name.matches('/').count() > 1) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn is_temporary(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.starts_with(TEMPORARY))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_create_a_name_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::at(folder.path().to_str().unwrap(), &S3Options::default()).unwrap();
        assert_eq!(objects.create("records/1", b"mine").unwrap(), Created::New);
        assert_eq!(objects.create("records/1", b"yours").unwrap(), Created::Exists(b"mine".to_vec()));
        objects.put("records/1", b"mine").unwrap();
        assert!(objects.put("records/1", b"yours").is_err());
        assert_eq!(objects.get("records/1").unwrap().as_deref(), Some(&b"mine"[..]));
        assert_eq!(objects.get("records/2").unwrap(), None);
        let wins = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for i in 0..8u8 {
                let (objects, wins) = (&objects, &wins);
                scope.spawn(move || {
                    if objects.create("records/2", &[i]).unwrap() == Created::New {
                        wins.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(wins.load(Ordering::Relaxed), 1);
        let names: Vec<String> = objects.list("").unwrap().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["records/1", "records/2"], "nothing unfinished is left");
        fs::write(folder.path().join("records/.tmp-1-1"), "half").unwrap();
        assert_eq!(objects.list("").unwrap().len(), 2);
        objects.remove_unfinished(0).unwrap();
        assert!(folder.path().join("records/.tmp-1-1").exists());
        objects.remove_unfinished(i64::MAX).unwrap();
        assert!(!folder.path().join("records/.tmp-1-1").exists());
        objects.delete("records/1").unwrap();
        objects.delete("records/1").unwrap();
        assert_eq!(objects.list("records").unwrap().len(), 1);
        assert!(objects.list("nowhere").unwrap().is_empty());
    }

    #[test]
    fn urls_that_name_no_storage_are_refused() {
        for (url, reason) in [
            ("", "an empty path"),
            ("file://host/a", "write file:///host/a"),
            ("ftp://a/b", "no storage is called `ftp://`"),
        ] {
            let e = Objects::at(url, &S3Options::default()).unwrap_err();
            assert!(e.message().contains(reason), "{e}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_the_users_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let objects = Objects::at(&format!("file://{}", file.path().display()), &S3Options::default()).unwrap();
        let e = objects.create("records/1", b"x").unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::User, "{e}");
    }
}
