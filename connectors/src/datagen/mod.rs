//! The `datagen` connector: rows made of random values and sequences, as Flink's. A row is a function of seed and row number,
//! whatever the parallelism; only times follow the wall clock, unless `base-time` is given.
//!
//! | file | holds |
//! |---|---|
//! | `field` | the options of a column |
//! | `values` | its values |
//! | `draws` | random bits by seed and number, and numbers within bounds |
//! | `source` | the rows of a table |

mod draws;
mod field;
mod source;
mod values;

use crate::format::datetime;
use crate::interleaved::Interleaved;
use crate::options::{OptionError, OptionResult, OptionSpec, TypedOptions, ValueKind};
use crate::registry::{Connector, Description, TableSpec};
use arrow::datatypes::{SchemaRef, TimeUnit};
use field::Parser;
use source::Datagen;
use std::sync::Arc;
use thalweg_engine::source::SourceFactory;
use values::EventTime;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::with_default(
        "rows-per-second",
        ValueKind::Integer,
        "10000",
        "of the whole table, by the wall clock; 0 = as fast as possible",
    ),
    OptionSpec::new(
        "number-of-rows",
        ValueKind::Integer,
        "how many rows; the table ends with them or with its shortest sequence, whichever is first; else there is no end",
    ),
    OptionSpec::with_default("seed", ValueKind::Integer, "0", "chooses the random values"),
    OptionSpec::new(
        "base-time",
        ValueKind::Text,
        "the time in row 0, `yyyy-MM-dd HH:mm:ss[.SSS]` UTC; row `n` is `n / rows-per-second` seconds later; without it the wall clock",
    ),
    OptionSpec::with_default(
        "fields.#.kind",
        ValueKind::OneOf(&["random", "sequence"]),
        "random",
        "how values are made; `fields.a.b.kind` for field `b` of ROW `a`, `fields.a.element.min` for elements of ARRAY `a`",
    ),
    OptionSpec::new("fields.#.min", ValueKind::Float, "the smallest random number (the type's)"),
    OptionSpec::new("fields.#.max", ValueKind::Float, "the largest random number (the type's)"),
    OptionSpec::new(
        "fields.#.length",
        ValueKind::Integer,
        "characters of random texts (100, at most 1048576), bytes of BYTES (the same), elements of ARRAY (3, at most 65536)",
    ),
    OptionSpec::new("fields.#.start", ValueKind::Integer, "the first value of a sequence"),
    OptionSpec::new("fields.#.end", ValueKind::Integer, "the last value of a sequence; the table ends with it"),
    OptionSpec::with_default("fields.#.null-rate", ValueKind::Float, "0", "how many values are NULL, 0 to 1"),
    OptionSpec::with_default(
        "fields.#.max-past",
        ValueKind::Duration,
        "0 s",
        "how far timestamps, dates and times lie back at most",
    ),
];

/// `connector = 'datagen'`.
pub struct DatagenConnector;

/// The last millisecond of the year 9999.
const BASE_TIME_MAX_MS: i64 = 253_402_300_799_999;

/// `base-time`, read as that of nexmark.
fn base_time(options: &TypedOptions<'_>) -> OptionResult<Option<i64>> {
    let Some(text) = options.text("base-time") else { return Ok(None) };
    let parsed = datetime::parse_timestamp(text.as_bytes(), TimeUnit::Millisecond);
    let expected = "a time such as `2026-01-01 00:00:00`, in the years 1970 to 9999";
    let wrong = || OptionError::at("base-time", format!("'{text}' is not {expected}"));
    parsed.filter(|ms| (0..=BASE_TIME_MAX_MS).contains(ms)).map(Some).ok_or_else(wrong)
}

/// Checks that `base-time` means something for these columns.
fn check_base_time(base_ms: i64, rate: u64, columns: &Parser<'_>) -> OptionResult<()> {
    if !columns.times.0 {
        let error = OptionError::at("base-time", "the table has no TIMESTAMP, DATE or TIME column");
        return Err(error.remedy("leave it out"));
    }
    if columns.times.1 && base_ms.checked_mul(1_000_000).is_none() {
        let error = OptionError::at("base-time", "TIMESTAMP(9) ends in the year 2262");
        return Err(error.remedy("declare the column TIMESTAMP(3)"));
    }
    if rate == 0 {
        let error = OptionError::at("base-time", "without a limit of rows per second, rows have no distance in time");
        return Err(error.remedy("set `rows-per-second`, or leave `base-time` out"));
    }
    Ok(())
}

/// The rows of a table with these columns, and how many of them per second.
fn datagen(spec: &TableSpec, options: &TypedOptions<'_>, columns: SchemaRef) -> OptionResult<(Datagen, u64)> {
    let seed = options.integer("seed")?.unwrap_or(0);
    // The end is that of all columns, also of those that nobody reads.
    let mut all = Parser::new(*options, seed as u64);
    all.columns(spec.physical().fields())?;
    all.check_all_read(&spec.name)?;
    let given = options.integer_within("number-of-rows", 0, i64::MAX)?.map(i64::unsigned_abs);
    let rows = all.rows.into_iter().chain(given).min();
    let rate = options.integer_within("rows-per-second", 0, 1_000_000_000)?.unwrap_or(10_000).unsigned_abs();
    let base_ms = base_time(options)?;
    base_ms.map_or(Ok(()), |base_ms| check_base_time(base_ms, rate, &all))?;

    let mut read = Parser::new(*options, seed as u64);
    let fields = read.columns(columns.fields())?;
    let mut settings = read.settings;
    settings.insert("seed".into(), seed.into());
    settings.insert("number-of-rows".into(), rows.into());
    settings.insert("base-time".into(), base_ms.into());
    if base_ms.is_some() {
        settings.insert("rows-per-second".into(), rate.into());
    }
    let event_time = base_ms.map(|base_ms| EventTime { base_ms, rows_per_second: rate });
    Ok((Datagen { schema: columns, fields, rows, event_time, settings }, rate))
}

impl Connector for DatagenConnector {
    fn describe(&self) -> Description {
        Description {
            options: OPTIONS.to_vec(),
            no_sink: Some("it generates rows; write to 'print', 'blackhole', 'filesystem' or 'kafka'"),
            ..Description::new("datagen", "random values and sequences, from a seed")
        }
    }

    fn check(&self, spec: &TableSpec, options: &TypedOptions<'_>) -> OptionResult<()> {
        datagen(spec, options, spec.physical()).map(drop)
    }

    fn source(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        let (rows, rate) = datagen(spec, options, columns)?;
        Ok(Arc::new(Interleaved::new(rows, rate)))
    }
}

#[cfg(test)]
mod tests;
