//! What the planner asks of the outside: connectors by a table's options, and the settings that SET may name.
//!
//! Implemented by the caller, over the connector registry and the settings registry. Nothing here may do I/O: planning is a pure
//! function of text, defines and settings.

use crate::catalog::{ColumnDef, Table};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;

/// A table as a connector sees it.
#[derive(Clone, Debug)]
pub struct TableSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// All columns, computed ones included.
    pub columns: &'a [ColumnDef],
    /// WITH (..).
    pub options: &'a BTreeMap<String, String>,
    /// PRIMARY KEY.
    pub primary_key: &'a [String],
    /// PARTITIONED BY.
    pub partitioned_by: &'a [String],
    /// The rowtime column, if there is a WATERMARK.
    pub rowtime: Option<&'a str>,
    /// What SET has said, where the table is used.
    pub settings: &'a BTreeMap<String, String>,
}

impl<'a> TableSpec<'a> {
    pub(crate) fn of(table: &'a Table, settings: &'a BTreeMap<String, String>) -> TableSpec<'a> {
        TableSpec {
            settings,
            name: &table.name,
            columns: &table.columns,
            options: &table.options,
            primary_key: &table.primary_key,
            partitioned_by: &table.partitioned_by,
            rowtime: table.watermark.as_ref().map(|w| w.column.as_str()),
        }
    }
}

/// Why something outside was refused: a reason, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// What to write instead.
    pub remedy: Option<String>,
    /// The option that is meant, if one is.
    pub option: Option<String>,
}

impl Refusal {
    /// A refusal without a remedy of its own.
    pub fn new(reason: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), remedy: None, option: None }
    }
}

impl From<thalweg_engine::Error> for Refusal {
    fn from(e: thalweg_engine::Error) -> Self {
        Refusal::new(e.message())
    }
}

/// A result of a connector or a setting.
pub type Outcome<T> = std::result::Result<T, Refusal>;

/// The connectors that tables may name.
pub trait Connectors {
    /// Checks a table's options when it is defined, whether or not it is used. No I/O.
    fn check(&self, table: &TableSpec<'_>) -> Outcome<()>;

    /// A source that gives these columns, in this order: some of the table's physical and metadata columns, ROWs with some of their
    /// fields.
    fn source(&self, table: &TableSpec<'_>, schema: SchemaRef) -> Outcome<Arc<dyn SourceFactory>>;

    /// A sink that takes the written columns, in the table's order, of a stream of this kind.
    fn sink(&self, table: &TableSpec<'_>, schema: SchemaRef, kind: StreamKind) -> Outcome<Arc<dyn SinkFactory>>;

    /// Whether a table's sink keeps the last row of each PRIMARY KEY: it then gets changes of one row per key.
    fn upserts(&self, table: &TableSpec<'_>) -> Outcome<bool> {
        let _ = table;
        Ok(false)
    }

    /// The sink of a bare SELECT.
    fn terminal(&self, schema: SchemaRef, kind: StreamKind) -> Outcome<Arc<dyn SinkFactory>>;
}

/// What SET may do.
pub trait Settings {
    /// The value in force before any SET, and whether a flag fixed it, so that SET has no effect.
    fn get(&self, key: &str) -> Option<(String, bool)>;

    /// Checks a SET; unknown keys and wrong values are refused.
    fn check(&self, key: &str, value: &str) -> Outcome<()>;
}
