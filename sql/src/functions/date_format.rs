//! From moments to text and back: DATE_FORMAT, FROM_UNIXTIME, TO_TIMESTAMP, TO_TIMESTAMP_LTZ, TO_DATE, UNIX_TIMESTAMP, CONVERT_TZ.
//!
//! Formatting is fast because neighbouring rows are close in time: the text of the last second (minute, day, whatever the pattern
//! shows) is kept and copied, and only the digits of a fraction are written anew. Text that cannot be read becomes NULL.

use std::str::FromStr;

use arrow::array::ArrayRef;
use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use chrono::{LocalResult, NaiveDateTime, Offset, TimeZone};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::Volatility;

use super::calendar::SECOND_NS;
use super::clock;
use super::params::Param::{Long, NumberOrText, Text as T, TimeOrText};
use super::pattern::{Moment, Pattern, parse_default, push_fraction};
use super::scalar::{Call, Returns, Spec};
use super::text::Text;
use super::times::{Patterns, Times, check_pattern, literal_text, split};
use super::types::ltz_type;

/// The pattern where none is given.
const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

/// Functions from moments to text and back.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "date_format",
        required: &[TimeOrText, T],
        check: |l| check_pattern(l, 1),
        kernel: date_format,
        ..Spec::DEFAULT
    },
    Spec {
        name: "from_unixtime",
        required: &[Long],
        optional: &[T],
        check: |l| check_pattern(l, 1),
        kernel: from_unixtime,
        ..Spec::DEFAULT
    },
    Spec {
        name: "to_timestamp",
        required: &[T],
        optional: &[T],
        returns: Returns::Type(DataType::Timestamp(TimeUnit::Millisecond, None)),
        check: |l| check_pattern(l, 1),
        kernel: to_timestamp,
        ..Spec::DEFAULT
    },
    Spec {
        name: "to_timestamp_ltz",
        required: &[NumberOrText],
        optional: &[super::params::Param::TextOrLong, T],
        returns: Returns::By(|_, _| Ok(ltz_type())),
        unify: Some(number_or_text),
        check: check_ltz,
        kernel: to_timestamp_ltz,
        ..Spec::DEFAULT
    },
    Spec {
        name: "to_date",
        required: &[T],
        optional: &[T],
        returns: Returns::Type(DataType::Date32),
        check: |l| check_pattern(l, 1),
        kernel: to_date,
        ..Spec::DEFAULT
    },
    Spec {
        name: "unix_timestamp",
        optional: &[T, T],
        returns: Returns::Type(DataType::Int64),
        volatility: Volatility::Volatile,
        check: |l| check_pattern(l, 1),
        kernel: unix_timestamp,
        ..Spec::DEFAULT
    },
    Spec { name: "convert_tz", required: &[T, T, T], check: check_zones, kernel: convert_tz, ..Spec::DEFAULT },
];

fn date_format(call: &Call<'_>) -> Result<ArrayRef> {
    format_times(call, &call.times(0)?, &call.text(1)?)
}

fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let times = Times { values: call.longs(0)?, per_second: 1, unreadable: None };
    format_times(call, &times, &call.text_or(1, DEFAULT_PATTERN)?)
}

fn format_times(call: &Call<'_>, times: &Times, pattern: &Text<'_>) -> Result<ArrayRef> {
    if let Text::Constant(Some(pattern)) = pattern {
        let pattern = match Pattern::compile(pattern) {
            Ok(pattern) => pattern,
            Err(reason) => return exec_err!("{reason}"),
        };
        let mut last = Rendered::default();
        return call.write_text(call.rows * 20, |row, out| {
            if times.is_unreadable(row) {
                return Ok(false);
            }
            last.append(&pattern, times.values[row], times.per_second, out);
            Ok(true)
        });
    }
    let (mut patterns, mut fractions) = (Patterns::new(), Vec::new());
    call.write_text(call.rows * 20, |row, out| match patterns.get(pattern.value(row)) {
        Some(pattern) if !times.is_unreadable(row) => {
            pattern.format(times.moment(row), out, &mut fractions);
            Ok(true)
        }
        _ => Ok(false),
    })
}

/// The last text, and the range of counts `from..to` for which it holds but for its fraction digits.
#[derive(Default)]
struct Rendered {
    from: i64,
    to: i64,
    text: Vec<u8>,
    fractions: Vec<(usize, usize)>,
}

impl Rendered {
    fn append(&mut self, pattern: &Pattern, value: i64, per_second: i64, out: &mut Vec<u8>) {
        if value < self.from || value >= self.to {
            self.text.clear();
            pattern.format(split(value, per_second), &mut self.text, &mut self.fractions);
            // A unit is a whole number of seconds that divides a day.
            let unit = pattern.prefix_unit_ns() / SECOND_NS * per_second;
            self.from = value.saturating_sub(value.rem_euclid(unit));
            self.to = self.from.saturating_add(unit);
        }
        if self.fractions.is_empty() {
            out.extend_from_slice(&self.text);
            return;
        }
        let nanosecond = value.rem_euclid(per_second) * (SECOND_NS / per_second);
        let mut end = 0;
        for (at, width) in &self.fractions {
            out.extend_from_slice(&self.text[end..*at]);
            push_fraction(out, nanosecond, *width);
            end = at + width;
        }
        out.extend_from_slice(&self.text[end..]);
    }
}

/// Reads argument 0 of each row with the pattern of argument `at`, or as a default timestamp if there is none.
fn read_rows<'a>(call: &'a Call<'_>, at: usize) -> Result<impl FnMut(usize) -> Option<Moment> + use<'a>> {
    let text = call.text(0)?;
    let pattern = if call.args.len() > at { Some(call.text(at)?) } else { None };
    let mut patterns = Patterns::new();
    Ok(move |row: usize| match &pattern {
        None => parse_default(text.value(row)),
        Some(pattern) => patterns.get(pattern.value(row))?.parse(text.value(row)),
    })
}

fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let mut read = read_rows(call, 1)?;
    call.try_primitive::<TimestampMillisecondType>(|row| Ok(read(row).and_then(|moment| moment.count(1_000))))
}

fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let mut read = read_rows(call, 1)?;
    call.try_primitive::<Date32Type>(|row| Ok(read(row).and_then(|moment| i32::try_from(moment.day).ok())))
}

fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.is_empty() {
        return call.primitive::<Int64Type>(vec![clock::wall_clock_ms().div_euclid(1_000); call.rows]);
    }
    let mut read = read_rows(call, 1)?;
    call.try_primitive::<Int64Type>(|row| Ok(read(row).and_then(|moment| moment.count(1))))
}

fn check_ltz(literals: &[Option<&ScalarValue>]) -> Result<()> {
    if let Some(Some(ScalarValue::Int64(Some(precision)))) = literals.get(1)
        && !matches!(precision, 0 | 3)
    {
        return plan_err!(
            "function `to_timestamp_ltz`: precision {precision} is not supported; write 0 (seconds) or 3 (milliseconds)"
        );
    }
    check_pattern(literals, 1)?;
    check_zone(literals, 2)
}

/// A number takes a precision, a text takes a pattern.
fn number_or_text(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [DataType::Utf8, DataType::Int64, ..] => {
            plan_err!("function `{name}`: a STRING takes a pattern, not a precision; write CAST(x AS BIGINT)")
        }
        [first, DataType::Utf8, ..] if *first != DataType::Utf8 && !first.is_null() => {
            plan_err!(
                "function `{name}`: a number takes a precision, not a pattern; write 0 (seconds) or 3 (milliseconds)"
            )
        }
        _ => Ok(types.to_vec()),
    }
}

/// A number of seconds or milliseconds, or a text with pattern and zone.
fn to_timestamp_ltz(call: &Call<'_>) -> Result<ArrayRef> {
    if call.is(0, &DataType::Utf8) {
        let mut read = read_rows(call, 1)?;
        let zone = call.text_or(2, "UTC")?;
        return call.try_primitive::<TimestampMillisecondType>(|row| {
            Ok(read(row).and_then(|moment| local_to_utc_ms(moment, &Tz::from_str(zone.value(row)).ok()?)))
        });
    }
    let precision = call.longs_or(1, 3)?;
    let scale = |row: usize| match precision[row] {
        0 => Some(1_000),
        3 => Some(1),
        _ => None,
    };
    if call.argument_type(0).is_integer() {
        let counts = arrow::compute::cast(&call.array(0)?, &DataType::Int64)?;
        let counts = arrow::array::AsArray::as_primitive::<Int64Type>(&counts).values().clone();
        let value = |row: usize| scale(row).and_then(|scale: i64| counts[row].checked_mul(scale));
        return call.try_primitive::<TimestampMillisecondType>(|row| Ok(value(row)));
    }
    let counts = arrow::compute::cast(&call.array(0)?, &DataType::Float64)?;
    let counts = arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&counts).values().clone();
    let value = |row: usize| {
        let ms = counts[row] * scale(row)? as f64;
        (ms.is_finite() && ms.abs() < 9.0e18).then_some(ms as i64)
    };
    call.try_primitive::<TimestampMillisecondType>(|row| Ok(value(row)))
}

fn check_zone(literals: &[Option<&ScalarValue>], at: usize) -> Result<()> {
    match literal_text(literals, at) {
        Some(zone) if Tz::from_str(zone).is_err() => {
            plan_err!("`{zone}` is no time zone; write a name such as 'Europe/Berlin' or an offset such as '+02:00'")
        }
        _ => Ok(()),
    }
}

fn check_zones(literals: &[Option<&ScalarValue>]) -> Result<()> {
    check_zone(literals, 1)?;
    check_zone(literals, 2)
}

fn civil(moment: Moment) -> Option<NaiveDateTime> {
    let seconds = moment.count(1)?;
    Some(chrono::DateTime::from_timestamp(seconds, moment.nanosecond as u32)?.naive_utc())
}

/// A time that a clock change skips is read with the offset before the change; one that occurs twice as its first occurrence.
fn local_to_utc_ms(moment: Moment, zone: &Tz) -> Option<i64> {
    let local = civil(moment)?;
    let offset = match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix(),
        LocalResult::None => {
            let before = local.checked_sub_signed(chrono::TimeDelta::hours(3))?;
            zone.offset_from_local_datetime(&before).earliest()?.fix()
        }
    };
    moment.count(1_000)?.checked_sub(i64::from(offset.local_minus_utc()) * 1_000)
}

fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let mut patterns = Patterns::new();
    let mut fractions = Vec::new();
    call.write_text(call.rows * 20, |row, out| {
        let moved = || {
            let (from, to) = (Tz::from_str(from.value(row)).ok()?, Tz::from_str(to.value(row)).ok()?);
            let utc = local_to_utc_ms(parse_default(text.value(row))?, &from)?;
            let offset = to.offset_from_utc_datetime(&civil(split(utc, 1_000))?).fix();
            Some(split(utc.checked_add(i64::from(offset.local_minus_utc()) * 1_000)?, 1_000))
        };
        let (Some(moment), Some(pattern)) = (moved(), patterns.get(DEFAULT_PATTERN)) else { return Ok(false) };
        pattern.format(moment, out, &mut fractions);
        Ok(true)
    })
}
