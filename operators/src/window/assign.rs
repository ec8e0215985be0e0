//! A window function without an aggregate: every row once per window that it is in, with the window's bounds appended. Stateless;
//! weights pass through.
//!
//! Made by the planner for `SELECT .. FROM TABLE(TUMBLE(..))`, and where bounds are computed with before they are aggregated by.

use super::WindowTime;
use super::rows::millis;
use super::spec::{Run, Windows, runs};
use super::store::instants;
use crate::expr::Text;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use thalweg_engine::{Batch, Context, Error, Operator, OperatorFactory, OutPort, Port, Result};

/// Rows of an emitted batch, and those of one slice.
const BATCH_ROWS: usize = 8_192;

/// Appends window bounds, as the planner describes it.
#[derive(Clone, Debug)]
pub struct AssignWindows {
    /// Where windows come from: event time or processing time.
    pub time: WindowTime,
    /// The input's columns, then `window_start`, `window_end`, `window_time` (timestamps).
    pub output: SchemaRef,
}

impl OperatorFactory for AssignWindows {
    fn operator(&self) -> Result<Box<dyn Operator>> {
        self.time.windows().check()?;
        Ok(Box::new(self.clone()))
    }
}

impl Operator for AssignWindows {
    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let wall = ctx.clock().wall_ms();
        self.assign(&batch, wall, &mut |rows| ctx.emit(OutPort::MAIN, rows))
    }
}

impl AssignWindows {
    /// The rows of a batch in their windows. Errors: `user` for a time that is NULL or out of range.
    pub fn assign(&self, batch: &Batch, wall_ms: i64, emit: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let windows = self.time.windows();
        let runs = match &self.time {
            WindowTime::Event { time, .. } => {
                let times = millis(time, batch)?;
                runs(&windows, &times).map_err(|e| e.context(format!("column `{}`", Text(time))))?
            }
            WindowTime::Processing { .. } => {
                vec![Run { end: windows.slice_end(wall_ms), start: 0, len: batch.num_rows() }]
            }
            WindowTime::Attached { .. } => return Err(Error::internal("rows that carry windows are put into windows")),
        };
        let (mut rows, mut ends) = (vec![], vec![]);
        for run in runs {
            // Between the windows of a HOP whose slide is longer than its size the row is in none.
            let Some((first, last)) = windows.ends_of(run.end) else { continue };
            let step = usize::try_from(windows.period()).unwrap_or(usize::MAX);
            for end in (first..=last).step_by(step) {
                rows.extend(run.start as u32..(run.start + run.len) as u32);
                ends.resize(rows.len(), end);
                if rows.len() >= BATCH_ROWS {
                    emit(self.rows_in(batch, std::mem::take(&mut rows), std::mem::take(&mut ends), windows)?)?;
                }
            }
        }
        if rows.is_empty() { Ok(()) } else { emit(self.rows_in(batch, rows, ends, windows)?) }
    }

    fn rows_in(&self, batch: &Batch, rows: Vec<u32>, ends: Vec<i64>, windows: Windows) -> Result<Batch> {
        let all = rows.len() == batch.num_rows() && rows.iter().enumerate().all(|(i, row)| i == *row as usize);
        let picked = if all { batch.clone() } else { batch.take(&UInt32Array::from(rows))? };
        let mut columns = picked.columns().columns().to_vec();
        let starts = ends.iter().map(|end| windows.start_of(*end)).collect();
        let times = ends.iter().map(|end| end - 1).collect();
        let fields = self.output.fields().iter().skip(columns.len());
        for (field, values) in fields.zip([starts, ends, times]) {
            columns.push(instants(values, field.data_type())?);
        }
        picked.with_columns(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Expr;
    use arrow::array::{ArrayRef, AsArray, TimestampMillisecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMillisecondType};
    use datafusion_physical_expr::expressions::Column;

    fn assigned(windows: Windows, times: &[i64]) -> Vec<[i64; 4]> {
        let ts: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()));
        let rows = RecordBatch::try_from_iter([("ts", ts)]).unwrap();
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let fields = ["ts", "window_start", "window_end", "window_time"].map(|n| Field::new(n, millis.clone(), true));
        let time: Expr = Arc::new(Column::new("ts", 0));
        let assign =
            AssignWindows { time: WindowTime::Event { time, windows }, output: Arc::new(Schema::new(fields.to_vec())) };
        let mut out = vec![];
        assign
            .assign(&Batch::new(rows), 0, &mut |batch| {
                let columns: Vec<_> =
                    batch.columns().columns().iter().map(|c| c.as_primitive::<TimestampMillisecondType>()).collect();
                out.extend((0..batch.num_rows()).map(|i| std::array::from_fn(|c| columns[c].value(i))));
                Ok(())
            })
            .unwrap();
        out.sort_unstable();
        out
    }

    #[test]
    fn every_row_is_once_in_each_of_its_windows() {
        assert_eq!(assigned(Windows::tumble(10), &[3, 12, -1]), [[-1, -10, 0, -1], [3, 0, 10, 9], [12, 10, 20, 19]]);
        assert_eq!(assigned(Windows::hop(5, 10), &[3]), [[3, -5, 5, 4], [3, 0, 10, 9]]);
        assert_eq!(assigned(Windows::cumulate(5, 10), &[3, 7]), [[3, 0, 5, 4], [3, 0, 10, 9], [7, 0, 10, 9]]);
        assert_eq!(assigned(Windows::hop(10, 3), &[5, 11]), [[11, 10, 13, 12]], "the first is between the windows");
        let many = assigned(Windows::hop(1, 3), &(0..10_000).collect::<Vec<_>>());
        assert_eq!(many.len(), 30_000);
        assert!(
            many.iter().all(|[ts, start, end, time]| start <= ts && ts < end && end - start == 3 && *time == end - 1)
        );
    }
}
