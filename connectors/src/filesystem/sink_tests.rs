//! Tests of the sink and its committer: whole files or none, rolling, partitions and their marks, recovery.

use super::super::commit::{Part, Scope, hidden};
use super::super::testing::{Task, all, check, column, files, read, sink, source, table};
use super::OPEN_FILES_MAX;
use crate::registry::TableSpec;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use thalweg_engine::clock::Clock;
use thalweg_engine::sink::{Committer, JobInfo, SinkFactory};
use thalweg_engine::time::EventTime;

fn rows(values: &[(Option<&str>, i64)]) -> RecordBatch {
    let p: ArrayRef = Arc::new(values.iter().map(|v| v.0).collect::<StringArray>());
    let a: ArrayRef = Arc::new(values.iter().map(|v| Some(v.1)).collect::<Int64Array>());
    RecordBatch::try_from_iter_with_nullable([("p", p, true), ("a", a, true)]).unwrap()
}

fn spec(path: &Path, keys: &[&str], options: &[(&str, &str)]) -> TableSpec {
    table(path, vec![column("p", DataType::Utf8), column("a", DataType::Int64)], keys, options)
}

fn visible(root: &Path) -> Vec<String> {
    let hidden = |f: &String| f.split('/').any(|part| part.starts_with(['.', '_']));
    files(root).into_iter().filter(|f| !hidden(f)).collect()
}

fn committer(spec: &TableSpec) -> Box<dyn Committer> {
    sink(spec).committer(&JobInfo::default()).unwrap().unwrap()
}

fn back(spec: &TableSpec) -> Vec<String> {
    let mut rows = read(&source(spec, all(spec)), 100, usize::MAX).unwrap().rows;
    rows.sort();
    rows
}

