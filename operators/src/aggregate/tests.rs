//! Aggregates over every kind of type: folded at once, row by row, and merged from partial states in both orders.

use super::*;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeStringArray, NullArray, RecordBatch, StringArray, StringViewArray, UInt64Array,
};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema};
use arrow::util::display::array_value_to_string;
use datafusion_physical_expr::expressions::Column;
use std::sync::Arc;
use thalweg_engine::state::{Budget, KeyedTable, TableSpec};
use thalweg_engine::{Batch, ErrorKind, Result};

const FUNCTIONS: [Function; 13] = [
    Function::Count,
    Function::Sum,
    Function::Avg,
    Function::Min,
    Function::Max,
    Function::FirstValue,
    Function::LastValue,
    Function::StddevPop,
    Function::StddevSamp,
    Function::VarPop,
    Function::VarSamp,
    Function::BoolAnd,
    Function::BoolOr,
];

fn rows(values: &ArrayRef) -> Batch {
    let schema = Arc::new(Schema::new(vec![Field::new("x", values.data_type().clone(), true)]));
    Batch::new(RecordBatch::try_new(schema, vec![values.clone()]).unwrap())
}

fn x() -> Expr {
    Arc::new(Column::new("x", 0))
}

fn table(program: &Program) -> KeyedTable {
    let spec = TableSpec::new([], program.columns().iter().cloned());
    KeyedTable::new(Arc::new(spec), &Budget::unlimited("test")).unwrap()
}

/// Times that go up and down and repeat.
fn time(i: usize) -> i64 {
    [30, 10, 20, 10, 30, 25][i % 6]
}

fn fold(program: &Program, into: &mut KeyedTable, values: &ArrayRef, start: usize, len: usize) -> Result<()> {
    let mut handles = vec![];
    into.intern(&[], &vec![0; len], &mut handles)?;
    let times: Vec<i64> = (start..start + len).map(time).collect();
    program.update(into, &handles, &program.evaluate(&rows(&values.slice(start, len)), times.into())?)
}

/// The results over all values, which must be the same however the values are parted.
fn results(values: &ArrayRef, aggregates: &[Aggregate]) -> Result<Vec<ArrayRef>> {
    let program = Program::new(aggregates, &rows(values).schema())?;
    let n = values.len();
    let mut whole = table(&program);
    fold(&program, &mut whole, values, 0, n)?;
    let results = program.finish(&whole, &[0])?;
    for backwards in [false, true] {
        for size in [1, 2, 5] {
            let mut merged = table(&program);
            let mut handles = vec![];
            merged.intern(&[], &[0], &mut handles)?;
            let mut parts: Vec<usize> = (0..n).step_by(size).collect();
            if backwards {
                parts.reverse();
            }
            for start in parts {
                let mut part = table(&program);
                fold(&program, &mut part, values, start, size.min(n - start))?;
                program.merge(&mut merged, &handles, &program.partials(&part, &[0])?)?;
            }
            let again = program.finish(&merged, &handles)?;
            for (a, b) in results.iter().zip(&again) {
                close(a, b);
            }
        }
    }
    Ok(results)
}

/// Equal; floats to within rounding.
fn close(a: &ArrayRef, b: &ArrayRef) {
    match (a.as_primitive_opt::<Float64Type>(), b.as_primitive_opt::<Float64Type>()) {
        (Some(x), Some(y)) if x.is_valid(0) && y.is_valid(0) => {
            let (x, y) = (x.value(0), y.value(0));
            assert!(x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-9 * x.abs().max(1.0), "{x} is not {y}");
        }
        _ => assert_eq!(a, b),
    }
}

fn one(values: ArrayRef, function: Function, output: DataType) -> Result<String> {
    let results = results(&values, &[Aggregate::new(function, Some(x()), output)])?;
    Ok(if results[0].is_null(0) { "NULL".into() } else { array_value_to_string(&results[0], 0).unwrap() })
}

