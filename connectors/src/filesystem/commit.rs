//! Shows prepared files, and marks complete partitions. One committer per sink and job, on a thread of its own.
//!
//! Invariants
//! - C1 a file is shown only after every subtask has prepared the checkpoint that holds its rows.
//! - C2 all of it is idempotent: a file shown before is not shown again, a mark stays a mark.
//! - C3 `recover` removes the hidden files of earlier runs of this job and table, and of the attempt that wrote the checkpoint: those
//!   of other jobs and tables stay.
//! - C4 what waits in a restored checkpoint is shown in the folder that it was written for.

use super::options::{FileOptions, PartitionCommit, Trigger};
use super::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::sink::{Committer, JobInfo, Prepared};

/// The version of [`Part`].
const VERSION: u32 = 1;

/// More than this is written into a file of its own.
const INLINE_BYTES: usize = 60 * 1024;

/// What one subtask prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) version: u32,
    /// Unique per attempt of a job; in the names of its files.
    pub(super) attempt: String,
    /// How far event time has come, in ms; MAX = to its end.
    pub(super) watermark_ms: i64,
    /// The wall clock at the barrier.
    pub(super) wall_ms: i64,
    /// The table's folder as it was written then.
    #[serde(default)]
    pub(super) path: PathBuf,
    /// Finished files: folder below the table's (may be empty), and name.
    pub(super) files: Vec<(String, String)>,
}

/// What is handed over: the part, or the path of the file that holds it.
#[derive(Debug, Serialize, Deserialize)]
enum Envelope {
    #[serde(rename = "part")]
    Part(Part),
    #[serde(rename = "file")]
    File(PathBuf),
}

/// The hidden name of a file.
pub(super) fn hidden(name: &str) -> String {
    format!(".{name}.inprogress")
}

/// The hidden file of a list that is too long to be handed over; it goes with the commit.
fn list_name(name: &str) -> String {
    format!(".{name}.list")
}

impl Part {
    pub(super) fn new(attempt: &str, path: &Path, watermark_ms: i64, wall_ms: i64) -> Part {
        let (attempt, path) = (attempt.to_owned(), path.to_owned());
        Part { version: VERSION, attempt, watermark_ms, wall_ms, path, files: vec![] }
    }

    /// Where a file of it is now: the table's folder may be another one since, with the files in it or not.
    fn root<'a>(&'a self, now: &'a Path, store: &Store, folder: &str, name: &str) -> Result<&'a Path> {
        if self.path.as_os_str().is_empty() || self.path == now {
            return Ok(now);
        }
        for name in [name, &hidden(name)] {
            if store.exists(&now.join(folder).join(name))? {
                return Ok(now);
            }
        }
        Ok(&self.path)
    }

    /// Packs a part; `name` is unique to the subtask and checkpoint.
    pub(super) fn pack(self, store: &Store, name: &str) -> Result<Prepared> {
        let path = self.path.join(list_name(name));
        let encode = |e: &Envelope| serde_json::to_vec(e).map_err(|e| Error::internal(format!("pack files: {e}")));
        let bytes = encode(&Envelope::Part(self))?;
        if bytes.len() <= INLINE_BYTES {
            return Ok(Prepared::new(bytes));
        }
        store.write(&path, &bytes)?;
        encode(&Envelope::File(path)).map(Prepared::new)
    }

    /// The part and the file that held it; `None` if that file has gone with its commit.
    fn unpack(prepared: &Prepared, store: &Store) -> Result<Option<(Part, Option<PathBuf>)>> {
        let decode = |bytes: &[u8]| {
            serde_json::from_slice::<Envelope>(bytes).map_err(|e| Error::internal(format!("unpack files: {e}")))
        };
        let (part, list) = match decode(&prepared.bytes)? {
            Envelope::Part(part) => (part, None),
            Envelope::File(path) => {
                if !store.exists(&path)? {
                    return Ok(None);
                }
                match decode(&store.read(&path)?)? {
                    Envelope::Part(part) => (part, Some(path)),
                    Envelope::File(_) => {
                        return Err(Error::internal(format!("list `{}` names a list", path.display())));
                    }
                }
            }
        };
        if part.version != VERSION {
            let text = format!("prepared files have version {}, and this binary knows {VERSION}", part.version);
            return Err(Error::user(text));
        }
        Ok(Some((part, list)))
    }
}

/// Whose files they are, in a job that keeps checkpoints.
pub(super) struct Scope {
    /// Of the job and the table; the same in all runs.
    name: String,
    /// Of this run.
    generation: u32,
}

impl Scope {
    /// `None`: the job has no identity.
    pub(super) fn of(job: &JobInfo, table: &str) -> Option<Scope> {
        let name = || format!("{}{:08x}", job.id, thalweg_engine::key::hash_content(table.as_bytes()) as u32);
        job.is_durable().then(|| Scope { name: name(), generation: job.generation })
    }

    /// Whether an attempt is a run of this job.
    fn has(&self, attempt: &str) -> bool {
        attempt.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-'))
    }

