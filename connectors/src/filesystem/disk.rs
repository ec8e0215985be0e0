//! Files on the local disk. Called by `store`.
//!
//! Invariants
//! - F1 nothing is overwritten: files are created new, and published under a name that did not exist.
//! - F2 a published file and its folder entry have reached the disk.

use super::store::{FILES_MAX, Found, failure, is_hidden, is_pattern};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::failpoint;

/// The deepest folder that is looked into.
const DEPTH_MAX: usize = 64;

/// All files in and under a folder that are not hidden, by path; `path` may also be a file, or a pattern.
pub(super) fn find(path: &Path) -> Result<Vec<Found>> {
    if is_pattern(path) && !path.exists() {
        return by_pattern(&path.to_string_lossy());
    }
    if !path.exists() {
        let text = format!("folder `{}` does not exist; create it or correct `path`", path.display());
        return Err(Error::user(text));
    }
    list(path)
}

fn by_pattern(pattern: &str) -> Result<Vec<Found>> {
    let bad = |e: glob::PatternError| Error::user(format!("option `path`: '{pattern}' is no pattern: {e}"));
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let mut out = Vec::new();
    for path in glob::glob_with(pattern, options).map_err(bad)? {
        let path = path.map_err(|e| failure("look into", e.path(), e.error()))?;
        if path.file_name().is_some_and(|n| is_hidden(&n.to_string_lossy())) {
            continue;
        }
        let root = path.to_string_lossy().into_owned();
        for mut file in list(&path)? {
            // The whole path, so that partitions above the match count, and names of several folders do not meet.
            file.relative = if path.is_file() { root.clone() } else { format!("{root}/{}", file.relative) };
            out.push(file);
        }
    }
    if out.is_empty() {
        return Err(Error::user(format!("no file matches `{pattern}`; correct `path`")));
    }
    Ok(out)
}

/// All files in and under `root` that are not hidden, by path. `root` may be a file.
fn list(root: &Path) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    let meta = fs::metadata(root).map_err(|e| failure("look into", root, &e))?;
    if meta.is_file() {
        let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        out.push(found(root.to_owned(), name, &meta));
        return Ok(out);
    }
    walk(root, "", 0, &mut out)?;
    out.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(out)
}

fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<Found>) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::user(format!("look into `{}`: more than {DEPTH_MAX} folders deep", folder.display())));
    }
    let entries = fs::read_dir(folder).map_err(|e| failure("look into", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| failure("look into", folder, &e))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return Err(Error::user(format!("file `{}`: its name is no UTF-8", path.display())));
        };
        if is_hidden(&name) {
            continue;
        }
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            // Gone since the folder was read.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(failure("look at", &path, &e)),
        };
        let relative = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if meta.is_dir() {
            walk(&path, &relative, depth + 1, out)?;
        } else if meta.is_file() {
            out.push(found(path, relative, &meta));
        }
        if out.len() > FILES_MAX {
            return Err(Error::user(format!("folder `{}`: more than {FILES_MAX} files", folder.display())));
        }
    }
    Ok(())
}

fn found(path: PathBuf, relative: String, meta: &fs::Metadata) -> Found {
    let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let modified_ms = modified.and_then(|d| i64::try_from(d.as_millis()).ok()).unwrap_or(0);
    Found { path, relative, bytes: meta.len(), modified_ms }
}

/// All folders under `root`, relative, hidden ones aside; empty if there is no such folder.
pub(super) fn folders(root: &Path, depth: usize) -> Result<Vec<String>> {
    let mut level = vec![String::new()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for parent in &level {
            let path = root.join(parent);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(failure("look into", &path, &e)),
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() && !is_hidden(&name) {
                    next.push(if parent.is_empty() { name } else { format!("{parent}/{name}") });
                }
            }
        }
        level = next;
    }
    level.sort();
    Ok(level)
}

/// Opens a file to read from byte `at`.
pub(super) fn open(path: &Path, at: u64) -> Result<Arc<File>> {
    let mut file = File::open(path).map_err(|e| failure("open", path, &e))?;
    if at > 0 {
        file.seek(SeekFrom::Start(at)).map_err(|e| failure("seek in", path, &e))?;
    }
    Ok(Arc::new(file))
}

/// All of a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&*open(path, 0)?).read_to_end(&mut bytes).map_err(|e| failure("read", path, &e))?;
    Ok(bytes)
}

/// Makes a file that must not exist, and the folders above it.
pub(super) fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let create = || OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| failure("create", path, &e));
    failpoint::step("file.create", create)
}

/// Makes a folder and those above it.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    failpoint::step("file.folder", || fs::create_dir_all(path).map_err(|e| failure("create folder", path, &e)))
}

/// Brings a finished file to the disk.
pub(super) fn sync(file: &File, path: &Path) -> Result<()> {
    failpoint::step("file.close", || file.sync_all().map_err(|e| failure("sync", path, &e)))
}

fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failure("sync folder", folder, &e))
}

/// Shows a hidden file under its name. Idempotent: done before is done.
pub(super) fn publish(hidden: &Path, name: &Path) -> Result<()> {
    // A link fails where a rename would overwrite; after a crash between the two, the next call goes on.
    match failpoint::step("file.link", || Ok(fs::hard_link(hidden, name)))? {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == ErrorKind::NotFound && name.exists() => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = format!("publish `{}`: neither it nor `{}` exists", name.display(), hidden.display());
            return Err(Error::external(text).with_retry(false));
        }
        Err(_) if !name.exists() => {
            // No links on this disk; names are unique, so that a rename overwrites nothing.
            fs::rename(hidden, name).map_err(|e| failure("publish", name, &e))?;
            return sync_folder(name);
        }
        Err(e) => return Err(failure("publish", name, &e)),
    }
    failpoint::step("file.sync", || sync_folder(name))?;
    failpoint::step("file.unhide", || remove(hidden))
}

/// Makes an empty file, or leaves it as it is.
pub(super) fn touch(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let mut file = file.map_err(|e| failure("create", path, &e))?;
    file.flush().map_err(|e| failure("create", path, &e))?;
    sync(&file, path)?;
    sync_folder(path)
}

/// Removes a file; gone before is gone.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failure("remove", path, &e)),
        _ => Ok(()),
    }
}

/// The hidden files under `root` whose name starts with `prefix`.
pub(super) fn hidden_files(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if name.starts_with(prefix) && path.is_file() {
                out.push(path);
            } else if depth < DEPTH_MAX && !is_hidden(&name) && path.is_dir() {
                folders.push((path, depth + 1));
            }
        }
    }
    out
}
