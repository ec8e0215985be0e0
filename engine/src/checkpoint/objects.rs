//! The one door to checkpoint storage: whole objects under names that are never used twice. Called by the vault.
//!
//! Invariants
//! - B1 an object appears whole or not at all, and once a call returns it survives a power failure.
//! - B2 nothing is overwritten: of several who create one name, one wins, and the others learn what is there.

use super::disk::Disk;
use crate::error::{Error, Result};
use crate::s3::S3Options;
use crate::s3::folder::Folder;

/// How names of unfinished objects begin.
pub(crate) const TEMPORARY: &str = ".tmp-";

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

/// Objects below a root.
#[derive(Debug)]
pub struct Objects {
    place: Place,
    url: String,
}

#[derive(Debug)]
enum Place {
    Disk(Disk),
    Bucket(Folder),
}

impl Objects {
    /// The objects at a path or a URL: `file:///folder`, `s3://bucket/folder`. Looks at nothing. Errors: `user` for a scheme that is
    /// not known, and for options with which no bucket can be reached.
    pub fn at(url: &str, s3: &S3Options) -> Result<Objects> {
        let made = |place| Objects { place, url: url.to_owned() };
        if url.starts_with(crate::s3::SCHEME) {
            return Ok(made(Place::Bucket(Folder::at(url, s3)?)));
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
        Ok(made(Place::Disk(Disk::at(path))))
    }

    /// The URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an object. Errors: `user` where a retry cannot help, `external` otherwise.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        match &self.place {
            Place::Disk(disk) => disk.create(name, bytes),
            Place::Bucket(bucket) => bucket.create(name, bytes),
        }
    }

    /// Makes an object whose name is this caller's own. Errors: as [`Objects::create`], and `internal` if there is another one.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match &self.place {
            Place::Disk(disk) => disk.put(name, bytes),
            Place::Bucket(bucket) => bucket.put(name, bytes),
        }
    }

    /// The bytes of an object; `None` if there is none.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.place {
            Place::Disk(disk) => disk.get(name),
            Place::Bucket(bucket) => bucket.get(name),
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
        if let Place::Bucket(bucket) = &self.place {
            bucket.abort_uploads(modified_ms)?;
        }
        let old = |l: &Listed| is_temporary(&l.name) && l.modified_ms < modified_ms;
        self.files("")?.into_iter().filter(old).try_for_each(|l| self.delete(&l.name))
    }

    /// Removes an object, and the folder that it leaves empty; gone before is gone.
    pub fn delete(&self, name: &str) -> Result<()> {
        match &self.place {
            Place::Disk(disk) => disk.delete(name),
            Place::Bucket(bucket) => bucket.delete(name),
        }
    }

    /// All, unfinished ones too.
    fn files(&self, folder: &str) -> Result<Vec<Listed>> {
        match &self.place {
            Place::Disk(disk) => disk.list(folder),
            Place::Bucket(bucket) => bucket.list(folder),
        }
    }
}

fn is_temporary(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.starts_with(TEMPORARY))
}

/// The answer to an attempt to put an object of one's own. Errors: `internal` if there is another one.
pub(crate) fn own(name: &str, bytes: &[u8], created: Created) -> Result<()> {
    match created {
        Created::New => Ok(()),
        // Our own write, whose answer was lost.
        Created::Exists(found) if found == bytes => Ok(()),
        Created::Exists(_) => Err(Error::internal(format!("`{name}` exists, with other content"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

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
