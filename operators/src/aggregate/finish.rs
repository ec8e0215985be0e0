//! From states to output columns. Called by the program for the entries of a window that fires.
//!
//! Invariants
//! - F1 an aggregate over no value is NULL, a count is 0.
//! - F2 what does not fit the output type is an error of the user's, never a wrapped number.

use super::value::{self, Class, Loaded, cast, class_of};
use super::{Aggregate, Function};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Float64Type, Int64Type,
    MAX_DECIMAL128_FOR_EACH_PRECISION,
};
use std::sync::Arc;
use thalweg_engine::{Error, Result};

/// The output column of an aggregate: from how many values each entry took in, and its state's columns, gathered.
pub fn finish(aggregate: &Aggregate, input: &DataType, counts: &ArrayRef, state: &[ArrayRef]) -> Result<ArrayRef> {
    let n = counts.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
    let out = &aggregate.output;
    let there: NullBuffer = n.iter().map(|n| *n != 0).collect();
    match aggregate.function {
        Function::Count => cast(counts, out),
        Function::Sum => sum(input, state, there, out),
        Function::Avg => average(input, state, n, there, out),
        Function::Min
        | Function::Max
        | Function::FirstValue
        | Function::LastValue
        | Function::BoolAnd
        | Function::BoolOr => {
            let [there, values, ..] = state else { return Err(wrong()) };
            let there = NullBuffer::new(there.as_boolean_opt().ok_or_else(wrong)?.values().clone());
            stored(values, there, out)
        }
        Function::StddevPop | Function::StddevSamp | Function::VarPop | Function::VarSamp => {
            deviation(aggregate.function, state, out)
        }
    }
}

fn wrong() -> Error {
    Error::internal("an aggregate's state has other columns")
}

fn stored(values: &ArrayRef, there: NullBuffer, out: &DataType) -> Result<ArrayRef> {
    let class = class_of(out).ok_or_else(wrong)?;
    if class == Class::Bytes {
        let values = values.as_binary_opt::<i32>().ok_or_else(wrong)?.clone();
        return value::store(Loaded::Bytes(values), None, out);
    }
    value::store(value::load(values)?, Some(there), out)
}