#[test]
fn ordered_types_have_least_greatest_first_and_last_values() {
    let arrays: Vec<(ArrayRef, [&str; 4])> = vec![
        (Arc::new(Int32Array::from(vec![Some(3), None, Some(-7), Some(9)])), ["-7", "9", "9", "3"]),
        (Arc::new(UInt64Array::from(vec![u64::MAX, 0, 5])), ["0", "18446744073709551615", "0", "18446744073709551615"]),
        (Arc::new(StringArray::from(vec![Some("b"), None, Some(""), Some("ä")])), ["", "ä", "ä", "b"]),
        (Arc::new(LargeStringArray::from(vec!["b", "a"])), ["a", "b", "a", "b"]),
        (
            Arc::new(StringViewArray::from(vec!["b", "a long text that is not inlined"])),
            ["a long text that is not inlined", "b", "a long text that is not inlined", "b"],
        ),
        (Arc::new(Date32Array::from(vec![0, 1, 2])), ["1970-01-01", "1970-01-03", "1970-01-02", "1970-01-01"]),
        (Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), ["false", "true", "false", "true"]),
        (
            Arc::new(Decimal128Array::from(vec![150, -25, 0]).with_precision_and_scale(10, 2).unwrap()),
            ["-0.25", "1.50", "-0.25", "1.50"],
        ),
        (Arc::new(Float64Array::from(vec![1.5, f64::NAN, -2.0])), ["-2.0", "NaN", "NaN", "1.5"]),
        (Arc::new(Float32Array::from(vec![1.5, -0.0, 0.0])), ["-0.0", "1.5", "-0.0", "1.5"]),
        // Rows 1 and 3 share the earliest time, rows 0 and 4 the latest: the least and the greatest value decide.
        (Arc::new(Int64Array::from(vec![8, 6, 1, 5, 9])), ["1", "9", "5", "9"]),
    ];
    let functions = [Function::Min, Function::Max, Function::FirstValue, Function::LastValue];
    for (array, expected) in arrays {
        let got = functions.map(|f| one(array.clone(), f, array.data_type().clone()).unwrap());
        assert_eq!(got, expected, "{}", array.data_type());
    }
}

#[test]
fn sums_and_averages_have_the_type_that_is_asked_for() {
    let ints = || Arc::new(Int64Array::from(vec![Some(7), None, Some(-2), Some(6)])) as ArrayRef;
    let decimals =
        || Arc::new(Decimal128Array::from(vec![100, 55, 10]).with_precision_and_scale(5, 2).unwrap()) as ArrayRef;
    let floats = || Arc::new(Float64Array::from(vec![1e100, 1.0, -1e100, 0.5])) as ArrayRef;
    let cases = [
        (ints(), Function::Sum, DataType::Int64, "11"),
        (ints(), Function::Sum, DataType::Int32, "11"),
        (ints(), Function::Sum, DataType::Float64, "11.0"),
        (ints(), Function::Avg, DataType::Int64, "3"),
        (ints(), Function::Avg, DataType::Float64, "3.6666666666666665"),
        (decimals(), Function::Sum, DataType::Decimal128(38, 2), "1.65"),
        (decimals(), Function::Avg, DataType::Decimal128(38, 6), "0.550000"),
        (decimals(), Function::Avg, DataType::Decimal128(5, 2), "0.55"),
        (decimals(), Function::Avg, DataType::Float64, "0.55"),
        (floats(), Function::Sum, DataType::Float64, "1.5"),
        (floats(), Function::Avg, DataType::Float64, "0.375"),
    ];
    for (array, function, output, expected) in cases {
        let got = one(array, function, output.clone()).unwrap();
        assert_eq!(got, expected, "{function:?} as {output}");
    }
    let infinite: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::INFINITY, 2.0]));
    assert_eq!(one(infinite, Function::Sum, DataType::Float64).unwrap(), "inf");
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1, -1]));
    assert_eq!(one(big, Function::Sum, DataType::Int64).unwrap(), i64::MAX.to_string(), "no overflow on the way");
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
    assert_eq!(one(big, Function::Sum, DataType::Int64).unwrap_err().kind(), ErrorKind::User);
}

