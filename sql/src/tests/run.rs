//! Compiled jobs run: rows in memory through the whole engine, at several parallelisms, against stated answers.

use super::AnyConnector;
use crate::connect::{Connectors, Outcome, Refusal, TableSpec};
use crate::program::compile;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_connectors::memory::{MemorySource, MemoryTable};
use thalweg_engine::job::{Job, JobOptions};
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;
use thalweg_engine::{Batch, StreamKind};

/// The table `t` holds `a, ts`; what is inserted and what is printed lands in a table each.
struct Memory {
    rows: Vec<(i64, i64)>,
    printed: MemoryTable,
    inserted: MemoryTable,
}

impl Connectors for Memory {
    fn check(&self, _: &TableSpec<'_>) -> Outcome<()> {
        Ok(())
    }
    fn source(&self, _: &TableSpec<'_>, schema: SchemaRef) -> Outcome<Arc<dyn SourceFactory>> {
        let columns = schema.fields().iter().map(|f| match f.name().as_str() {
            "a" => Ok(Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|r| r.0))) as ArrayRef),
            "ts" => {
                Ok(Arc::new(TimestampMillisecondArray::from_iter_values(self.rows.iter().map(|r| r.1))) as ArrayRef)
            }
            other => Err(Refusal::new(format!("no column `{other}`"))),
        });
        let columns = columns.collect::<Outcome<Vec<_>>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| Refusal::new(e.to_string()))?;
        Ok(Arc::new(MemorySource::new(schema, vec![vec![Batch::new(rows)]])))
    }
    fn sink(&self, _: &TableSpec<'_>, _: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(Arc::new(self.inserted.clone()))
    }
    fn terminal(&self, _: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(Arc::new(self.printed.clone()))
    }
}

/// The rows of the only job, as sorted lines.
fn run(query: &str, rows: &[(i64, i64)], parallelism: u32) -> Vec<String> {
    let table = "CREATE TABLE t (a BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'm');";
    run_with(table, query, rows, JobOptions { parallelism, ..JobOptions::default() })
}

fn run_with(table: &str, query: &str, rows: &[(i64, i64)], options: JobOptions) -> Vec<String> {
    let memory = Memory { rows: rows.to_vec(), printed: MemoryTable::new(), inserted: MemoryTable::new() };
    let program =
        compile(&format!("{table}{query}"), &BTreeMap::new(), &AnyConnector, &memory).unwrap_or_else(|e| panic!("{e}"));
    let job = program.jobs().next().unwrap();
    let outcome = Job::start(&job.graph, options, None).unwrap().wait();
    assert!(outcome.error.is_none(), "{query}: {:?}", outcome.error);
    let mut lines = vec![];
    for batch in memory.printed.rows().into_iter().chain(memory.inserted.rows()) {
        let columns = batch.columns().columns();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| array_value_to_string(c, row).unwrap()).collect::<Vec<_>>().join(" "));
        }
    }
    lines.sort();
    lines
}

const ROWS: &[(i64, i64)] = &[(1, 500), (2, 900), (1, 1_200), (1, 3_100), (2, 2_900), (3, 9_000)];

#[test]
fn queries_give_their_rows() {
    let cases: [(&str, &[&str]); 7] = [
        // Regression: rows that a sink takes as they are lost all their columns.
        (
            "SELECT * FROM t WHERE true",
            &[
                "1 1970-01-01T00:00:00.500",
                "1 1970-01-01T00:00:01.200",
                "1 1970-01-01T00:00:03.100",
                "2 1970-01-01T00:00:00.900",
                "2 1970-01-01T00:00:02.900",
                "3 1970-01-01T00:00:09",
            ],
        ),
        ("SELECT a * 10 AS b FROM t WHERE a <> 1", &["20", "20", "30"]),
        ("SELECT 1 AS x UNION ALL SELECT 2", &["1", "2"]),
        ("SELECT a FROM t WHERE 1 = 0", &[]),
        ("SELECT CASE WHEN a = 3 THEN 100 / (a - 2) END AS x FROM t WHERE a - 2 <> 0 AND 100 / (a - 2) > 0", &["100"]),
        (
            "SELECT a, count(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND))
               GROUP BY a, window_start, window_end",
            &["1 1", "1 2", "2 1", "2 1", "3 1"],
        ),
        (
            "SELECT max(n) AS m, count(*) AS keys FROM (
               SELECT a, count(*) AS n, window_start, window_end
               FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY a, window_start, window_end) q
             GROUP BY window_start, window_end",
            &["1 1", "1 2", "2 2"],
        ),
    ];
    for (query, rows) in cases {
        for parallelism in [1, 3] {
            assert_eq!(run(query, ROWS, parallelism), rows, "{query} at {parallelism}");
        }
    }
}

#[test]
fn late_rows_are_written_as_they_came_in() {
    let table = "CREATE TABLE late (ts TIMESTAMP(3), a BIGINT) WITH ('connector' = 'm');
                 CREATE TABLE t (a BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'm', 'late.table' = 'late');";
    let rows = [(1, 500), (2, 1_500), (3, 900), (4, 1_600), (5, -7), (6, 1_000)];
    // Of the view's rows the computed column, under the name that the view gives it.
    let view = "CREATE TABLE late (d BIGINT) WITH ('connector' = 'm');
                CREATE TABLE t (a BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'm', 'late.table' = 'late');
                CREATE VIEW v AS SELECT a * 10 AS d, ts AS at FROM t;";
    let query = |t: &str, time: &str| {
        format!(
            "SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE {t}, DESCRIPTOR({time}), INTERVAL '1' SECOND))
             GROUP BY window_start, window_end"
        )
    };
    // A barrier, and with it the watermark, after every row.
    let options = || JobOptions { batch_rows: 1, force_epochs: true, epoch_max_bytes: 1, ..JobOptions::default() };
    let out = run_with(table, &query("t", "ts"), &rows, options());
    assert_eq!(out, ["1", "1969-12-31T23:59:59.993 5", "1970-01-01T00:00:00.900 3", "3"]);
    assert_eq!(run_with(view, &query("v", "at"), &rows, options()), ["1", "3", "30", "50"]);
}
