//! What the parser takes, what it refuses, and where it points.

use super::parse;
use super::statement::{ColumnKind, CreateTable, Statement, StatementKind};
use crate::error::{Fault, SqlErrorKind};
use crate::limits;
use std::fmt::Write as _;

fn one(text: &str) -> StatementKind {
    let mut all: Vec<Statement> = parse(text).unwrap_or_else(|f| panic!("{text}: {f:?}"));
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0).kind
}

fn table(text: &str) -> CreateTable {
    match one(text) {
        StatementKind::CreateTable(t) => *t,
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> Fault {
    match parse(text) {
        Err(fault) => fault,
        Ok(all) => panic!("{text} was taken: {all:?}"),
    }
}

/// On the planner's stack, as `compile` runs it.
fn refused_on_large_stack(text: String) -> Fault {
    on_stack(move || refused(&text))
}

fn on_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    crate::stack::on_large_stack(f).unwrap()
}

#[test]
fn a_table_with_everything() {
    let t = table(
        "CREATE TEMPORARY TABLE IF NOT EXISTS bid (
           auction BIGINT NOT NULL COMMENT 'which', price DECIMAL(10, 2), `when` TIMESTAMP(3),
           payload ROW<id BIGINT, tags ARRAY<ARRAY<STRING>>, m MAP<STRING, INT NOT NULL>> NOT NULL,
           ts_ltz TIMESTAMP(3) WITH LOCAL TIME ZONE METADATA FROM 'timestamp' VIRTUAL,
           `offset` BIGINT METADATA,
           p AS PROCTIME(), half AS price / 2 COMMENT 'c',
           key STRING,
           WATERMARK FOR `when` AS `when` - INTERVAL '4' SECOND,
           CONSTRAINT pk PRIMARY KEY (auction, key) NOT ENFORCED
         ) COMMENT 'bids' PARTITIONED BY (key) WITH ('connector' = 'kafka', 'topic' = 'it''s') LIKE base",
    );
    assert!(t.if_not_exists);
    let shown: Vec<String> = t.columns.iter().map(|c| format!("{} {}", c.name.value, kind_name(&c.kind))).collect();
    assert_eq!(
        shown,
        [
            "auction BIGINT!",
            "price DECIMAL(10, 2)",
            "when TIMESTAMP(3)",
            "payload ROW<`id` BIGINT, `tags` ARRAY<ARRAY<STRING>>, `m` MAP<STRING, INT>>!",
            "ts_ltz TIMESTAMP_LTZ(3) metadata timestamp virtual",
            "offset BIGINT metadata offset",
            "p PROCTIME()",
            "half price / 2",
            "key STRING",
        ]
    );
    assert_eq!(t.watermark.unwrap().expr.to_string(), "`when` - INTERVAL '4' SECOND");
    assert_eq!(t.primary_key.iter().map(|i| i.value.as_str()).collect::<Vec<_>>(), ["auction", "key"]);
    assert_eq!((t.partitioned_by[0].value.as_str(), t.like.unwrap().value.as_str()), ("key", "base"));
    assert_eq!((t.options[1].key.as_str(), t.options[1].value.as_str()), ("topic", "it's"));
}

fn kind_name(kind: &ColumnKind) -> String {
    let bang = |nullable: &bool| if *nullable { "" } else { "!" };
    match kind {
        ColumnKind::Physical { data_type, nullable } => {
            format!("{}{}", thalweg_engine::type_name(data_type), bang(nullable))
        }
        ColumnKind::Metadata { data_type, key, is_virtual, .. } => {
            format!(
                "{} metadata {key}{}",
                thalweg_engine::type_name(data_type),
                if *is_virtual { " virtual" } else { "" }
            )
        }
        ColumnKind::Computed { expr } => expr.to_string(),
    }
}

