//! WATERMARK clauses at work: per batch of a split, the highest watermark that its rows justify.
//!
//! Made by the graph planner for every source whose table has a WATERMARK; called by the source task before any filter.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_engine::source::WatermarkStrategy;
use thalweg_engine::{Batch, EventTime, Result};
use thalweg_operators::expr::evaluate;

/// `expr - delay`, where the delay is constant: the maximum is taken before it is subtracted.
#[derive(Clone, Debug)]
pub(crate) struct BoundedDelay {
    /// A timestamp over the source's columns.
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) delay_ms: i64,
}

impl WatermarkStrategy for BoundedDelay {
    fn observe(&mut self, batch: &Batch) -> Result<Option<EventTime>> {
        let times = evaluate(&self.expr, batch.columns())?;
        Ok(latest_ms(&times)?.map(|ms| EventTime(ms).minus(self.delay_ms)))
    }
}

/// The latest timestamp in milliseconds; finer units are floored.
fn latest_ms(times: &ArrayRef) -> Result<Option<i64>> {
    use arrow::datatypes::{
        TimestampMicrosecondType as Micro, TimestampNanosecondType as Nano, TimestampSecondType as Second,
    };
    Ok(match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            max(times.as_primitive::<Second>()).map(|v| v.saturating_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => max(times.as_primitive::<TimestampMillisecondType>()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            max(times.as_primitive::<Micro>()).map(|v| v.div_euclid(1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            max(times.as_primitive::<Nano>()).map(|v| v.div_euclid(1_000_000))
        }
        _ => {
            let millis = cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            max(millis.as_primitive::<TimestampMillisecondType>())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{RecordBatch, TimestampMicrosecondArray};
    use datafusion_physical_expr::expressions::Column;

    fn observe(values: Vec<Option<i64>>) -> Option<EventTime> {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(values));
        let rows = RecordBatch::try_from_iter([("ts", times)]).unwrap();
        let mut strategy = BoundedDelay { expr: Arc::new(Column::new("ts", 0)), delay_ms: 5 };
        strategy.observe(&Batch::new(rows)).unwrap()
    }

    #[test]
    fn the_latest_time_counts_floored_and_delayed() {
        assert_eq!(observe(vec![Some(9_999), None, Some(1)]), Some(EventTime(4)));
        assert_eq!(observe(vec![Some(-1)]), Some(EventTime(-6)), "floored below zero too");
        assert_eq!(observe(vec![None]), None);
        assert_eq!(observe(vec![]), None);
    }
}
