//! The source: a fixed number of splits whose rows interleave, read in step, as fast as allowed.
//!
//! Invariants
//! - D1 split `s` holds the rows `s`, `s + 16`, ..; its position is the number of its next row.
//! - D2 a reader reads its split that is furthest behind.
//! - D3 all readers together give at most `rate` rows per second, and who was held up makes good for at most a second.

use super::values::{Field, RowNumbers};
use crate::splits::AssignOnce;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::batch::Batch;
use thalweg_engine::clock::{Clock, Moment};
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{
    Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator, SplitId,
};

/// How many splits there are, whatever the parallelism.
const SPLITS: u64 = 16;
/// Rows become due in steps of this.
const TICK: Duration = Duration::from_millis(10);
/// How much is made good for.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Generated rows.
pub(super) struct DatagenSource {
    pub(super) schema: SchemaRef,
    pub(super) fields: Arc<[Field]>,
    /// `None` = no end.
    pub(super) rows: Option<u64>,
    /// Per second.
    pub(super) rate: u64,
}

impl SourceFactory for DatagenSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.rows.is_some()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let splits = (0..SPLITS).map(|s| Split { id: s.to_string(), spec: json!({ "first": s }) });
        Ok(Box::new(AssignOnce::known(splits.collect())))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(DatagenReader {
            schema: self.schema.clone(),
            fields: self.fields.clone(),
            end: self.rows.unwrap_or(i64::MAX as u64),
            rate: self.rate,
            splits: vec![],
            clock: Clock::system(),
            since: None,
        }))
    }
}

struct Open {
    id: SplitId,
    next: u64,
    done: bool,
}

struct DatagenReader {
    schema: SchemaRef,
    fields: Arc<[Field]>,
    /// The number of rows of the table.
    end: u64,
    rate: u64,
    splits: Vec<Open>,
    clock: Clock,
    /// From when rows are due, and how many this reader has given since.
    since: Option<(Moment, u64)>,
}

impl SourceReader for DatagenReader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        self.clock = ctx.clock.clone();
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            let next = position.as_ref().map_or(split.spec.get("first"), |p| p.0.get("row"));
            let next = next.and_then(serde_json::Value::as_u64);
            let next = next.ok_or_else(|| Error::user(format!("split `{}` has no row number", split.id)))?;
            self.splits.push(Open { id: split.id.as_str().into(), next, done: false });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let open = self.splits.iter().filter(|s| !s.done).count() as u64;
        let end = self.end;
        let Some(split) = self.splits.iter_mut().filter(|s| !s.done).min_by_key(|s| s.next) else {
            return Ok(Poll::Finished);
        };
        if split.next >= end {
            split.done = true;
            return Ok(Poll::SplitFinished(split.id.clone()));
        }
        let now = self.clock.now();
        let (since, given) = self.since.get_or_insert((now, 0));
        let share = |time: Duration| {
            (time.as_nanos() * u128::from(self.rate * open) / u128::from(1_000_000_000 * SPLITS)) as u64
        };
        // Rows of a tick are due when it begins.
        let due = share(now.saturating_sub(*since) + TICK).max(1);
        if due <= *given {
            return Ok(Poll::Idle { until: Some(now + TICK) });
        }
        if due - *given > share(CATCH_UP).max(1) {
            *given = due - share(CATCH_UP).max(1);
        }
        let left = (end - split.next).div_ceil(SPLITS).min(due - *given);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(max_rows.max(1));
        let rows = RowNumbers { first: split.next, stride: SPLITS, count };
        let wall = self.clock.wall_ms();
        let columns = self.fields.iter().map(|f| f.generate(rows, wall)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        *given += count as u64;
        split.next = split.next.saturating_add(count as u64 * SPLITS);
        Ok(Poll::Batch { split: split.id.clone(), batch: Batch::new(batch), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.splits.iter().map(|s| (s.id.clone(), Position(json!({ "row": s.next })))).collect()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
