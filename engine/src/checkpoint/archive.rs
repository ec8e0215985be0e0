//! Reads a checkpoint directory: the sequence of records, manifests, and checkpoints with their state. Used by a restore, by the
//! writer at its start, and by the command line.
//!
//! Invariants
//! - A1 a listing only says where to begin: the end of the sequence is found by asking for the next name.
//! - A2 whatever is read is checked against the length and checksum under which it was named.

use super::manifest::{CheckpointId, Entry, FileRef, Manifest, PreparedFiles, Record, SubtaskFiles, unhex};
use super::objects::Objects;
use super::{Checkpoint, PreparedParts};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::key::KeyGroupRange;
use crate::s3::S3Options;
use crate::sink::Prepared;
use crate::state::{Chain, InStorage, Link, OperatorSnapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One entry of the sequence, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its place.
    pub sequence: u64,
    /// What it says.
    pub record: Result<Record>,
}

/// A complete checkpoint, as its record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The record's place.
    pub sequence: u64,
    /// Which checkpoint.
    pub id: CheckpointId,
    /// When its record was written, in ms since 1970.
    pub written_ms: i64,
    /// What it is made of.
    pub manifest: FileRef,
    /// Taken because the job was stopped on request.
    pub savepoint: bool,
}

/// So much state, decoded, is in memory during a restore; what is beyond is read when it is needed, file by file.
const SMALL_BYTES: u64 = 8 << 20;

/// One file of a chain.
#[derive(Debug)]
struct StoredSnapshot {
    objects: Arc<Objects>,
    file: FileRef,
}

impl InStorage for StoredSnapshot {
    fn load(&self, range: KeyGroupRange) -> Result<OperatorSnapshot> {
        OperatorSnapshot::from_bytes(&self.file.check(self.objects.get(&self.file.path)?)?, range)
    }
}

/// A checkpoint directory, to be read.
#[derive(Clone, Debug)]
pub struct Archive {
    objects: Arc<Objects>,
}

impl Archive {
    /// The directory at a URL or path; a bucket is reached as the environment says. Looks at nothing. Errors: `user` for a scheme
    /// that is not known.
    pub fn at(url: &str) -> Result<Archive> {
        Archive::with(url, &S3Options::default())
    }

    /// The directory at a URL or path. Looks at nothing. Errors: `user` for a scheme that is not known.
    pub fn with(url: &str, s3: &S3Options) -> Result<Archive> {
        Ok(Archive { objects: Arc::new(Objects::at(url, s3)?) })
    }

    /// The storage.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// The whole sequence as far as it was not swept, oldest first. Errors: the storage cannot be read.
    pub fn sequence(&self) -> Result<Vec<Found>> {
        let listed = self.objects.list("records")?;
        let mut numbers: BTreeSet<u64> = listed.iter().filter_map(|l| number(&l.name)).collect();
        let mut out = vec![];
        let mut next = numbers.last().map_or(1, |last| last + 1);
        while let Some(bytes) = self.objects.get(&Record::name(next))? {
            out.push(Found { sequence: next, record: Record::from_bytes(next, &bytes) });
            next += 1;
        }
        let mut all = vec![];
        while let Some(sequence) = numbers.pop_first() {
            // Swept since it was listed.
            let Some(bytes) = self.objects.get(&Record::name(sequence))? else { continue };
            all.push(Found { sequence, record: Record::from_bytes(sequence, &bytes) });
        }
        all.extend(out);
        Ok(all)
    }

    /// All complete checkpoints, oldest first; damaged records are left out.
    pub fn checkpoints(&self) -> Result<Vec<Complete>> {
        Ok(complete(&self.sequence()?))
    }

    /// The checkpoints that are complete, and why the newest may be missing. A job may write the next one meanwhile, which is no reason.
    pub fn listed(&self) -> Result<(Vec<Complete>, Option<String>)> {
        let mut sequence = self.sequence()?;
        loop {
            let gap = self.gap(&sequence)?;
            let again = self.sequence()?;
            let newest = again.last().map(|f| f.sequence);
            if gap.is_none() || newest == sequence.last().map(|f| f.sequence) {
                return Ok((complete(&sequence), gap));
            }
            sequence = again;
        }
    }

    /// Why the newest checkpoint may be missing in a sequence: an entry after the newest one that can be read is damaged, or a marker
    /// says that there was a newer one. `None` also when the sequence has grown since it was read: whoever takes the job over learns that
    /// from [`Writer::begin`](super::Writer::begin), and looks again. Errors: the storage cannot be read.
    pub fn gap(&self, sequence: &[Found]) -> Result<Option<String>> {
        let newest = complete(sequence).pop();
        let after = newest.as_ref().map_or(0, |c| c.sequence);
        let damaged = sequence.iter().filter(|f| f.sequence > after).find_map(|f| f.record.as_ref().err());
        if let Some(e) = damaged {
            return Ok(Some(e.message().to_owned()));
        }
        let markers = self.objects.list("markers")?;
        let marked = markers.iter().filter_map(|l| l.name.strip_prefix("markers/")?.parse::<CheckpointId>().ok()).max();
        let Some(id) = marked.filter(|id| newest.is_none_or(|newest| newest.id < *id)) else { return Ok(None) };
        // A run that is under way may have added both since the sequence was read.
        if self.has_grown(sequence)? {
            return Ok(None);
        }
        Ok(Some(format!("`markers/{id}` says that there was a checkpoint {id}, and its record is missing")))
    }

