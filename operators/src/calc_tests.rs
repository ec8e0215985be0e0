//! Tests of filter and projection.

use super::*;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::ScalarValue;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, Operator as Op, Volatility, create_udf};
use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{Literal, binary, case, lit};
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg_engine::ErrorKind;

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

fn input() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("s", DataType::Utf8)])
}

fn rows(a: Vec<Option<i64>>) -> Batch {
    let s: StringArray = a.iter().map(|v| v.map(|v| format!("row {v}"))).collect();
    Batch::new(RecordBatch::try_new(input(), vec![Arc::new(Int64Array::from(a)), Arc::new(s)]).unwrap())
}

fn col(name: &str, i: usize) -> Expr {
    Arc::new(Column::new(name, i))
}

fn bin(l: Expr, op: Op, r: Expr, schema: &Schema) -> Expr {
    binary(l, op, r, schema).unwrap()
}

fn int(batch: &Batch, i: usize) -> Vec<Option<i64>> {
    batch.columns().column(i).as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn null_is_not_kept_and_weights_follow_their_rows() {
    let even = bin(bin(col("a", 0), Op::Modulo, lit(2i64), &input()), Op::Eq, lit(0i64), &input());
    let plus = bin(col("a", 0), Op::Plus, lit(10i64), &input());
    let out = schema(&[("b", DataType::Int64)]);
    let calc = Calc { input: input(), predicate: Some(even), projections: Some(vec![plus]), output: out };
    let batch = rows(vec![Some(1), Some(2), None, Some(4)]);
    let batch = Batch::with_weights(batch.columns().clone(), vec![1, -1, 1, 3].into()).unwrap();
    let got = calc.compile().unwrap().apply(&batch).unwrap().unwrap();
    assert_eq!((int(&got, 0), got.weights()), (vec![Some(12), Some(14)], Some(&[-1, 3][..])));
}

#[test]
fn a_plain_column_is_not_copied_where_every_row_stays() {
    let positive = bin(col("a", 0), Op::Gt, lit(0i64), &input());
    let calc = Calc {
        predicate: Some(positive),
        projections: Some(vec![col("s", 1), col("s", 1)]),
        ..Calc::project(input(), vec![], schema(&[("x", DataType::Utf8), ("y", DataType::Utf8)]))
    };
    let batch = rows(vec![Some(1), Some(2)]);
    let got = calc.compile().unwrap().apply(&batch).unwrap().unwrap();
    for i in 0..2 {
        assert!(Arc::ptr_eq(got.columns().column(i), batch.columns().column(1)));
    }
}

#[test]
fn rows_without_columns_keep_their_number() {
    let none = Calc::project(input(), vec![], schema(&[])).compile().unwrap();
    let batch = none.apply(&rows(vec![Some(1), None, Some(3)])).unwrap().unwrap();
    assert_eq!((batch.num_rows(), batch.columns().num_columns()), (3, 0));
    let constant = Calc::project(schema(&[]), vec![lit(7i64)], schema(&[("c", DataType::Int64)])).compile().unwrap();
    assert_eq!(int(&constant.apply(&batch).unwrap().unwrap(), 0), vec![Some(7); 3]);
    let filtered = Calc {
        predicate: Some(bin(col("a", 0), Op::Gt, lit(1i64), &input())),
        ..Calc::project(input(), vec![], schema(&[]))
    };
    let got = filtered.compile().unwrap().apply(&rows(vec![Some(1), None, Some(3)])).unwrap().unwrap();
    assert_eq!(got.num_rows(), 1);
}

#[test]
fn constant_predicates_and_empty_batches() {
    let keep = |value: ScalarValue| {
        let predicate: Expr = Arc::new(Literal::new(value));
        let calc = Calc::filter(input(), predicate).compile().unwrap();
        calc.apply(&rows(vec![Some(1), None])).unwrap().map_or(0, |b| b.num_rows())
    };
    let got = [Some(true), Some(false), None].map(|v| keep(ScalarValue::Boolean(v)));
    assert_eq!((got, keep(ScalarValue::Null)), ([2, 0, 0], 0));
    let calc = Calc::filter(input(), lit(true)).compile().unwrap();
    assert_eq!(calc.apply(&rows(vec![])).unwrap(), None);
}

#[test]
fn a_poison_row_is_the_users_error_and_names_the_expression() {
    let divided = bin(lit(1i64), Op::Divide, col("a", 0), &input());
    let calc = Calc::project(input(), vec![divided], schema(&[("q", DataType::Int64)])).compile().unwrap();
    let e = calc.apply(&rows(vec![Some(1), Some(0)])).unwrap_err();
    assert_eq!((e.kind(), e.retry()), (ErrorKind::User, false));
    assert!(e.message().starts_with("evaluate `1 / a`: "), "{e}");
    let calc = Calc::filter(input(), col("a", 0)).compile().unwrap();
    assert_eq!(calc.apply(&rows(vec![Some(1)])).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_type_that_does_not_fit_is_refused_before_the_first_row() {
    let calc = Calc::project(input(), vec![col("s", 1)], schema(&[("x", DataType::Int64)]));
    let text = calc.compile().err().unwrap().to_string();
    assert_eq!(text, "projection `s` is Utf8, column `x` is Int64");
}

#[test]
fn columns_with_one_name_are_told_apart_by_their_place() {
    let twins = schema(&[("a", DataType::Int64), ("a", DataType::Int64)]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(Int64Array::from(vec![30, 40]))];
    let batch = Batch::new(RecordBatch::try_new(twins.clone(), columns).unwrap());
    let sum = bin(col("a", 1), Op::Minus, col("a", 0), &twins);
    let second = bin(col("a", 1), Op::Gt, lit(30i64), &twins);
    let out = schema(&[("d", DataType::Int64)]);
    let calc = Calc { input: twins, predicate: Some(second), projections: Some(vec![sum]), output: out };
    assert_eq!(int(&calc.compile().unwrap().apply(&batch).unwrap().unwrap(), 0), vec![Some(38)]);
}

#[test]
fn a_filtered_struct_column_keeps_its_rows() {
    let fields = vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Boolean, true)];
    let point = schema(&[("p", DataType::Struct(fields.clone().into())), ("k", DataType::Int64)]);
    let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let y: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
    let p = StructArray::new(fields.into(), vec![x, y], None);
    let k = Int64Array::from(vec![0, 1, 1]);
    let batch = Batch::new(RecordBatch::try_new(point.clone(), vec![Arc::new(p), Arc::new(k)]).unwrap());
    let calc = Calc::filter(point.clone(), bin(col("k", 1), Op::Eq, lit(1i64), &point)).compile().unwrap();
    let got = calc.apply(&batch).unwrap().unwrap();
    let p = got.columns().column(0).as_struct();
    assert_eq!((p.len(), p.column(0).is_null(0), int(&got, 1)), (2, true, vec![Some(1); 2]));
}

/// `a` plus one, by a function that counts the rows it is asked for; NULL stays.
fn counted(a: Expr, rows: &Arc<AtomicUsize>) -> Expr {
    let rows = rows.clone();
    let plus_one = move |args: &[ColumnarValue]| {
        let ColumnarValue::Array(a) = &args[0] else { panic!("a column") };
        rows.fetch_add(a.len(), Ordering::Relaxed);
        let sum: Int64Array = a.as_primitive::<Int64Type>().unary(|v| v + 1);
        Ok(ColumnarValue::Array(Arc::new(sum)))
    };
    let volatility = Volatility::Immutable;
    let udf = create_udf("plus_one", vec![DataType::Int64], DataType::Int64, volatility, Arc::new(plus_one));
    let function = ScalarFunctionExpr::try_new(Arc::new(udf), vec![a], &input(), Arc::new(ConfigOptions::default()));
    Arc::new(function.unwrap())
}

fn two_columns() -> SchemaRef {
    schema(&[("x", DataType::Int64), ("y", DataType::Int64)])
}

#[test]
fn what_predicate_and_projections_share_is_computed_once() {
    let rows_asked = Arc::new(AtomicUsize::new(0));
    let f = counted(col("a", 0), &rows_asked);
    let more = bin(f.clone(), Op::Plus, lit(10i64), &input());
    let calc = Calc {
        input: input(),
        predicate: Some(bin(f.clone(), Op::Gt, lit(2i64), &input())),
        projections: Some(vec![bin(more.clone(), Op::Multiply, more, &input()), f]),
        output: two_columns(),
    };
    let calc = calc.compile().unwrap();
    let got = calc.apply(&rows(vec![Some(1), Some(2), None, Some(3)])).unwrap().unwrap();
    assert_eq!((int(&got, 0), int(&got, 1)), (vec![Some(169), Some(196)], vec![Some(3), Some(4)]));
    assert_eq!(rows_asked.load(Ordering::Relaxed), 4);
}

#[test]
fn what_only_compares_runs_first_and_keeps_few_rows_from_the_rest() {
    let rows_asked = Arc::new(AtomicUsize::new(0));
    let f = counted(col("a", 0), &rows_asked);
    let cheap = bin(col("a", 0), Op::LtEq, lit(4i64), &input());
    let costly = bin(f.clone(), Op::NotEq, lit(3i64), &input());
    for (rows_in, asked) in [(16, 4), (5, 5)] {
        rows_asked.store(0, Ordering::Relaxed);
        let calc = Calc {
            input: input(),
            predicate: Some(bin(costly.clone(), Op::And, cheap.clone(), &input())),
            projections: Some(vec![f.clone(), col("a", 0)]),
            output: two_columns(),
        };
        let batch = rows((1..=rows_in).map(Some).collect());
        let batch = Batch::with_weights(batch.columns().clone(), (1..=rows_in).collect::<Vec<_>>().into()).unwrap();
        let got = calc.compile().unwrap().apply(&batch).unwrap().unwrap();
        assert_eq!(int(&got, 0), [Some(2), Some(4), Some(5)]);
        assert_eq!(got.weights(), Some(&[1, 3, 4][..]));
        assert_eq!(rows_asked.load(Ordering::Relaxed), asked, "of {rows_in} rows");
    }
}

#[test]
fn a_case_keeps_rows_from_what_its_branches_share() {
    let rows_asked = Arc::new(AtomicUsize::new(0));
    let f = counted(col("a", 0), &rows_asked);
    let branch = |limit: i64| {
        let when = bin(col("a", 0), Op::Gt, lit(limit), &input());
        case(None, vec![(when, f.clone())], Some(lit(0i64))).unwrap()
    };
    let calc = Calc::project(input(), vec![branch(1), branch(2)], two_columns()).compile().unwrap();
    let got = calc.apply(&rows(vec![Some(1), Some(2), Some(3), None])).unwrap().unwrap();
    assert_eq!(int(&got, 0), [Some(0), Some(3), Some(4), Some(0)]);
    assert_eq!(int(&got, 1), [Some(0), Some(0), Some(4), Some(0)]);
    assert_eq!(rows_asked.load(Ordering::Relaxed), 3, "two rows for one branch, one for the other");
}
