//! What is refused: with a place, a reason and a remedy, each.

use super::{TABLES, compiled_with, refused};
use crate::error::SqlErrorKind::{Invalid, Unsupported};

#[test]
fn mistakes_point_at_the_word() {
    let line = TABLES.lines().count() + 1;
    let cases = [
        ("SELECT prise FROM t", "prise", Invalid),
        ("SELECT a FROM bidd", "bidd", Invalid),
        ("SELECT t.zz FROM t", "t.zz", Invalid),
        ("SELECT r.q FROM t", "q", Invalid),
        ("SELECT nofunc(a) FROM t", "nofunc", Invalid),
        ("SELECT a FROM t WHERE nothere = 1", "nothere", Invalid),
        ("INSERT INTO outt SELECT a, a FROM t", "outt", Invalid),
        ("INSERT INTO out SELECT a FROM t", "out", Invalid),
        ("INSERT INTO out (a, zz) SELECT a, a FROM t", "zz", Invalid),
        ("INSERT INTO out SELECT a, s FROM t", "s", Invalid),
        ("CREATE TABLE u (a INT) WITH ('connector' = 'any')", "u", Invalid),
        ("CREATE TABLE x (a INT) WITH ('connector' = 'none')", "'connector'", Invalid),
        ("CREATE TABLE x (a INT, WATERMARK FOR b AS b) WITH ('connector' = 'any')", "b AS", Invalid),
        ("CREATE TABLE x (a INT, WATERMARK FOR a AS a) WITH ('connector' = 'any')", "a AS", Invalid),
        ("CREATE TABLE x (a INT, PRIMARY KEY (zz) NOT ENFORCED) WITH ('connector' = 'any')", "zz", Invalid),
        ("CREATE TABLE x (a INT, c AS nope + 1) WITH ('connector' = 'any')", "nope", Invalid),
        ("CREATE VIEW w AS SELECT nope FROM t", "nope", Invalid),
        ("CREATE VIEW w (x, y) AS SELECT a FROM t", "w ", Invalid),
        ("DROP TABLE nope", "nope", Invalid),
        ("DROP VIEW t", "t", Invalid),
        ("DESCRIBE nope", "nope", Invalid),
        ("SET 'paralelism' = '2'", "SET", Invalid),
        ("SELECT a FROM t ORDER BY s", "s", Unsupported),
        ("SELECT a FROM t LIMIT 3", "3", Unsupported),
        ("SELECT DISTINCT ON (a) a, b FROM t", "SELECT", Unsupported),
        ("SELECT t.a FROM t CROSS APPLY u", "u", Unsupported),
        ("SELECT a FROM t UNION BY NAME SELECT a FROM u", "SELECT a FROM u", Unsupported),
        ("SELECT a FROM t EXCEPT ALL SELECT a FROM u", "SELECT a FROM u", Unsupported),
        ("SELECT count(*) FROM t GROUP BY CUBE (a, b, s, d, ts, a + 1, b + 1)", "a, b", Invalid),
        ("SELECT last_value(b) FROM u", "b)", Invalid),
        ("SELECT n, rand() FROM (SELECT s, count(*) AS n FROM t GROUP BY s)", "SELECT", Unsupported),
        ("SELECT row_number() OVER (ORDER BY ts) FROM t", "row_number", Unsupported),
        ("SELECT count(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)", "TUMBLE", Unsupported),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF ts", "t FOR", Unsupported),
        ("SELECT * FROM UNNEST(ARRAY[1])", "1]", Unsupported),
        ("SELECT * FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "SESSION", Unsupported),
        ("WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r", "WITH", Unsupported),
        ("SELECT * FROM TABLE(TUMBLE(TABLE u, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "ts)", Invalid),
        ("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MONTH))", "'1'", Invalid),
        ("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0' SECOND))", "'0'", Invalid),
        (
            "SELECT * FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '10' SECOND))",
            "'3'",
            Invalid,
        ),
        ("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts)))", "TUMBLE", Invalid),
        ("SELECT * FROM TABLE(TUMBLE(t, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "t, DESC", Invalid),
    ];
    let mut wrong = String::new();
    for (text, at, kind) in cases {
        let e = refused(text);
        let column = text.find(at).map(|i| i + 1);
        let place = e.position().map(|p| (p.line, Some(p.column)));
        let right =
            place == Some((line, column)) && e.kind() == kind && e.remedy().is_some() && e.to_string().contains('^');
        if !right {
            wrong.push_str(&format!("{text}\nwants column {column:?}, {kind:?}; is {:?}\n{e}\n\n", e.kind()));
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn places_are_those_of_the_users_file_behind_variables() {
    let text = "CREATE TABLE t (a INT) WITH (${OPTIONS});\nSELECT ${COLUMN},\n  nope FROM t";
    let e = compiled_with(text, &[("OPTIONS", "'connector' =\n 'any'"), ("COLUMN", "a\n+ 1")]).err().unwrap();
    let place = e.position().unwrap();
    assert_eq!((place.line, place.column), (3, 3), "{e}");
}

#[test]
fn near_names_are_suggested() {
    for (text, near) in [
        ("SELECT bb FROM u", "`b`"),
        ("SELECT a FROM outt", "`out`"),
        ("SELECT A FROM u", "`a`"),
        ("SELECT lowwer(s) FROM u", "lower"),
    ] {
        let e = refused(text);
        assert!(e.remedy().unwrap_or_default().contains(near), "{text}: {e}");
    }
}
