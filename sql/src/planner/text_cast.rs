//! `CAST(timestamp AS STRING)` as Flink writes it: `2026-01-31 08:00:00.000`, with as many digits as the type has.
//!
//! Called on every expression before it is compiled, also on the casts that DataFusion adds by itself; its own kernel writes ISO.

use crate::error::Result;
use crate::fault;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, ExprSchemable, ScalarUDF};
use std::sync::{Arc, LazyLock};

static DATE_FORMAT: LazyLock<Option<Arc<ScalarUDF>>> =
    LazyLock::new(|| crate::functions::scalar_functions().into_iter().find(|f| f.name() == "date_format"));

/// Replaces casts from timestamps to text.
pub(crate) fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let Some(date_format) = DATE_FORMAT.as_ref() else { return Ok(expr) };
    let rewritten = expr.transform_up(|e| {
        let Expr::Cast(cast) = &e else { return Ok(Transformed::no(e)) };
        let (true, DataType::Timestamp(unit, _)) =
            (*cast.field.data_type() == DataType::Utf8, cast.expr.get_type(schema)?)
        else {
            return Ok(Transformed::no(e));
        };
        let pattern = match unit {
            TimeUnit::Second | TimeUnit::Millisecond => "yyyy-MM-dd HH:mm:ss.SSS",
            TimeUnit::Microsecond => "yyyy-MM-dd HH:mm:ss.SSSSSS",
            TimeUnit::Nanosecond => "yyyy-MM-dd HH:mm:ss.SSSSSSSSS",
        };
        let pattern = Expr::Literal(ScalarValue::Utf8(Some(pattern.into())), None);
        let call = ScalarFunction::new_udf(Arc::clone(date_format), vec![cast.expr.as_ref().clone(), pattern]);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    });
    Ok(rewritten.map_err(fault::of)?.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::lower::place_schema;
    use crate::planner::physical::compile;
    use crate::planner::stream::column;
    use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, TimestampMillisecondArray};
    use datafusion_expr::cast;
    use thalweg_operators::expr::evaluate;

    fn text(times: ArrayRef) -> String {
        let rows = RecordBatch::try_from_iter([("ts", times)]).unwrap();
        let schema = rows.schema();
        let expr = rewrite(cast(column(0), DataType::Utf8), &place_schema(&schema).unwrap()).unwrap();
        let out = evaluate(&compile(&expr, &schema, &[Some(0)]).unwrap(), &rows).unwrap();
        out.as_string::<i32>().value(0).to_owned()
    }

    #[test]
    fn timestamps_are_written_as_in_flink() {
        assert_eq!(text(Arc::new(TimestampMillisecondArray::from(vec![1_500]))), "1970-01-01 00:00:01.500");
        assert_eq!(text(Arc::new(TimestampMicrosecondArray::from(vec![1_500]))), "1970-01-01 00:00:00.001500");
    }
}
