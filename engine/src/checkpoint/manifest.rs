//! What lies in a checkpoint directory, as JSON: records and manifests. Written by the writer, read by the archive.
//!
//! ```text
//! records/00000000000000000017      entry 17 of the job's one sequence: a generation begins, or a checkpoint is complete
//! manifests/3-9                     what checkpoint 9 of generation 3 is made of
//! snapshots/3-9/2                   state of one subtask, as `state::codec` writes it; named by this manifest and later ones
//! prepared/3-9/0                    rows that a sink has not published yet
//! markers/3-9                       all sinks have committed checkpoint 3-9
//! ```
//!
//! Invariants
//! - J1 the entries of the sequence are dense, each made by create-if-absent: whoever loses a name has lost the job.
//! - J2 every file says which version of this format it has; unknown versions are refused.
//! - J3 every object is named together with its length and SHA-256; a record carries its own.

use super::{Checkpoint, SourceCheckpoint};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::key::KeyGroupRange;
use crate::time::EventTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of records and manifests that this build writes.
pub const FORMAT: u16 = 1;

/// A checkpoint's name: never used twice, failed ones included. As a number it is the epoch that the checkpoint ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    /// The run that took it.
    pub generation: u32,
    /// Its number within the run.
    pub number: u32,
}

impl CheckpointId {
    /// The checkpoint that ends an epoch.
    pub fn of_epoch(epoch: u64) -> CheckpointId {
        CheckpointId { generation: (epoch >> 32) as u32, number: epoch as u32 }
    }

    /// The epoch that it ends.
    pub fn epoch(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.number)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.number)
    }
}

impl FromStr for CheckpointId {
    type Err = Error;

    fn from_str(text: &str) -> Result<CheckpointId> {
        let parts = text.split_once('-').and_then(|(g, n)| Some((g.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((generation, number)) => Ok(CheckpointId { generation, number }),
            None => Err(Error::user(format!("`{text}` is no checkpoint id; they look like 3-17"))),
        }
    }
}

impl Serialize for CheckpointId {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckpointId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<CheckpointId, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An object, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Relative to the directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content, in hex.
    pub sha256: String,
}

impl FileRef {
    /// Of these bytes.
    pub fn new(path: impl Into<String>, bytes: &[u8]) -> FileRef {
        FileRef { path: path.into(), bytes: bytes.len() as u64, sha256: hash(bytes) }
    }

    /// Checks what was read. Errors: `external`, saying how it differs.
    pub fn check(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let fail = |what: String| Err(Error::external(format!("`{}` {what}", self.path)).with_retry(false));
        let Some(bytes) = bytes else { return fail("is missing".into()) };
        if bytes.len() as u64 != self.bytes {
            return fail(format!("has {} bytes instead of {}", bytes.len(), self.bytes));
        }
        if hash(&bytes) != self.sha256 {
            return fail("is damaged: its checksum differs".into());
        }
        Ok(bytes)
    }
}

/// SHA-256 in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A name that nobody else has, of twelve letters and digits.
pub fn unique_name(clock: &Clock) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let unique = (clock.wall_ms(), std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed), crate::rng::entropy());
    hash(format!("{unique:?}").as_bytes()).chars().take(12).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?'));
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|p| u8::from_str_radix(std::str::from_utf8(p).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}

/// The snapshots of one subtask, the full one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskFiles {
    /// The key groups that it had.
    pub groups: KeyGroupRange,
    /// A full snapshot, then what changed; each may be in several files.
    pub files: Vec<FileRef>,
}

/// What a checkpoint is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u16,
    /// The same in all runs of a job.
    pub job: String,
    /// Which checkpoint.
    pub id: CheckpointId,
    /// When its barrier was complete, in ms since 1970.
    pub taken_ms: i64,
    /// Taken because the job was stopped on request.
    pub savepoint: bool,
    /// The graph's picture, with the signatures of operators.
    pub graph: Value,
    /// By source id.
    pub sources: BTreeMap<String, SourceCheckpoint>,
    /// By the id of a task's root: its frontier.
    pub frontiers: BTreeMap<String, EventTime>,
    /// By operator id, the snapshots of each subtask.
    pub operators: BTreeMap<String, Vec<SubtaskFiles>>,
    /// By checkpoint id, then by sink: what was prepared and not known to be committed.
    pub prepared: BTreeMap<CheckpointId, BTreeMap<String, Vec<PreparedFiles>>>,
}

/// What one subtask of a sink prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedFiles {
    /// The sink's own bytes, in hex.
    pub bytes: String,
    /// Its rows.
    pub rows: Vec<FileRef>,
}

impl Manifest {
    /// Everything of a checkpoint but what is in files of its own: state, and what sinks prepared.
    pub fn new(job: &str, checkpoint: &Checkpoint, taken_ms: i64, savepoint: bool) -> Manifest {
        Manifest {
            format: FORMAT,
            job: job.to_owned(),
            id: CheckpointId::of_epoch(checkpoint.epoch),
            taken_ms,
            savepoint,
            graph: checkpoint.graph.clone(),
            sources: checkpoint.sources.clone(),
            frontiers: checkpoint.frontiers.clone(),
            operators: BTreeMap::new(),
            prepared: BTreeMap::new(),
        }
    }