fn floats(array: &ArrayRef) -> Result<&[f64]> {
    array.as_primitive_opt::<Float64Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

/// A compensated sum; without the compensation where that is NaN because the sum is no number any more.
fn float_sums(sum: &ArrayRef, low: &ArrayRef) -> Result<Vec<f64>> {
    let pairs = floats(sum)?.iter().zip(floats(low)?);
    Ok(pairs.map(|(s, l)| if s.is_finite() { s + l } else { *s }).collect())
}

fn wides(array: &ArrayRef) -> Result<&[i128]> {
    array.as_primitive_opt::<Decimal128Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

fn scale_of(data_type: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = data_type { *scale } else { 0 }
}

fn sum(input: &DataType, state: &[ArrayRef], there: NullBuffer, out: &DataType) -> Result<ArrayRef> {
    match state {
        [sum, low] => {
            let sums: ArrayRef = Arc::new(Float64Array::try_new(float_sums(sum, low)?.into(), Some(there))?);
            cast(&sums, out)
        }
        [sum] => exact(wides(sum)?.to_vec(), scale_of(input), there, out, "SUM"),
        _ => Err(wrong()),
    }
}

/// Numbers of the given scale as `out`; NULL where `there` says so.
fn exact(values: Vec<i128>, scale: i8, there: NullBuffer, out: &DataType, what: &str) -> Result<ArrayRef> {
    let too_big = |v: i128| {
        let number = Decimal128Type::format_decimal(v, DECIMAL128_MAX_PRECISION, scale);
        let wider = if out.is_integer() && *out != DataType::Int64 { "BIGINT" } else { "DECIMAL(38, 0)" };
        Error::user(format!(
            "{what} {number} does not fit into {}; write {what}(CAST(x AS {wider}))",
            value::sql_name(out)
        ))
    };
    let live = || values.iter().zip(there.iter()).filter(|(_, there)| *there).map(|(v, _)| *v);
    match out {
        DataType::Decimal128(precision, to) if *to == scale => {
            let limit = MAX_DECIMAL128_FOR_EACH_PRECISION.get(usize::from(*precision)).copied().unwrap_or(i128::MAX);
            if let Some(v) = live().find(|v| v.unsigned_abs() > limit.unsigned_abs()) {
                return Err(too_big(v));
            }
            value::store(Loaded::Wide(values.into()), Some(there), out)
        }
        DataType::Float32 | DataType::Float64 => {
            let divisor = 10f64.powi(i32::from(scale));
            let floats = values.iter().map(|v| *v as f64 / divisor).collect();
            value::store(Loaded::Float(floats), Some(there), out)
        }
        _ if scale == 0 && out.is_integer() && *out != DataType::UInt64 => {
            let bits = out.primitive_width().map_or(64, |bytes| 8 * bytes as u32 - 1);
            if let Some(v) = live().find(|v| (v >> bits.min(63)) != 0 && (v >> bits.min(63)) != -1) {
                return Err(too_big(v));
            }
            let ints: Vec<i64> = values.iter().map(|v| i64::try_from(*v).unwrap_or_default()).collect();
            cast(&(Arc::new(Int64Array::try_new(ints.into(), Some(there))?) as ArrayRef), out)
        }
        _ => {
            let from = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
            cast(&value::store(Loaded::Wide(values.into()), Some(there), &from)?, out)
        }
    }
}

fn average(input: &DataType, state: &[ArrayRef], n: &[i64], there: NullBuffer, out: &DataType) -> Result<ArrayRef> {
    let divisor = |n: i64| if n == 0 { 1 } else { n };
    match (state, out) {
        ([sum, low], _) => {
            let sums = float_sums(sum, low)?;
            let means = sums.iter().zip(n).map(|(s, n)| s / divisor(*n) as f64).collect();
            value::store(Loaded::Float(means), Some(there), out)
        }
        ([sum], DataType::Float32 | DataType::Float64) => {
            let unit = 10f64.powi(i32::from(scale_of(input)));
            let means = wides(sum)?.iter().zip(n).map(|(s, n)| *s as f64 / (unit * divisor(*n) as f64)).collect();
            value::store(Loaded::Float(means), Some(there), out)
        }
        ([sum], DataType::Decimal128(_, to)) => {
            let shift = u32::try_from(i32::from(*to) - i32::from(scale_of(input))).unwrap_or_default();
            let factor = 10i128.checked_pow(shift);
            let mean = |(s, n): (&i128, &i64)| {
                let scaled = factor.and_then(|f| s.checked_mul(f));
                let text = || {
                    Error::user(format!(
                        "the average of {n} values with sum {s} does not fit into {}; write AVG(CAST(x AS DOUBLE))",
                        value::sql_name(out)
                    ))
                };
                scaled.map(|s| half_up(s, i128::from(divisor(*n)))).ok_or_else(text)
            };
            let means = wides(sum)?.iter().zip(n).map(mean).collect::<Result<Vec<_>>>()?;
            exact(means, *to, there, out, "AVG")
        }
        ([sum], _) => {
            let means = wides(sum)?.iter().zip(n).map(|(s, n)| s / i128::from(divisor(*n))).collect();
            exact(means, scale_of(input), there, out, "AVG")
        }
        _ => Err(wrong()),
    }
}

/// Division rounded to the nearest, halves away from zero.
fn half_up(a: i128, b: i128) -> i128 {
    let (q, r) = (a / b, a % b);
    if r.unsigned_abs() * 2 >= b.unsigned_abs() { q + if (a < 0) == (b < 0) { 1 } else { -1 } } else { q }
}

fn deviation(function: Function, state: &[ArrayRef], out: &DataType) -> Result<ArrayRef> {
    let [n, _, m2] = state else { return Err(wrong()) };
    let (n, m2) = (floats(n)?, floats(m2)?);
    let sample = matches!(function, Function::StddevSamp | Function::VarSamp);
    let root = matches!(function, Function::StddevPop | Function::StddevSamp);
    let less = if sample { 1.0 } else { 0.0 };
    let there = n.iter().map(|n| *n > less).collect();
    let values = n.iter().zip(m2).map(|(n, m2)| {
        // A negative zero or rounding below zero would make the root NaN.
        let variance = if *m2 < 0.0 { 0.0 } else { m2 / (n - less) };
        if root { variance.sqrt() } else { variance }
    });
    value::store(Loaded::Float(values.collect()), Some(there), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    fn state(v: i128) -> [ArrayRef; 1] {
        [value::store(Loaded::Wide(vec![v].into()), None, &DataType::Decimal128(38, 0)).unwrap()]
    }

    fn run(function: Function, sum: i128, n: i64, out: DataType) -> Result<ArrayRef> {
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        finish(&Aggregate::new(function, None, out), &DataType::Int64, &counts, &state(sum))
    }

    #[test]
    fn sums_that_do_not_fit_are_the_users_error() {
        let big = i128::from(i64::MAX);
        assert_eq!(run(Function::Sum, big, 2, DataType::Int64).unwrap().as_primitive::<Int64Type>().value(0), i64::MAX);
        let e = run(Function::Sum, big + 1, 2, DataType::Int64).unwrap_err();
        assert_eq!(e.kind(), thalweg_engine::ErrorKind::User);
        assert_eq!(
            e.message(),
            "SUM 9223372036854775808 does not fit into BIGINT; write SUM(CAST(x AS DECIMAL(38, 0)))"
        );
        let message = |sum, out| run(Function::Sum, sum, 2, out).unwrap_err().message().to_owned();
        assert_eq!(
            message(1 << 31, DataType::Int32),
            "SUM 2147483648 does not fit into INT; write SUM(CAST(x AS BIGINT))"
        );
        assert_eq!(message(-129, DataType::Int8), "SUM -129 does not fit into TINYINT; write SUM(CAST(x AS BIGINT))");
        assert!(run(Function::Sum, -(1 << 31), 2, DataType::Int32).is_ok());
        assert!(message(100_000, DataType::Decimal128(5, 0)).contains("DECIMAL(5, 0)"));
        assert!(run(Function::Sum, big, 0, DataType::Int64).unwrap().is_null(0));
    }

    #[test]
    fn averages_truncate_integers_and_round_decimals_half_up() {
        let int = |s, n| run(Function::Avg, s, n, DataType::Int64).unwrap().as_primitive::<Int64Type>().value(0);
        assert_eq!((int(7, 2), int(-7, 2)), (3, -3));
        let decimal = |s, n| run(Function::Avg, s, n, DataType::Decimal128(10, 1)).unwrap();
        let value = |s, n| decimal(s, n).as_primitive::<Decimal128Type>().value(0);
        assert_eq!((value(1, 4), value(-1, 4), value(2, 3)), (3, -3, 7));
    }
}
