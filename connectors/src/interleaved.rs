//! Sources that make their rows: a table of numbered rows in splits that interleave row by row, read in step, as fast as allowed.
//!
//! `nexmark` and `datagen` say what row `n` is ([`Generate`]); this module deals the splits, reads them and keeps the limit of rows
//! per second. A reader makes one call per batch into the generator, and knows its type.
//!
//! Invariants
//! - I1 split `s` holds the rows `s`, `s + 64`, `s + 128`, ..; its position is the number of its next row.
//! - I2 the rows of a table never depend on parallelism; a restore into a table with other settings is refused.
//! - I3 a reader always reads its split that is furthest behind, so its splits advance together in event time.
//! - I4 with a limit, row `n` is given no earlier than `n / limit` seconds after the first one, whatever reader it falls to; who was
//!   held up makes good for at most a second.

use crate::splits::deal;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::{Clock, Moment};
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};

/// Into how many splits a table is divided.
///
/// The number is fixed, so that a checkpoint can be resumed at any parallelism, and the rows are interleaved one by one, so that
/// readers advance together in event time.
pub const SPLITS: u64 = 64;

/// The most rows that a table can have: the number after the last one of any split still fits.
pub(crate) const ROWS_MAX: u64 = u64::MAX - SPLITS;

/// With a limit, rows become due in steps of this, so that batches do not fall apart into single rows.
const TICK: Duration = Duration::from_millis(10);

/// How far a reader may fall behind its limit before the rest is forgiven.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The rows of a table, by number.
pub(crate) trait Generate: Send + Sync + 'static {
    /// The connector's name; split 3 is `name-3`.
    const NAME: &'static str;

    /// The columns of every batch.
    fn schema(&self) -> SchemaRef;

    /// How many rows there are, at most [`ROWS_MAX`].
    fn rows(&self) -> u64;

    /// Whether that number was asked for; else it is only that no more can be numbered.
    fn bounded(&self) -> bool;

    /// Everything that rows depend on, as an object of names and values; what changes no row is left out.
    fn settings(&self) -> Result<Value>;

    /// The rows `first`, `first + 64`, ..: at least one and at most `count`, all of which exist. `clock` is for rows that show the
    /// time of the day.
    fn generate(&self, first: u64, count: usize, clock: &Clock) -> Result<RecordBatch>;
}

/// A source of generated rows.
pub(crate) struct Interleaved<G> {
    rows: Arc<G>,
    rows_per_second: u64,
}

impl<G: Generate> Interleaved<G> {
    /// A source of these rows, of the whole table this many per second; 0 = no limit.
    pub(crate) fn new(rows: G, rows_per_second: u64) -> Interleaved<G> {
        Interleaved { rows: Arc::new(rows), rows_per_second }
    }
}

impl<G: Generate> SourceFactory for Interleaved<G> {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn bounded(&self) -> bool {
        self.rows.bounded()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let (settings, rows) = (self.rows.settings()?, self.rows.rows());
        Ok(Box::new(Enumerator { name: G::NAME, settings, rows }))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let end = self.rows.rows().min(ROWS_MAX);
        let rows_per_second = self.rows_per_second;
        Ok(Box::new(Reader { rows: self.rows.clone(), end, rows_per_second, splits: vec![], pace: None, clock: None }))
    }
}

/// Deals out the splits, which the settings alone determine.
struct Enumerator {
    name: &'static str,
    settings: Value,
    rows: u64,
}

impl Enumerator {
    fn splits(&self) -> Vec<Split> {
        let split = |first: u64| Split { id: format!("{}-{first}", self.name), spec: json!({ "first": first }) };
        (0..SPLITS.min(self.rows)).map(split).collect()
    }
}

impl SplitEnumerator for Enumerator {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: self.splits(), complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        let Fact::Started { parallelism, finished } = fact else { return Vec::new() };
        deal(&self.splits(), &finished, parallelism, true)
    }

    fn snapshot(&self) -> Value {
        json!({ "settings": self.settings })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let was = state.get("settings").and_then(Value::as_object);
        let was = was.ok_or_else(|| Error::user(format!("the state is not that of a {} source", self.name)))?;
        let is = self.settings.as_object();
        let names = was.keys().chain(is.into_iter().flat_map(|is| is.keys()));
        let pairs = names.map(|name| (name, was.get(name), is.and_then(|is| is.get(name))));
        let Some((name, was, is)) = pairs.into_iter().find(|(_, was, is)| was != is) else { return Ok(()) };
        let shown = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
        let (was, is) = (shown(was), shown(is));
        Err(Error::user(format!("the state belongs to another table: setting `{name}` was {was} and is now {is}")))
    }
}

