//! CASE whose conditions only compare and whose branches are columns or constants. All branches are there for nothing, so every
//! row takes its value from one of them in a single pass; the general CASE takes the rows of every branch apart and puts the
//! results together again. Called on every expression of a calc operator, and on those of watermarks.
//!
//! Invariants
//! - O1 the result is that of CASE: the first condition that is true decides, NULL is not true, and no branch means NULL.

use crate::expr::Expr;
use crate::share::{is_cheap, is_input};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
    new_empty_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Schema};
use arrow::downcast_primitive_array;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Result, internal_err};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CaseExpr, Literal, lit};
use std::fmt;
use std::sync::Arc;

/// With more conditions than this, taking the rows apart is cheaper than asking all of every row.
const MOST_CONDITIONS: usize = 16;

/// Replaces CASE where it can be had for less, in all of an expression over columns of `schema`.
pub fn simplify(e: Expr, schema: &Schema) -> Result<Expr> {
    e.transform_up(|e| match e.downcast_ref::<CaseExpr>().and_then(|case| Choose::of(case, schema)) {
        Some(choose) => Ok(Transformed::yes(Arc::new(choose) as Expr)),
        None => Ok(Transformed::no(e)),
    })
    .data()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Choose {
    conditions: Vec<Expr>,
    /// One per condition, and one for rows without any.
    branches: Vec<Expr>,
    data_type: DataType,
}

impl Choose {
    fn of(case: &CaseExpr, schema: &Schema) -> Option<Choose> {
        let data_type = case.data_type(schema).ok()?;
        let condition = |when: &Expr| -> Expr {
            match case.expr() {
                Some(base) => Arc::new(BinaryExpr::new(base.clone(), Operator::Eq, when.clone())),
                None => when.clone(),
            }
        };
        let conditions: Vec<Expr> = case.when_then_expr().iter().map(|(when, _)| condition(when)).collect();
        let otherwise = match case.else_expr() {
            Some(e) => e.clone(),
            None => lit(datafusion_common::ScalarValue::try_from(&data_type).ok()?),
        };
        let branches: Vec<Expr> =
            case.when_then_expr().iter().map(|(_, then)| then.clone()).chain([otherwise]).collect();
        let fits = |e: &Expr| (is_input(e) || e.is::<Literal>()) && e.data_type(schema).is_ok_and(|t| t == data_type);
        let good = (data_type.is_primitive() || data_type == DataType::Utf8)
            && conditions.len() <= MOST_CONDITIONS
            && conditions.iter().all(is_cheap)
            && branches.iter().all(fits);
        good.then_some(Choose { conditions, branches, data_type })
    }

    /// For which rows each condition is true.
    fn masks(&self, rows: &RecordBatch) -> Result<Vec<BooleanBuffer>> {
        let mask = |e: &Expr| -> Result<BooleanBuffer> {
            let value = e.evaluate(rows)?.into_array(rows.num_rows())?;
            let Some(mask) = value.as_boolean_opt() else { return internal_err!("condition `{e}` is no boolean") };
            let mask: BooleanArray = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            Ok(mask.values().clone())
        };
        self.conditions.iter().map(mask).collect()
    }

    fn choose(&self, masks: &[BooleanBuffer], branches: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
        let like = new_empty_array(&self.data_type);
        let like = like.as_ref();
        downcast_primitive_array! {
            like => primitives(like, masks, branches, rows),
            DataType::Utf8 => texts(masks, branches, rows),
            other => internal_err!("CASE of type {other}")
        }
    }
}

impl PhysicalExpr for Choose {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue> {
        let masks = self.masks(rows)?;
        let branches = self.branches.iter().map(|e| e.evaluate(rows)).collect::<Result<Vec<_>>>()?;
        self.choose(&masks, &branches, rows.num_rows()).map(ColumnarValue::Array)
    }

    fn children(&self) -> Vec<&Expr> {
        self.conditions.iter().chain(&self.branches).collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Expr>) -> Result<Expr> {
        let (conditions, branches) = children.split_at(self.conditions.len().min(children.len()));
        let (conditions, branches) = (conditions.to_vec(), branches.to_vec());
        Ok(Arc::new(Choose { conditions, branches, data_type: self.data_type.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CASE ")?;
        for (condition, branch) in self.conditions.iter().zip(&self.branches) {
            f.write_str("WHEN ")?;
            condition.fmt_sql(f)?;
            f.write_str(" THEN ")?;
            branch.fmt_sql(f)?;
            f.write_str(" ")?;
        }
        if let Some(otherwise) = self.branches.last() {
            f.write_str("ELSE ")?;
            otherwise.fmt_sql(f)?;
        }
        f.write_str(" END")
    }
}

impl fmt::Display for Choose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_sql(f)
    }
}

fn validity(branch: &ColumnarValue, rows: usize) -> Option<BooleanBuffer> {
    match branch {
        ColumnarValue::Scalar(value) => value.is_null().then(|| BooleanBuffer::new_unset(rows)),
        ColumnarValue::Array(array) => array.nulls().map(|n| n.inner().clone()),
    }
}

/// Which rows of the result are there; `None` = all.
fn nulls(masks: &[BooleanBuffer], branches: &[ColumnarValue], rows: usize) -> Option<NullBuffer> {
    let mut valid = branches.last().and_then(|b| validity(b, rows));
    for (mask, branch) in masks.iter().zip(branches).rev() {
        let branch = validity(branch, rows);
        if valid.is_none() && branch.is_none() {
            continue;
        }
        let all = || BooleanBuffer::new_set(rows);
        let (before, taken) = (valid.unwrap_or_else(all), branch.unwrap_or_else(all));
        valid = Some(&(mask & &taken) | &(&!mask & &before));
    }
    valid.map(NullBuffer::new).filter(|n| n.null_count() > 0)
}

fn primitives<T: ArrowPrimitiveType>(
    like: &PrimitiveArray<T>,
    masks: &[BooleanBuffer],
    branches: &[ColumnarValue],
    rows: usize,
) -> Result<ArrayRef> {
    let mut values: Vec<T::Native> = vec![T::Native::default(); rows];
    let Some(otherwise) = branches.last() else { return internal_err!("CASE without a branch") };
    match otherwise {
        ColumnarValue::Scalar(value) => values.fill(value.to_array()?.as_primitive::<T>().value(0)),
        ColumnarValue::Array(column) => values.copy_from_slice(column.as_primitive::<T>().values()),
    }
    for (mask, branch) in masks.iter().zip(branches).rev() {
        match branch {
            ColumnarValue::Scalar(value) => {
                let one = value.to_array()?.as_primitive::<T>().value(0);
                mask.set_indices().for_each(|row| values[row] = one);
            }
            ColumnarValue::Array(column) => {
                let column = column.as_primitive::<T>().values();
                mask.set_indices().for_each(|row| values[row] = column[row]);
            }
        }
    }
    let nulls = nulls(masks, branches, rows);
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(like.data_type().clone())))
}