#[test]
fn every_format_is_read_back() {
    for options in [
        &[("format", "json")][..],
        &[("format", "json"), ("sink.compression", "gzip")],
        &[("format", "csv"), ("csv.header", "true"), ("csv.null-literal", "NULL")],
        &[("format", "csv"), ("sink.compression", "zstd"), ("csv.null-literal", "NULL")],
        &[("format", "parquet")],
        &[("format", "parquet"), ("parquet.compression", "zstd")],
    ] {
        for keys in [&[][..], &["p"]] {
            let dir = TempDir::new().unwrap();
            let spec = spec(dir.path(), keys, options);
            check(&spec).unwrap();
            let factory = sink(&spec);
            factory.check(&JobInfo::default()).unwrap();
            let mut task = Task::start(&factory, 0, &Clock::fake(5));
            task.write(rows(&[(Some("x/y"), 1), (None, 2), (Some("x/y"), 3)])).unwrap();
            task.write(rows(&[(Some("é\"\n"), 4)])).unwrap();
            assert_eq!(visible(dir.path()), Vec::<String>::new());
            let prepared = task.prepare(1);
            assert_eq!(visible(dir.path()), Vec::<String>::new());
            committer(&spec).commit(1, std::slice::from_ref(&prepared)).unwrap();
            let shown = visible(dir.path());
            assert_eq!(shown.len(), if keys.is_empty() { 1 } else { 3 }, "{shown:?}");
            assert_eq!(files(dir.path()), shown);
            let expected =
                [r#"{"p":"x/y","a":1}"#, r#"{"p":"x/y","a":3}"#, r#"{"p":"é\"\n","a":4}"#, r#"{"p":null,"a":2}"#];
            assert_eq!(back(&spec), expected, "{options:?}");
            committer(&spec).commit(1, &[prepared]).unwrap();
            assert_eq!(visible(dir.path()), shown);
        }
    }
}

#[test]
fn files_roll_by_size_age_and_number() {
    let dir = TempDir::new().unwrap();
    let options = [
        ("format", "json"),
        ("sink.rolling-policy.file-size", "30b"),
        ("sink.rolling-policy.rollover-interval", "2 s"),
    ];
    let spec = spec(dir.path(), &["p"], &options);
    let clock = Clock::fake(0);
    let mut task = Task::start(&sink(&spec), 3, &clock);
    for i in 0..6 {
        task.write(rows(&[(Some("big"), i)])).unwrap();
    }
    task.write(rows(&[(Some("old"), 1)])).unwrap();
    clock.advance(Duration::from_secs(1));
    task.wake();
    task.write(rows(&[(Some("old"), 2)])).unwrap();
    clock.advance(Duration::from_secs(1));
    task.wake();
    task.write(rows(&[(Some("old"), 3)])).unwrap();
    let many: Vec<String> = (0..OPEN_FILES_MAX * 2).map(|i| format!("n{i}")).collect();
    task.write(rows(&many.iter().map(|n| (Some(n.as_str()), 0)).collect::<Vec<_>>())).unwrap();
    let prepared = task.prepare(1);
    committer(&spec).commit(1, &[prepared]).unwrap();
    let count = |folder: &str| visible(dir.path()).iter().filter(|f| f.starts_with(folder)).count();
    assert_eq!((count("p=big/"), count("p=old/"), count("p=n")), (2, 2, OPEN_FILES_MAX * 2));
    assert_eq!(back(&spec).len(), 9 + OPEN_FILES_MAX * 2);
    assert!(visible(dir.path()).iter().all(|f| f.contains("/part-") && f.contains("-3-") && f.ends_with(".json")));
}

#[test]
fn partitions_are_marked_when_the_watermark_has_passed() {
    let dir = TempDir::new().unwrap();
    let options = [
        ("format", "json"),
        ("sink.partition-commit.trigger", "partition-time"),
        ("sink.partition-commit.delay", "1 min"),
        ("sink.partition-commit.policy.kind", "success-file"),
        ("partition.time-extractor.timestamp-pattern", "$p"),
    ];
    let spec = spec(dir.path(), &["p"], &options);
    check(&spec).unwrap();
    let marks = || files(dir.path()).into_iter().filter(|f| f.ends_with("_SUCCESS")).collect::<Vec<_>>();
    let mut task = Task::start(&sink(&spec), 0, &Clock::fake(0));
    let mut slow = Task::start(&sink(&spec), 1, &Clock::fake(0));
    let mut committer = committer(&spec);
    task.write(rows(&[(Some("1970-01-01 00:01:00"), 1), (Some("1970-01-01 00:02:00"), 2), (Some("odd"), 3)])).unwrap();
    task.frontier = EventTime(120_001);
    committer.commit(1, &[task.prepare(1), slow.prepare(1)]).unwrap();
    assert_eq!(marks(), Vec::<String>::new());
    slow.frontier = EventTime(120_000);
    committer.commit(2, &[task.prepare(2), slow.prepare(2)]).unwrap();
    assert_eq!(marks(), Vec::<String>::new());
    slow.frontier = EventTime(120_001);
    let third = [task.prepare(3), slow.prepare(3)];
    // A new committer after a crash knows from the folders what is open.
    let mut recovered = self::committer(&spec);
    recovered.recover(3, &third).unwrap();
    assert_eq!(marks(), ["p=1970-01-01 00%3A01%3A00/_SUCCESS"]);
    (task.frontier, slow.frontier) = (EventTime::MAX, EventTime::MAX);
    recovered.commit(4, &[task.prepare(4), slow.prepare(4)]).unwrap();
    assert_eq!(marks().len(), 3);
    assert_eq!(back(&spec).len(), 3);
}

#[test]
fn recovery_finishes_and_removes_its_own_orphans() {
    let dir = TempDir::new().unwrap();
    let spec = spec(dir.path(), &[], &[("format", "json")]);
    let foreign = dir.path().join(".part-other-0-0.json.inprogress");
    fs::write(&foreign, "x").unwrap();
    let mut task = Task::start(&sink(&spec), 0, &Clock::fake(9));
    task.write(rows(&[(None, 1)])).unwrap();
    let first = task.prepare(1);
    task.write(rows(&[(None, 2)])).unwrap();
    task.prepare(2);
    assert_eq!(files(dir.path()).len(), 3);
    for _ in 0..2 {
        committer(&spec).recover(1, std::slice::from_ref(&first)).unwrap();
        assert_eq!(back(&spec), [r#"{"p":null,"a":1}"#]);
        assert_eq!(files(dir.path()).len(), 2);
    }
    assert!(foreign.exists());
    // What nobody prepared goes with its subtask.
    task.write(rows(&[(None, 3)])).unwrap();
    assert_eq!(files(dir.path()).len(), 3);
    drop(task);
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn a_job_that_begins_with_anothers_savepoint_shows_what_is_in_it_and_touches_nothing_else() {
    let dir = TempDir::new().unwrap();
    let spec = spec(dir.path(), &[], &[("format", "json")]);
    let name = |job: &JobInfo, number: u32| {
        let scope = Scope::of(job, "t").unwrap();
        (scope.attempt(), format!("part-{}-0-{number}.json", scope.attempt()))
    };
    let origin = JobInfo::detached("origin", 1);
    let (attempt, prepared) = name(&origin, 0);
    for number in 0..2 {
        fs::write(dir.path().join(hidden(&name(&origin, number).1)), "{}").unwrap();
    }
    let mut part = Part::new(&attempt, dir.path(), 0, 0);
    part.files.push((String::new(), prepared.clone()));
    let parts = [part.pack(&super::super::store::Store::default(), "checkpoint").unwrap()];
    for fork in ["one", "two"] {
        let fork = JobInfo::detached(fork, 2);
        let earlier = dir.path().join(hidden(&name(&JobInfo::detached(&fork.id, 1), 7).1));
        fs::write(&earlier, "{}").unwrap();
        sink(&spec).committer(&fork).unwrap().unwrap().recover(1, &parts).unwrap();
        assert_eq!(visible(dir.path()), [prepared.as_str()]);
        assert!(dir.path().join(hidden(&name(&origin, 1).1)).exists(), "the origin is writing it");
        assert!(!earlier.exists(), "its own is removed");
    }
    // The origin finds its file shown.
    sink(&spec).committer(&origin).unwrap().unwrap().commit(1, &parts).unwrap();
}

#[test]
fn long_lists_of_files_are_handed_over_too() {
    let dir = TempDir::new().unwrap();
    let spec = spec(dir.path(), &["p"], &[("format", "json")]);
    let mut task = Task::start(&sink(&spec), 0, &Clock::fake(9));
    let many: Vec<String> = (0..600).map(|i| format!("{i}-{}", "x".repeat(90))).collect();
    task.write(rows(&many.iter().map(|n| (Some(n.as_str()), 0)).collect::<Vec<_>>())).unwrap();
    let prepared = task.prepare(1);
    assert!(prepared.bytes.len() <= 64 * 1024);
    for _ in 0..2 {
        committer(&spec).commit(1, std::slice::from_ref(&prepared)).unwrap();
        assert_eq!((visible(dir.path()).len(), files(dir.path()).len()), (600, 600));
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let path = Path::new("/nowhere/at/all");
    let fault = |keys: &[&str], extra: &[(&str, &str)]| {
        let options: Vec<_> = [("format", "json")].iter().chain(extra).copied().collect();
        check(&spec(path, keys, &options)).unwrap_err()
    };
    for (key, value) in [
        ("sink.rolling-policy.file-size", "0"),
        ("sink.rolling-policy.rollover-interval", "0 s"),
        ("sink.rolling-policy.filesize", "1"),
        ("sink.partition-commit.policy.kind", "metastore"),
        ("sink.partition-commit.success-file.name", "DONE"),
        ("sink.partition-commit.watermark-time-zone", "Asia/Tokyo"),
        ("partition.time-extractor.class", "com.example.Mine"),
        ("partition.time-extractor.kind", "custom"),
        ("partition.time-extractor.timestamp-pattern", "$dt"),
        ("partition.time-extractor.timestamp-formatter", "QQ"),
        ("csv.header", "true"),
        ("source.path.regex-pattern", "("),
        ("source.max-line-bytes", "0"),
    ] {
        let with_policy = [(key, value), ("sink.partition-commit.policy.kind", "success-file")];
        let extra = if key.ends_with("policy.kind") { &with_policy[..1] } else { &with_policy };
        assert_eq!(fault(&["p"], extra).key.as_deref(), Some(key), "{}", fault(&["p"], extra));
    }
    assert!(fault(&[], &[("sink.partition-commit.policy.kind", "success-file")]).to_string().contains("no partitions"));
    assert!(fault(&["p", "a"], &[]).to_string().contains("no column besides"));
    assert!(fault(&["q"], &[]).to_string().contains("no physical column"));
    let at = |url: &str| table(Path::new(url), vec![column("a", DataType::Int64)], &[], &[("format", "json")]);
    assert!(check(&at("gs://bucket/x")).unwrap_err().to_string().contains("in no storage that is known"));
    assert!(check(&at("s3://bucket/../x")).unwrap_err().to_string().contains("write s3://BUCKET/FOLDER"));
    check(&at("s3://bucket/x")).unwrap();
    let blocked = TempDir::new().unwrap();
    fs::write(blocked.path().join("file"), "").unwrap();
    let below = spec(&blocked.path().join("file/t"), &[], &[("format", "json")]);
    assert!(sink(&below).check(&JobInfo::default()).unwrap_err().message().starts_with("table `t`: create folder "));
}
