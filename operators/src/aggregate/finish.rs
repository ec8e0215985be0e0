//! From states to output columns. Called by the program for the entries of a window that fires.
//!
//! Invariants
//! - F1 an aggregate over no value is NULL, a count is 0.
//! - F2 what does not fit the output type is an error of the user's, never a wrapped number.

use super::fold::carries;
use super::special::{deviations, overrides};
use super::value::{self, Class, Loaded, cast, class_of};
use super::{Aggregate, Function};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, DecimalType,
    Float64Type, Int64Type, MAX_DECIMAL128_FOR_EACH_PRECISION, i256,
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
fn float_sums(sum: &ArrayRef, low: &ArrayRef, special: &[ArrayRef]) -> Result<Vec<f64>> {
    let pairs = floats(sum)?.iter().zip(floats(low)?);
    let sums: Vec<f64> = pairs.map(|(s, l)| if s.is_finite() { s + l } else { *s }).collect();
    if special.is_empty() {
        return Ok(sums);
    }
    Ok(sums.into_iter().zip(overrides(special)?).map(|(sum, special)| special.unwrap_or(sum)).collect())
}

fn wides(array: &ArrayRef) -> Result<&[i128]> {
    array.as_primitive_opt::<Decimal128Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

fn scale_of(data_type: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = data_type { *scale } else { 0 }
}

fn sum(input: &DataType, state: &[ArrayRef], there: NullBuffer, out: &DataType) -> Result<ArrayRef> {
    match state {
        [sum, carry] if carries(input) => {
            let sums = totals(sum, carry)?;
            if out.is_floating() {
                return value::store(Loaded::Float(as_floats(&sums, scale_of(input)).collect()), Some(there), out);
            }
            exact(narrow(&sums, scale_of(input), &there, out, "SUM")?, scale_of(input), there, out, "SUM")
        }
        [sum, low, special @ ..] => {
            let sums: ArrayRef = Arc::new(Float64Array::try_new(float_sums(sum, low, special)?.into(), Some(there))?);
            cast(&sums, out)
        }
        [sum] => exact(wides(sum)?.to_vec(), scale_of(input), there, out, "SUM"),
        _ => Err(wrong()),
    }
}

/// Sums that were held as a remainder of 2^128 and a carry.
fn totals(sum: &ArrayRef, carry: &ArrayRef) -> Result<Vec<i256>> {
    let carries = carry.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
    let total =
        |(low, carry): (&i128, &i64)| i256::from_parts(0, i128::from(*carry)).wrapping_add(i256::from_i128(*low));
    Ok(wides(sum)?.iter().zip(carries).map(total).collect())
}

fn as_floats(values: &[i256], scale: i8) -> impl Iterator<Item = f64> {
    let unit = 10f64.powi(i32::from(scale));
    let float = |v: &i256| match (v.to_i128(), v.to_parts()) {
        (Some(v), _) => v as f64,
        (None, (low, high)) => high as f64 * 2f64.powi(128) + low as f64,
    };
    values.iter().map(move |v| float(v) / unit)
}

/// Numbers in 128 bits. Errors: `user` if one does not fit.
fn narrow(values: &[i256], scale: i8, there: &NullBuffer, out: &DataType, what: &str) -> Result<Vec<i128>> {
    let one = |(v, there): (&i256, bool)| match v.to_i128() {
        Some(v) => Ok(v),
        None if !there => Ok(0),
        None => Err(too_big(*v, scale, out, what)),
    };
    values.iter().zip(there.iter()).map(one).collect()
}

/// A result that does not fit, with what to write instead.
fn too_big(v: i256, scale: i8, out: &DataType, what: &str) -> Error {
    let number = Decimal256Type::format_decimal(v, DECIMAL256_MAX_PRECISION, scale);
    let wider = match out {
        DataType::Int64 => "DECIMAL(38, 0)".into(),
        t if t.is_integer() => "BIGINT".into(),
        DataType::Decimal128(precision, _) if *precision < DECIMAL128_MAX_PRECISION => format!("DECIMAL(38, {scale})"),
        _ => "DOUBLE".to_owned(),
    };
    Error::user(format!(
        "{what} {number} does not fit into {}; write {what}(CAST(x AS {wider}))",
        thalweg_engine::type_name(out)
    ))
}

/// Numbers of the given scale as `out`; NULL where `there` says so.
fn exact(values: Vec<i128>, scale: i8, there: NullBuffer, out: &DataType, what: &str) -> Result<ArrayRef> {
    let too_big = |v: i128| too_big(i256::from_i128(v), scale, out, what);
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
    let scale = scale_of(input);
    match (state, out) {
        ([sum, carry], _) if carries(input) => wide_average(&totals(sum, carry)?, scale, n, there, out),
        ([sum, low, special @ ..], _) => {
            let sums = float_sums(sum, low, special)?;
            let means = sums.iter().zip(n).map(|(s, n)| s / divisor(*n) as f64).collect();
            value::store(Loaded::Float(means), Some(there), out)
        }
        ([sum], DataType::Float32 | DataType::Float64) => {
            let unit = 10f64.powi(i32::from(scale));
            let means = wides(sum)?.iter().zip(n).map(|(s, n)| *s as f64 / (unit * divisor(*n) as f64)).collect();
            value::store(Loaded::Float(means), Some(there), out)
        }
        ([sum], DataType::Decimal128(..)) => {
            let sums: Vec<i256> = wides(sum)?.iter().map(|s| i256::from_i128(*s)).collect();
            wide_average(&sums, scale, n, there, out)
        }
        ([sum], _) => {
            let means = wides(sum)?.iter().zip(n).map(|(s, n)| s / i128::from(divisor(*n))).collect();
            exact(means, scale, there, out, "AVG")
        }
        _ => Err(wrong()),
    }
}

/// Means of sums of any size: rounded half up for a decimal, cut off for an integer.
fn wide_average(sums: &[i256], scale: i8, n: &[i64], there: NullBuffer, out: &DataType) -> Result<ArrayRef> {
    let divisors = n.iter().map(|n| i256::from_i128(if *n == 0 { 1 } else { i128::from(*n) }));
    if out.is_floating() {
        let means = as_floats(sums, scale).zip(n).map(|(s, n)| s / (*n).max(1) as f64).collect();
        return value::store(Loaded::Float(means), Some(there), out);
    }
    let DataType::Decimal128(_, to) = out else {
        let means: Vec<i256> = sums.iter().zip(divisors).map(|(s, n)| s.wrapping_div(n)).collect();
        return exact(narrow(&means, scale, &there, out, "AVG")?, scale, there, out, "AVG");
    };
    let shift = u32::try_from(i32::from(*to) - i32::from(scale)).unwrap_or_default();
    let factor = i256::from_i128(10).checked_pow(shift);
    let mean = |(s, n): (&i256, i256)| {
        let scaled = factor.and_then(|f| s.checked_mul(f)).map(|s| half_up(s, n));
        scaled.ok_or_else(|| too_big(s.wrapping_div(n), scale, out, "AVG"))
    };
    let means = sums.iter().zip(divisors).map(mean).collect::<Result<Vec<_>>>()?;
    exact(narrow(&means, *to, &there, out, "AVG")?, *to, there, out, "AVG")
}

/// Division rounded to the nearest, halves away from zero.
fn half_up(a: i256, b: i256) -> i256 {
    let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
    let twice = r.wrapping_abs().wrapping_add(r.wrapping_abs());
    let away = if a.is_negative() == b.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    if twice >= b.wrapping_abs() { q.wrapping_add(away) } else { q }
}

fn deviation(function: Function, state: &[ArrayRef], out: &DataType) -> Result<ArrayRef> {
    let (n, m2, special) = match state {
        [n, _, m2] => (floats(n)?.to_vec(), floats(m2)?.to_vec(), vec![None; n.len()]),
        [sums @ .., nan, plus, minus] => {
            let (n, m2) = deviations(sums)?;
            (n, m2, overrides(&[nan.clone(), plus.clone(), minus.clone()])?)
        }
        _ => return Err(wrong()),
    };
    let sample = matches!(function, Function::StddevSamp | Function::VarSamp);
    let root = matches!(function, Function::StddevPop | Function::StddevSamp);
    let less = if sample { 1.0 } else { 0.0 };
    // Any value that is not finite makes the deviation NaN.
    let there = n.iter().zip(&special).map(|(n, special)| *n > less || special.is_some()).collect();
    let values = n.iter().zip(&m2).zip(&special).map(|((n, m2), special)| {
        if special.is_some() {
            return f64::NAN;
        }
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