#[test]
fn types_are_flinks() {
    let cases = [
        ("STRING", "STRING"),
        ("VARCHAR(10)", "STRING"),
        ("CHAR", "STRING"),
        ("BYTES", "BYTES"),
        ("VARBINARY(3)", "BYTES"),
        ("INTEGER", "INT"),
        ("FLOAT", "FLOAT"),
        ("DOUBLE PRECISION", "DOUBLE"),
        ("DECIMAL", "DECIMAL(10, 0)"),
        ("NUMERIC(38)", "DECIMAL(38, 0)"),
        ("TIMESTAMP", "TIMESTAMP(6)"),
        ("TIMESTAMP(0)", "TIMESTAMP(3)"),
        ("TIMESTAMP(9) WITHOUT TIME ZONE", "TIMESTAMP(9)"),
        ("TIMESTAMP_LTZ", "TIMESTAMP_LTZ(6)"),
        ("TIMESTAMP_LTZ(3)", "TIMESTAMP_LTZ(3)"),
        ("TIMESTAMP WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(6)"),
        ("DATE", "DATE"),
        ("TIME", "TIME(3)"),
        ("ROW(a INT, b ROW<c INT>)", "ROW<`a` INT, `b` ROW<`c` INT>>"),
        ("MAP<STRING, ARRAY<INT>>", "MAP<STRING, ARRAY<INT>>"),
    ];
    for (written, meant) in cases {
        let t = table(&format!("CREATE TABLE t (a {written}) WITH ('connector' = 'x')"));
        assert_eq!(kind_name(&t.columns[0].kind), meant, "{written}");
    }
    for wrong in [
        "MULTISET<INT>",
        "UUID",
        "DECIMAL(39, 0)",
        "DECIMAL(3, 4)",
        "TIMESTAMP(10)",
        "TIMESTAMP WITH TIME ZONE",
        "BOGUS",
    ] {
        let fault = refused(&format!("CREATE TABLE t (\n  a {wrong}\n)"));
        assert_eq!((fault.span.start.line, fault.span.start.column), (2, 5), "{wrong}: {fault:?}");
        assert!(fault.remedy.is_some(), "{wrong}");
    }
}

#[test]
fn other_statements() {
    assert!(
        matches!(one("CREATE TEMPORARY VIEW v (a, b) AS SELECT 1, 2"), StatementKind::CreateView(v) if v.columns.len() == 2)
    );
    assert!(matches!(one("DROP TABLE IF EXISTS t"), StatementKind::DropTable { if_exists: true, .. }));
    assert!(matches!(one("DROP TEMPORARY VIEW v"), StatementKind::DropView { if_exists: false, .. }));
    assert!(matches!(one("SET 'a.b' = 'c'"), StatementKind::Set { key, value } if key == "a.b" && value == "c"));
    assert!(matches!(one("RESET"), StatementKind::Reset { key: None }));
    assert!(matches!(one("RESET 'k';"), StatementKind::Reset { key: Some(_) }));
    assert!(matches!(one("SHOW CREATE TABLE t"), StatementKind::ShowCreate(_)));
    assert!(matches!(one("DESC t"), StatementKind::Describe(_)));
    assert!(
        matches!(one("INSERT INTO t (a, b) SELECT 1, 2"), StatementKind::StatementSet(s) if s[0].columns.len() == 2)
    );
    assert!(matches!(one("INSERT INTO t (SELECT 1, 2)"), StatementKind::StatementSet(s) if s[0].columns.is_empty()));
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END";
    assert!(matches!(one(set), StatementKind::StatementSet(s) if s.len() == 2));
    let set = "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;";
    assert!(matches!(one(set), StatementKind::StatementSet(s) if s.len() == 1));
    for text in [
        "EXPLAIN SELECT 1",
        "EXPLAIN PLAN FOR INSERT INTO a SELECT 1",
        "EXPLAIN STATEMENT SET BEGIN INSERT INTO a SELECT 1; END",
    ] {
        assert!(matches!(one(text), StatementKind::Explain(_)), "{text}");
    }
    assert_eq!(parse("  ;; -- nothing\n /* at all */ ;").unwrap().len(), 0);
}

#[test]
fn statements_know_their_place() {
    let all = parse("SELECT 1;\n\n  SELECT\n 2 ;").unwrap();
    let span = all[1].span;
    assert_eq!((span.start.line, span.start.column, span.end.line, span.end.column), (3, 3, 4, 3));
}

