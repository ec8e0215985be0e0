//! Wrong queries of every kind: each is refused with a place inside the query, and no message speaks of the library below.

use super::{TABLES, refused};

const WINDOW: &str =
    "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end";

/// Over table `t`.
const SCALARS: &[&str] = &[
    "a + s",
    "s / 2",
    "a % s",
    "-s",
    "NOT a",
    "a AND TRUE",
    "s = 1",
    "s > ts",
    "r = 1",
    "arr = 1",
    "r + 1",
    "ts + ts",
    "ts - ts",
    "ts + 1",
    "ts * 2",
    "ts > 'nonsense'",
    "a = 'x'",
    "a IN ('x', 1)",
    "a BETWEEN 'x' AND 3",
    "a LIKE 'x'",
    "s LIKE 5",
    "a || b",
    "s || r",
    "a << 1",
    "a && b",
    "a:b",
    "a IS TRUE",
    "r.x.y",
    "r.nope",
    "a.x",
    "tt.a",
    "x.*",
    "nofunc(s)",
    "UPPER(a)",
    "ABS(s)",
    "LOWER(s, s)",
    "SUBSTRING(s)",
    "CONCAT(a, s)",
    "DATE_FORMAT(ts)",
    "EXTRACT(FOO FROM ts)",
    "EXTRACT(HOUR FROM a)",
    "TIMESTAMPDIFF(SECOND, ts, a)",
    "FLOOR(s)",
    "ROUND(a, 'x')",
    "IF(a, 1, 2)",
    "IF(a > 1, 1, 'x')",
    "TO_TIMESTAMP_LTZ(s, 3)",
    "TO_TIMESTAMP_LTZ(a, 7)",
    "CASE WHEN a THEN 1 END",
    "CASE a WHEN 'x' THEN 1 END",
    "CAST('abc' AS INT)",
    "CAST(a AS FOO)",
    "CAST(a AS DECIMAL(50, 2))",
    "CAST(a AS TIMESTAMP(3))",
    "CAST(r AS STRING)",
    "CAST(arr AS INT)",
    "DATE '2026-02-30'",
    "INTERVAL 'x' SECOND",
    "INTERVAL '1'",
    "INTERVAL '1' SECOND + 1",
    "1e400",
    "1 = 'x'",
    "99999999999999999999999999999999999999999",
    "`$cast 1 1 1 1`(1, 2)",
];

/// Before [`WINDOW`].
const AGGREGATES: &[&str] = &[
    "MAX(SUM(a))",
    "SUM(s)",
    "AVG(ts)",
    "MIN(r)",
    "MAX(arr)",
    "COUNT(DISTINCT r)",
    "COUNT(DISTINCT (a, b))",
    "COUNT(DISTINCT a, b)",
    "FIRST_VALUE(r)",
    "SUM(DISTINCT a, b)",
    "SUM()",
    "COUNT()",
    "SUM(*)",
    "LISTAGG(s)",
    "STDDEV_POP(s)",
    "COUNT(*) FILTER (WHERE a)",
    "COUNT(*), a",
];

const QUERIES: &[&str] = &[
    "SELECT a FROM t WHERE COUNT(*) > 1",
    "SELECT a FROM t HAVING a > 1",
    "SELECT a FROM t WHERE s",
    "SELECT a FROM t WHERE a",
    "SELECT a FROM t UNION ALL SELECT a, b FROM t",
    "SELECT COUNT(*) AS n FROM t GROUP BY n",
    "SELECT COUNT(*) FROM t GROUP BY 7",
    "SELECT COUNT(*) FROM t GROUP BY COUNT(*)",
    "SELECT a AS x, x + 1 FROM t",
    "SELECT a FROM t AS q WHERE t.a = 1",
    "SELECT a FROM (SELECT b AS a, a FROM t)",
    "INSERT INTO out SELECT a, s FROM t",
    "INSERT INTO out SELECT a, r FROM t",
    "INSERT INTO out SELECT 1 + 1, 'x'",
];

/// Words of libraries.
const FOREIGN: &[&str] = &[
    "External",
    "physical",
    "logical",
    "Int32",
    "Int64",
    "Utf8",
    "Float64",
    "Decimal128",
    "Struct",
    "List(",
    "Timestamp(",
    "Candidate",
    "Expr",
    "Literal",
    "UDF",
    "coerc",
    "Span",
    "Arrow",
    "DataFusion",
    "planning",
    "$try",
    "correct the statement",
];

#[test]
fn no_message_speaks_of_the_library() {
    let scalars = SCALARS.iter().map(|e| format!("SELECT {e} FROM t"));
    let aggregates = AGGREGATES.iter().map(|e| format!("SELECT {e} {WINDOW}"));
    let first = TABLES.lines().count() + 1;
    let mut wrong = String::new();
    for text in scalars.chain(aggregates).chain(QUERIES.iter().map(|q| (*q).to_owned())) {
        let e = refused(&text);
        let shown = format!("{}; {}", e.reason(), e.remedy().unwrap_or_default());
        let foreign: Vec<_> = FOREIGN.iter().filter(|word| shown.contains(**word)).collect();
        if !foreign.is_empty() || e.remedy().is_none() || e.position().is_none_or(|p| p.line != first) {
            wrong.push_str(&format!("{text}\n{foreign:?}\n{e}\n\n"));
        }
    }
    assert_eq!(wrong, "");
}