    /// Whether the sequence has entries now that it had not when it was read.
    fn has_grown(&self, sequence: &[Found]) -> Result<bool> {
        let end = sequence.last().map_or(0, |f| f.sequence);
        if self.objects.get(&Record::name(end + 1))?.is_some() {
            return Ok(true);
        }
        // The next one may be swept already.
        let listed = self.objects.list("records")?;
        Ok(listed.iter().filter_map(|l| number(&l.name)).any(|n| n > end))
    }

    /// What a run of an earlier generation is told.
    pub fn taken_over(&self, generation: u32) -> Error {
        let url = self.objects.url();
        Error::user(format!(
            "another run has taken over the job in `{url}`; this one, of generation {generation}, ends"
        ))
    }

    /// A checkpoint's manifest. Errors: `external` if it is missing or damaged.
    pub fn manifest(&self, checkpoint: &Complete) -> Result<Manifest> {
        let read = || self.objects.get(&checkpoint.manifest.path);
        let bytes = checkpoint.manifest.check(failpoint::step("manifest.read", read)?)?;
        let manifest = Manifest::from_bytes(&bytes)?;
        if manifest.id != checkpoint.id {
            let text =
                format!("`{}` is of checkpoint {}, not {}", checkpoint.manifest.path, manifest.id, checkpoint.id);
            return Err(Error::external(text).with_retry(false));
        }
        Ok(manifest)
    }

    /// A checkpoint with its state, which stays in storage if it is large. Errors: `external` if anything is missing or damaged.
    pub fn load(&self, manifest: &Manifest) -> Result<Checkpoint> {
        let mut checkpoint = manifest.checkpoint();
        let mut room = SMALL_BYTES;
        for (id, subtasks) in &manifest.operators {
            let chains = subtasks.iter().map(|s| self.chain(s, &mut room)).collect::<Result<Vec<_>>>();
            checkpoint.operators.insert(id.clone(), chains.map_err(|e| e.context(format!("state of `{id}`")))?);
        }
        for (id, sinks) in &manifest.prepared {
            let mut parts = PreparedParts::new();
            for (sink, files) in sinks {
                let prepared = files.iter().map(|f| self.prepared(f)).collect::<Result<_>>();
                parts.insert(sink.clone(), prepared.map_err(|e| e.context(format!("unpublished rows of `{sink}`")))?);
            }
            checkpoint.prepared.insert(id.epoch(), parts);
        }
        Ok(checkpoint)
    }

    /// An operator's snapshots by subtask, each file to be read, and checked, when it is asked for.
    pub fn stored(&self, subtasks: &[SubtaskFiles]) -> Vec<Chain> {
        let link = |subtask: &SubtaskFiles, i: usize, file: &FileRef| {
            let stored = Arc::new(StoredSnapshot { objects: self.objects.clone(), file: file.clone() });
            Link::stored(i == 0, subtask.groups, stored)
        };
        let chain = |s: &SubtaskFiles| s.files.iter().enumerate().map(|(i, f)| link(s, i, f)).collect();
        subtasks.iter().map(chain).collect()
    }

    fn prepared(&self, files: &PreparedFiles) -> Result<Prepared> {
        let bytes = unhex(&files.bytes).ok_or_else(|| Error::external("no hex in a manifest").with_retry(false))?;
        let rows = files.rows.iter().map(|f| Ok(f.check(self.objects.get(&f.path)?)?.into()));
        Ok(Prepared { bytes, rows: rows.collect::<Result<_>>()? })
    }

    /// Snapshots are read as long as they fit into `room`; of the others it is only seen to that they are whole. Files are compressed:
    /// their size says little about their rows.
    fn chain(&self, subtask: &SubtaskFiles, room: &mut u64) -> Result<Chain> {
        let mut link = |(i, file): (usize, &FileRef)| {
            let bytes = file.check(failpoint::step("snapshot.read", || self.objects.get(&file.path))?)?;
            if file.bytes <= *room {
                let snapshot = OperatorSnapshot::from_bytes(&bytes, KeyGroupRange::ALL)?;
                *room = room.saturating_sub(snapshot.memory_bytes());
                if *room > 0 {
                    return Ok(snapshot.into());
                }
            }
            let stored = Arc::new(StoredSnapshot { objects: self.objects.clone(), file: file.clone() });
            Ok(Link::stored(i == 0, subtask.groups, stored))
        };
        subtask.files.iter().enumerate().map(&mut link).collect()
    }
}

/// The place of an entry, by its object's name.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("records/")?.parse().ok()
}

/// Who ran each generation, as far as its record can be read.
pub fn runs(sequence: &[Found]) -> BTreeMap<u32, String> {
    let one = |found: &Found| {
        let record = found.record.as_ref().ok()?;
        let Entry::Generation { run, .. } = &record.entry else { return None };
        Some((record.generation, run.clone()))
    };
    sequence.iter().filter_map(one).collect()
}

/// The checkpoints in a sequence.
pub fn complete(sequence: &[Found]) -> Vec<Complete> {
    let one = |found: &Found| {
        let record = found.record.as_ref().ok()?;
        let Entry::Checkpoint { id, manifest, savepoint } = &record.entry else { return None };
        Some(Complete {
            sequence: found.sequence,
            id: *id,
            written_ms: record.written_ms,
            manifest: manifest.clone(),
            savepoint: *savepoint,
        })
    };
    sequence.iter().filter_map(one).collect()
}
