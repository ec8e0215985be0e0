//! Values that no expression likes: at plan time where they are literals, at run time where they come from rows.

use super::{Case, fails, refused};

/// Writes the expression for every row of `t`.
fn each(expression: &str) -> String {
    format!("INSERT INTO out SELECT a, CAST({expression} AS STRING) FROM t;")
}

/// The rows are computed, and no row is an error.
fn taken(expression: &str) -> Case {
    Case { status: 0, ..refused(each(expression), &["finished after"]) }
}

pub fn cases() -> Vec<Case> {
    [literals(), rows(), bounded()].into_iter().flatten().collect()
}

fn literals() -> Vec<Case> {
    vec![
        refused(each("REGEXP_EXTRACT(s, '([', 1)"), &["job.sql:2:", "(["]),
        refused(each("REGEXP_EXTRACT(s, '(?=x)x', 0)"), &["job.sql:2:", "(?="]),
        refused(each("REGEXP(s, '((a{1000}){1000}){1000}')"), &["job.sql:2:"]),
        refused(each(&format!("REGEXP(s, '{}')", "(".repeat(100_000))), &["job.sql:2:"]),
        refused(each("JSON_VALUE(s, 'no path')"), &["job.sql:2:", "no path"]),
        refused(each(&format!("JSON_VALUE(s, '${}')", ".a".repeat(100_000))), &["job.sql:2:"]),
        refused(each("s LIKE 'x' ESCAPE 'too long'"), &["job.sql:2:", "ESCAPE"]),
        refused(each("DATE_FORMAT(ts, 'qqqq{')"), &["job.sql:2:"]),
        refused(each("CAST('x' AS BIGINT)"), &["job.sql:2:37: ", "cannot cast `x` to BIGINT", "TRY_CAST"]),
        refused(
            each("TRY_CAST('x' AS BIGINT) + CAST('y' AS BIGINT)"),
            &["job.sql:2:63: ", "cannot cast `y` to BIGINT"],
        ),
        refused(each("1e400"), &["job.sql:2:32: ", "`1e400`", "DOUBLE"]),
        refused(each("ts - ts"), &["job.sql:2:32: ", "TIMESTAMPDIFF"]),
        fails(each("a / CAST(0 AS BIGINT) + 1 / 0"), &["a / 0", "zero"]),
        taken("TO_TIMESTAMP_LTZ(9223372036854775807, 3)"),
        refused(each("TIMESTAMPDIFF(FORTNIGHT, ts, ts)"), &["job.sql:2:", "FORTNIGHT"]),
    ]
}

fn rows() -> Vec<Case> {
    vec![
        fails(each("a / b"), &["zero"]),
        fails(each("MOD(a, b)"), &["zero"]),
        fails(each("CAST(s AS BIGINT)"), &["x"]),
        fails(each("CAST(d AS INT)"), &["cannot cast `1e300` to INT", "TRY_CAST"]),
        fails(each("REPEAT(s, 2147483647)"), &["256 MiB"]),
        fails(each("LPAD(s, 2147483647, 'x')"), &["256 MiB"]),
        fails(each("RPAD(s, 2147483647)"), &["256 MiB"]),
        fails(
            each("REPEAT(s, 2000000) || REPEAT(s, 2000000) || REPEAT(s, 2000000) || REPEAT(s, 2000000)"),
            &["`concat`", "256 MiB"],
        ),
        fails(
            each("TIMESTAMPDIFF(SECOND, TIMESTAMP '0001-01-01 00:00:00', TIMESTAMP '9999-12-31 00:00:00') + b"),
            &["INT"],
        ),
    ]
}

/// Values that look dangerous and are not: they have an answer, in bounded time.
fn bounded() -> Vec<Case> {
    vec![
        taken("REGEXP(s, '^(a+)+$')"),
        taken("REGEXP_REPLACE(s, '(a|aa)+(a|aa)+b', '')"),
        taken("JSON_VALUE(REPEAT('[', 100000), '$[0]')"),
        taken("TIMESTAMPADD(DAY, 2000000000, ts)"),
        taken("s LIKE 'x\\'"),
        taken("a * 9223372036854775807"),
        taken("ABS(a - 9223372036854775807 - 5)"),
        taken("TO_TIMESTAMP('10000-01-01 00:00:00')"),
        taken("FROM_UNIXTIME(-9223372036854775807)"),
        taken("-9223372036854775808"),
        taken("LEFT(s, -2147483648) || SUBSTRING(s, -2147483648, 2147483647)"),
    ]
}