/// Reads the splits of one subtask.
struct Reader<G> {
    rows: Arc<G>,
    /// The number of rows of the table.
    end: u64,
    rows_per_second: u64,
    splits: Vec<SplitState>,
    /// With a limit, from the first poll on.
    pace: Option<Pace>,
    clock: Option<Clock>,
}

struct SplitState {
    id: SplitId,
    /// Number of the next row; at or beyond the table's end when all was read.
    next: u64,
    /// The task knows that it ended.
    finished: bool,
}

/// The limit of rows per second, anchored at a moment and a row.
#[derive(Debug, Clone, Copy)]
struct Pace {
    start: Moment,
    first: u64,
    rows_per_second: u64,
}

impl Pace {
    /// Rows before this number are due.
    fn due(&self, now: Moment) -> u64 {
        let ticks = now.saturating_sub(self.start).as_nanos() / TICK.as_nanos();
        let elapsed = ticks * TICK.as_nanos();
        let rows = elapsed.saturating_mul(self.rows_per_second.into()) / Duration::from_secs(1).as_nanos();
        self.first.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    /// When the row becomes due.
    fn moment(&self, row: u64) -> Moment {
        let rows = u128::from(row.saturating_sub(self.first)) + 1;
        let nanos = (rows * Duration::from_secs(1).as_nanos()).div_ceil(u128::from(self.rows_per_second.max(1)));
        let ticks = u64::try_from(nanos.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        self.start + Duration::from_nanos(ticks.saturating_mul(TICK.as_nanos() as u64))
    }

    /// How many rows of the split at `next` are due now; the moment to come back if none is. Who is too far behind starts anew.
    fn allow(&mut self, next: u64, now: Moment) -> std::result::Result<usize, Moment> {
        if self.moment(next) + CATCH_UP < now {
            *self = Pace { start: now, first: next, ..*self };
        }
        match self.due(now).saturating_sub(next).div_ceil(SPLITS) {
            0 => Err(self.moment(next)),
            due => Ok(usize::try_from(due).unwrap_or(usize::MAX)),
        }
    }
}

impl<G> Reader<G> {
    fn allowed(&mut self, next: u64, now: Moment) -> std::result::Result<usize, Moment> {
        match self.rows_per_second {
            0 => Ok(usize::MAX),
            rows_per_second => {
                self.pace.get_or_insert(Pace { start: now, first: next, rows_per_second }).allow(next, now)
            }
        }
    }
}

impl<G: Generate> SourceReader for Reader<G> {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        self.clock = Some(ctx.clock.clone());
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let first = split.spec.get("first").and_then(Value::as_u64).filter(|first| *first < SPLITS);
            let first = first.ok_or_else(|| Error::internal(format!("split `{}` is none of {}", split.id, G::NAME)))?;
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
        // A split that ended counts as furthest behind only when all others have ended too: tell of it at once.
        let end = self.end;
        if let Some(split) = self.splits.iter_mut().find(|split| !split.finished && split.next >= end) {
            split.finished = true;
            return Ok(Poll::SplitFinished(split.id.clone()));
        }
        let behind = self.splits.iter().enumerate().filter(|(_, split)| !split.finished);
        let Some((at, next)) = behind.min_by_key(|(_, split)| split.next).map(|(at, split)| (at, split.next)) else {
            return Ok(Poll::Finished);
        };
        let clock = self.clock.clone().ok_or_else(|| Error::internal("the reader was not opened"))?;
        let allowed = match self.allowed(next, clock.now()) {
            Ok(rows) => rows.min(max_rows.max(1)),
            Err(moment) => return Ok(Poll::Idle { until: Some(moment) }),
        };
        let left = usize::try_from((end - next).div_ceil(SPLITS)).unwrap_or(usize::MAX);
        let batch = self.rows.generate(next, allowed.min(left), &clock)?;
        let Some(split) = self.splits.get_mut(at).filter(|_| batch.num_rows() > 0) else {
            return Err(Error::internal(format!("{} made no row {next}", G::NAME)));
        };
        split.next = next + batch.num_rows() as u64 * SPLITS;
        Ok(Poll::Batch { split: split.id.clone(), batch: Batch::new(batch), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|split| (split.id.clone(), Position(split.next.into()))).collect()
    }
}

#[cfg(test)]
#[path = "interleaved_tests.rs"]
pub(crate) mod tests;
