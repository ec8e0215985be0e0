//! Files in, files out, through the engine: whole, and stopped at a checkpoint and resumed at another parallelism.

use super::testing::{all, column, files, read, sink, source, table};
use arrow::datatypes::DataType;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use thalweg_engine::graph::{Graph, Input, NodeKind, NodeSpec, Partitioning};
use thalweg_engine::job::{Ending, Job, JobOptions};

fn copy(from: &Path, to: &Path) -> Graph {
    let columns = || vec![column("a", DataType::Int64), column("p", DataType::Utf8)];
    let from = table(from, columns(), &[], &[("format", "json")]);
    let to = table(to, columns(), &["p"], &[("format", "csv")]);
    let mut scan = source(&from, all(&from));
    scan.split_bytes = 256;
    let mut graph = Graph::new();
    let kind = NodeKind::Source { factory: Arc::new(scan), watermark: None, name: "from".into() };
    let read = graph.add(NodeSpec::new("scan", "scan", kind, vec![])).unwrap();
    let kind = NodeKind::Sink { factory: Arc::new(sink(&to)), name: "to".into() };
    graph.add(NodeSpec::new("sink", "sink", kind, vec![Input::new(read, Partitioning::Forward)])).unwrap();
    graph
}

fn written(to: &Path) -> Vec<String> {
    let to = table(to, vec![column("a", DataType::Int64), column("p", DataType::Utf8)], &["p"], &[("format", "csv")]);
    let mut rows = read(&source(&to, all(&to)), 100, usize::MAX).unwrap().rows;
    rows.sort();
    rows
}

fn input(folder: &Path) -> Vec<String> {
    let mut lines: Vec<String> = (0..3000).map(|i| format!("{{\"a\":{i},\"p\":\"{}\"}}", i % 3)).collect();
    fs::write(folder.join("x.json"), lines.join("\n")).unwrap();
    lines.sort();
    lines
}

#[test]
fn every_row_is_written_once() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let expected = input(from.path());
    let options = JobOptions { parallelism: 2, batch_rows: 7, ..JobOptions::default() };
    let outcome = Job::start(&copy(from.path(), to.path()), options, None).unwrap().wait();
    assert_eq!((outcome.ending, outcome.error), (Ending::Finished, None));
    assert_eq!(written(to.path()), expected);
    assert!(files(to.path()).iter().all(|f| f.starts_with("p=") && !f.contains("/.")));
}

#[test]
fn a_stopped_job_goes_on_at_another_parallelism() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let expected = input(from.path());
    let start = |parallelism, checkpoint: Option<&_>| {
        let interval = Some(Duration::from_millis(1));
        let options = JobOptions {
            parallelism,
            batch_rows: 3,
            checkpoint_interval: interval,
            keep_checkpoints: true,
            ..JobOptions::default()
        };
        Job::start(&copy(from.path(), to.path()), options, checkpoint).unwrap()
    };
    let mut checkpoint = None;
    for parallelism in [2, 3, 1, 4] {
        let job = start(parallelism, checkpoint.as_ref());
        job.stop();
        let outcome = job.wait();
        assert_eq!(outcome.error, None);
        checkpoint = outcome.checkpoint.or(checkpoint);
    }
    let outcome = start(2, checkpoint.as_ref()).wait();
    assert_eq!((outcome.ending, outcome.error), (Ending::Finished, None));
    assert_eq!(written(to.path()), expected);
}
