//! Fields of moments and arithmetic on them: YEAR .. SECOND, EXTRACT, FLOOR and CEIL to a unit, TIMESTAMPDIFF, TIMESTAMPADD.
//!
//! Units arrive as string literals; the SQL front turns `TIMESTAMPDIFF(HOUR, a, b)` and `FLOOR(ts TO DAY)` into that form.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};

use super::calendar::{DAY_SECONDS, Date, SECOND_NS, Unit, iso_weekday};
use super::params::Param::{Long, Text as T, Time};
use super::pattern::Moment;
use super::scalar::{Call, Returns, Spec};
use super::times::{Times, check_unit, literal_text, split};

const BIGINT: Returns = Returns::Type(DataType::Int64);
const PART: Spec = Spec { required: &[Time], returns: BIGINT, ..Spec::DEFAULT };

/// Functions about fields of moments and distances between them.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "year", kernel: |c| part(c, Part::Year, 0), ..PART },
    Spec { name: "quarter", kernel: |c| part(c, Part::Quarter, 0), ..PART },
    Spec { name: "month", kernel: |c| part(c, Part::Month, 0), ..PART },
    Spec { name: "week", kernel: |c| part(c, Part::Week, 0), ..PART },
    Spec { name: "dayofyear", kernel: |c| part(c, Part::DayOfYear, 0), ..PART },
    Spec { name: "dayofmonth", kernel: |c| part(c, Part::Day, 0), ..PART },
    Spec { name: "dayofweek", kernel: |c| part(c, Part::DayOfWeek, 0), ..PART },
    Spec { name: "hour", kernel: |c| part(c, Part::Hour, 0), ..PART },
    Spec { name: "minute", kernel: |c| part(c, Part::Minute, 0), ..PART },
    Spec { name: "second", kernel: |c| part(c, Part::Second, 0), ..PART },
    Spec {
        name: "date_part",
        aliases: &["extract"],
        required: &[T, Time],
        returns: BIGINT,
        check: check_part,
        kernel: date_part,
        ..Spec::DEFAULT
    },
    Spec {
        name: "timestampdiff",
        required: &[T, Time, Time],
        returns: Returns::Type(DataType::Int32),
        check: |l| check_unit(l, 0),
        kernel: timestampdiff,
        ..Spec::DEFAULT
    },
    Spec {
        name: "timestampadd",
        required: &[T, Long, Time],
        returns: Returns::By(added_type),
        check: |l| check_unit(l, 0),
        kernel: timestampadd,
        ..Spec::DEFAULT
    },
];

/// A field that can be asked of a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Millennium,
    Century,
    Decade,
    IsoYear,
    Year,
    Quarter,
    Month,
    Week,
    Day,
    DayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Epoch,
}

impl Part {
    fn parse(name: &str) -> Option<Part> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "millennium" => Part::Millennium,
            "century" => Part::Century,
            "decade" => Part::Decade,
            "isoyear" => Part::IsoYear,
            "year" => Part::Year,
            "quarter" => Part::Quarter,
            "month" => Part::Month,
            "week" => Part::Week,
            "day" => Part::Day,
            "doy" => Part::DayOfYear,
            "dow" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "hour" => Part::Hour,
            "minute" => Part::Minute,
            "second" => Part::Second,
            "millisecond" | "milliseconds" => Part::Millisecond,
            "microsecond" | "microseconds" => Part::Microsecond,
            "nanosecond" | "nanoseconds" => Part::Nanosecond,
            "epoch" => Part::Epoch,
            _ => return None,
        })
    }

    fn of(self, moment: Moment) -> i64 {
        match self {
            Part::Hour => moment.second / 3_600,
            Part::Minute => moment.second / 60 % 60,
            Part::Second => moment.second % 60,
            Part::Millisecond => moment.nanosecond / 1_000_000,
            Part::Microsecond => moment.nanosecond / 1_000,
            Part::Nanosecond => moment.nanosecond,
            Part::Epoch => moment.day.saturating_mul(DAY_SECONDS).saturating_add(moment.second),
            Part::DayOfWeek => iso_weekday(moment.day) % 7 + 1,
            Part::IsoDayOfWeek => iso_weekday(moment.day),
            _ => self.of_date(Date::of_day(moment.day)),
        }
    }

    fn of_date(self, date: Date) -> i64 {
        match self {
            Part::Millennium => (date.year - 1).div_euclid(1_000) + 1,
            Part::Century => (date.year - 1).div_euclid(100) + 1,
            Part::Decade => date.year.div_euclid(10),
            Part::IsoYear => date.iso_week().0,
            Part::Quarter => (date.month - 1) / 3 + 1,
            Part::Month => date.month,
            Part::Week => date.iso_week().1,
            Part::Day => date.day,
            Part::DayOfYear => date.day_of_year(),
            _ => date.year,
        }
    }
}