    /// The checkpoint without what is in files: operators and sinks are there, with nothing.
    pub fn checkpoint(&self) -> Checkpoint {
        let sinks = |sinks: &BTreeMap<String, _>| sinks.keys().map(|sink| (sink.clone(), vec![])).collect();
        Checkpoint {
            epoch: self.id.epoch(),
            graph: self.graph.clone(),
            sources: self.sources.clone(),
            frontiers: self.frontiers.clone(),
            operators: self.operators.keys().map(|id| (id.clone(), vec![])).collect(),
            prepared: self.prepared.iter().map(|(id, all)| (id.epoch(), sinks(all))).collect(),
        }
    }

    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let rows = self.prepared.values().flat_map(BTreeMap::values).flatten().flat_map(|part| &part.rows);
        self.snapshots().chain(rows)
    }

    /// Every snapshot that it names.
    pub fn snapshots(&self) -> impl Iterator<Item = &FileRef> {
        self.operators.values().flatten().flat_map(|subtask| &subtask.files)
    }

    /// Bytes of all snapshots.
    pub fn state_bytes(&self) -> u64 {
        self.snapshots().map(|f| f.bytes).sum()
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("manifest {}: {e}", self.id)))
    }

    /// From checked bytes. Errors: `external` for what is none, or of a version that this build does not read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest> {
        let fail = |text: String| Error::external(format!("read manifest: {text}")).with_retry(false);
        check_format(bytes).map_err(&fail)?;
        serde_json::from_slice(bytes).map_err(|e| fail(e.to_string()))
    }
}

fn check_format(bytes: &[u8]) -> std::result::Result<(), String> {
    #[derive(Deserialize)]
    struct Version {
        format: u16,
    }
    let Version { format } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if format == FORMAT { Ok(()) } else { Err(format!("format {format}, this build reads {FORMAT}")) }
}

/// What an entry of the sequence says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A run has taken the job over. Such entries stay for ever: whoever slept since before finds one in his way.
    Generation {
        /// The same in all runs of a job.
        job: String,
        /// Who runs it, see [`unique_name`]: two that take over at the same moment would else write the same bytes, and each take
        /// them for its own.
        run: String,
    },
    /// A checkpoint is complete.
    Checkpoint {
        /// Which.
        id: CheckpointId,
        /// What it is made of.
        manifest: FileRef,
        /// Taken because the job was stopped on request.
        savepoint: bool,
    },
}

/// One entry of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u16,
    /// Its place, from 1.
    pub sequence: u64,
    /// The run that made it.
    pub generation: u32,
    /// When, in ms since 1970.
    pub written_ms: i64,
    /// What it says.
    pub entry: Entry,
}

impl Record {
    /// The object's name.
    pub fn name(sequence: u64) -> String {
        format!("records/{sequence:020}")
    }

    /// The JSON, a space, and its SHA-256.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(|e| Error::internal(format!("record: {e}")))?;
        let checksum = hash(&bytes);
        bytes.push(b' ');
        bytes.extend_from_slice(checksum.as_bytes());
        Ok(bytes)
    }

    /// Errors: `external` for what is none, is not entry `sequence`, or is of a version that this build does not read.
    pub fn from_bytes(sequence: u64, bytes: &[u8]) -> Result<Record> {
        let fail =
            |text: &str| Error::external(format!("read record `{}`: {text}", Record::name(sequence))).with_retry(false);
        let space = bytes.iter().rposition(|b| *b == b' ').ok_or_else(|| fail("it is damaged"))?;
        let (json, checksum) = bytes.split_at(space);
        if checksum.get(1..) != Some(hash(json).as_bytes()) {
            return Err(fail("it is damaged: its checksum differs"));
        }
        check_format(json).map_err(|e| fail(&e))?;
        let record: Record = serde_json::from_slice(json).map_err(|e| fail(&e.to_string()))?;
        if record.sequence != sequence {
            return Err(fail(&format!("it is entry {}", record.sequence)));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_generation_and_are_epochs() {
        let id: CheckpointId = "3-17".parse().unwrap();
        assert_eq!((id.to_string().as_str(), CheckpointId::of_epoch(id.epoch())), ("3-17", id));
        assert!("4-1".parse::<CheckpointId>().unwrap().epoch() > id.epoch());
        for bad in ["", "3", "3-", "-1", "a-b", "3-17-1", "99999999999-1"] {
            assert!(bad.parse::<CheckpointId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_record_is_noticed() {
        let manifest = FileRef::new("manifests/3-17", b"x");
        let id = "3-17".parse().unwrap();
        let entry = Entry::Checkpoint { id, manifest, savepoint: false };
        let record = Record { format: FORMAT, sequence: 9, generation: 3, written_ms: 5, entry };
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::from_bytes(9, &bytes).unwrap(), record);
        assert!(Record::from_bytes(10, &bytes).is_err(), "another place in the sequence");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Record::from_bytes(9, &damaged).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Record::from_bytes(9, &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_manifest_of_another_version_is_refused() {
        let manifest = Manifest::new("job", &Checkpoint { epoch: 7, ..Checkpoint::default() }, 1, true);
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
        let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":2");
        let e = Manifest::from_bytes(newer.as_bytes()).unwrap_err();
        assert!(e.message().contains("format 2, this build reads 1"), "{e}");
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!((unhex("0"), unhex("zz")), (None, None));
    }

    #[test]
    fn files_are_checked_by_length_and_content() {
        let file = FileRef::new("a", b"hello");
        assert!(file.check(Some(b"hello".to_vec())).is_ok());
        for (bytes, what) in
            [(None, "is missing"), (Some(&b"hell"[..]), "4 bytes instead of 5"), (Some(b"hellO"), "damaged")]
        {
            let e = file.check(bytes.map(<[u8]>::to_vec)).unwrap_err();
            assert!(e.message().contains(what), "{e}");
        }
    }
}
