//! Finds a table's partitions and hands them to readers: by us and not by a consumer group, so that offsets and rows belong to the
//! same checkpoint. A table without end looks for new partitions from time to time, and when it is restored.
//!
//! Invariants
//! - E1 what `discover` fixed (starts, bounded ends) never changes: it is in the state.
//! - E2 every partition goes to exactly one reader; readers of a bounded table are told that no more will come.
//! - E3 a partition that was made after the start is read from its beginning, whatever the start mode: nothing in it is older.

use super::discovery::{PartitionSpec, discover, discover_new};
use super::options::{Bounded, KafkaOptions};
use crate::splits::{deal, other_place};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
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
        deal(splits, &readers.finished, readers.parallelism, self.look_again().is_none())
    }

    /// Takes in partitions that were not there before. They go to the readers in turn, behind those that there are.
    fn add(&mut self, found: Vec<Split>) -> Vec<Assignment> {
        let Some(known) = &mut self.splits else { return vec![] };
        let mut given = vec![];
        for split in found {
            if known.iter().any(|k| k.id == split.id) {
                continue;
            }
            if let Some(readers) = &self.readers {
                let subtask = known.len() as u32 % readers.parallelism.max(1);
                given.push(Assignment { subtask, splits: vec![split.clone()], no_more: false });
            }
            known.push(split);
        }
        given
    }
}

impl SplitEnumerator for KafkaEnumerator {
    fn discover(&mut self) -> Result<Discovery> {
        let splits: Result<Vec<Split>> = match &self.splits {
            Some(known) if self.look_again().is_none() => Ok(known.clone()),
            Some(known) => {
                let known: HashSet<&str> = known.iter().map(|s| s.id.as_str()).collect();
                discover_new(&self.options, &known)?.iter().map(PartitionSpec::split).collect()
            }
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
            Fact::Discovered(found) if self.splits.is_some() => self.add(found.splits),
            Fact::Discovered(found) => {
                self.splits = Some(found.splits);
                self.assign()
            }
            Fact::Drained { .. } => Vec::new(),
        }
    }

    fn look_again(&self) -> Option<Duration> {
        self.options.discovery.filter(|_| self.options.bounded == Bounded::Unbounded)
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
