//! `run`, `explain`, `config`: what goes where, and with which status.

use crate::binary::{ENDLESS, SqlFile, ended, nexmark, run_json, run_stdin, thalweg};
use serde_json::json;
use std::io::Read;

#[test]
fn rows_go_to_standard_output_and_the_rest_to_standard_error() {
    let sql = format!("{}SELECT event_type FROM events WHERE event_type = 0;", nexmark(100));
    let out = SqlFile::new(&sql).run(&[]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let lines: Vec<&str> = out.stdout.lines().map(str::trim).collect();
    assert_eq!(lines, ["event_type", "0", "0"], "there are two persons among 100 events");
    assert!(out.stderr.contains("finished after"), "{}", out.stderr);
}

#[test]
fn json_is_one_object_a_line_on_both_sides() {
    let sql = format!("{}SELECT event_type, bid.price AS price FROM events WHERE event_type = 2;", nexmark(1_000));
    let out = run_json(&sql, &["--set", "progress.interval=10 ms"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let rows = out.rows();
    assert_eq!(rows.len(), 920);
    assert!(rows.iter().all(|r| r["event_type"] == 2 && r["price"].as_i64().unwrap() >= 100));
    let summary = &out.messages("summary")[0];
    assert_eq!((&summary["outcome"], &summary["rows_in"]), (&json!("finished"), &json!(1000)));
    assert_eq!(summary["rows_out"], 920);
}

#[test]
fn progress_is_shown_while_it_runs() {
    let sql = "CREATE TABLE events (event_type INT)
               WITH ('connector' = 'nexmark', 'events.num' = '100', 'rows-per-second' = '200');
               SELECT event_type FROM events;";
    let out = run_json(sql, &["--set", "progress.interval=10 ms"]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    assert!(!out.messages("progress").is_empty(), "{}", out.stderr);
    let out = run_json(sql, &["--set", "progress.interval=off"]);
    assert!(out.messages("progress").is_empty(), "{}", out.stderr);
}

#[test]
fn errors_are_json_too() {
    let out = run_json("SELEC 1;", &[]);
    assert_eq!((out.status, out.stdout.as_str()), (2, ""));
    let error = &out.messages("error")[0];
    assert_eq!(error["status"], 2);
    assert!(error["file"].as_str().unwrap().ends_with("job.sql"), "{error}");
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(1), Some(1)));
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("no statement begins with `SELEC`"), "{error}");
    let out = run_json("SELECT 1;", &["--set", "batch.row=1"]);
    let error = &out.messages("error")[0];
    assert!(error["line"].is_null() && error["message"].as_str().unwrap().contains("batch.rows"), "{error}");
}

#[test]
fn variables_are_replaced_and_the_text_may_come_from_standard_input() {
    let sql = format!("{}SELECT bid.price FROM events WHERE event_type = ${{TYPE}};", nexmark(100));
    let out = run_stdin(&sql, &["--define", "TYPE=2", "--json"]);
    assert_eq!((out.status, out.rows().len()), (0, 92), "{}", out.stderr);
    let out = run_stdin(&sql, &["--define", "TPYE=2"]);
    assert_eq!(out.status, 2);
    assert!(out.stderr.contains("<stdin>:3:") && out.stderr.contains("TYPE"), "{}", out.stderr);
}

#[test]
fn jobs_run_one_after_the_other_and_answers_between_them() {
    let sql = format!(
        "{}SHOW TABLES; SELECT event_type AS first FROM events WHERE event_type = 0; DESCRIBE events;
         SELECT event_type AS second FROM events WHERE event_type = 1;",
        nexmark(50)
    );
    let out = SqlFile::new(&sql).run(&[]);
    assert_eq!(out.status, 0, "{}", out.stderr);
    let place = |text: &str| out.stdout.find(text).unwrap_or_else(|| panic!("no `{text}` in\n{}", out.stdout));
    let order = ["events\n", "first\n", "watermark\n", "second\n"].map(place);
    assert!(order.is_sorted(), "{}", out.stdout);
    assert_eq!(out.stderr.matches("finished after").count(), 2);
}

#[test]
fn an_endless_job_in_front_of_another_is_refused() {
    let select = "SELECT event_type FROM events;\n";
    let out = SqlFile::new(&format!("{ENDLESS}{select}{select}")).run(&[]);
    assert_eq!((out.status, out.stdout.as_str()), (2, ""));
    assert!(out.stderr.contains("EXECUTE STATEMENT SET") && out.stderr.contains("job.sql:3:1"), "{}", out.stderr);
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_job_quietly() {
    let sql = SqlFile::new(&format!("{ENDLESS}SELECT event_type FROM events;"));
    let mut child = sql.start(&[]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 64]).unwrap();
    drop(stdout);
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_fails_the_job() {
    let sql = SqlFile::new(&format!("{}SELECT event_type FROM events;", nexmark(100)));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let out = thalweg(&["run", &sql.path()]).stdout(full).output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("write standard output"), "{stderr}");
}

#[test]
fn explain_runs_nothing() {
    let sql = SqlFile::new(&format!("{ENDLESS}SELECT event_type FROM events WHERE event_type = 1;"));
    let out = ended(&["explain", &sql.path()]);
    assert_eq!((out.status, out.stderr.as_str()), (0, ""));
    assert!(out.stdout.contains("events"), "{}", out.stdout);
    let graph = &ended(&["explain", &sql.path(), "--json"]).rows()[0];
    assert_eq!(graph["format"], 1);
    assert!(!graph["nodes"].as_array().unwrap().is_empty());
}

#[test]
fn config_prints_what_config_reads() {
    let out = ended(&["config"]);
    assert_eq!((out.status, out.stderr.as_str()), (0, ""));
    let sql = SqlFile::new(&format!("{}SELECT event_type FROM events WHERE event_type = 0;", nexmark(50)));
    let path = sql.file("all.toml");
    std::fs::write(&path, &out.stdout).unwrap();
    assert_eq!(sql.run(&["--config", path.to_str().unwrap()]).status, 0);
}

#[test]
fn settings_reach_the_job() {
    let sql = format!("{}SET 'batch.rows' = '7'; SELECT event_type FROM events;", nexmark(1_000));
    let out = run_json(&sql, &["--parallelism", "3", "--set", "exchange.gate-bytes=64 KiB"]);
    assert_eq!((out.status, out.rows().len()), (0, 1_000), "{}", out.stderr);
}

#[test]
fn help_and_version_are_no_errors() {
    assert_eq!(ended(&["--help"]).status, 0);
    let version = ended(&["--version"]);
    assert_eq!((version.status, version.stdout.trim()), (0, concat!("thalweg ", env!("CARGO_PKG_VERSION"))));
}
