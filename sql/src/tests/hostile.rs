//! Texts meant to break the planner: every one ends in an answer, and in bounded time.

use super::{compiled, refused};
use crate::error::SqlErrorKind;
use std::fmt::Write as _;

#[test]
fn views_that_double_are_refused() {
    let mut text = String::from("CREATE VIEW v0 AS SELECT a FROM t;");
    for i in 0..40 {
        write!(text, "CREATE VIEW v{} AS SELECT a FROM v{i} UNION ALL SELECT a FROM v{i};", i + 1).unwrap();
    }
    assert_eq!(refused(&text).kind(), SqlErrorKind::Limit);
}

#[test]
fn joins_and_subqueries_that_double_are_refused() {
    for step in ["SELECT x.a FROM v JOIN v AS x ON v.a = x.a", "SELECT a FROM v WHERE a IN (SELECT a FROM v)"] {
        let mut text = String::from("CREATE VIEW v0 AS SELECT a FROM t;");
        for i in 0..40 {
            let step =
                step.replace("v ", &format!("v{i} ")).replace("v.", &format!("v{i}.")).replace("v)", &format!("v{i})"));
            write!(text, "CREATE VIEW v{} AS {step};", i + 1).unwrap();
        }
        assert_eq!(refused(&text).kind(), SqlErrorKind::Limit, "{step}");
    }
}

#[test]
fn common_table_expressions_that_double_are_refused() {
    let mut text = String::from("WITH c0 AS (SELECT a FROM t)");
    for i in 0..40 {
        write!(text, ", c{} AS (SELECT a FROM c{i} UNION ALL SELECT a FROM c{i})", i + 1).unwrap();
    }
    write!(text, " SELECT a FROM c40").unwrap();
    assert_eq!(refused(&text).kind(), SqlErrorKind::Limit);
}

#[test]
fn expressions_that_double_are_refused() {
    let mut text = String::from("CREATE VIEW v0 AS SELECT a FROM t;");
    for i in 0..40 {
        write!(text, "CREATE VIEW v{} AS SELECT a + a AS a FROM v{i};", i + 1).unwrap();
    }
    write!(text, "SELECT a FROM v40 WHERE a > 0").unwrap();
    assert_eq!(refused(&text).kind(), SqlErrorKind::Limit);
}

#[test]
fn a_long_chain_of_views_ends() {
    let mut text = String::from("CREATE VIEW v0 AS SELECT a FROM t;");
    for i in 0..600 {
        write!(text, "CREATE VIEW v{} AS SELECT a FROM v{i};", i + 1).unwrap();
    }
    let e = refused(&text);
    assert_eq!(e.kind(), SqlErrorKind::Limit, "{e}");
}

