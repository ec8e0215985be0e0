//! Texts to jobs, end to end, with connectors that accept everything and do nothing.

mod hostile;
mod nexmark;
mod plans;
mod refusals;
mod run;
mod wording;

use crate::connect::{Connectors, Outcome, Refusal, Settings, TableSpec};
use crate::error::SqlError;
use crate::program::{Program, compile};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::sink::{Sink, SinkFactory};
use thalweg_engine::source::{SourceFactory, SourceReader, SplitEnumerator};
use thalweg_engine::{Result, StreamKind};

/// Takes the options `connector` and `late.table`-like ones of any value; the connector `none` is refused.
pub(super) struct AnyConnector;

struct Nothing(SchemaRef);

impl SourceFactory for Nothing {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }
    fn bounded(&self) -> bool {
        true
    }
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Err(thalweg_engine::Error::internal("never started"))
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Err(thalweg_engine::Error::internal("never started"))
    }
}

impl SinkFactory for Nothing {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Err(thalweg_engine::Error::internal("never started"))
    }
}

impl Connectors for AnyConnector {
    fn check(&self, table: &TableSpec<'_>) -> Outcome<()> {
        match table.options.get("connector").map(String::as_str) {
            None => Err(Refusal::new("option `connector` is missing")),
            Some("none") => {
                let refusal = Refusal::new("there is no connector `none`");
                Err(Refusal {
                    option: Some("connector".into()),
                    remedy: Some("write 'connector' = 'any'".into()),
                    ..refusal
                })
            }
            Some(_) => Ok(()),
        }
    }
    fn source(&self, _: &TableSpec<'_>, schema: SchemaRef) -> Outcome<Arc<dyn SourceFactory>> {
        Ok(Arc::new(Nothing(schema)))
    }
    fn sink(&self, _: &TableSpec<'_>, schema: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(Arc::new(Nothing(schema)))
    }
    fn terminal(&self, schema: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(Arc::new(Nothing(schema)))
    }
}

impl Settings for AnyConnector {
    fn get(&self, _: &str) -> Option<(String, bool)> {
        None
    }
    fn check(&self, key: &str, _: &str) -> Outcome<()> {
        match key.starts_with("sql.") || key == "parallelism" {
            true => Ok(()),
            false => Err(Refusal {
                remedy: Some("write parallelism".into()),
                ..Refusal::new(format!("setting `{key}` is not known"))
            }),
        }
    }
}

pub(super) fn compiled_with(text: &str, defines: &[(&str, &str)]) -> std::result::Result<Program, SqlError> {
    let defines: BTreeMap<String, String> = defines.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    compile(text, &defines, &AnyConnector, &AnyConnector)
}

/// A table with a rowtime, one without, and a sink.
pub(super) const TABLES: &str = "
CREATE TABLE t (a BIGINT, b INT, s STRING, d DOUBLE, p DECIMAL(10, 2), r ROW<x BIGINT, y ROW<z STRING, w INT>>,
  ts TIMESTAMP(3), arr ARRAY<INT>, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'any');
CREATE TABLE u (a BIGINT, b INT, s STRING, ts TIMESTAMP(3)) WITH ('connector' = 'any');
CREATE TABLE out (a BIGINT, n BIGINT) WITH ('connector' = 'any');
";

pub(super) fn compiled(text: &str) -> std::result::Result<Program, SqlError> {
    compiled_with(&format!("{TABLES}{text}"), &[])
}

/// The tree of the only job.
pub(super) fn explained(text: &str) -> String {
    let program = compiled(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
    let mut jobs = program.jobs();
    let job = jobs.next().unwrap_or_else(|| panic!("{text}: no job"));
    assert!(jobs.next().is_none(), "{text}: several jobs");
    job.explain.clone()
}

pub(super) fn refused(text: &str) -> SqlError {
    match compiled(text) {
        Err(e) => e,
        Ok(_) => panic!("taken: {text}"),
    }
}
