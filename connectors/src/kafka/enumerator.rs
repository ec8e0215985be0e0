//! Finds a table's partitions and hands them to readers: once, at the start of the job, by us and not by a consumer group, so
//! that offsets and rows belong to the same checkpoint.
//!
//! Invariants
//! - E1 what `discover` fixed (starts, bounded ends) never changes: it is in the state, and a restored enumerator is complete.
//! - E2 every partition goes to exactly one reader, and every reader is told that no more will come.

use super::discovery::{PartitionSpec, discover};
use super::options::KafkaOptions;
use crate::splits::{deal, other_place};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{Assignment, Discovery, Fact, Split, SplitEnumerator};

/// The enumerator of one Kafka table.
pub(crate) struct KafkaEnumerator {
    options: Arc<KafkaOptions>,
    /// `None` until discovered or restored.
    splits: Option<Vec<Split>>,
    readers: Option<Readers>,
}

struct Readers {
    parallelism: u32,
    finished: Vec<String>,
}

/// Its part of a checkpoint.
#[derive(Serialize, Deserialize)]
struct State {
    topics: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    splits: Option<Vec<Split>>,
}

impl KafkaEnumerator {
    pub(crate) fn new(options: Arc<KafkaOptions>) -> KafkaEnumerator {
        KafkaEnumerator { options, splits: None, readers: None }
    }

    /// Deals the partitions out in turn, as soon as both they and the readers are known.
    fn assign(&self) -> Vec<Assignment> {
        let (Some(splits), Some(readers)) = (&self.splits, &self.readers) else { return Vec::new() };
        deal(splits, &readers.finished, readers.parallelism)
    }
}

impl SplitEnumerator for KafkaEnumerator {
    fn discover(&mut self) -> Result<Discovery> {
        let splits: Result<Vec<Split>> = match &self.splits {
            Some(known) => Ok(known.clone()),
            None => discover(&self.options)?.iter().map(PartitionSpec::split).collect(),
        };
        Ok(Discovery { splits: splits?, complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        match fact {
            Fact::Started { parallelism, finished } => {
                self.readers = Some(Readers { parallelism, finished });
                self.assign()
            }
            // What is known stays: a second look would move the bounded ends.
            Fact::Discovered(_) if self.splits.is_some() => Vec::new(),
            Fact::Discovered(found) => {
                self.splits = Some(found.splits);
                self.assign()
            }
            Fact::Drained { .. } => Vec::new(),
        }
    }

    fn snapshot(&self) -> serde_json::Value {
        let state = State { topics: self.options.topics.clone(), splits: self.splits.clone() };
        serde_json::to_value(state).unwrap_or_default()
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let state: State = serde_json::from_value(state.clone())
            .map_err(|e| Error::user(format!("the state is not that of a kafka source: {e}")))?;
        if state.topics != self.options.topics {
            let topics = |topics: &[String]| format!("topic `{}`", topics.join(";"));
            return Err(other_place(&topics(&state.topics), &topics(&self.options.topics)));
        }
        self.splits = state.splits;
        Ok(())
    }
}