const ODD: &[&str] = &[
    "\u{0}",
    "SELECT",
    "SELECT FROM",
    "SELECT * FROM",
    ";;;SELECT",
    "'",
    "\"",
    "`",
    "/*",
    "$$",
    "${",
    "SELECT '\u{1F600}' FROM nope",
    "SELECT a FROM t WHERE",
    "INSERT INTO",
    "CREATE TABLE",
    "CREATE TABLE x",
    "CREATE TABLE x ()",
    "CREATE TABLE x (",
    "CREATE VIEW",
    "SELECT * FROM TABLE(TUMBLE())",
    "SELECT * FROM TABLE()",
    "SELECT * FROM TABLE(TUMBLE(TABLE t))",
    "SELECT TABLE t FROM t",
    "SELECT DESCRIPTOR(ts) FROM t",
    "SELECT * FROM TUMBLE",
    "SELECT count(*) OVER () FROM t",
    "SELECT max(max(a)) FROM t",
    "SELECT CAST(a AS NOTHING) FROM t",
    "SELECT a::BOGUS FROM t",
    "SELECT INTERVAL '99999999999999999999' DAY FROM t",
    "SELECT 99999999999999999999999999999999999999999999999999 FROM t",
    "SELECT 1e999999 FROM t",
    "SELECT a FROM t WHERE s",
    "SELECT a + s FROM t",
    "SELECT -s FROM t",
    "SELECT NOT a FROM t",
    "SELECT r.x.y.z FROM t",
    "SELECT a.b.c.d.e FROM t",
    "SELECT sum(s) FROM t",
    "SELECT count(DISTINCT a, b) FROM t",
    "EXECUTE STATEMENT SET BEGIN",
    "EXPLAIN",
    "SHOW",
    "SET",
    "DROP",
    "DESCRIBE",
    "SELECT @x",
    "SELECT :x",
    "SELECT $1",
    "SELECT ? FROM t",
    "VALUES (1), (1, 2)",
    "VALUES ()",
    "INSERT INTO out VALUES (1, 'x')",
    "INSERT INTO out VALUES (1, a)",
    "SELECT * FROM t AS q (a, b)",
    "SELECT a FROM t GROUP BY",
    "SELECT (SELECT a FROM t)",
    "SELECT (SELECT max(a), min(a) FROM t)",
    "SELECT (SELECT u.a FROM u WHERE u.b = t.b) FROM t",
    "SELECT a FROM t WHERE EXISTS (SELECT nope FROM u)",
    "SELECT a FROM t WHERE a IN (SELECT a, b FROM u)",
    "SELECT a FROM t WHERE a = (SELECT max(s) FROM u)",
    "SELECT a FROM t JOIN u",
    "SELECT a FROM t JOIN u ON t.a = u.a",
    "SELECT t.a FROM t JOIN u ON t.a",
    "SELECT t.a FROM t JOIN t ON t.a = t.a",
    "SELECT t.a FROM t JOIN u USING (nope)",
    "SELECT x.a FROM t JOIN u ON t.a = u.a",
    "SELECT t.a FROM t LEFT JOIN LATERAL (SELECT 1) AS l ON TRUE",
    "SELECT t.a FROM t ASOF JOIN u MATCH_CONDITION (t.ts > u.ts) ON t.a = u.a",
    "SELECT a, count(*) FROM t GROUP BY CUBE (count(*))",
    "SELECT a FROM t EXCEPT SELECT s FROM u",
    "CREATE TABLE x (a INT AS 3)",
    "CREATE TABLE x (a BIGINT METADATA FROM 3)",
    "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '9223372036854775807' SECOND)) GROUP BY 1",
    "SELECT a FROM t TABLESAMPLE (10)",
    "SELECT a FROM t PIVOT (sum(a) FOR b IN (1))",
    "SELECT * EXCLUDE a FROM t",
    "SELECT TOP 3 a FROM t",
    "SELECT a INTO x FROM t",
    "SELECT {fn",
    "SELECT $table_argument(a) FROM t",
    "SELECT * FROM $table_argument(t)",
];

#[test]
fn odd_texts_have_answers() {
    let mut wrong = String::new();
    for text in ODD {
        match compiled(text) {
            Ok(_) => writeln!(wrong, "taken: {text}").unwrap(),
            Err(e) if e.kind() == SqlErrorKind::Internal || e.position().is_none() => {
                writeln!(wrong, "{text}\n{e}\n").unwrap()
            }
            Err(_) => {}
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn wide_and_long_but_honest_texts_compile() {
    let list: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let case: String = (0..800).map(|i| format!("WHEN a = {i} THEN {i} ")).collect();
    let columns: Vec<String> = (0..1_000).map(|i| format!("a + {i} AS c{i}")).collect();
    let and: Vec<String> = (0..300).map(|i| format!("a <> {i}")).collect();
    for text in [
        format!("SELECT a FROM t WHERE a IN ({})", list.join(", ")),
        format!("SELECT CASE {case} END AS x FROM t"),
        format!("SELECT {} FROM t", columns.join(", ")),
        format!("SELECT a FROM t WHERE {}", and.join(" AND ")),
    ] {
        let shown: String = text.chars().take(60).collect();
        compiled(&text).unwrap_or_else(|e| panic!("{shown}: {e}"));
    }
}