#[test]
fn deviations_are_those_of_the_textbook() {
    let values: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(2), Some(4), None, Some(4), Some(4), Some(5), Some(5), Some(7), Some(9)]));
    let float = |f, values: &ArrayRef| one(values.clone(), f, DataType::Float64).unwrap();
    let near = |text: String, expected: f64| assert!((text.parse::<f64>().unwrap() - expected).abs() < 1e-9, "{text}");
    near(float(Function::VarPop, &values), 4.0);
    near(float(Function::StddevPop, &values), 2.0);
    near(float(Function::VarSamp, &values), 32.0 / 7.0);
    near(float(Function::StddevSamp, &values), (32.0f64 / 7.0).sqrt());
    let single: ArrayRef = Arc::new(Int64Array::from(vec![5]));
    let got =
        [Function::VarPop, Function::StddevPop, Function::VarSamp, Function::StddevSamp].map(|f| float(f, &single));
    assert_eq!(got, ["0.0", "0.0", "NULL", "NULL"]);
    let far: ArrayRef = Arc::new(Float64Array::from(vec![1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]));
    near(float(Function::VarSamp, &far), 30.0);
}

#[test]
fn all_and_any_skip_null() {
    let run = |values: Vec<Option<bool>>| {
        let values: ArrayRef = Arc::new(BooleanArray::from(values));
        [Function::BoolAnd, Function::BoolOr].map(|f| one(values.clone(), f, DataType::Boolean).unwrap())
    };
    assert_eq!(run(vec![Some(true), None]), ["true", "true"]);
    assert_eq!(run(vec![Some(true), Some(false), None]), ["false", "true"]);
    assert_eq!(run(vec![None, None]), ["NULL", "NULL"]);
}

#[test]
fn over_nothing_but_null_a_count_is_zero_and_the_rest_is_null() {
    for function in FUNCTIONS {
        let boolean = matches!(function, Function::BoolAnd | Function::BoolOr);
        let (values, output): (ArrayRef, _) = match boolean {
            true => (Arc::new(BooleanArray::from(vec![None; 3])), DataType::Boolean),
            false => (Arc::new(Float64Array::from(vec![None; 3])), DataType::Float64),
        };
        let output = if function == Function::Count { DataType::Int64 } else { output };
        let expected = if function == Function::Count { "0" } else { "NULL" };
        assert_eq!(one(values, function, output).unwrap(), expected, "{function:?}");
    }
    let untyped: ArrayRef = Arc::new(NullArray::new(2));
    assert_eq!(one(untyped.clone(), Function::Max, DataType::Int64).unwrap(), "NULL");
    assert_eq!(one(untyped, Function::Count, DataType::Int64).unwrap(), "0");
}

#[test]
fn what_a_function_does_not_take_is_refused_at_once() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    for function in [Function::Sum, Function::Avg, Function::StddevPop] {
        assert_eq!(one(text.clone(), function, DataType::Int64).unwrap_err().kind(), ErrorKind::User, "{function:?}");
    }
    let schema = rows(&text).schema();
    assert!(Program::new(&[Aggregate::new(Function::Max, None, DataType::Int64)], &schema).is_err());
    assert!(Program::new(&[Aggregate::new(Function::Count, None, DataType::Int64).distinct()], &schema).is_err());
}

#[test]
fn aggregates_share_what_they_have_in_common() {
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(5)]));
    let all = [Function::Sum, Function::Avg, Function::Count].map(|f| Aggregate::new(f, Some(x()), DataType::Int64));
    let program = Program::new(&all, &rows(&ints).schema()).unwrap();
    let names: Vec<&str> = program.columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["count0", "count1", "fold0.sum"]);
    let got = results(&ints, &all).unwrap();
    assert_eq!(got.iter().map(|a| a.as_primitive::<Int64Type>().value(0)).collect::<Vec<_>>(), [6, 3, 2]);
    let required = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
    assert_eq!(Program::new(&all, &required).unwrap().columns().len(), 2, "no NULL: the number of rows is the count");
}

