//! The `datagen` connector: rows made of random values and sequences, as Flink's. A row is a function of seed and row number,
//! whatever the parallelism; only timestamps follow the wall clock.
//!
//! | file | holds |
//! |---|---|
//! | `values` | the options of a column, and its values |
//! | `source` | splits, readers, the limit of rows per second |

mod source;
mod values;

use crate::options::{OptionError, OptionResult, OptionSpec, TypedOptions, ValueKind};
use crate::registry::{Connector, Description, TableSpec};
use arrow::datatypes::SchemaRef;
use source::DatagenSource;
use std::sync::Arc;
use thalweg_engine::source::SourceFactory;
use values::Field;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::with_default("rows-per-second", ValueKind::Integer, "10000", "of the whole table, by the wall clock"),
    OptionSpec::new("number-of-rows", ValueKind::Integer, "how many rows; else there is no end, or that of a sequence"),
    OptionSpec::with_default("seed", ValueKind::Integer, "0", "chooses the random values"),
    OptionSpec::with_default(
        "fields.#.kind",
        ValueKind::OneOf(&["random", "sequence"]),
        "random",
        "how values are made",
    ),
    OptionSpec::new("fields.#.min", ValueKind::Float, "the smallest random number (the type's)"),
    OptionSpec::new("fields.#.max", ValueKind::Float, "the largest random number (the type's)"),
    OptionSpec::with_default("fields.#.length", ValueKind::Integer, "100", "characters of random texts"),
    OptionSpec::new("fields.#.start", ValueKind::Integer, "the first value of a sequence"),
    OptionSpec::new("fields.#.end", ValueKind::Integer, "the last value of a sequence; the table ends with it"),
    OptionSpec::with_default("fields.#.null-rate", ValueKind::Float, "0", "how many values are NULL, 0 to 1"),
    OptionSpec::with_default("fields.#.max-past", ValueKind::Duration, "0 s", "how far timestamps lie back at most"),
];

/// `connector = 'datagen'`.
pub struct DatagenConnector;

impl Connector for DatagenConnector {
    fn describe(&self) -> Description {
        Description {
            options: OPTIONS.to_vec(),
            no_sink: Some("it generates rows; write to 'print', 'blackhole', 'filesystem' or 'kafka'"),
            ..Description::new("datagen", "random values and sequences, from a seed")
        }
    }

    fn check(&self, spec: &TableSpec, options: &TypedOptions<'_>) -> OptionResult<()> {
        for (key, _) in options.options().iter() {
            let Some(name) = key.strip_prefix("fields.").and_then(|k| k.rsplit_once('.')).map(|(name, _)| name) else {
                continue;
            };
            if !spec.columns.iter().any(|c| c.field.name() == name) {
                let error = OptionError::at(key, format!("table `{}` has no column `{name}`", spec.name));
                return Err(error.remedy("name a column that is not computed"));
            }
        }
        self.source(spec, options, spec.physical()).map(drop)
    }

    fn source(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        let seed = options.integer("seed")?.unwrap_or(0) as u64;
        // The end is that of all columns, also of those that nobody reads.
        let all = spec
            .physical()
            .fields()
            .iter()
            .map(|f| Field::parse(f, options, seed))
            .collect::<OptionResult<Vec<_>>>()?;
        let given = options.integer_within("number-of-rows", 0, i64::MAX)?.map(|n| n as u64);
        let rows = all.iter().filter_map(Field::rows).chain(given).min();
        let rate = options.integer_within("rows-per-second", 1, 1_000_000_000)?.unwrap_or(10_000) as u64;
        let fields =
            columns.fields().iter().map(|f| Field::parse(f, options, seed)).collect::<OptionResult<Vec<_>>>()?;
        Ok(Arc::new(DatagenSource { schema: columns, fields: fields.into(), rows, rate }))
    }
}