#[test]
fn mistakes_have_a_place_and_a_remedy() {
    let cases = [
        ("SELEC 1", 1, 1),
        ("SELECT 1 SELECT 2", 1, 10),
        ("SELECT 1;\nALTER TABLE t", 2, 1),
        ("SELECT (1", 1, 9),
        ("SELECT 'abc", 1, 8),
        ("CREATE TABLE t (a INT PRIMARY KEY)", 1, 31),
        ("CREATE TABLE t (a INT, a INT)", 1, 24),
        ("CREATE TABLE t (a INT, WATERMARK FOR a AS a, WATERMARK FOR a AS a)", 1, 46),
        ("CREATE TABLE t (a INT) WITH ('k' = 3)", 1, 36),
        ("CREATE TABLE t (a INT) WITH ('k' = '3', 'k' = '4')", 1, 41),
        ("CREATE TABLE d.t (a INT)", 1, 15),
        ("CREATE TABLE t AS SELECT 1", 1, 16),
        ("CREATE FUNCTION f AS 'x'", 1, 8),
        ("SET a = 'b'", 1, 5),
        ("INSERT OVERWRITE t SELECT 1", 1, 8),
        ("INSERT INTO t (a, a) SELECT 1, 2", 1, 19),
        ("EXECUTE STATEMENT SET BEGIN SELECT 1; END", 1, 29),
        ("EXECUTE STATEMENT SET BEGIN END", 1, 29),
        ("EXPLAIN EXPLAIN SELECT 1", 1, 9),
        ("SHOW CATALOGS", 1, 6),
    ];
    for (text, line, column) in cases {
        let fault = refused(text);
        assert_eq!((fault.span.start.line, fault.span.start.column), (line, column), "{text}: {fault:?}");
        assert!(fault.remedy.is_some() || fault.reason.contains("twice"), "{text}: {fault:?}");
    }
}

#[test]
fn long_and_deep_texts_are_refused_by_name() {
    let chain = |op: &str| format!("SELECT a{} FROM t", format!("{op} a").repeat(10_000));
    let nested = |open: &str, close: &str| format!("SELECT {}a{} FROM t", open.repeat(100_000), close.repeat(100_000));
    let mut union = String::from("SELECT 1");
    let mut doubled = String::from("a");
    for _ in 0..1_000 {
        union.push_str(" UNION ALL SELECT 1");
    }
    for _ in 0..60 {
        doubled = format!("({doubled}{})", " + a".repeat(100));
    }
    let mut tokens = String::from("SELECT 1");
    for i in 0..120_000 {
        write!(tokens, ", {i}").unwrap();
    }
    let cases = [
        chain(" +"),
        chain(" AND"),
        chain(" ||"),
        chain(" IS NULL AND NOT"),
        format!("SELECT {} a FROM t", "- ".repeat(10_000)),
        format!("SELECT {} a FROM t", "NOT ".repeat(10_000)),
        format!("SELECT {} '1' DAY", "INTERVAL ".repeat(10_000)),
        format!("SELECT a{} FROM t", "::INT".repeat(10_000)),
        format!("SELECT a{} FROM t", "[1]".repeat(10_000)),
        format!("SELECT a{} FROM t", ".b".repeat(10_000)),
        format!("CREATE TABLE t (a {}INT{})", "ARRAY<".repeat(10_000), ">".repeat(10_000)),
        nested("(", ")"),
        nested("f(", ")"),
        nested("CASE WHEN b THEN ", " END"),
        format!("SELECT {}1{}", "(SELECT ".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(1_000), ")".repeat(1_000)),
        format!("SELECT {doubled} FROM t"),
        union,
        tokens,
    ];
    for text in cases {
        let shown: String = text.chars().take(60).collect();
        let fault = refused_on_large_stack(text);
        assert_eq!(fault.kind, SqlErrorKind::Limit, "{shown}: {fault:?}");
        assert!(fault.span.start.line > 0 && fault.remedy.is_some(), "{shown}");
    }
}

#[test]
fn what_is_just_below_the_limits_is_taken() {
    let text = format!("SELECT a{} FROM t", " + a".repeat(limits::EXPRESSION_TOKENS / 2 - 10));
    let deep = format!("SELECT {}a{} FROM t", "(".repeat(60), ")".repeat(60));
    let list = format!("SELECT a IN (1{}) FROM t", ", 1".repeat(20_000));
    let case = format!("SELECT CASE {} END FROM t", "WHEN a = 1 THEN 2 ".repeat(5_000));
    on_stack(|| {
        for text in [text, deep, list, case] {
            parse(&text).unwrap();
        }
    });
}
