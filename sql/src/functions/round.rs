//! Rounding: ROUND (half away from zero), TRUNCATE, FLOOR and CEIL of numbers, FLOOR and CEIL of moments to a unit of time.
//!
//! DOUBLE is rounded as the shortest decimal text that stands for it, as in Java's `BigDecimal.valueOf`: ROUND(2.675, 2) = 2.68.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type};
use datafusion_common::{Result, ScalarValue, plan_err};

use super::datetime::{moments, round_to};
use super::params::Param::{Long, Number, NumberOrTime, Text as T};
use super::scalar::{Call, Returns, Spec};
use super::times::check_unit;

/// Functions that round.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "round",
        required: &[Number],
        optional: &[Long],
        returns: Returns::By(rounded_type),
        kernel: |c| round(c, Mode::HalfUp),
        ..Spec::DEFAULT
    },
    Spec {
        name: "truncate",
        required: &[Number],
        optional: &[Long],
        returns: Returns::By(rounded_type),
        kernel: |c| round(c, Mode::Down),
        ..Spec::DEFAULT
    },
    Spec {
        name: "floor",
        required: &[NumberOrTime],
        optional: &[T],
        returns: Returns::By(whole_type),
        check: |l| check_unit(l, 1),
        kernel: |c| whole(c, Mode::Floor),
        ..Spec::DEFAULT
    },
    Spec {
        name: "ceil",
        aliases: &["ceiling"],
        required: &[NumberOrTime],
        optional: &[T],
        returns: Returns::By(whole_type),
        check: |l| check_unit(l, 1),
        kernel: |c| whole(c, Mode::Ceil),
        ..Spec::DEFAULT
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    HalfUp,
    Down,
    Floor,
    Ceil,
}

fn places(literals: &[Option<&ScalarValue>], given: usize) -> Option<i64> {
    match literals.get(1) {
        _ if given < 2 => Some(0),
        Some(Some(ScalarValue::Int64(places))) => *places,
        _ => None,
    }
}

/// A decimal keeps only the digits asked for and gains one before the point; other numbers keep their type.
fn rounded_type(types: &[DataType], literals: &[Option<&ScalarValue>]) -> Result<DataType> {
    match (types.first(), places(literals, types.len())) {
        (Some(DataType::Decimal128(precision, scale)), Some(places)) if places < i64::from(*scale) => {
            let kept = places.max(0) as i8;
            let digits = i16::from(*precision) - i16::from(*scale) + i16::from(kept) + 1;
            Ok(DataType::Decimal128(digits.clamp(1, 38) as u8, kept))
        }
        (Some(other), _) => Ok(other.clone()),
        (None, _) => plan_err!("function `round`: argument 1 is missing"),
    }
}

fn whole_type(types: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    match types {
        [DataType::Decimal128(precision, scale), ..] if *scale > 0 => Ok(DataType::Decimal128(*precision, 0)),
        [number] if number.is_numeric() => Ok(number.clone()),
        [time, DataType::Utf8] if !time.is_numeric() => Ok(time.clone()),
        [time] => {
            plan_err!("FLOOR and CEIL of {} need a unit: write FLOOR(x TO HOUR)", thalweg_engine::type_name(time))
        }
        _ => plan_err!("FLOOR and CEIL take a number, or a moment and a unit: write FLOOR(x TO HOUR)"),
    }
}

fn whole(call: &Call<'_>, mode: Mode) -> Result<ArrayRef> {
    if call.args.len() == 1 {
        return round(call, mode);
    }
    let (times, unit) = (call.times(0)?, call.unit(1)?);
    moments(call, |row| round_to(unit, times.moment(row), mode == Mode::Ceil))
}

fn round(call: &Call<'_>, mode: Mode) -> Result<ArrayRef> {
    let places = call.longs_or(1, 0)?;
    match call.argument_type(0) {
        DataType::Float64 => {
            let array = call.array(0)?;
            let values = array.as_primitive::<Float64Type>().values().clone();
            let rounded = values.iter().zip(places.iter()).map(|(value, places)| round_double(*value, *places, mode));
            call.primitive::<Float64Type>(rounded.collect())
        }
        DataType::Float32 => {
            let array = call.array(0)?;
            let values = array.as_primitive::<Float32Type>().values().clone();
            let rounded = values.iter().zip(places.iter()).map(|(value, places)| round_float(*value, *places, mode));
            call.primitive::<Float32Type>(rounded.collect())
        }
        DataType::Decimal128(_, scale) => round_decimals(call, scale, &places, mode),
        integer if integer.is_integer() => round_integers(call, &places, mode),
        other => plan_err!("function `{}`: argument 1 has type {other}; write CAST(x AS DOUBLE)", call.name),
    }
}

