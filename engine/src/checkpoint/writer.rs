//! Makes checkpoints durable: snapshots, then the manifest, then the record that makes it complete. Runs on a thread of its own;
//! the driver tells it what was frozen.
//!
//! Invariants
//! - W1 a checkpoint is complete when its record exists, and only then; no commit is issued before.
//! - W2 whoever finds the name of his next record taken has lost the job, and makes nothing durable any more.
//! - W3 what a failed attempt froze is kept, and is part of the next one.
//! - W4 swept is only what no retained manifest names, by the run that owns the job, records first. Records of generations stay.
//!   A manifest that cannot be read may name anything as old as itself: that stays, too.
//! - W5 a job that goes on from a savepoint kept elsewhere is another job: of two that go on from the same one, neither can take
//!   the other's published rows for its own.
//! - W6 whoever does not find his own newest entry before the next one has lost his folder: what stands there now is another job's.

use super::Checkpoint;
use super::archive::{Archive, Complete, Found, complete, runs};
use super::manifest::{
    CheckpointId, Entry, FORMAT, FileRef, Manifest, PreparedFiles, Record, SubtaskFiles, hex, unique_name,
};
use super::objects::Created;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::key::KeyGroupRange;
use crate::memory;
use crate::state::FrozenState;
use std::collections::{BTreeMap, BTreeSet};

/// A chain is begun anew when its changes have more than this times the bytes of its full snapshot,
const CHANGES_PER_FULL: u64 = 1;
/// or when it has more files than this.
const CHAIN_FILES: usize = 32;
/// Checkpoints between two sweeps.
const SWEEP_EVERY: u32 = 8;
/// An object that nobody names must be as old as this to be swept.
const GRACE_MS: i64 = 60_000;

/// What one subtask's state froze to.
pub struct Snapshot {
    /// The operator's id.
    pub operator: String,
    /// Its subtask.
    pub subtask: u32,
    /// Everything, or what changed since the snapshot before.
    pub frozen: FrozenState,
}

/// A part of a subtask's state in storage.
struct ChainFile {
    /// Of the snapshot that the chain begins with.
    full: bool,
    groups: KeyGroupRange,
    file: FileRef,
}

/// What a checkpoint took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Which.
    pub id: CheckpointId,
    /// Bytes written for it.
    pub written_bytes: u64,
    /// Bytes that a restore of it reads.
    pub state_bytes: u64,
}

/// How a run takes a job over.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver<'a> {
    /// The sequence as it was when the run decided to: if anything was added since, it may decide otherwise.
    pub sequence: &'a [Found],
    /// What the run goes on from, if that lies elsewhere.
    pub origin: Option<&'a Manifest>,
    /// How many checkpoints to keep, beside savepoints.
    pub retain: usize,
    /// The name of whoever runs the job, the same over his attempts and nobody else's: see [`unique_name`].
    pub run: &'a str,
}

/// The writing end of a checkpoint directory, for one run of the job.
pub struct Writer {
    archive: Archive,
    clock: Clock,
    job: String,
    generation: u32,
    /// Who ran each generation, this one included.
    runs: BTreeMap<u32, String>,
    next_sequence: u64,
    /// The newest entry, as this run made it.
    newest: Vec<u8>,
    retain: usize,
    chains: BTreeMap<(String, u32), Vec<ChainFile>>,
    /// Frozen, and not yet in storage.
    pending: Vec<Snapshot>,
    /// Rows of sinks in storage, by checkpoint, sink, subtask and chunk.
    rows: BTreeMap<(u64, String, usize, usize), FileRef>,
    /// Complete checkpoints, oldest first.
    complete: Vec<Complete>,
    files: u64,
    since_sweep: u32,
}

