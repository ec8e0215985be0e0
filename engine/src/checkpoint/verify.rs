//! Looks at every file of a checkpoint directory, and copies a checkpoint out of it. Called by the command line.
//!
//! Invariants
//! - F1 every file is named once: as part of some complete checkpoint, as an entry of the sequence, or as an orphan.
//! - F2 a copy is a directory of its own: nothing that happens to the original can harm it.

use super::archive::{Archive, Complete};
use super::manifest::{Entry, FORMAT, FileRef, Manifest, Record, unique_name};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::key::KeyGroupRange;
use crate::state::OperatorSnapshot;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// An entry of the sequence.
    Record,
    /// What a checkpoint is made of.
    Manifest,
    /// State, or rows that a sink has not published.
    Snapshot,
    /// Says that all sinks have committed a checkpoint.
    Marker,
    /// Nobody names it: left over by a crash, or by a checkpoint that is not kept any more. Swept in time.
    Orphan,
}

/// One file, looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Checked {
    /// Relative to the directory.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Archive {
    /// Looks at every file, and at every file that should be there. Errors: the storage cannot be read.
    pub fn verify(&self) -> Result<Vec<Checked>> {
        let mut seen: BTreeMap<String, Checked> = BTreeMap::new();
        let put = |seen: &mut BTreeMap<String, Checked>, path: &str, kind, problem| {
            seen.insert(path.to_owned(), Checked { path: path.to_owned(), kind, problem });
        };
        let sequence = self.sequence()?;
        for found in &sequence {
            let problem = found.record.as_ref().err().map(|e| e.message().to_owned());
            put(&mut seen, &Record::name(found.sequence), FileKind::Record, problem);
        }
        let complete = super::archive::complete(&sequence);
        let mut markers = BTreeSet::new();
        for checkpoint in &complete {
            markers.insert(format!("markers/{}", checkpoint.id));
            let manifest = self.manifest(checkpoint);
            let problem = manifest.as_ref().err().map(|e| e.message().to_owned());
            put(&mut seen, &checkpoint.manifest.path, FileKind::Manifest, problem);
            let Ok(manifest) = manifest else { continue };
            for file in manifest.snapshots() {
                put(&mut seen, &file.path, FileKind::Snapshot, self.problem(file, true)?);
            }
            for file in manifest.files().skip(manifest.snapshots().count()) {
                put(&mut seen, &file.path, FileKind::Snapshot, self.problem(file, false)?);
            }
        }
        for object in self.objects().list("")? {
            if markers.contains(&object.name) {
                let problem = match self.objects().get(&object.name)?.as_deref() {
                    Some(b"{}") => None,
                    _ => Some(format!("`{}` is damaged", object.name)),
                };
                put(&mut seen, &object.name, FileKind::Marker, problem);
            } else if !seen.contains_key(&object.name) {
                put(&mut seen, &object.name, FileKind::Orphan, None);
            }
        }
        Ok(seen.into_values().collect())
    }

    fn problem(&self, file: &FileRef, is_state: bool) -> Result<Option<String>> {
        let checked = file.check(self.objects().get(&file.path)?);
        let read = checked.and_then(|bytes| match is_state {
            true => OperatorSnapshot::from_bytes(&bytes, KeyGroupRange::ALL).map(drop),
            false => Ok(()),
        });
        Ok(read.err().map(|e| e.message().to_owned()))
    }

    /// Copies a checkpoint into an empty directory, where it is a savepoint that nobody sweeps, of a job of its own: the original
    /// may go on as well, and neither takes what the other publishes for its own. Errors: `user` if the directory is
    /// not empty, `external` if a file of the checkpoint is missing or damaged; what was copied by then is no checkpoint.
    pub fn keep(&self, checkpoint: &Complete, to: &Archive, clock: &Clock) -> Result<Manifest> {
        if !to.objects().list("")?.is_empty() {
            return Err(Error::user(format!("`{}` is not empty; choose a new folder", to.objects().url())));
        }
        let manifest = self.manifest(checkpoint)?;
        for file in manifest.files() {
            to.objects().put(&file.path, &file.check(self.objects().get(&file.path)?)?)?;
        }
        let bytes = manifest.to_bytes()?;
        let file = FileRef::new(checkpoint.manifest.path.clone(), &bytes);
        to.objects().put(&file.path, &bytes)?;
        let generation = manifest.id.generation;
        let entries = [
            Entry::Generation { job: unique_name(clock), run: "kept".into() },
            Entry::Checkpoint { id: manifest.id, manifest: file, savepoint: true },
        ];
        for (sequence, entry) in (1..).zip(entries) {
            let record = Record { format: FORMAT, sequence, generation, written_ms: clock.wall_ms(), entry };
            to.objects().put(&Record::name(sequence), &record.to_bytes()?)?;
        }
        Ok(manifest)
    }
}