    /// What the names of this run's files begin with.
    pub(super) fn attempt(&self) -> String {
        format!("{}-{}", self.name, self.generation)
    }
}

/// See the module.
pub(super) struct FileCommitter {
    options: Arc<FileOptions>,
    partition_names: Vec<String>,
    scope: Option<Scope>,
    /// Partitions without a mark: when each was first seen, by the wall clock.
    open: BTreeMap<String, i64>,
}

impl FileCommitter {
    pub(super) fn new(options: Arc<FileOptions>, partition_names: Vec<String>, scope: Option<Scope>) -> FileCommitter {
        FileCommitter { options, partition_names, scope, open: BTreeMap::new() }
    }

    /// Publishes the files of all parts. Returns the partitions that have new ones.
    fn publish(&self, parts: &[Prepared]) -> Result<(Vec<Part>, BTreeSet<String>)> {
        let store = &self.options.store;
        let (mut folders, mut all) = (BTreeSet::new(), Vec::with_capacity(parts.len()));
        for prepared in parts.iter().filter(|p| !p.bytes.is_empty()) {
            let Some((part, list)) = Part::unpack(prepared, store)? else { continue };
            for (folder, name) in &part.files {
                let root = part.root(&self.options.path, store, folder, name)?;
                let folder_path = root.join(folder);
                store.publish(&folder_path.join(hidden(name)), &folder_path.join(name))?;
                if root == self.options.path {
                    folders.insert(folder.clone());
                }
            }
            if let Some(list) = list {
                store.remove(&list)?;
            }
            all.push(part);
        }
        Ok((all, folders))
    }

    /// Removes what earlier runs left behind.
    fn remove_earlier(&self) -> Result<()> {
        let Some(scope) = &self.scope else { return Ok(()) };
        let prefix = format!(".part-{}-", scope.name);
        let is_old = |name: &str| {
            let generation = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            generation.is_some_and(|g| g < scope.generation)
        };
        for path in self.options.store.hidden_files(&self.options.path, &prefix)? {
            if is_old(&path.file_name().unwrap_or_default().to_string_lossy()) {
                self.options.store.remove(&path)?;
            }
        }
        self.options.store.abort_uploads(&self.options.path, &prefix, is_old)
    }

    fn mark(&mut self, commit: &PartitionCommit, parts: &[Part]) -> Result<()> {
        let watermark = parts.iter().map(|p| p.watermark_ms).min().unwrap_or(i64::MIN);
        let now = parts.iter().map(|p| p.wall_ms).max().unwrap_or(i64::MIN);
        let complete = |folder: &String, since: i64| match &commit.trigger {
            _ if watermark == i64::MAX => true,
            Trigger::ProcessTime => now >= since.saturating_add(commit.delay_ms),
            // A partition without a time is complete at the end only.
            Trigger::PartitionTime(time) => {
                time.of(folder).is_some_and(|t| watermark > t.saturating_add(commit.delay_ms))
            }
        };
        let done: Vec<String> =
            self.open.iter().filter(|(f, since)| complete(f, **since)).map(|(f, _)| f.clone()).collect();
        for folder in done {
            self.options.store.touch(&self.options.path.join(&folder).join(&commit.success_file))?;
            self.open.remove(&folder);
        }
        Ok(())
    }
}

impl Committer for FileCommitter {
    fn commit(&mut self, _id: u64, parts: &[Prepared]) -> Result<()> {
        let (parts, folders) = self.publish(parts)?;
        let Some(commit) = self.options.partition_commit.clone() else { return Ok(()) };
        let now = parts.iter().map(|p| p.wall_ms).max().unwrap_or(0);
        for folder in folders {
            self.open.entry(folder).or_insert(now);
        }
        self.mark(&commit, &parts)
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        let (unpacked, _) = self.publish(parts)?;
        let now = &self.options.path;
        // The job that took the savepoint which this one began with may be at work, and goes on without this one's help.
        let is_ours = |p: &&Part| self.scope.as_ref().is_none_or(|s| s.has(&p.attempt));
        let ours = unpacked.iter().filter(is_ours);
        let attempts = ours.flat_map(|p| [(p.attempt.as_str(), &p.path), (p.attempt.as_str(), now)]);
        for (attempt, root) in attempts.collect::<HashSet<_>>() {
            for path in self.options.store.hidden_files(root, &format!(".part-{attempt}-"))? {
                self.options.store.remove(&path)?;
            }
        }
        self.remove_earlier()?;
        // Which partitions had no mark yet is seen in the folders themselves.
        if let Some(commit) = &self.options.partition_commit {
            let now = unpacked.iter().map(|p| p.wall_ms).max().unwrap_or(0);
            for folder in self.options.store.folders(&self.options.path, self.partition_names.len())? {
                let mark = self.options.path.join(&folder).join(&commit.success_file);
                if !self.options.store.exists(&mark)? {
                    self.open.entry(folder).or_insert(now);
                }
            }
        }
        self.commit(id, parts)
    }
}