impl Writer {
    /// Takes the job over: from now on every earlier run fails at its next checkpoint. `None`: the sequence has grown since it was
    /// read, so whoever decided by it has to look again. Errors: what the storage says.
    pub fn begin(archive: &Archive, clock: Clock, how: TakeOver<'_>) -> Result<Option<Writer>> {
        let TakeOver { sequence, origin, retain, run } = how;
        let records = || sequence.iter().filter_map(|f| f.record.as_ref().ok());
        let known = records().map(|r| r.generation).chain(origin.map(|m| m.id.generation)).max();
        let job = |r: &Record| match &r.entry {
            Entry::Generation { job, .. } => Some(job.clone()),
            Entry::Checkpoint { .. } => None,
        };
        // A damaged record may be of a later generation than all that can be read.
        let damaged = sequence.iter().filter(|f| f.record.is_err()).count() as u32;
        let generation = known.unwrap_or(0) + damaged + 1;
        let mut runs = runs(sequence);
        runs.insert(generation, run.to_owned());
        let job = records().find_map(job).unwrap_or_else(|| unique_name(&clock));
        let mut writer = Writer {
            archive: archive.clone(),
            clock,
            job: job.clone(),
            generation,
            runs,
            next_sequence: sequence.last().map_or(1, |f| f.sequence + 1),
            newest: vec![],
            retain: retain.max(1),
            chains: BTreeMap::new(),
            pending: vec![],
            rows: BTreeMap::new(),
            complete: complete(sequence),
            files: 0,
            since_sweep: 0,
        };
        let entry = Entry::Generation { job, run: run.to_owned() };
        let mine = failpoint::step("generation.create", || writer.record(entry))?;
        Ok(mine.then_some(writer))
    }

    /// Who ran each generation of the job that is known here, this one included.
    pub fn runs(&self) -> &BTreeMap<u32, String> {
        &self.runs
    }

    /// The checkpoints that were complete when the job was taken over and since, oldest first.
    pub fn checkpoints(&self) -> &[Complete] {
        &self.complete
    }

    /// The reading end.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The name of the job: the same in all runs.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The number of this run.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The first epoch of this run.
    pub fn first_epoch(&self) -> u64 {
        CheckpointId { generation: self.generation, number: 1 }.epoch()
    }

    /// Makes the next entry of the sequence; false if somebody else has made it.
    fn record(&mut self, entry: Entry) -> Result<bool> {
        let written_ms = self.clock.wall_ms();
        loop {
            let (sequence, generation, entry) = (self.next_sequence, self.generation, entry.clone());
            let bytes = Record { format: FORMAT, sequence, generation, written_ms, entry }.to_bytes()?;
            let found = match self.archive.objects().create(&Record::name(sequence), &bytes)? {
                Created::Exists(found) if found != bytes => found,
                // Or our own, whose answer was lost.
                Created::New | Created::Exists(_) => {
                    self.next_sequence += 1;
                    self.newest = bytes;
                    return Ok(true);
                }
            };
            // A checkpoint of this run, which failed because nobody heard that its record was made: it is complete.
            let newest = found;
            let found = Found { sequence, record: Record::from_bytes(sequence, &newest) };
            let is_ours = found.record.as_ref().is_ok_and(|r| r.generation == self.generation);
            match complete(&[found]).pop().filter(|_| is_ours) {
                Some(unheard) => self.complete.push(unheard),
                None => return Ok(false),
            }
            self.newest = newest;
            self.next_sequence += 1;
        }
    }

    fn fenced(&self) -> Error {
        self.archive.taken_over(self.generation)
    }

    /// Looks for this run's newest entry: with the folder of a job its whole sequence may have been removed, and another job may have
    /// begun one under the same names. Errors: `user` if it is not there.
    fn check_folder(&self) -> Result<()> {
        let objects = self.archive.objects();
        if objects.get(&Record::name(self.next_sequence - 1))?.is_some_and(|found| found == self.newest) {
            return Ok(());
        }
        // Swept by whoever has taken over.
        if objects.get(&Record::name(self.next_sequence))?.is_some() {
            return Err(self.fenced());
        }
        let (url, generation) = (objects.url(), self.generation);
        Err(Error::user(format!(
            "the checkpoints in `{url}` were removed or replaced while generation {generation} of the job was running; this run ends, and \
             leaves what is there now alone"
        )))
    }

