//! Options of tables, settings, arguments, and what they name outside: brokers, folders, devices.

use super::{Case, fails, harmless, refused};

/// A table `x` with these options, and a text that reads it.
fn x(options: &str) -> String {
    format!("CREATE TABLE x (a BIGINT, s STRING) WITH ({options}); INSERT INTO out SELECT a, s FROM x;")
}

fn into_x(options: &str) -> String {
    format!("CREATE TABLE x (a BIGINT, s STRING) WITH ({options}); INSERT INTO x SELECT a, s FROM t;")
}

const KAFKA: &str =
    "'connector' = 'kafka', 'topic' = 'x', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset', ";

pub fn cases() -> Vec<Case> {
    [tables(), settings(), outside()].into_iter().flatten().collect()
}

fn tables() -> Vec<Case> {
    let file = "'connector' = 'filesystem', 'path' = '${DIR}/in', ";
    vec![
        refused(x("'connector' = 'kafak'"), &["job.sql:2:", "'kafak'", "kafka"]),
        refused(x("'conector' = 'kafka'"), &["job.sql:2:", "connector"]),
        refused(x(&format!("{file} 'fromat' = 'json'")), &["job.sql:2:", "fromat", "`format`"]),
        refused(x(&format!("{file} 'format' = 'jsno'")), &["job.sql:2:", "jsno", "json"]),
        refused(x("'connector' = 'filesystem', 'format' = 'json'"), &["job.sql:2:", "path"]),
        refused(x(&format!("{file} 'format' = 'json', 'format' = 'csv'")), &["job.sql:2:", "format", "twice"]),
        refused(x(&format!("{file} 'format' = 'json', 'source.max-line-bytes' = 'many'")), &["job.sql:2:", "many"]),
        refused(x(&format!("{file} 'format' = 'json', 'source.max-line-bytes' = '99999999999999999999 GB'")), &["job.sql:2:", "999"]),
        refused(x(&format!("{file} 'format' = 'json', 'source.path.regex-pattern' = '(['")), &["job.sql:2:", "(["]),
        refused(x(&format!("{file} 'format' = 'json', 'source.path.regex-pattern' = '(a{{1000}}){{1000}}'")), &["job.sql:2:"]),
        refused(
            x(&format!("{file} 'format' = 'json', 'bad-record' = 'fail', 'json.ignore-parse-errors' = 'true'")),
            &["job.sql:2:", "bad-record", "json.ignore-parse-errors"],
        ),
        refused(x(&format!("{file} 'format' = 'json', 'bad-record' = 'dead-letter'")), &["job.sql:2:", "bad-record.table"]),
        refused(
            x(&format!("{file} 'format' = 'json', 'bad-record' = 'dead-letter', 'bad-record.table' = 'nope'")),
            &["job.sql:2:", "nope"],
        ),
        refused(x(&format!("{file} 'format' = 'csv', 'csv.field-delimiter' = '::'")), &["job.sql:2:", "::"]),
        refused(x(&format!("{file} 'format' = 'csv', 'csv.field-delimiter' = '\"'")), &["job.sql:2:"]),
        refused(x("'connector' = 'nexmark', 'events.num' = '-1'"), &["job.sql:2:", "events.num", "-1"]),
        refused(x("'connector' = 'nexmark', 'events.num' = '1'"), &["job.sql:2:", "`a`"]),
        refused(x(&format!("{KAFKA} 'properties.bootstrap.servers' = ''")), &["job.sql:2:", "bootstrap.servers"]),
        refused(x(KAFKA.trim_end_matches(", ")), &["job.sql:2:", "bootstrap.servers"]),
        refused(
            x(&format!("{KAFKA} 'properties.bootstrap.servers' = 'h:9092', 'properties.plugin.library.paths' = '/x.so'")),
            &["job.sql:2:", "plugin.library.paths"],
        ),
        refused(
            x(&format!("{KAFKA} 'properties.bootstrap.servers' = 'h:9092', 'properties.sasl.password' = 'hunter2', 'nope' = '1'")),
            &["job.sql:2:", "nope"],
        )
        .hides("hunter2"),
        refused(
            x(&format!("{KAFKA} 'properties.bootstrap.servers' = 'h:9092', 'properties.sasl.pasword' = 'hunter2'")),
            &["job.sql:2:", "sasl.password"],
        )
        .hides("hunter2"),
        refused(
            x(&format!("{KAFKA} 'properties.bootstrap.servers' = 'h:9092', 'scan.startup.timestamp-millis' = '5'")),
            &["job.sql:2:", "scan.startup.timestamp-millis"],
        ),
    ]
}