/// All parts of the values, in both orders, against sums in 256 bits: sums that leave 128 bits on the way, and for good.
#[test]
fn wide_decimals_add_up_exactly_or_fail() {
    const MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;
    let run = |values: &[i128], scale: i8, function, output| {
        let array = Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, scale).unwrap();
        one(Arc::new(array), function, output)
    };
    let sum = |values: &[i128]| run(values, 0, Function::Sum, DataType::Decimal128(38, 0));
    assert_eq!(sum(&[MAX, MAX, MAX, -MAX, -MAX, 5]).unwrap_err().message().split(' ').nth(1).unwrap().len(), 39);
    assert_eq!(sum(&[MAX, MAX, MAX, -MAX, -MAX, -5]).unwrap(), (MAX - 5).to_string());
    assert_eq!(sum(&[-MAX, -MAX, -MAX, MAX, MAX, MAX]).unwrap(), "0");
    assert_eq!(sum(&[-MAX, -MAX, MAX]).unwrap(), (-MAX).to_string());
    let e = sum(&[MAX; 4]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::User);
    assert_eq!(
        e.message(),
        "SUM 399999999999999999999999999999999999996 does not fit into DECIMAL(38, 0); write SUM(CAST(x AS DOUBLE))"
    );
    assert!(sum(&[-MAX; 7]).unwrap_err().message().starts_with("SUM -699999999999999999999999999999999999993 does"));
    let avg = |values: &[i128], scale, to| run(values, scale, Function::Avg, DataType::Decimal128(38, to));
    assert_eq!(avg(&[MAX; 9], 6, 6).unwrap(), "99999999999999999999999999999999.999999");
    assert_eq!(avg(&[-MAX, -MAX, -MAX, 1], 38, 38).unwrap(), "-0.74999999999999999999999999999999999999");
    assert_eq!(avg(&[MAX / 1_000_000; 3], 0, 6).unwrap(), "99999999999999999999999999999999.000000");
    let e = avg(&[MAX; 4], 0, 6).unwrap_err();
    assert!(e.message().contains("AVG 99999999999999999999999999999999999999"), "{}", e.message());
    assert_eq!(run(&[MAX; 4], 0, Function::Sum, DataType::Float64).unwrap(), "4e38");
}

#[test]
fn weights_of_wide_decimals_take_back_and_multiply() {
    use super::fold::{Fold, FoldKind, Rows};
    use super::value::load;
    use arrow::datatypes::i256;
    const MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;
    let values = [MAX, -MAX, 3, MAX, -7];
    let weights = [1i64 << 40, -1, -5, 77, i64::MIN];
    let array: ArrayRef = Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 0).unwrap());
    let program =
        Program::new(&[Aggregate::new(Function::Sum, Some(x()), array.data_type().clone())], &rows(&array).schema());
    let program = program.unwrap();
    let mut table = table(&program);
    let mut handles = vec![];
    table.intern(&[], &[0; 5], &mut handles).unwrap();
    let fold = Fold::new(FoldKind::Sum, array.data_type()).unwrap();
    let n = table.columns_mut().len();
    let loaded = load(&array).unwrap();
    let input = Rows { handles: &handles, values: &loaded, times: &[], mask: None, weights: Some(&weights) };
    fold.update(&mut table.columns_mut()[n - 2..], &input).unwrap();
    let low = table.values(n - 2, &[0]).unwrap();
    let carry = table.values(n - 1, &[0]).unwrap();
    let low = low.as_primitive::<arrow::datatypes::Decimal128Type>().value(0);
    let carry = carry.as_primitive::<Int64Type>().value(0);
    let got = i256::from_parts(0, carry.into()).wrapping_add(i256::from_i128(low));
    let products = values.iter().zip(weights).map(|(v, w)| i256::from_i128(*v).wrapping_mul(i256::from_i128(w.into())));
    assert_eq!(got, products.fold(i256::ZERO, i256::wrapping_add));
}