fn round_float(value: f32, places: i64, mode: Mode) -> f32 {
    // The shortest text of the float, not its widened bits, is what counts.
    let exact: f64 = value.to_string().parse().unwrap_or(f64::from(value));
    round_double(exact, places, mode) as f32
}

fn round_double(value: f64, places: i64, mode: Mode) -> f64 {
    if !value.is_finite() || (places >= 0 && value.abs() >= 4_503_599_627_370_496.0) {
        return value;
    }
    match (mode, places) {
        (Mode::Floor, _) => value.floor(),
        (Mode::Ceil, _) => value.ceil(),
        (_, ..0) => {
            let unit = 10_f64.powi(-(places.max(-400) as i32));
            let rest = if unit.is_finite() { value % unit } else { value };
            let up = mode == Mode::HalfUp && rest.abs() * 2.0 >= unit;
            value - rest + if up { unit.copysign(value) } else { 0.0 }
        }
        (_, 0..=22) => {
            let unit = 10_f64.powi(places as i32);
            let scaled = value * unit;
            // Which decimal with that many places, or half of one, does the double stand for?
            let halves = (scaled * 2.0).round();
            let exact = halves / (unit * 2.0) == value;
            let units = match mode {
                Mode::HalfUp if exact && halves % 2.0 != 0.0 => ((halves.abs() + 1.0) / 2.0).copysign(value),
                _ if exact => halves.div_euclid(2.0).max((halves / 2.0).trunc()),
                Mode::HalfUp => scaled.round(),
                _ => scaled.trunc(),
            };
            if units.abs() < 9_007_199_254_740_992.0 { units / unit } else { value }
        }
        _ => value,
    }
}

fn divide(value: i128, divisor: i128, mode: Mode) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    let away = match mode {
        Mode::HalfUp => rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2),
        Mode::Down => false,
        Mode::Floor => rest < 0,
        Mode::Ceil => rest > 0,
    };
    if away { quotient + if value < 0 { -1 } else { 1 } } else { quotient }
}

/// `value` at scale `scale` rounded to `places`, at scale `kept`; `None` if that needs more than 38 digits.
fn round_decimal(value: i128, scale: i64, places: i64, kept: i64, mode: Mode) -> Option<i128> {
    let places = places.min(scale);
    let power = |exponent: i64| u32::try_from(exponent).ok().and_then(|exponent| 10_i128.checked_pow(exponent));
    let units = match scale.checked_sub(places).and_then(power) {
        Some(divisor) => divide(value, divisor, mode),
        None => 0,
    };
    if units == 0 { Some(0) } else { units.checked_mul(power(kept - places)?) }
}

fn round_decimals(call: &Call<'_>, scale: i8, places: &[i64], mode: Mode) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, kept) = call.returns else {
        return plan_err!("function `{}`: result type {} is no decimal", call.name, call.returns);
    };
    let array = call.typed::<Decimal128Array>(0)?;
    let limit = 10_u128.pow(u32::from(*precision));
    call.try_primitive::<Decimal128Type>(|row| {
        let rounded = round_decimal(array.value(row), i64::from(scale), places[row], i64::from(*kept), mode);
        Ok(rounded.filter(|value| value.unsigned_abs() < limit))
    })
}

/// Whole numbers change only for negative places; a result that does not fit is NULL.
fn round_integers(call: &Call<'_>, places: &[i64], mode: Mode) -> Result<ArrayRef> {
    if places.iter().all(|places| *places >= 0) {
        return call.array(0);
    }
    let values = cast(&call.array(0)?, &DataType::Int64)?;
    let values: &Int64Array = values.as_primitive();
    let rounded = (0..call.rows).map(|row| match call.is_null(row) {
        true => None,
        false => {
            round_decimal(i128::from(values.value(row)), 0, places[row], 0, mode).and_then(|v| i64::try_from(v).ok())
        }
    });
    let rounded: ArrayRef = Arc::new(rounded.collect::<Int64Array>());
    Ok(cast(&rounded, call.returns)?)
}