    /// Makes a checkpoint durable. `checkpoint` has everything but the state. Errors: what the storage says; the checkpoint has then
    /// failed, and the job can go on.
    pub fn save(&mut self, checkpoint: &Checkpoint, snapshots: Vec<Snapshot>, savepoint: bool) -> Result<Saved> {
        let id = CheckpointId::of_epoch(checkpoint.epoch);
        let folder = self.check_folder();
        for snapshot in snapshots {
            if snapshot.frozen.is_full() {
                self.pending.retain(|p| (&p.operator, p.subtask) != (&snapshot.operator, snapshot.subtask));
            }
            self.pending.push(snapshot);
        }
        folder?;
        let mut written_bytes = 0;
        while let Some(next) = self.pending.first() {
            let files = save_parts(&self.archive, id, &mut self.files, &next.frozen)?;
            written_bytes += files.iter().map(|f| f.file.bytes).sum::<u64>();
            let Snapshot { operator, subtask, frozen } = self.pending.remove(0);
            let chain = self.chains.entry((operator, subtask)).or_default();
            if frozen.is_full() {
                chain.clear();
            }
            chain.extend(files);
        }
        self.chains.retain(|_, chain| !chain.is_empty());
        let mut manifest = Manifest::new(&self.job, checkpoint, self.clock.wall_ms(), savepoint);
        written_bytes += self.save_prepared(checkpoint, &mut manifest)?;
        for ((operator, _), chain) in &self.chains {
            let Some(first) = chain.first() else { continue };
            let files = chain.iter().map(|f| f.file.clone()).collect();
            let subtask = SubtaskFiles { groups: first.groups, files };
            manifest.operators.entry(operator.clone()).or_default().push(subtask);
        }
        let bytes = manifest.to_bytes()?;
        let file = FileRef::new(format!("manifests/{id}"), &bytes);
        failpoint::step("manifest.put", || self.archive.objects().put(&file.path, &bytes))?;
        self.check_folder()?;
        let entry = Entry::Checkpoint { id, manifest: file.clone(), savepoint };
        if !failpoint::step("record.create", || self.record(entry))? {
            return Err(self.fenced());
        }
        let (sequence, written_ms) = (self.next_sequence - 1, self.clock.wall_ms());
        self.complete.push(Complete { sequence, id, written_ms, manifest: file, savepoint });
        Ok(Saved { id, written_bytes, state_bytes: manifest.state_bytes() })
    }

    /// Stores the rows of sinks that are not stored yet, and names all; returns the bytes written.
    fn save_prepared(&mut self, checkpoint: &Checkpoint, manifest: &mut Manifest) -> Result<u64> {
        let id = manifest.id;
        let mut written = 0;
        self.rows.retain(|(epoch, ..), _| checkpoint.prepared.contains_key(epoch));
        for (epoch, sinks) in &checkpoint.prepared {
            for (sink, parts) in sinks {
                let mut all = vec![];
                for (subtask, part) in parts.iter().enumerate() {
                    let mut files = PreparedFiles { bytes: hex(&part.bytes), rows: vec![] };
                    for (chunk, rows) in part.rows.iter().enumerate() {
                        let key = (*epoch, sink.clone(), subtask, chunk);
                        if !self.rows.contains_key(&key) {
                            let file = FileRef::new(format!("prepared/{id}/{}", self.files), rows);
                            failpoint::step("prepared.put", || self.archive.objects().put(&file.path, rows))?;
                            self.files += 1;
                            written += file.bytes;
                            self.rows.insert(key.clone(), file);
                        }
                        files.rows.extend(self.rows.get(&key).cloned());
                    }
                    all.push(files);
                }
                manifest.prepared.entry(CheckpointId::of_epoch(*epoch)).or_default().insert(sink.clone(), all);
            }
        }
        Ok(written)
    }

    /// The subtasks whose chain should begin anew with the next snapshot.
    pub fn long_chains(&self) -> impl Iterator<Item = (&str, u32)> {
        let long = |chain: &[ChainFile]| {
            let bytes = |full| chain.iter().filter(|f| f.full == full).map(|f| f.file.bytes).sum::<u64>();
            let changes = chain.iter().filter(|f| !f.full).count();
            changes > CHAIN_FILES || bytes(false) > CHANGES_PER_FULL * bytes(true)
        };
        self.chains.iter().filter(move |(_, chain)| long(chain)).map(|((id, subtask), _)| (id.as_str(), *subtask))
    }

