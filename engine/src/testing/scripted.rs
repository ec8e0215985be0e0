//! A scripted source: rows, pauses and ends as a test wants them, one watermark per split, positions that restore. Its enumerator
//! hands out one split at a time (readers that are drained ask for more): the second implementor of that trait.

use crate::batch::Batch;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId, WatermarkFactory, WatermarkStrategy,
};
use crate::time::EventTime;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What the source does.
#[derive(Clone)]
pub struct ScriptedSource {
    /// The rows of each split, in order.
    pub splits: Vec<Batch>,
    /// At the end: stay idle instead of finishing.
    pub endless: bool,
    /// Chance in percent that a poll answers `Idle` for a moment.
    pub pause_percent: u64,
    /// Most rows of a batch; each is of random size.
    pub max_batch: usize,
    /// The seed of sizes and pauses.
    pub seed: u64,
    /// Splits given at once; 0 = all are spread at the start.
    pub at_once: usize,
    /// A split that is assigned but never has rows.
    pub quiet_split: bool,
}

impl ScriptedSource {
    /// Splits that are read to their ends, without pauses.
    pub fn new(splits: Vec<Batch>) -> ScriptedSource {
        ScriptedSource {
            splits,
            endless: false,
            pause_percent: 0,
            max_batch: usize::MAX,
            seed: 1,
            at_once: 0,
            quiet_split: false,
        }
    }

    fn names(&self) -> Vec<String> {
        let n = self.splits.len() + usize::from(self.quiet_split);
        (0..n).map(|i| format!("s{i:03}")).collect()
    }
}

impl SourceFactory for ScriptedSource {
    fn schema(&self) -> SchemaRef {
        self.splits[0].schema()
    }
    fn bounded(&self) -> bool {
        !self.endless
    }
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let names = self.names();
        Ok(Box::new(HandOut { names, at_once: self.at_once, left: vec![], readers: 0 }))
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let rng = Rng::new(self.seed);
        Ok(Box::new(Reader { script: self.clone(), splits: vec![], turn: 0, rng, clock: Clock::system() }))
    }
}

/// Gives out splits; see the module.
struct HandOut {
    names: Vec<String>,
    at_once: usize,
    left: Vec<String>,
    readers: u32,
}

impl HandOut {
    fn take(&mut self, n: usize) -> Vec<Split> {
        let rest = self.left.split_off(n.min(self.left.len()));
        let taken = std::mem::replace(&mut self.left, rest);
        taken.into_iter().map(|id| Split { id, spec: Value::Null }).collect()
    }
}

impl SplitEnumerator for HandOut {
    fn discover(&mut self) -> Result<Discovery> {
        let splits = self.names.iter().map(|id| Split { id: id.clone(), spec: Value::Null }).collect();
        Ok(Discovery { splits, complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        match fact {
            Fact::Discovered(_) => vec![],
            Fact::Started { parallelism, finished } => {
                let finished: BTreeSet<String> = finished.into_iter().collect();
                self.left = self.names.iter().filter(|n| !finished.contains(*n)).cloned().collect();
                self.readers = parallelism;
                let share = self.left.len().div_ceil(parallelism as usize);
                let n = if self.at_once == 0 { share } else { self.at_once };
                (0..parallelism)
                    .map(|subtask| {
                        let splits = self.take(n);
                        Assignment { subtask, no_more: self.at_once == 0 || splits.is_empty(), splits }
                    })
                    .collect()
            }
            Fact::Drained { subtask } => {
                let splits = self.take(self.at_once.max(1));
                vec![Assignment { subtask, no_more: splits.is_empty(), splits }]
            }
        }
    }

    fn snapshot(&self) -> Value {
        json!({ "splits": self.names })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        if state["splits"] == json!(self.names) {
            return Ok(());
        }
        Err(Error::user(format!("restore of splits {}", state["splits"])))
    }
}

struct Open {
    id: SplitId,
    at: usize,
    finished: bool,
}

struct Reader {
    script: ScriptedSource,
    splits: Vec<Open>,
    turn: usize,
    rng: Rng,
    clock: Clock,
}

impl Reader {
    fn rows(&self, id: &str) -> Batch {
        let i: usize = id[1..].parse().unwrap();
        self.script.splits.get(i).cloned().unwrap_or_else(|| Batch::empty(self.script.schema()))
    }
}

impl SourceReader for Reader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        self.clock = ctx.clock.clone();
        self.rng = Rng::new(self.script.seed * 31 + u64::from(ctx.subtask.index));
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let at = position.map_or(0, |p| p.0.as_u64().unwrap() as usize);
            self.splits.push(Open { id: split.id.as_str().into(), at, finished: false });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let soon = Some(self.clock.now() + Duration::from_micros(50 + self.rng.below(300)));
        if self.rng.percent(self.script.pause_percent) {
            return Ok(Poll::Idle { until: soon });
        }
        let n = self.splits.len();
        for k in 0..n {
            let i = (self.turn + k) % n;
            let rows = self.rows(&self.splits[i].id);
            let s = &mut self.splits[i];
            if s.finished {
                continue;
            }
            if s.at == rows.num_rows() {
                if self.script.endless {
                    continue;
                }
                s.finished = true;
                return Ok(Poll::SplitFinished(s.id.clone()));
            }
            let most = self.script.max_batch.min(max_rows).min(rows.num_rows() - s.at);
            let take = 1 + self.rng.below(most as u64) as usize;
            let (split, batch) = (s.id.clone(), rows.slice(s.at, take));
            s.at += take;
            self.turn = i + 1;
            return Ok(Poll::Batch { split, batch, rejected: None });
        }
        Ok(if self.script.endless { Poll::Idle { until: None } } else { Poll::Finished })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|s| (s.id.clone(), Position(json!(s.at)))).collect()
    }
}

/// The watermark `column - delay` over an i64 column of milliseconds.
pub fn watermark(column: usize, delay: i64) -> WatermarkFactory {
    struct Column(usize, i64);
    impl WatermarkStrategy for Column {
        fn observe(&mut self, batch: &Batch) -> Result<Option<EventTime>> {
            let times = batch.column(self.0)?.as_primitive::<Int64Type>();
            Ok(arrow::compute::max(times).map(|t| EventTime(t).minus(self.1)))
        }
    }
    Arc::new(move || Ok(Box::new(Column(column, delay)) as Box<dyn WatermarkStrategy>))
}