fn settings() -> Vec<Case> {
    let with =
        |arguments: &[&str], says: &[&'static str]| harmless(says).arguments(arguments).named(&arguments.join(" "));
    vec![
        with(&["--parallelism", "0"], &["--parallelism 0", "1 to 256"]),
        with(&["--parallelism", "1000000"], &["--parallelism 1000000", "1 to 256"]),
        with(&["--parallelism", "4294967296"], &["1 to 256"]),
        with(&["--parallelism=-1"], &["-1", "1 to 256"]),
        with(&["--parallelism", "99999999999999999999999"], &["1 to 256"]),
        with(&["--parallelism", "two"], &["two", "auto"]),
        with(&["--set", "batch.rows=99999999999999999999"], &["batch.rows", "65536"]),
        with(&["--set", "batch.rows=1e3"], &["batch.rows", "1e3"]),
        with(&["--set", "exchange.gate-bytes=1 YiB"], &["exchange.gate-bytes", "YiB"]),
        with(&["--set", "checkpoint.interval=99999999999999999 d"], &["checkpoint.interval", "1 d"]),
        with(&["--set", "batch.rwos=5"], &["batch.rows"]),
        with(&["--define", "DIR=x"], &["DIR", "twice"]),
        with(&["--config", "missing.toml"], &["missing.toml"]),
        with(&["--config", "in"], &["`in`", "directory"]),
        with(&["--config", "c.toml"], &["c.toml", "line 1"])
            .file("c.toml", "batch = [rows")
            .named("settings that are no TOML"),
        with(&["--config", "c.toml"], &["c.toml", "line 2", "batch.rows"])
            .file("c.toml", "[batch]\nrwos = 5")
            .named("an unknown key"),
        with(&["--config", "c.toml"], &["c.toml", "line 2"])
            .file("c.toml", "[batch]\nrows = [1, 2]")
            .named("a list for a number"),
        with(&["--config", "c.toml"], &["c.toml", "line 1"])
            .file("c.toml", "batch = 5")
            .named("a number for a section"),
        with(&["--config", "c.toml"], &["c.toml", "UTF-8"]).file("c.toml", *b"\xff\xfe\0").named("binary settings"),
        with(&["--config", "c.toml"], &["c.toml"])
            .file("c.toml", "[".repeat(100_000))
            .named("100 000 brackets in settings"),
        with(&["--config", "c.toml"], &["c.toml"])
            .file("c.toml", format!("a = {}", "[".repeat(100_000)))
            .named("100 000 nested lists in settings"),
        with(&["--config", "/dev/zero"], &["/dev/zero", "bytes"]),
        harmless(&["THALWEG_BATCH_ROWS", "65536"]).environment("THALWEG_BATCH_ROWS", "0").named("a bad variable"),
        refused("SET 'batch.rows' = '0'; SELECT a FROM t;", &["job.sql:2:", "batch.rows", "65536"]),
        refused("SET 'parallelism' = '4294967297'; SELECT a FROM t;", &["job.sql:2:", "256"]),
    ]
}

fn outside() -> Vec<Case> {
    let to = |path: &str| format!("'connector' = 'filesystem', 'format' = 'json', 'path' = '{path}'");
    vec![
        fails(
            x(&format!("{KAFKA} 'properties.bootstrap.servers' = '127.0.0.1:1'")),
            &["127.0.0.1:1", "`x`", "no answer within 12 s", "bootstrap.servers"],
        ),
        fails(
            into_x(
                &format!("{KAFKA} 'properties.bootstrap.servers' = '127.0.0.1:1'")
                    .replace("'scan.startup.mode' = 'earliest-offset', ", ""),
            ),
            &["127.0.0.1:1"],
        ),
        fails(x(&to("${DIR}/missing")), &["missing"]),
        fails(x(&to("${DIR}/missing/*.json")), &["missing"]),
        fails(x(&to("${DIR}/in\u{0}x")), &["in"]),
        refused(x(&to("gs://bucket/x")), &["job.sql:2:", "gs"]),
        fails(x(&to("${DIR}/in/rows.json/below")), &["below"]),
        fails(into_x(&to("${DIR}/in/rows.json")), &["rows.json"]),
        fails(into_x(&to("${DIR}/in/rows.json/below")), &["rows.json"]),
        fails(into_x(&to("/proc/x")), &["/proc/x"]),
        fails(into_x(&to(&format!("${{DIR}}/{}", "x".repeat(300)))), &["xxx"]),
        Case { stdout: Some("/dev/full"), ..fails("SELECT a FROM t;", &["write standard output"]) }
            .named("rows to a full device"),
        Case { stdout: Some("/dev/full"), ..fails("SHOW TABLES;", &["write standard output"]) }
            .named("an answer to a full device"),
    ]
}
