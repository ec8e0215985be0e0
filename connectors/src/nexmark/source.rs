//! The `nexmark` source: 64 splits of interleaved events, read in step with each other, as fast as asked for.
//!
//! Made by the planner from settings and the columns that somebody reads. Rows are generated when they are asked for, or, for
//! measurements, all beforehand.
//!
//! Invariants
//! - N1 a split's position is the index of its next event; the rows of a table never depend on parallelism.
//! - N2 a reader always reads its split that is furthest behind, so its splits advance together in event time.
//! - N3 with a limit, event `i` is given no earlier than `i / limit` seconds after the first one, whatever reader it falls to; who
//!   was held up makes good for at most a second.

use super::config::NexmarkConfig;
use super::generator::{Generator, Slice};
use super::schema::Projection;
use super::{ConfigError, SPLITS};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::{Clock, Moment};
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};

/// With a limit, rows become due in steps of this, so that batches do not fall apart into single rows.
const TICK: Duration = Duration::from_millis(10);

/// How far a reader may fall behind its limit before the rest is forgiven.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Rows of one batch generated beforehand.
const STORED_ROWS: usize = 4_096;

/// A Nexmark table, read.
pub struct NexmarkSource {
    rows: Arc<Rows>,
}

/// Where rows come from; shared by the readers.
struct Rows {
    generator: Generator,
    projection: Projection,
    /// For each split its batches of [`STORED_ROWS`] rows; `None` if rows are generated when asked for.
    stored: Option<Vec<Vec<RecordBatch>>>,
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::user(error.to_string())
    }
}

impl NexmarkSource {
    /// A source of the columns that `schema` names. Errors: `user`, if a setting or a column is none of a Nexmark table.
    pub fn new(config: NexmarkConfig, schema: SchemaRef) -> Result<Self> {
        let projection = Projection::new(schema).map_err(|error| Error::user(error.to_string()))?;
        let rows = Rows { generator: Generator::new(config)?, projection, stored: None };
        Ok(Self { rows: Arc::new(rows) })
    }

    /// The same, with all rows generated now: for measuring what comes after the source. Errors: as [`new`](Self::new), and if the
    /// table has no end.
    pub fn pregenerated(config: NexmarkConfig, schema: SchemaRef) -> Result<Self> {
        if config.events_num == 0 {
            return Err(Error::user("option `events.num`: rows generated beforehand need a number of events"));
        }
        let projection = Projection::new(schema).map_err(|error| Error::user(error.to_string()))?;
        let mut rows = Rows { generator: Generator::new(config)?, projection, stored: None };
        let store = |split| {
            let firsts = (split..rows.events()).step_by(SPLITS as usize * STORED_ROWS);
            firsts.map(|first| rows.generate(first, STORED_ROWS)).collect::<Result<Vec<_>>>()
        };
        rows.stored = Some((0..SPLITS).map(store).collect::<Result<_>>()?);
        Ok(Self { rows: Arc::new(rows) })
    }
}

impl Rows {
    fn events(&self) -> u64 {
        self.generator.len()
    }

    fn generate(&self, first: u64, count: usize) -> Result<RecordBatch> {
        Ok(self.generator.generate(Slice { first, stride: SPLITS, count }, &self.projection)?)
    }

    /// The rows from `first` on of its split: at least one and at most `count`.
    fn take(&self, first: u64, count: usize) -> Result<RecordBatch> {
        let Some(stored) = &self.stored else { return self.generate(first, count) };
        let row = (first / SPLITS) as usize;
        let batch = stored.get((first % SPLITS) as usize).and_then(|batches| batches.get(row / STORED_ROWS));
        let batch = batch.ok_or_else(|| Error::internal(format!("event {first} was not generated")))?;
        let offset = row % STORED_ROWS;
        Ok(batch.slice(offset, count.min(batch.num_rows() - offset)))
    }
}

impl SourceFactory for NexmarkSource {
    fn schema(&self) -> SchemaRef {
        self.rows.projection.schema().clone()
    }

    fn bounded(&self) -> bool {
        self.rows.generator.config().events_num > 0
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let settings = serde_json::to_value(self.rows.generator.config());
        let settings = settings.map_err(|error| Error::internal(error.to_string()))?;
        Ok(Box::new(NexmarkEnumerator { settings, events: self.rows.events() }))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(NexmarkReader { rows: self.rows.clone(), splits: Vec::new(), pace: None, clock: None }))
    }
}

/// Deals out the splits, which the settings alone determine.
struct NexmarkEnumerator {
    settings: serde_json::Value,
    events: u64,
}

impl NexmarkEnumerator {
    fn splits(&self) -> Vec<Split> {
        let split = |first: u64| Split { id: format!("nexmark-{first}"), spec: serde_json::json!({ "first": first }) };
        (0..SPLITS.min(self.events)).map(split).collect()
    }
}