    /// Notes that all sinks have committed a checkpoint.
    pub fn committed(&mut self, id: CheckpointId) -> Result<()> {
        failpoint::step("marker.put", || self.archive.objects().put(&format!("markers/{id}"), b"{}"))
    }

    /// Removes what no retained checkpoint needs, from time to time; `None`: it is not the time. Errors: what the storage says, and
    /// what is damaged; nothing is lost by them.
    pub fn sweep(&mut self) -> Option<Result<()>> {
        self.since_sweep += 1;
        if self.since_sweep < SWEEP_EVERY {
            return None;
        }
        self.since_sweep = 0;
        Some(self.sweep_now(failpoint::grace_ms().unwrap_or(GRACE_MS)))
    }

    fn sweep_now(&mut self, grace_ms: i64) -> Result<()> {
        let objects = self.archive.objects().clone();
        if self.check_folder().is_err() || objects.get(&Record::name(self.next_sequence))?.is_some() {
            return Ok(());
        }
        let periodic: Vec<usize> = (0..self.complete.len()).filter(|i| !self.complete[*i].savepoint).collect();
        let drop = periodic.len().saturating_sub(self.retain);
        let dropped: BTreeSet<usize> = periodic.into_iter().take(drop).collect();
        let (mut named, mut unread) = (BTreeSet::new(), None);
        for (_, checkpoint) in self.complete.iter().enumerate().filter(|(i, _)| !dropped.contains(i)) {
            named.insert(checkpoint.manifest.path.clone());
            named.insert(format!("markers/{}", checkpoint.id));
            match self.archive.manifest(checkpoint) {
                Ok(manifest) => named.extend(manifest.files().map(|f| f.path.clone())),
                Err(e) => unread = Some((checkpoint.id, e)),
            }
        }
        for i in &dropped {
            failpoint::step("sweep.record", || objects.delete(&Record::name(self.complete[*i].sequence)))?;
        }
        let mut place = 0..;
        self.complete.retain(|_| place.next().is_none_or(|i| !dropped.contains(&i)));
        let unknown = unread.as_ref().map(|(id, _)| *id);
        let newest = self.complete.last().map(|c| c.id);
        let old = self.clock.wall_ms() - grace_ms;
        failpoint::step("sweep.unfinished", || objects.remove_unfinished(old))?;
        for folder in ["manifests", "markers", "snapshots", "prepared"] {
            for object in objects.list(folder)? {
                let id = object.name.split('/').nth(1).and_then(|id| id.parse::<CheckpointId>().ok());
                let passed = id.is_some_and(|id| newest.is_some_and(|newest| id < newest) && Some(id) > unknown);
                if passed && object.modified_ms <= old && !named.contains(&object.name) {
                    failpoint::step("sweep.delete", || objects.delete(&object.name))?;
                }
            }
        }
        unread.map_or(Ok(()), |(id, e)| {
            let text = format!("checkpoint {id} is damaged, so what it may need is not removed");
            Err(e.context(text))
        })
    }
}

/// Stores what a subtask's state froze to, one part in memory at a time.
fn save_parts(archive: &Archive, id: CheckpointId, number: &mut u64, frozen: &FrozenState) -> Result<Vec<ChainFile>> {
    let mut files = vec![];
    frozen.encode_parts(&mut |part| {
        if part.containers.is_empty() || !part.full && part.num_rows() == 0 {
            return Ok(());
        }
        let bytes = part.to_bytes()?;
        let file = FileRef::new(format!("snapshots/{id}/{number}"), &bytes);
        failpoint::step("snapshot.put", || archive.objects().put(&file.path, &bytes))?;
        *number += 1;
        files.push(ChainFile { full: frozen.is_full(), groups: part.range, file });
        let freed = part.memory_bytes();
        drop((part, bytes));
        memory::released(freed);
        Ok(())
    })?;
    Ok(files)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