fn check_part(literals: &[Option<&ScalarValue>]) -> Result<()> {
    match literal_text(literals, 0) {
        Some(name) if Part::parse(name).is_none() => plan_err!(
            "`{name}` is no field of a timestamp; write one of YEAR, QUARTER, MONTH, WEEK, DAY, DOY, DOW, HOUR, MINUTE, SECOND, EPOCH"
        ),
        _ => Ok(()),
    }
}

fn date_part(call: &Call<'_>) -> Result<ArrayRef> {
    let name = call.literal(0).and_then(|value| value.try_as_str()).flatten();
    match name.and_then(Part::parse) {
        Some(wanted) => part(call, wanted, 1),
        None => plan_err!("function `date_part`: argument 1 must be a literal such as 'HOUR'"),
    }
}

fn part(call: &Call<'_>, part: Part, at: usize) -> Result<ArrayRef> {
    let times = call.times(at)?;
    let values = match (part, times.per_second) {
        (Part::Hour, 1_000) => times.values.iter().map(|ms| ms.rem_euclid(86_400_000) / 3_600_000).collect(),
        (Part::Minute, 1_000) => times.values.iter().map(|ms| ms.rem_euclid(3_600_000) / 60_000).collect(),
        (Part::Second, 1_000) => times.values.iter().map(|ms| ms.rem_euclid(60_000) / 1_000).collect(),
        (Part::Hour | Part::Minute | Part::Second, _) => parts_of(&times, part),
        _ => parts_of_days(&times, part),
    };
    call.primitive::<Int64Type>(values)
}

fn parts_of(times: &Times, part: Part) -> Vec<i64> {
    times.values.iter().map(|value| part.of(split(*value, times.per_second))).collect()
}

/// Neighbouring rows mostly fall on one day, whose calendar fields are computed once.
fn parts_of_days(times: &Times, part: Part) -> Vec<i64> {
    if matches!(part, Part::Epoch | Part::Millisecond | Part::Microsecond | Part::Nanosecond) {
        return parts_of(times, part);
    }
    let mut last: Option<(i64, i64)> = None;
    let of = |value: &i64| {
        let moment = split(*value, times.per_second);
        match last {
            Some((day, found)) if day == moment.day => found,
            _ => {
                let found = part.of(moment);
                last = Some((moment.day, found));
                found
            }
        }
    };
    times.values.iter().map(of).collect()
}

/// Whole units from `a` to `b`, rounded toward zero.
fn timestampdiff(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = call.unit(0)?;
    let (from, to) = (call.times(1)?, call.times(2)?);
    call.try_primitive::<Int32Type>(|row| {
        let count = difference(unit, from.moment(row), to.moment(row));
        match i32::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) => exec_err!("function `timestampdiff`: {count} {unit:?}s do not fit INT; use a larger unit"),
        }
    })
}

fn nanoseconds(moment: Moment) -> i128 {
    let seconds = i128::from(moment.day) * i128::from(DAY_SECONDS) + i128::from(moment.second);
    seconds * i128::from(SECOND_NS) + i128::from(moment.nanosecond)
}

fn difference(unit: Unit, from: Moment, to: Moment) -> i128 {
    if let Some(length) = unit.nanoseconds() {
        return (nanoseconds(to) - nanoseconds(from)) / i128::from(length);
    }
    let (early, late, sign) = if nanoseconds(from) <= nanoseconds(to) { (from, to, 1) } else { (to, from, -1) };
    let (first, last) = (Date::of_day(early.day), Date::of_day(late.day));
    let mut months = (last.year - first.year) * 12 + last.month - first.month;
    let rest = |date: Date, moment: Moment| (date.day, moment.second, moment.nanosecond);
    if rest(last, late) < rest(first, early) {
        months -= 1;
    }
    i128::from(months / unit.months().unwrap_or(1) * sign)
}

