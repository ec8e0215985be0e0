//! AND and OR that protect what stands right of them, row by row.
//!
//! Called on every expression just before it is compiled, after the optimizer, which would undo it. Kernels evaluate both sides of AND on
//! whole batches: `b <> 0 AND a / b > 1` would fail on the rows that the left side excludes. Only CASE evaluates a side on the rows
//! that reach it, so a right side that can fail is moved into one.
//!
//! Invariants
//! - G1 the result is the same for every row on which nothing fails.
//! - G2 in a filter, parts that cannot fail run first: DataFusion reorders conjuncts, and any of them may be the guard.

use crate::error::Result;
use crate::fault;
use crate::functions::cast;
use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, Operator, lit, when};

/// A predicate of a filter: rows that are not true go, so NULL and false are the same.
pub(crate) fn filter(predicate: Expr) -> Result<Expr> {
    let (risky, safe): (Vec<Expr>, Vec<Expr>) = split_conjunction_owned(predicate).into_iter().partition(can_fail);
    let safe = safe.into_iter().reduce(Expr::and);
    let mut guarded = safe;
    for part in risky {
        let part = value(part)?;
        guarded = Some(match guarded {
            None => part,
            Some(guard) => when(guard, part).otherwise(lit(false)).map_err(fault::of)?,
        });
    }
    Ok(guarded.unwrap_or_else(|| lit(true)))
}

/// An expression whose value matters.
pub(crate) fn value(expr: Expr) -> Result<Expr> {
    expr.transform_up(|e| match e {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) if can_fail(&right) => {
            let decided = op == Operator::Or;
            // NULL on the left decides nothing, so the right side runs, as it does in Flink.
            let settles = if decided { left.clone().is_true() } else { left.clone().is_false() };
            let both = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(Transformed::yes(when(settles, lit(decided)).otherwise(both)?))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
    .map_err(fault::of)
}

/// Whether some row can make the expression fail: integer and decimal division, casts that read, functions not known to be total.
fn can_fail(expr: &Expr) -> bool {
    let mut found = false;
    let walked = expr.apply(|e| {
        found |= match e {
            Expr::BinaryExpr(b) => matches!(b.op, Operator::Divide | Operator::Modulo) && !is_nonzero(&b.right),
            Expr::Cast(c) => !widens(c.field.data_type()),
            Expr::ScalarFunction(call) => !is_total(call.func.name()),
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || walked.is_err()
}

fn is_total(function: &str) -> bool {
    TOTAL.contains(&function) || cast::TOTAL.iter().any(|name| function.starts_with(name))
}

/// Functions that give a value for every argument. Those that can make text longer are none: it has a limit.
const TOTAL: [&str; 28] = [
    "get_field",
    "lower",
    "upper",
    "trim",
    "btrim",
    "ltrim",
    "rtrim",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "starts_with",
    "nullif",
    "reverse",
    "split_index",
    "date_format",
    "year",
    "quarter",
    "month",
    "week",
    "hour",
    "minute",
    "second",
    "regexp",
    "regexp_extract",
    "regexp_substr",
    "regexp_count",
    "regexp_instr",
];

fn is_nonzero(divisor: &Expr) -> bool {
    match divisor {
        Expr::Literal(value, _) => {
            !value.is_null()
                && datafusion_common::ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero != *value)
        }
        Expr::Cast(c) => is_nonzero(&c.expr),
        _ => false,
    }
}

/// A target type that no cast to it can fail for. Casts that read text or lose digits are functions by now (`casts.rs`): what is
/// left to numbers only widens. A time in finer units may be out of range.
fn widens(to: &DataType) -> bool {
    matches!(to, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) || to.is_numeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::physical::compile;
    use crate::planner::stream::column;
    use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
    use arrow::datatypes::{Field, Schema};
    use std::sync::Arc;
    use thalweg_operators::expr::evaluate;

    /// Column 0 holds 0, NULL, 5 and -5; the result per row, `None` = NULL.
    fn run(expr: &Expr) -> Vec<Option<bool>> {
        let schema = Arc::new(Schema::new(vec![Field::new("b", DataType::Int64, true)]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(5), Some(-5)]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![values]).unwrap();
        let out = evaluate(&compile(expr, &schema, &[Some(0)]).unwrap(), &rows).unwrap();
        let out: &BooleanArray = out.as_boolean();
        (0..out.len()).map(|i| out.is_valid(i).then(|| out.value(i))).collect()
    }

    fn ratio() -> Expr {
        (lit(10i64) / column(0)).gt(lit(1i64))
    }

    #[test]
    fn a_filter_guards_whatever_the_order() {
        let nonzero = column(0).not_eq(lit(0i64));
        for predicate in [ratio().and(nonzero.clone()), nonzero.clone().and(ratio())] {
            let kept = run(&filter(predicate).unwrap());
            assert_eq!(kept.iter().map(|k| *k == Some(true)).collect::<Vec<_>>(), [false, false, true, false]);
        }
    }

    #[test]
    fn values_keep_their_three_truths() {
        let zero = column(0).eq(lit(0i64));
        let or = run(&value(zero.clone().or(ratio())).unwrap());
        assert_eq!(or, [Some(true), None, Some(true), Some(false)]);
        let and = run(&value(column(0).not_eq(lit(0i64)).and(ratio())).unwrap());
        assert_eq!(and, [Some(false), None, Some(true), Some(false)]);
        let nested = zero.or(ratio()).and(column(0).is_not_null());
        assert_eq!(run(&value(nested).unwrap()), [Some(true), Some(false), Some(true), Some(false)]);
    }

    #[test]
    fn what_cannot_fail_is_left_alone() {
        let plain = column(0).gt(lit(1i64)).and((column(0) % lit(7i64)).eq(lit(0i64)));
        assert_eq!(value(plain.clone()).unwrap(), plain);
    }
}
