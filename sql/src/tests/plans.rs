//! What plans look like: fusion, sharing, pruning, guards, types.

use super::{compiled, explained};
use crate::program::{Answer, Item};

fn answer(text: &str) -> Answer {
    let program = compiled(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
    match program.items.into_iter().next_back() {
        Some(Item::Answer(answer)) => answer,
        _ => panic!("{text}: no answer"),
    }
}

#[test]
fn a_query_is_one_operator_however_it_is_nested() {
    let shown =
        explained("SELECT x + 1 AS y FROM (SELECT a + 1 AS x, b FROM (SELECT * FROM t WHERE b > 1) q) q2 WHERE b < 10");
    assert_eq!(shown.matches("calc").count(), 1 + shown.matches("id: calc").count(), "{shown}");
    assert!(shown.contains("source t (a BIGINT, b INT, ts TIMESTAMP(3))"), "{shown}");
}

#[test]
fn nothing_to_do_needs_no_operator() {
    let shown = explained("SELECT * FROM u");
    assert!(!shown.contains("calc"), "{shown}");
}

#[test]
fn fields_are_pruned_at_any_depth() {
    let shown = explained("SELECT r.y.z FROM t WHERE r.x > 1");
    assert!(shown.contains("r ROW<`x` BIGINT, `y` ROW<`z` STRING>>"), "{shown}");
    let whole = explained("SELECT r, r.x FROM t");
    assert!(whole.contains("r ROW<`x` BIGINT, `y` ROW<`z` STRING, `w` INT>>"), "{whole}");
}

#[test]
fn one_source_and_equal_parts_once_across_a_statement_set() {
    let shown = explained(
        "EXECUTE STATEMENT SET BEGIN
           INSERT INTO out SELECT a, CAST(b AS BIGINT) FROM t WHERE b > 3;
           INSERT INTO out SELECT x, y FROM (SELECT a AS x, CAST(b AS BIGINT) AS y, b FROM t) q WHERE b > 3;
           INSERT INTO out SELECT a, a FROM t;
         END",
    );
    assert_eq!(shown.matches("source t").count(), 1, "{shown}");
    assert!(shown.contains("(shared, shown above)"), "{shown}");
    assert_eq!(shown.matches("insert into out").count(), 1, "{shown}");
}

#[test]
fn ids_survive_unrelated_edits() {
    let id = |text: &str| {
        let program = compiled(text).unwrap();
        let job = program.jobs().next().unwrap();
        let ids: Vec<String> =
            job.graph.nodes().iter().map(|n| n.id.clone()).filter(|i| i.starts_with("calc")).collect();
        ids
    };
    let one = id("INSERT INTO out SELECT a, CAST(b AS BIGINT) FROM t WHERE b > 3 AND a > 0");
    let other = id("CREATE VIEW v AS SELECT s, b AS bb, a AS aa FROM t WHERE a > 0;
                    INSERT INTO out SELECT aa, CAST(bb AS BIGINT) FROM v WHERE bb > 3");
    assert_eq!(one, other);
    assert_ne!(one, id("INSERT INTO out SELECT a, CAST(b AS BIGINT) FROM t WHERE b > 4 AND a > 0"));
}

#[test]
fn a_costly_expression_is_computed_once() {
    let shown = explained("SELECT x, x + 1 AS y FROM (SELECT a * a * a AS x FROM t) q");
    assert_eq!(shown.matches("t.a * t.a").count() + shown.matches("a * a * a").count(), 1, "{shown}");
}

#[test]
fn columns_lists_and_nulls_of_inserts() {
    let shown = explained("INSERT INTO out (n) SELECT a FROM u");
    assert!(shown.contains("NULL AS a"), "{shown}");
    let swapped = explained("INSERT INTO out (n, a) SELECT a, CAST(b AS BIGINT) FROM u");
    assert!(swapped.contains("a AS n"), "{swapped}");
}

#[test]
fn literals_are_decimals_unless_set_otherwise() {
    let types = |text: &str| explained(text).lines().next().unwrap().to_owned();
    assert_eq!(types("SELECT 0.5 * a AS x FROM t"), "print (x DECIMAL(21, 1))");
    assert_eq!(types("SET 'sql.decimal-literals' = 'false'; SELECT 0.5 * a AS x FROM t"), "print (x DOUBLE)");
    assert_eq!(types("SET 'sql.decimal-literals' = 'false'; RESET; SELECT 0.5 AS x FROM t"), "print (x DECIMAL(1, 1))");
}

#[test]
fn union_all_and_constants() {
    let shown = explained("SELECT a FROM t UNION ALL SELECT a FROM u UNION ALL SELECT 3");
    assert!(shown.contains("union all") && shown.contains("constant (1 row)"), "{shown}");
    let none = explained("SELECT a FROM t WHERE 1 = 0");
    assert!(none.contains("constant (no rows)"), "{none}");
}

#[test]
fn catalog_statements_answer() {
    assert_eq!(answer("SHOW TABLES").rows.concat(), ["out", "t", "u"]);
    assert_eq!(answer("CREATE VIEW v AS SELECT a FROM t; SHOW VIEWS").rows.concat(), ["v"]);
    assert!(answer("SHOW FUNCTIONS").rows.concat().contains(&"split_index".to_owned()));
    let described = answer(
        "CREATE TABLE k (id BIGINT, m STRING METADATA FROM 'x' VIRTUAL, c AS id + 1, PRIMARY KEY (id) NOT ENFORCED)
                            WITH ('connector' = 'any'); DESCRIBE k",
    );
    assert_eq!(described.rows[0], ["id", "BIGINT", "FALSE", "PRI(id)", "", ""]);
    assert_eq!(described.rows[1][4], "METADATA FROM 'x' VIRTUAL");
    assert_eq!(described.rows[2][4], "AS id + 1");
    assert!(answer("SHOW CREATE TABLE u").rows[0][0].starts_with("CREATE TABLE u (a BIGINT"));
    let secret = answer(
        "CREATE TABLE s (a BIGINT) WITH ('connector' = 'any', 'properties.sasl.password' = 'hunter2'); SHOW CREATE TABLE s",
    );
    assert!(secret.rows[0][0].ends_with("'properties.sasl.password' = '******')"), "{:?}", secret.rows);
    assert!(answer("EXPLAIN SELECT a FROM t").rows.concat().join("\n").contains("source t"));
}

#[test]
fn dropped_tables_are_gone_and_like_copies() {
    let shown = explained(
        "CREATE TABLE w (extra STRING) WITH ('connector' = 'other') LIKE u; DROP TABLE u; SELECT extra, a FROM w",
    );
    assert!(shown.contains("source w (a BIGINT, extra STRING)"), "{shown}");
    assert!(compiled("DROP TABLE u; SELECT * FROM u").is_err());
    assert!(compiled("DROP TABLE IF EXISTS nothing; CREATE TABLE IF NOT EXISTS u (z INT); SELECT a FROM u").is_ok());
}

#[test]
fn settings_are_kept_with_the_jobs_after_them() {
    let program = compiled("SET 'parallelism' = '3'; SELECT a FROM t; RESET 'parallelism'; SELECT a FROM u").unwrap();
    let set: Vec<usize> = program.jobs().map(|j| j.settings.len()).collect();
    assert_eq!(set, [1, 0]);
}

/// The ids of the only job's nodes.
fn ids(text: &str) -> Vec<String> {
    let program = compiled(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
    let job = program.jobs().next().unwrap();
    job.graph.nodes().iter().map(|n| n.id.split('-').next().unwrap().to_owned()).collect()
}

const WINDOWED: &str = "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))";

#[test]
fn windows_run_in_two_phases_where_they_can() {
    for aggregate in ["sum(b)", "count(DISTINCT b)"] {
        let two = ids(&format!("SELECT a, {aggregate} {WINDOWED} GROUP BY a, window_start, window_end"));
        assert_eq!(two, ["source", "calc", "window", "window", "calc", "terminal"]);
    }
    let processing = "FROM TABLE(TUMBLE(TABLE p, DESCRIPTOR(pt), INTERVAL '10' SECOND))";
    let one = ids(&format!(
        "CREATE TABLE p (a INT, pt AS PROCTIME()) WITH ('connector' = 'any'); SELECT a, sum(a) {processing} GROUP BY a, window_start, window_end"
    ));
    assert_eq!(one, ["source", "window", "calc", "terminal"]);
}

#[test]
fn equal_windows_are_computed_once() {
    let shown = explained(&format!(
        "CREATE VIEW w AS SELECT a, count(*) AS n {WINDOWED} GROUP BY a, window_start, window_end;
         SELECT a FROM w WHERE n > 3 UNION ALL SELECT n FROM w"
    ));
    assert_eq!(shown.matches("window aggregate").count(), 1, "{shown}");
}

#[test]
fn aggregates_of_aggregates_keep_the_window() {
    let shown = explained(&format!(
        "SELECT max(n) AS m, window_end FROM (SELECT a, count(*) AS n, window_start, window_end {WINDOWED}
           GROUP BY a, window_start, window_end) q GROUP BY window_start, window_end HAVING max(n) > 3"
    ));
    assert_eq!(shown.matches("window aggregate").count(), 2, "{shown}");
    assert!(shown.contains("windows of the rows below"), "{shown}");
}

#[test]
fn filters_on_window_bounds_and_keys() {
    let shown = explained(&format!(
        "SELECT a, count(*) FILTER (WHERE b > 1) AS n, window_start {WINDOWED} WHERE s = 'x' AND window_end > TIMESTAMP '2026-01-01 00:00:00'
         GROUP BY a, window_start, window_end HAVING a > 3 AND count(*) > 1"
    ));
    assert!(shown.contains("FILTER"), "{shown}");
    assert!(shown.contains("key: a, window_start, window_end"), "{shown}");
}

#[test]
fn average_and_sum_have_flinks_types() {
    let shown = explained(&format!(
        "SELECT avg(a) AS aa, avg(b) AS ab, sum(b) AS sb, sum(p) AS sp, avg(p) AS ap, avg(d) AS ad, stddev_pop(b) AS v
         {WINDOWED} GROUP BY window_start, window_end"
    ));
    let first = shown.lines().next().unwrap();
    assert_eq!(
        first, "print (aa BIGINT, ab INT, sb INT, sp DECIMAL(38, 2), ap DECIMAL(38, 6), ad DOUBLE, v DOUBLE)",
        "{shown}"
    );
}

#[test]
fn guards_become_case() {
    let shown = explained("SELECT a FROM t WHERE 10 / b > 1 AND b <> 0");
    assert!(shown.contains("calc filter"), "{shown}");
    let program = compiled("SELECT b = 0 OR 10 / b > 1 AS x FROM t").unwrap();
    assert_eq!(program.jobs().count(), 1);
}

#[test]
fn late_and_bad_rows_have_tables() {
    let sides = |late: &str| {
        format!(
            "CREATE TABLE late ({late}) WITH ('connector' = 'any');
             CREATE TABLE bad (source STRING, raw BYTES) WITH ('connector' = 'any');
             CREATE TABLE k (a BIGINT, b STRING, ts TIMESTAMP(3), twice AS a * 2, WATERMARK FOR ts AS ts) WITH
               ('connector' = 'any', 'late.table' = 'late', 'bad-record.table' = 'bad');"
        )
    };
    let window = "SELECT a, count(*) FROM TABLE(TUMBLE(TABLE k, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY a, window_start, window_end";
    let mut found = ids(&format!("{}{window}", sides("b STRING, ts TIMESTAMP(3), twice BIGINT")));
    found.sort();
    assert_eq!(found.iter().filter(|i| *i == "side").count(), 2, "{found:?}");
    assert_eq!(found.iter().filter(|i| *i == "sink").count(), 2, "{found:?}");
    assert_eq!(found.iter().filter(|i| *i == "window").count(), 1, "one phase: {found:?}");
    for (late, reason) in [("a BIGINT, why STRING", "a column `why`"), ("a INT", "the rows have `a BIGINT`")] {
        let e = compiled(&format!("{}{window}", sides(late))).err().unwrap();
        assert!(e.reason().contains(reason), "{e}");
        assert_eq!(e.remedy(), Some("give it columns out of (a BIGINT, b STRING, ts TIMESTAMP(3), twice BIGINT)"));
        assert_eq!(e.position().unwrap().line, 9, "{e}");
    }
    let missing = compiled(
        "CREATE TABLE k (a BIGINT) WITH ('connector' = 'any', 'bad-record.table' = 'nowhere'); SELECT a FROM k",
    );
    assert!(missing.err().unwrap().reason().contains("nowhere"));
}

#[test]
fn columns_are_called_as_in_flink() {
    for (text, columns) in [
        (
            "SELECT b, CAST(b AS STRING), b + 1, r.x, t.a, (a) FROM t",
            "b INT, EXPR$1 STRING, EXPR$2 BIGINT, x BIGINT, a BIGINT, a0 BIGINT",
        ),
        ("SELECT 1, 'x' UNION ALL SELECT 2, 'y'", "EXPR$0 BIGINT, EXPR$1 STRING"),
        ("SELECT a AS x, b AS x, s AS x0, a AS x FROM u", "x BIGINT, x1 INT, x0 STRING, x2 BIGINT"),
        ("SELECT *, a, b AS s FROM u", "a BIGINT, b INT, s STRING, ts TIMESTAMP(3), a0 BIGINT, s0 INT"),
        ("SELECT a, * FROM u", "a BIGINT, a0 BIGINT, b INT, s STRING, ts TIMESTAMP(3)"),
        ("SELECT x FROM (SELECT a AS x, CAST(a AS INT), a FROM u)", "x BIGINT"),
        ("SELECT 1e1, 0.5, CAST('7' AS INT)", "EXPR$0 DOUBLE, EXPR$1 DECIMAL(1, 1), EXPR$2 INT"),
    ] {
        assert!(explained(text).starts_with(&format!("print ({columns})")), "{text}\n{}", explained(text));
    }
}

#[test]
fn expressions_are_shown_as_they_were_written() {
    for (written, shown) in [
        ("p / (a + 1)", "p / (a + 1)"),
        ("(p - a) * p / 3", "(p - CAST(a AS DECIMAL(19, 0))) * p / 3"),
        ("CAST(s AS INT)", "CAST(s AS INT)"),
        ("TRY_CAST(s AS DECIMAL(38, 2)) * p", "TRY_CAST(s AS DECIMAL(38, 2)) * p"),
        ("a * (b + 1) - (a - 1)", "a * (CAST(b AS BIGINT) + 1) - (a - 1)"),
        ("r.y.z || 'it''s'", "concat(r.y.z, 'it''s')"),
        ("CASE WHEN a > 1 THEN 'x' END", "CASE WHEN a > 1 THEN 'x' END"),
        ("arr[1] IS NULL", "arr[1] IS NULL"),
        ("ts > TIMESTAMP '2026-01-01 10:00:00'", "ts > TIMESTAMP '2026-01-01 10:00:00'"),
        ("ts + INTERVAL '10' SECOND", "ts + INTERVAL '10' SECOND"),
    ] {
        let plan = explained(&format!("SELECT {written} AS x FROM t"));
        assert!(plan.contains(&format!("calc project {shown} AS x\n")), "{written}\n{plan}");
    }
}

#[test]
fn state_without_a_bound_is_a_warning_with_the_remedy() {
    let warned = |text: &str| {
        let explained = explained(text);
        explained.lines().filter(|l| l.starts_with("warning: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let group = warned("SELECT a, count(*) FROM t GROUP BY a");
    assert!(
        matches!(&group[..], [w] if w.contains("`group-") && w.contains("an entry per key, for ever; ")),
        "{group:?}"
    );
    let join = warned("SELECT t.a FROM t JOIN u ON t.a = u.a");
    assert!(
        matches!(&join[..], [w] if w.contains("`join-") && w.contains("tie their event times together")),
        "{join:?}"
    );
    assert_eq!(warned("SELECT x.a FROM t AS x JOIN t AS y ON x.a = y.a AND x.ts = y.ts").len(), 0);
    assert_eq!(warned("SELECT count(*) FROM t").len(), 0);
    let windows = "SELECT a, count(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY a, window_start, window_end";
    assert_eq!(warned(windows).len(), 0);
}

#[test]
fn changes_of_a_key_meet_before_they_are_written() {
    let partitioning = |text: &str| {
        let program = compiled(text).unwrap();
        let graph = program.jobs().next().unwrap().graph.to_json();
        let nodes = graph["nodes"].as_array().unwrap();
        let changes = nodes.iter().find(|n| n["label"] == "add up changes").unwrap();
        changes["inputs"][0]["partitioning"].to_string()
    };
    assert_eq!(partitioning("SELECT a, count(*) AS n FROM t GROUP BY a HAVING count(*) > 1"), "\"forward\"");
    assert_eq!(partitioning("SELECT count(*) AS n FROM t GROUP BY a"), "{\"hash\":[0]}", "the key is gone");
    let join = "SELECT g.a, u.b FROM (SELECT a, max(b) AS b FROM t GROUP BY a) AS g JOIN (SELECT DISTINCT b FROM u) AS u ON g.b = u.b";
    assert_eq!(partitioning(join), "{\"hash\":[0,1]}", "a row may move from one subtask to another");
    assert_eq!(
        partitioning("SELECT a, count(*) AS n FROM t GROUP BY a UNION ALL SELECT b, 1 FROM u"),
        "{\"hash\":[0,1]}"
    );
}