/// A DATE stays one when whole days are added; otherwise the type of the argument.
fn added_type(types: &[DataType], literals: &[Option<&ScalarValue>]) -> Result<DataType> {
    let unit = literal_text(literals, 0).and_then(Unit::parse);
    let whole_days = unit.is_none_or(|unit| unit.nanoseconds().is_none() || matches!(unit, Unit::Day | Unit::Week));
    match types.get(2) {
        Some(DataType::Date32) if !whole_days => Ok(DataType::Timestamp(TimeUnit::Millisecond, None)),
        Some(DataType::Timestamp(TimeUnit::Second, zone)) if !whole_days => {
            Ok(DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        Some(other) => Ok(other.clone()),
        None => plan_err!("function `timestampadd`: argument 3 is missing"),
    }
}

/// Counts per second of a result type; `None` for DATE.
fn result_scale(data_type: &DataType) -> Option<i64> {
    match data_type {
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => {
            Some(super::times::per_second(*unit))
        }
        _ => None,
    }
}

/// Builds an array of `call.returns` from moments; NULL where there is none or it does not fit the type.
pub(super) fn moments(call: &Call<'_>, mut moment: impl FnMut(usize) -> Option<Moment>) -> Result<ArrayRef> {
    let scale = result_scale(call.returns);
    let counts = (0..call.rows).map(|row| match (call.is_null(row), scale) {
        (true, _) => None,
        (false, Some(scale)) => moment(row)?.count(scale),
        (false, None) => moment(row).map(|moment| moment.day),
    });
    let counts: ArrayRef = Arc::new(counts.collect::<Int64Array>());
    match call.returns {
        DataType::Date32 | DataType::Time32(_) => Ok(cast(&cast(&counts, &DataType::Int32)?, call.returns)?),
        other => Ok(cast(&counts, other)?),
    }
}

fn timestampadd(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = call.unit(0)?;
    let (counts, times) = (call.longs(1)?, call.times(2)?);
    let clock_only = matches!(call.returns, DataType::Time32(_) | DataType::Time64(_));
    moments(call, |row| {
        let moment = add(unit, counts[row], times.moment(row))?;
        Some(if clock_only { Moment { day: 0, ..moment } } else { moment })
    })
}

fn add(unit: Unit, count: i64, moment: Moment) -> Option<Moment> {
    if let Some(months) = unit.months() {
        let date = Date::of_day(moment.day).add_months(count.checked_mul(months)?);
        return (date.year.abs() < 300_000_000).then(|| Moment { day: date.day_number(), ..moment });
    }
    let total = nanoseconds(moment) + i128::from(count) * i128::from(unit.nanoseconds()?);
    moment_of(total)
}

fn moment_of(nanoseconds: i128) -> Option<Moment> {
    let day_ns = i128::from(DAY_SECONDS) * i128::from(SECOND_NS);
    let rest = nanoseconds.rem_euclid(day_ns) as i64;
    let day = i64::try_from(nanoseconds.div_euclid(day_ns)).ok()?;
    Some(Moment { day, second: rest / SECOND_NS, nanosecond: rest % SECOND_NS })
}

/// The start of the unit that contains the moment, or with `up` the next start unless the moment is one. For FLOOR and CEIL.
pub(super) fn round_to(unit: Unit, moment: Moment, up: bool) -> Option<Moment> {
    let start = match unit.months() {
        Some(months) => {
            let date = Date::of_day(moment.day);
            let first = (date.year * 12 + date.month - 1).div_euclid(months) * months;
            let date = Date { year: first.div_euclid(12), month: first.rem_euclid(12) + 1, day: 1 };
            Moment { day: date.day_number(), second: 0, nanosecond: 0 }
        }
        None if unit == Unit::Week => {
            // Weeks start on Sunday, as in Flink.
            Moment { day: moment.day.saturating_sub(iso_weekday(moment.day) % 7), second: 0, nanosecond: 0 }
        }
        None => {
            let length = i128::from(unit.nanoseconds()?);
            moment_of(nanoseconds(moment).div_euclid(length) * length)?
        }
    };
    if up && start != moment { add(unit, 1, start) } else { Some(start) }
}
