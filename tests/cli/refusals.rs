//! What is refused before anything starts: status 2, nothing on standard output, a text that says where, why and what to do.

use crate::binary::{SqlFile, ended, nexmark, thalweg};

/// Runs SQL that must be refused; returns standard error.
fn refused(sql: &str, more: &[&str]) -> String {
    let out = SqlFile::new(sql).run(more);
    assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{sql}\n{}", out.stderr);
    assert!(!out.stderr.contains("panicked"), "{}", out.stderr);
    out.stderr
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn bad_sql_shows_file_line_column_and_a_caret() {
    let text = refused(&format!("{}SELECT prise FROM events;", nexmark(10)), &[]);
    contains(&text, &["error: ", "job.sql:3:8: ", "SELECT prise FROM events", "^^^^^"]);
    contains(&refused("SELECT 'open", &[]), &["job.sql:1:"]);
    contains(&refused("CREATE TABLE a (b INT) WITH ('connector' = 'nexmrak');", &[]), &["nexmrak", "nexmark"]);
}

#[test]
fn a_file_that_starts_nothing_is_refused() {
    for sql in ["", "-- nothing\n", ";;", &nexmark(10), "SET 'batch.rows' = '1';"] {
        contains(&refused(sql, &[]), &["starts nothing"]);
    }
}

#[test]
fn tables_are_checked_although_nobody_uses_them() {
    let unused = "CREATE TABLE unused (event_type INT) WITH ('connector' = 'nexmark', 'event.num' = '1');\n";
    let sql = format!("{}{unused}SELECT event_type FROM events;", nexmark(10));
    contains(&refused(&sql, &[]), &["event.num", "events.num"]);
}

#[test]
fn bad_settings_name_their_place() {
    let sql = format!("{}SELECT event_type FROM events;", nexmark(10));
    contains(&refused(&sql, &["--set", "batch.row=1"]), &["--set batch.row=1", "did you mean `batch.rows`?"]);
    contains(&refused(&sql, &["--set", "batch.rows"]), &["no `=`"]);
    contains(&refused(&sql, &["--set", "epoch.interval=5"]), &["add a unit: `5 ms`"]);
    contains(&refused(&sql, &["--parallelism", "257"]), &["--parallelism 257", "1 to 256"]);
    contains(&refused(&sql, &["--config", "missing.toml"]), &["missing.toml"]);
    let in_sql = format!("{}SET 'batch.row' = '1';\nSELECT event_type FROM events;", nexmark(10));
    contains(&refused(&in_sql, &[]), &["job.sql:3:", "did you mean `batch.rows`?"]);
    let file = SqlFile::new(&sql);
    let path = file.file("bad.toml");
    std::fs::write(&path, "[batch]\nrows = 0\n").unwrap();
    let out = file.run(&["--config", path.to_str().unwrap()]);
    assert_eq!(out.status, 2);
    contains(&out.stderr, &["bad.toml, line 2: ", "from 1 to 65536"]);
}

#[test]
fn a_mistake_is_refused_although_a_stronger_place_hides_it() {
    let file = SqlFile::new(&format!("{}SELECT event_type FROM events;", nexmark(10)));
    let mut run = thalweg(&["run", &file.path(), "--set", "batch.rows=1"]);
    let out = run.env("THALWEG_BATCH_ROWS", "x").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn unknown_variables_of_the_environment_are_refused_unless_they_are_none_of_ours() {
    let file = SqlFile::new(&format!("{}SELECT event_type FROM events;", nexmark(10)));
    let run = |name: &str| {
        let out = thalweg(&["run", &file.path()]).env(name, "1").output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (status, text) = run("THALWEG_BATCH_ROW");
    assert_eq!(status, Some(2));
    contains(&text, &["THALWEG_BATCH_ROW", "did you mean `THALWEG_BATCH_ROWS`?"]);
    for name in ["THALWEG_TEST_X", "THALWEG_CI_X", "THALWEG_JOB_MANAGER", "UNRELATED"] {
        assert_eq!(run(name).0, Some(0), "{name}");
    }
}

#[test]
fn bad_arguments_are_refused() {
    let cases: [&[&str]; 8] = [
        &[],
        &["rum", "x.sql"],
        &["run"],
        &["run", "missing.sql"],
        &["run", "examples", "--json"],
        &["bench", "nexmark", "--queries", "q99"],
        &["bench", "nexmark", "--events", "0"],
        &["bench", "nexmark", "--source", "kafka"],
    ];
    for arguments in cases {
        let out = ended(arguments);
        assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{arguments:?}\n{}", out.stderr);
        assert!(!out.stderr.is_empty());
    }
}

#[test]
fn bad_defines_are_refused() {
    let sql = format!("{}SELECT event_type FROM events;", nexmark(10));
    for (define, why) in [("A", "no `=`"), ("A B=1", "is no name"), ("=1", "is no name")] {
        contains(&refused(&sql, &["--define", define]), &[why]);
    }
}

#[test]
fn texts_that_are_no_texts_are_refused() {
    let file = SqlFile::new("");
    for (bytes, why) in [(b"SELECT \xff;".to_vec(), "not UTF-8"), (vec![b' '; (1 << 20) + 2], "bytes")] {
        std::fs::write(file.path(), bytes).unwrap();
        let out = file.run(&[]);
        assert_eq!(out.status, 2);
        contains(&out.stderr, &[why]);
    }
    #[cfg(unix)]
    assert_eq!(ended(&["run", "/dev/zero"]).status, 2);
}
