//! SQL texts: broken, deep, huge, self-referencing, with windows that make no sense.

use super::{Case, harmless, refused};

/// `n` times the same.
fn times(text: &str, n: usize) -> String {
    text.repeat(n)
}

fn window(call: &str) -> String {
    format!("SELECT * FROM TABLE({call});")
}

fn secret(options: &str) -> String {
    format!("CREATE TABLE x (a BIGINT) WITH ('connector' = 'kafka', {options});")
}

pub fn cases() -> Vec<Case> {
    [broken(), deep(), huge(), names(), windows()].into_iter().flatten().collect()
}

fn broken() -> Vec<Case> {
    let text = || harmless(&[]);
    vec![
        refused("SELECT 'open FROM t;", &["job.sql:2:8: ", "'"]),
        refused(secret("'x, 'properties.sasl.password' = 'hunter2'"), &["job.sql:2:", "******"]).hides("hunter2"),
        refused(secret("'properties.sasl.password' = 'hunter2', 'topic' = 'x"), &["job.sql:2:"]).hides("hunter2"),
        refused(secret("'properties.sasl.password = 'hunter2'"), &["job.sql:2:"]).hides("hunter2"),
        refused(secret("'x' = 'y, 'z = 'properties.sasl.password' = 'hunter2'"), &["job.sql:2:"]).hides("hunter2"),
        refused("SELECT \"open FROM t;", &["job.sql:2:8: "]),
        refused("SELECT `open FROM t;", &["job.sql:2:8: "]),
        refused("SELECT a FROM t /* open", &["job.sql:2:", "comment"]),
        refused("SELECT a\0 FROM t;", &["job.sql:2:9: "]),
        refused("SELECT a FROM t WHERE (a = 1;", &["job.sql:2:"]),
        refused("SELECT a FROM t; garbage", &["job.sql:2:18: ", "garbage"]),
        refused("SELECT ${MISSING} FROM t;", &["job.sql:2:8: ", "MISSING", "--define"]),
        refused("SELECT ${ FROM t;", &["job.sql:2:8: "]),
        Case { says: vec!["job.sql", "not UTF-8", "byte 8"], ..text() }
            .bytes(*b"SELECT \xff;")
            .named("bytes that are no UTF-8"),
        Case { says: vec!["not UTF-8"], ..text() }.bytes(*b"\xff\xfeS\0E\0L\0").named("UTF-16"),
        Case { says: vec!["starts nothing"], ..text() }
            .bytes("\u{feff}-- nothing\n")
            .named("a byte order mark and nothing"),
        Case { says: vec!["job.sql:1:18: "], ..text() }
            .bytes("\u{feff}SELECT nope FROM nowhere;")
            .named("a byte order mark"),
        Case { says: vec!["starts nothing"], ..text() }.bytes("").named("an empty file"),
    ]
}

fn deep() -> Vec<Case> {
    let n = 100_000;
    let wrapped_in = |n, open: &str, inner: &str, close: &str| format!("{}{inner}{}", times(open, n), times(close, n));
    let wrapped = |open: &str, inner: &str, close: &str| wrapped_in(n, open, inner, close);
    let deep = &["job.sql:2:", " more than "][..];
    vec![
        refused(format!("SELECT {} FROM t;", wrapped("(", "a", ")")), deep).named("100 000 parentheses"),
        refused(format!("SELECT {}", times("(", n)), deep).named("100 000 open parentheses"),
        refused(format!("SELECT a FROM t WHERE {} a = 1;", times("NOT ", n)), deep).named("100 000 NOT"),
        refused(format!("SELECT {} a FROM t;", times("- ", n)), deep).named("100 000 signs"),
        refused(format!("SELECT a{} FROM t;", times(" + 1", n)), deep).named("100 000 sums"),
        refused(
            format!("SELECT {} FROM t;", wrapped_in(n / 4, "CASE WHEN a = 1 THEN ", "1", " END")),
            &["job.sql:2:", " more than "],
        )
        .named("25 000 CASE"),
        refused(format!("SELECT a FROM t{};", times(" UNION ALL SELECT a FROM t", n / 10)), deep)
            .named("10 000 UNION ALL"),
        refused(wrapped("SELECT a FROM (", "t", ")")[..900_000].to_owned(), deep).named("60 000 subqueries"),
        refused(format!("SELECT {} FROM t;", wrapped("abs(", "a", ")")), deep).named("100 000 calls"),
        refused(format!("CREATE TABLE x (a {});", wrapped("ARRAY<", "INT", ">")), deep).named("100 000 ARRAY"),
        refused(format!("SELECT a{} FROM t;", times(".a", n)), deep).named("100 000 name parts"),
        refused(format!("SELECT a{} FROM t;", times("[1]", n)), deep).named("100 000 subscripts"),
        refused(
            format!("SELECT CAST({} AS BIGINT) FROM t;", wrapped_in(n / 2, "CAST(", "a", " AS INT)")),
            &["job.sql:2:", " more than "],
        )
        .named("50 000 CAST"),
    ]
}

