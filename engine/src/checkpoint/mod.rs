//! A job-wide checkpoint: what all tasks said at one barrier, by operator id, so that any parallelism can take it up. Here it is
//! in memory; the modules below make it durable.
//!
//! | module | what it does |
//! |---|---|
//! | [`adopt`] | fits a checkpoint to a changed graph |
//! | [`objects`] | the door to storage: create if absent, read, list, delete |
//! | [`manifest`] | the files' form: records, manifests, names with checksums |
//! | [`archive`] | reads a checkpoint directory |
//! | [`verify`] | looks at every file; copies a checkpoint out |
//! | [`writer`] | takes a job over, makes checkpoints durable, sweeps old ones |
//!
//! Invariants
//! - M1 everything in it belongs to the same barrier; nothing refers to subtasks by their number.
//! - M2 a split that any reader was ever assigned is named, finished or not.
//! - M3 whatever a sink had prepared up to the barrier, and that is not known to be committed, is in it.

pub mod adopt;
pub mod archive;
mod disk;
pub mod manifest;
pub mod objects;
pub mod verify;
pub mod writer;

pub use archive::{Archive, Complete, Found};
pub use manifest::{CheckpointId, Manifest, unique_name};
pub use writer::{Saved, TakeOver, Writer};

use crate::error::Result;
use crate::report::Part;
use crate::sink::Prepared;
use crate::split::SplitState;
use crate::state::{Chain, FrozenState};
use crate::time::EventTime;
use serde_json::Value;
use std::collections::BTreeMap;

/// A source in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SourceCheckpoint {
    /// The enumerator's state.
    pub enumerator: Value,
    /// Every split ever assigned.
    pub splits: BTreeMap<String, SplitState>,
}

/// What the subtasks of every sink prepared at one barrier, by sink id.
pub type PreparedParts = BTreeMap<String, Vec<Prepared>>;

/// What a job needs to go on from a barrier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The barrier's number.
    pub epoch: u64,
    /// The graph's picture.
    pub graph: Value,
    /// By source id.
    pub sources: BTreeMap<String, SourceCheckpoint>,
    /// By operator id, one chain of snapshots per old subtask.
    pub operators: BTreeMap<String, Vec<Chain>>,
    /// By the id of a task's root: the lowest frontier of its subtasks.
    pub frontiers: BTreeMap<String, EventTime>,
    /// By epoch: what was prepared at this barrier, and at earlier ones whose commit was not known to be done.
    pub prepared: BTreeMap<u64, PreparedParts>,
}

/// Keeps the chains of all operators over a job's checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Chains(BTreeMap<(String, u32), Chain>);

impl Chains {
    /// Adds what a subtask froze.
    pub fn add(&mut self, id: &str, subtask: u32, frozen: &FrozenState) -> Result<()> {
        let chain = self.0.entry((id.to_owned(), subtask)).or_default();
        frozen.encode_parts(&mut |snapshot| {
            if snapshot.full {
                chain.clear();
            }
            chain.push(snapshot.into());
            Ok(())
        })
    }

    fn by_operator(&self) -> BTreeMap<String, Vec<Chain>> {
        let mut all: BTreeMap<String, Vec<Chain>> = BTreeMap::new();
        for ((id, _), chain) in &self.0 {
            all.entry(id.clone()).or_default().push(chain.clone());
        }
        all
    }
}

impl Checkpoint {
    /// Puts the parts of a barrier together. `roots` names each task's root; `sources` holds each enumerator's state and the
    /// splits that no reader has now. State and what sinks prepared are the caller's to add.
    pub(crate) fn assemble(
        epoch: u64,
        graph: Value,
        parts: &[Part],
        roots: &[String],
        sources: BTreeMap<String, SourceCheckpoint>,
    ) -> Checkpoint {
        let mut checkpoint = Checkpoint { epoch, graph, sources, ..Checkpoint::default() };
        for part in parts {
            let Some(root) = roots.get(part.task) else { continue };
            let low = checkpoint.frontiers.entry(root.clone()).or_insert(part.frontier);
            *low = part.frontier.min(*low);
            if let Some(source) = checkpoint.sources.get_mut(root) {
                source.splits.extend(part.splits.iter().map(|(id, s)| (id.to_string(), s.clone())));
            }
        }
        checkpoint
    }

    /// Adds the state, as chains that begin with an earlier checkpoint of this run.
    pub(crate) fn add_state(&mut self, parts: &[Part], chains: &mut Chains) -> Result<()> {
        for part in parts {
            for (id, frozen) in &part.snapshots {
                chains.add(id, part.subtask, frozen)?;
            }
        }
        self.operators = chains.by_operator();
        Ok(())
    }
}

/// What all subtasks have prepared, by sink, in the order of subtasks.
pub(crate) fn prepared_by_sink(parts: &[Part]) -> PreparedParts {
    let mut all: BTreeMap<String, Vec<(u32, Prepared)>> = BTreeMap::new();
    for part in parts {
        for (id, prepared) in &part.prepared {
            all.entry(id.clone()).or_default().push((part.subtask, prepared.clone()));
        }
    }
    let sorted = |mut v: Vec<(u32, Prepared)>| {
        v.sort_by_key(|(subtask, _)| *subtask);
        v.into_iter().map(|(_, p)| p).collect()
    };
    all.into_iter().map(|(id, v)| (id, sorted(v))).collect()
}