fn texts(masks: &[BooleanBuffer], branches: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let mut taken = vec![masks.len() as u8; rows];
    for (branch, mask) in masks.iter().enumerate().rev() {
        mask.set_indices().for_each(|row| taken[row] = branch as u8);
    }
    let columns = branches.iter().map(|b| b.to_array(1)).collect::<Result<Vec<_>>>()?;
    // Every branch as a column and a step: a constant stays at its only row.
    let columns: Vec<(&StringArray, usize)> = columns
        .iter()
        .zip(branches)
        .map(|(c, b)| (c.as_string::<i32>(), usize::from(matches!(b, ColumnarValue::Array(_)))))
        .collect();
    let lengths = |row: usize| {
        let (column, step) = columns[usize::from(taken[row])];
        let offsets = column.value_offsets();
        (offsets[row * step + 1] - offsets[row * step]) as usize
    };
    let total: usize = (0..rows).map(lengths).sum();
    if i32::try_from(total).is_err() {
        return Err(datafusion_common::DataFusionError::Execution(format!(
            "CASE gives {total} bytes of text for one batch; the most is {}",
            i32::MAX
        )));
    }
    let offsets = OffsetBuffer::<i32>::from_lengths((0..rows).map(lengths));
    let mut bytes: Vec<u8> = Vec::with_capacity(total);
    for (row, branch) in taken.iter().enumerate() {
        let (column, step) = columns[usize::from(*branch)];
        let offsets = column.value_offsets();
        let (from, to) = (offsets[row * step] as usize, offsets[row * step + 1] as usize);
        bytes.extend_from_slice(&column.value_data()[from..to]);
    }
    let nulls = nulls(masks, branches, rows);
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::Field;
    use datafusion_physical_expr::expressions::{Column, IsNullExpr, case};
    use thalweg_engine::rng::Rng;

    fn rows(rng: &mut Rng, n: usize) -> RecordBatch {
        let mut some = |below| (0..n).map(|_| (!rng.percent(20)).then(|| rng.below(below) as i64)).collect::<Vec<_>>();
        let texts: StringArray = some(3).into_iter().map(|v| v.map(|v| "é".repeat(v as usize))).collect();
        let (k, v, t) = (Int64Array::from(some(4)), Int64Array::from(some(100)), some(1000));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(k)),
            ("v", Arc::new(v)),
            ("t", Arc::new(TimestampMillisecondArray::from(t))),
            ("s", Arc::new(texts)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    fn column(i: usize, rows: &RecordBatch) -> Expr {
        Arc::new(Column::new(rows.schema().field(i).name(), i))
    }

    /// Against DataFusion's CASE, with and without a base, with and without ELSE, constants and NULLs among the branches.
    #[test]
    fn every_row_takes_what_case_gives_it() {
        let mut rng = Rng::new(9);
        for round in 0..400 {
            let n = [0, 1, 64, 100][rng.below(4) as usize];
            let rows = rows(&mut rng, n);
            // Sliced, so that buffers do not start at a byte.
            let skipped = rng.below(n as u64 / 2 + 1) as usize;
            let rows = rows.slice(skipped, n - skipped);
            let typed = |constant: Expr, column: Expr, rng: &mut Rng| if rng.percent(40) { constant } else { column };
            let which = 1 + rng.below(3) as usize;
            let constants =
                [lit(7i64), lit(datafusion_common::ScalarValue::TimestampMillisecond(Some(5), None)), lit("x")];
            let mut branch = || typed(constants[which - 1].clone(), column(which, &rows), &mut rng);
            let branches = [branch(), branch(), branch()];
            let (k, based, open) = (column(0, &rows), round % 3 == 0, round % 2 == 0);
            let conditions: Vec<Expr> = match based {
                true => vec![lit(1i64), lit(2i64)],
                false => vec![
                    Arc::new(BinaryExpr::new(k.clone(), Operator::Gt, lit(1i64))),
                    Arc::new(IsNullExpr::new(k.clone())),
                ],
            };
            let pairs = conditions.into_iter().zip(branches.iter().cloned()).collect();
            let plain = case(based.then(|| k.clone()), pairs, (!open).then(|| branches[2].clone())).unwrap();
            let ours = simplify(plain.clone(), &rows.schema()).unwrap();
            assert!(ours.is::<Choose>(), "{plain}");
            let value = |e: &Expr| crate::expr::evaluate(e, &rows).unwrap();
            assert_eq!(&value(&ours), &value(&plain), "{plain}");
        }
    }

    #[test]
    fn what_costs_or_can_fail_stays_a_case() {
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        let k: Expr = Arc::new(Column::new("k", 0));
        let positive: Expr = Arc::new(BinaryExpr::new(k.clone(), Operator::Gt, lit(0i64)));
        let ratio: Expr = Arc::new(BinaryExpr::new(lit(10i64), Operator::Divide, k));
        let guarded = case(None, vec![(positive, ratio)], None).unwrap();
        assert!(simplify(guarded, &schema).unwrap().is::<CaseExpr>());
    }
}