impl SplitEnumerator for NexmarkEnumerator {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: self.splits(), complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        let Fact::Started { parallelism, finished } = fact else { return Vec::new() };
        let open: Vec<Split> = self.splits().into_iter().filter(|split| !finished.contains(&split.id)).collect();
        let share = |subtask: u32| {
            let splits = open.iter().skip(subtask as usize).step_by(parallelism as usize).cloned().collect();
            Assignment { subtask, splits, no_more: true }
        };
        (0..parallelism).map(share).collect()
    }

    fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({ "settings": self.settings })
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<()> {
        let was = state.get("settings").and_then(|settings| settings.as_object());
        let was = was.ok_or_else(|| Error::user("the state is not that of a nexmark source"))?;
        let changed = was.iter().find(|(name, value)| self.settings.get(name.as_str()) != Some(value));
        match changed {
            None => Ok(()),
            Some((name, value)) => {
                let is = self.settings.get(name.as_str()).cloned().unwrap_or_default();
                let text = format!("the state belongs to another table: setting `{name}` was {value} and is now {is}");
                Err(Error::user(text))
            }
        }
    }
}

/// Reads the splits of one subtask.
struct NexmarkReader {
    rows: Arc<Rows>,
    splits: Vec<SplitState>,
    /// With a limit, from the first poll on.
    pace: Option<Pace>,
    clock: Option<Clock>,
}

struct SplitState {
    id: SplitId,
    /// Index of the next event; at or beyond the table's end when all was read.
    next: u64,
    /// The task knows that it ended.
    finished: bool,
}

/// The limit of rows per second, anchored at a moment and an event.
#[derive(Debug, Clone, Copy)]
struct Pace {
    start: Moment,
    first: u64,
    rows_per_second: u64,
}

impl Pace {
    /// Events before this index are due.
    fn due(&self, now: Moment) -> u64 {
        let ticks = now.saturating_sub(self.start).as_nanos() / TICK.as_nanos();
        let elapsed = ticks * TICK.as_nanos();
        let rows = elapsed.saturating_mul(self.rows_per_second.into()) / Duration::from_secs(1).as_nanos();
        self.first.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    /// When the event becomes due.
    fn moment(&self, index: u64) -> Moment {
        let rows = u128::from(index.saturating_sub(self.first)) + 1;
        let nanos = (rows * Duration::from_secs(1).as_nanos()).div_ceil(u128::from(self.rows_per_second.max(1)));
        let ticks = u64::try_from(nanos.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        self.start + Duration::from_nanos(ticks.saturating_mul(TICK.as_nanos() as u64))
    }
}

impl NexmarkReader {
    /// How many rows of the split at `next` may be given now; the moment to come back if none.
    fn allowed(&mut self, next: u64) -> Result<std::result::Result<usize, Moment>> {
        let rows_per_second = self.rows.generator.config().rows_per_second;
        if rows_per_second == 0 {
            return Ok(Ok(usize::MAX));
        }
        let clock = self.clock.as_ref().ok_or_else(|| Error::internal("the nexmark reader was not opened"))?;
        let now = clock.now();
        let anchor = Pace { start: now, first: next, rows_per_second };
        let pace = self.pace.get_or_insert(anchor);
        if pace.moment(next) + CATCH_UP < now {
            *pace = anchor;
        }
        let due = pace.due(now).saturating_sub(next).div_ceil(SPLITS);
        Ok(if due > 0 { Ok(due as usize) } else { Err(pace.moment(next)) })
    }
}

impl SourceReader for NexmarkReader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        self.clock = Some(ctx.clock.clone());
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let first = split.spec.get("first").and_then(|first| first.as_u64()).filter(|first| *first < SPLITS);
            let first = first.ok_or_else(|| Error::internal(format!("split `{}` is none of nexmark", split.id)))?;
            let next = match position {
                None => first,
                Some(Position(value)) => {
                    let next = value.as_u64().filter(|next| next % SPLITS == first);
                    next.ok_or_else(|| Error::user(format!("split `{}` cannot stand at {value}", split.id)))?
                }
            };
            self.splits.push(SplitState { id: split.id.as_str().into(), next, finished: false });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let behind = self.splits.iter().enumerate().filter(|(_, split)| !split.finished);
        let Some((at, next)) = behind.min_by_key(|(_, split)| split.next).map(|(at, split)| (at, split.next)) else {
            return Ok(Poll::Finished);
        };
        // A split that ended counts as furthest behind only when all others have ended too: tell of it at once.
        let events = self.rows.events();
        if let Some(split) = self.splits.iter_mut().find(|split| !split.finished && split.next >= events) {
            split.finished = true;
            return Ok(Poll::SplitFinished(split.id.clone()));
        }
        let allowed = match self.allowed(next)? {
            Ok(rows) => rows.min(max_rows.max(1)),
            Err(moment) => return Ok(Poll::Idle { until: Some(moment) }),
        };
        let batch = self.rows.take(next, allowed)?;
        let Some(split) = self.splits.get_mut(at) else { return Ok(Poll::Finished) };
        split.next = next + batch.num_rows() as u64 * SPLITS;
        Ok(Poll::Batch { split: split.id.clone(), batch: Batch::new(batch), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|split| (split.id.clone(), Position(split.next.into()))).collect()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