fn huge() -> Vec<Case> {
    let big = |unit: &str| unit.repeat((10 << 20) / unit.len());
    let views = |n: usize| {
        let view = |i| format!("CREATE VIEW v{} AS SELECT a FROM v{i} UNION ALL SELECT a FROM v{i};", i + 1);
        format!("CREATE VIEW v0 AS SELECT a FROM t;{}SELECT a FROM v{n};", (0..n).map(view).collect::<String>())
    };
    vec![
        harmless(&["bytes", "limit", "split"]).bytes(big("SELECT a FROM t;\n")).named("10 MiB of SELECT"),
        harmless(&["bytes", "limit"]).bytes(format!("SELECT '{}';", big("x"))).named("a text literal of 10 MiB"),
        refused(times("SELECT a FROM t;", 60_000), &["job.sql:2:", " more than "]).named("60 000 statements"),
        refused(views(30), &["job.sql:2:", " more than 5000 "]).named("views that double 30 times"),
        refused(format!("SELECT {} FROM t;", "x".repeat(500_000)), &["job.sql:2:8: "])
            .named("a name of 500 000 letters"),
        refused(
            "SELECT a + 99999999999999999999999999999999999999999999999999 FROM t;",
            &["job.sql:2:", "38 digits", "CAST"],
        ),
        refused("SELECT a, 1e999999999 FROM t;", &["job.sql:2:11: ", "999999999", "DOUBLE"]),
        refused(
            "SELECT a, ts + INTERVAL '99999999999999999999' DAY FROM t;",
            &["job.sql:2:25: ", "99999999999999999999", "INTERVAL '10' SECOND"],
        ),
        refused("SELECT a + -9223372036854775809 + CAST('x' AS DECIMAL(99, 3)) FROM t;", &["job.sql:2:", "99"]),
        refused("CREATE TABLE x (a DECIMAL(3, 9)) WITH ('connector' = 'print');", &["job.sql:2:", "9"]),
        refused(
            "SELECT TIMESTAMP '10000-13-41 00:00:00' FROM t;",
            &["job.sql:2:18: ", "cannot cast `10000-13-41 00:00:00`", "TRY_CAST"],
        ),
        refused("CREATE TABLE x (ts TIMESTAMP(99)) WITH ('connector' = 'print');", &["job.sql:2:", "99"]),
    ]
}

fn names() -> Vec<Case> {
    let x = |columns: &str| format!("CREATE TABLE x ({columns}) WITH ('connector' = 'blackhole');");
    vec![
        refused("CREATE VIEW v AS SELECT * FROM v;", &["job.sql:2:32: ", "`v`"]),
        refused("CREATE VIEW v AS SELECT * FROM w; CREATE VIEW w AS SELECT * FROM v;", &["job.sql:2:32: ", "`w`"]),
        refused(x("a INT, a INT"), &["job.sql:2:", "`a`", "twice"]),
        refused(format!("{0}{0}", x("a INT")), &["job.sql:2:", "`x`", "exists"]),
        refused(x(""), &["job.sql:2:", "column"]),
        refused(x("a INT, c AS c + 1"), &["job.sql:2:", "`c`"]),
        refused(x("a INT, c AS e, e AS c"), &["job.sql:2:"]),
        refused(x("a TIMESTAMP(3), WATERMARK FOR nope AS nope"), &["job.sql:2:47: ", "`nope`", "columns are a"]),
        refused(x("a INT, WATERMARK FOR a AS a"), &["job.sql:2:", "TIMESTAMP"]),
        refused(x("a TIMESTAMP(3), WATERMARK FOR a AS a, WATERMARK FOR a AS a"), &["job.sql:2:"]),
        refused("SELECT jsn_value(s, '$.a') FROM t;", &["job.sql:2:8: ", "json_value"]),
        refused("SELECT lower(s, s, s) FROM t;", &["job.sql:2:8: "]),
        refused("SELECT lower() FROM t;", &["job.sql:2:8: "]),
        refused("DROP TABLE t; SELECT a FROM t;", &["job.sql:2:29: ", "`t`"]),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0' SECOND)"), &["job.sql:2:", "'0'"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '-5' SECOND)"), &["job.sql:2:", "-5"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '99999999999' DAY)"), &["job.sql:2:", "99999999999"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(nope), INTERVAL '1' SECOND)"), &["job.sql:2:", "`nope`"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(a), INTERVAL '1' SECOND)"), &["job.sql:2:48: ", "`a`", "WATERMARK"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(ts), 5)"), &["job.sql:2:", "INTERVAL"]),
        refused(window("TUMBLE(TABLE t, DESCRIPTOR(ts), s)"), &["job.sql:2:"]),
        refused(
            window("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND)"),
            &["job.sql:2:", "multiple"],
        ),
        refused(
            window("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '10' SECOND)"),
            &["job.sql:2:", "multiple"],
        ),
        refused(window("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.001' SECOND, INTERVAL '365' DAY)"), &["job.sql:2:"]),
        refused(
            "SELECT window_start, count(*) FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.001' SECOND, INTERVAL '365' DAY)) \
             GROUP BY window_start, window_end;",
            &["job.sql:2:", "31536000000 windows", "limit", "choose"],
        ),
        refused(
            window("CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '7' SECOND, INTERVAL '10' SECOND)"),
            &["job.sql:2:", "multiple"],
        ),
        refused(
            window("CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.001' SECOND, INTERVAL '365' DAY)"),
            &["job.sql:2:"],
        ),
    ]
}
