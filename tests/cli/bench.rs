//! `bench nexmark`: every query runs, both sources give the same answer, the report has its figures; `bench checkpoint` too. Nothing
//! here is timed.

use crate::binary::ended;
use serde_json::Value;

fn bench(source: &str, parallelism: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.json");
    let mut arguments = vec!["bench", "nexmark", "--json", path.to_str().unwrap()];
    arguments.extend(["--events", "20000", "--rate", "1000", "--source", source, "--parallelism", parallelism]);
    let out = ended(&arguments);
    assert_eq!(out.status, 0, "{}\n{}", out.stdout, out.stderr);
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let found = json.as_array().unwrap().clone();
    assert_eq!(out.stdout.lines().count(), found.len() + 1, "a line per query under the header:\n{}", out.stdout);
    found
}

#[test]
fn every_query_gives_the_same_rows_from_both_sources_and_at_every_parallelism() {
    let (inline, stored) = (bench("inline", "1"), bench("pregenerated", "2"));
    let names = |found: &[Value]| found.iter().map(|q| q["query"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&inline), names(&stored));
    for (a, b) in inline.iter().zip(&stored) {
        // Windows in processing time cut the rows differently in every run.
        if a["query"] != "q12" {
            assert_eq!((&a["checksum"], &a["rows_out"]), (&b["checksum"], &b["rows_out"]), "{}", a["query"]);
        }
        for figure in ["events_per_s", "cores", "kevents_per_core", "peak_memory_bytes"] {
            assert!(a[figure].as_f64().is_some_and(|f| f > 0.0), "{figure} of {a}");
        }
    }
    let find = |name: &str| stored.iter().find(|q| q["query"] == name).unwrap();
    assert_eq!((&find("q0")["rows_out"], &find("q0")["part"]), (&18_400.into(), &false.into()));
    assert_eq!(find("q5")["part"], true);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_measurement() {
    let out = ended(&["bench", "nexmark", "--json", "/dev/null/report.json", "--events", "20000"]);
    assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{}", out.stderr);
    assert!(out.stderr.contains("argument `--json`: write `/dev/null/report.json`"), "{}", out.stderr);
}

#[test]
fn checkpoints_are_measured_with_and_without() {
    let out = ended(&["bench", "checkpoint", "--keys", "20000", "--rate", "20000", "--segments", "2"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(out.stdout.starts_with("20.0 K keys, 20.0 K rows/s, 2 segments of 5 s\n"), "{}", out.stdout);
    for part in ["ns without checkpoints", "a checkpoint of everything: ", "longest freeze on a task's thread: "] {
        assert!(out.stdout.contains(part), "{}", out.stdout);
    }
    assert!(!out.stdout.contains("NaN") && !out.stdout.contains("everything: 0 B"), "{}", out.stdout);
}
