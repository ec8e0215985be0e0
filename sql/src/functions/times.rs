//! Date and time arguments in one shape: 64-bit counts of a unit since 1970-01-01 00:00 (or since midnight, for TIME).
//!
//! Used by all date and time kernels. TIMESTAMP_LTZ columns are read in the session zone, which is UTC, so their zone is not applied.

use arrow::array::{Array, Date32Array, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{Result, ScalarValue, plan_err};

use super::calendar::{DAY_SECONDS, SECOND_NS, Unit};
use super::pattern::{Moment, Pattern, parse_default};
use super::scalar::Call;

/// A date or time argument.
pub(super) struct Times {
    /// One count per row; arbitrary where the argument is NULL.
    pub values: ScalarBuffer<i64>,
    /// Counts per second: 1, 1 000, 1 000 000 or 1 000 000 000.
    pub per_second: i64,
    /// Rows that are NULL although the argument's array is not: text that is no timestamp.
    pub unreadable: Option<NullBuffer>,
}

impl Times {
    /// The day and time of a row.
    pub(super) fn moment(&self, row: usize) -> Moment {
        split(self.values[row], self.per_second)
    }

    /// Whether text in this row could not be read.
    pub(super) fn is_unreadable(&self, row: usize) -> bool {
        self.unreadable.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// Splits a count into day, second and nanosecond; total for all inputs.
pub(super) fn split(value: i64, per_second: i64) -> Moment {
    let per_day = DAY_SECONDS * per_second;
    let rest = value.rem_euclid(per_day);
    let nanosecond = rest % per_second * (SECOND_NS / per_second);
    Moment { day: value.div_euclid(per_day), second: rest / per_second, nanosecond }
}

impl Moment {
    /// The count of `1 / per_second` since 1970-01-01; `None` if it does not fit.
    pub(super) fn count(self, per_second: i64) -> Option<i64> {
        let seconds = self.day.checked_mul(DAY_SECONDS)?.checked_add(self.second)?;
        seconds.checked_mul(per_second)?.checked_add(self.nanosecond / (SECOND_NS / per_second))
    }
}

/// Counts per second of an Arrow unit.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => SECOND_NS,
    }
}

impl Call<'_> {
    /// Argument `at` as counts of its own unit; DATE becomes seconds, STRING milliseconds.
    pub(super) fn times(&self, at: usize) -> Result<Times> {
        let array = self.array(at)?;
        let scale = match array.data_type() {
            DataType::Date32 => {
                let days = self.typed::<Date32Array>(at)?;
                let values = days.values().iter().map(|day| i64::from(*day) * DAY_SECONDS).collect();
                return Ok(Times { values, per_second: 1, unreadable: None });
            }
            DataType::Utf8 => return Ok(read_times(&self.typed::<StringArray>(at)?)),
            DataType::Timestamp(unit, _) | DataType::Time64(unit) | DataType::Time32(unit) => per_second(*unit),
            other => return plan_err!("function `{}`: argument {} has type {other}", self.name, at + 1),
        };
        let array = match array.data_type() {
            DataType::Time32(_) => cast(&cast(&array, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(&array, &DataType::Int64)?,
        };
        let Some(values) = array.as_any().downcast_ref::<arrow::array::Int64Array>() else {
            return plan_err!("function `{}`: argument {} is no time", self.name, at + 1);
        };
        Ok(Times { values: values.values().clone(), per_second: scale, unreadable: None })
    }
}

fn read_times(text: &StringArray) -> Times {
    let read = |row| parse_default(text.value(row)).and_then(|moment| moment.count(1_000));
    let found: Vec<Option<i64>> = (0..text.len()).map(read).collect();
    let unreadable = found.iter().map(Option::is_some).collect::<NullBuffer>();
    Times {
        values: found.into_iter().map(Option::unwrap_or_default).collect(),
        per_second: 1_000,
        unreadable: Some(unreadable),
    }
}

/// Compiled date patterns of one call; constant patterns are compiled once, others again when the text changes.
pub(super) struct Patterns {
    text: String,
    compiled: Option<Pattern>,
}

impl Patterns {
    /// Nothing compiled yet.
    pub(super) fn new() -> Patterns {
        // The empty pattern is valid and has no pieces.
        Patterns { text: String::new(), compiled: Pattern::compile("").ok() }
    }

    /// The compiled form of `pattern`; `None` if it is not valid.
    pub(super) fn get(&mut self, pattern: &str) -> Option<&Pattern> {
        if self.text != pattern {
            self.compiled = Pattern::compile(pattern).ok();
            self.text.clear();
            self.text.push_str(pattern);
        }
        self.compiled.as_ref()
    }
}

/// Refuses a literal date pattern at `at` that does not compile.
pub(super) fn check_pattern(literals: &[Option<&ScalarValue>], at: usize) -> Result<()> {
    if let Some(pattern) = literal_text(literals, at)
        && let Err(reason) = Pattern::compile(pattern)
    {
        return plan_err!("{reason}");
    }
    Ok(())
}

/// Refuses a literal at `at` that names no unit of time.
pub(super) fn check_unit(literals: &[Option<&ScalarValue>], at: usize) -> Result<()> {
    match literal_text(literals, at) {
        Some(name) if Unit::parse(name).is_none() => {
            plan_err!("`{name}` is no unit of time; write one of SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR")
        }
        _ => Ok(()),
    }
}

/// The text of a STRING literal.
pub(super) fn literal_text<'a>(literals: &[Option<&'a ScalarValue>], at: usize) -> Option<&'a str> {
    literals.get(at).copied().flatten().and_then(|value| value.try_as_str()).flatten()
}

impl Call<'_> {
    /// The unit of time that the literal at `at` names.
    pub(super) fn unit(&self, at: usize) -> Result<Unit> {
        let name = self.literal(at).and_then(|value| value.try_as_str()).flatten();
        match name.and_then(Unit::parse) {
            Some(unit) => Ok(unit),
            None => {
                plan_err!("function `{}`: argument {} must be a literal unit of time such as 'HOUR'", self.name, at + 1)
            }
        }
    }
}
