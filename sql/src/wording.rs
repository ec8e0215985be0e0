//! DataFusion's words as ours: messages that users meet often, types and constants inside messages.
//!
//! Called by [`fault`](crate::fault) with the text of every error that is not one of ours. What is not known here goes through as it is.

use crate::error::Fault;
use datafusion_sql::sqlparser::tokenizer::Span;
use regex::Regex;
use std::sync::LazyLock;

/// Patterns with what stands in their place.
type Table = Vec<(Regex, &'static str)>;

fn table(all: &[(&'static str, &'static str)]) -> Table {
    all.iter().filter_map(|(regex, to)| Some((Regex::new(regex).ok()?, *to))).collect()
}

fn replaced(table: &Table, text: &str) -> String {
    table.iter().fold(text.to_owned(), |text, (regex, to)| regex.replace_all(&text, *to).into_owned())
}

/// DataFusion writes constants with their Arrow types, and a marked cast as a call; people read `1`, `'x'`, `CAST(a AS INT)`.
pub(crate) fn plain(text: &str) -> String {
    static CONSTANTS: LazyLock<Table> = LazyLock::new(|| {
        table(&[
            (r#"\b(?:(?:Large)?Utf8(?:View)?|Date\d+|Time\w+)\("([^"]*)"[^()]*\)"#, "'$1'"),
            (r"\b(?:U?Int\d+|Float\d+|Boolean|Utf8)\(([^()]*)\)", "$1"),
            (r"\$cast( \d+){4}\(", "CAST("),
            (r"\$try_cast( \d+){4}\(", "TRY_CAST("),
            (r", ?CAST\(NULL AS ([^()]*(?:\([^()]*\))?)\)\)", " AS $1)"),
            (r"\bcount\(1\)(?: AS count\(\*\))?", "count(*)"),
        ])
    });
    replaced(&CONSTANTS, text)
}

/// Arrow's names of types as SQL's.
pub(crate) fn types(text: &str) -> String {
    static TYPES: LazyLock<Table> = LazyLock::new(|| {
        table(&[
            (r"\bTimestamp\(s\)", "TIMESTAMP(0)"),
            (r"\bTimestamp\(ms\)", "TIMESTAMP(3)"),
            (r"\bTimestamp\([µu]s\)", "TIMESTAMP(6)"),
            (r"\bTimestamp\(ns\)", "TIMESTAMP(9)"),
            (r#"\bTimestamp\(ms, [^()]*\)"#, "TIMESTAMP_LTZ(3)"),
            (r#"\bTimestamp\([µu]s, [^()]*\)"#, "TIMESTAMP_LTZ(6)"),
            (r#"\bTimestamp\(\w+, [^()]*\)"#, "TIMESTAMP_LTZ(9)"),
            (r"\bDecimal\d+\((\d+), ?(-?\d+)\)", "DECIMAL($1, $2)"),
            (r"\b(?:Interval|Duration)\([^()]*\)", "INTERVAL"),
            (r"\bTime\d+\([^()]*\)", "TIME"),
            (r"\bInt8\b", "TINYINT"),
            (r"\bInt16\b", "SMALLINT"),
            (r"\bInt32\b", "INT"),
            (r"\bInt64\b", "BIGINT"),
            (r"\bFloat32\b", "FLOAT"),
            (r"\bFloat64\b", "DOUBLE"),
            (r"\bBoolean\b", "BOOLEAN"),
            (r"\b(?:Large)?Utf8(?:View)?\b", "STRING"),
            (r"\b(?:Large)?Binary(?:View)?\b", "BYTES"),
            (r"\bDate32\b", "DATE"),
        ])
    });
    let nested = [("Struct(", "ROW"), ("List(", "ARRAY"), ("Map(", "MAP")];
    let without = nested.into_iter().fold(text.to_owned(), |text, (open, name)| without_parts(&text, open, name));
    replaced(&TYPES, &without)
}

/// `Struct("x": Int64, ..)` as `ROW`, however deep its brackets.
fn without_parts(text: &str, open: &str, name: &str) -> String {
    let Some((before, rest)) = text.split_once(open) else { return text.to_owned() };
    let mut depth = 1usize;
    let end = rest.char_indices().find(|(_, c)| {
        depth = match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        };
        depth == 0
    });
    let rest = end.and_then(|(at, _)| rest.get(at + 1..)).unwrap_or_default();
    format!("{before}{name}{}", without_parts(rest, open, name))
}

/// Messages of DataFusion, with the reason and the remedy that stand for them.
const MESSAGES: &[(&str, &str, &str)] = &[
    (
        r"^aggregate function calls cannot be nested: '(?:.*)' is nested inside '(.*)'$",
        "an aggregate stands inside an aggregate: `$1`",
        "compute the inner one in a subquery, grouped by the same window",
    ),
    (
        r"^aggregate functions are not allowed in the WHERE clause",
        "an aggregate stands in WHERE",
        "write the condition behind GROUP BY: HAVING ..",
    ),
    (
        r"^HAVING clause references: (.*) must appear in the GROUP BY clause",
        "HAVING `$1` without GROUP BY and without an aggregate",
        "write WHERE, or add GROUP BY",
    ),
    (
        r"^cannot coerce arithmetic expression (.*) to valid types$",
        "`$1` cannot be computed",
        "convert with CAST(x AS type)",
    ),
    (
        r"^cannot get result type for temporal operation (.*?): ",
        "`$1` cannot be computed",
        "add an interval, ts + INTERVAL '1' SECOND, or write TIMESTAMPDIFF(SECOND, a, b)",
    ),
    (
        r"^cannot infer common argument type for (?:comparison|logical boolean) operation (.*)$",
        "`$1` cannot be computed",
        "convert one side with CAST(x AS type)",
    ),
    (
        r"^there isn't a common type to coerce (.*) and (.*) in (.*) expression$",
        "$3 takes two STRING, not $1 and $2",
        "write CAST(x AS STRING)",
    ),
    (
        r"^cannot infer common string type for string concat operation (.*)$",
        "`$1` cannot be joined",
        "write CAST(x AS STRING)",
    ),
    (
        r"^inconsistent data type across values list at row \d+ column \d+. Was (.*) but found (.*)$",
        "VALUES: a column is $1 in one row and $2 in another",
        "write all values of a column alike, or CAST them",
    ),
    (
        r"^fail(?:ed)? to find the coerced type",
        "the arguments of a function have no common type",
        "convert them to one type with CAST(x AS type)",
    ),
    (
        r"^cannot create filter with non-boolean predicate '(.*)' returning (.*)$",
        "the condition `$1` is $2, not BOOLEAN",
        "compare it, for instance with <> 0 or IS NOT NULL",
    ),
    (
        r"^UNION queries have different number of columns",
        "the queries of UNION ALL have different numbers of columns",
        "select the same columns in each",
    ),
    (
        r"^cannot access field at argument \d+: type (.*) is not",
        "a value of type $1 has no fields",
        "only ROW has fields",
    ),
    (
        r"^invalid qualifier (.*)$",
        "there is no table `$1` here",
        "write the name that FROM gives; the fields of a ROW are written one by one",
    ),
    (r"^unsupported CAST from (.*) to (.*)$", "$1 cannot be cast to $2", "pick the parts and cast each"),
    (
        r"^substring without for/from is not valid",
        "SUBSTRING has no start",
        "write SUBSTRING(s FROM 2 FOR 3) or SUBSTRING(s, 2, 3)",
    ),
    (
        r"^cannot automatically convert (.*) to (.*)$",
        "$1 is no $2",
        "convert with CAST(x AS type), or write INTERVAL '1' SECOND",
    ),
    (
        r"^cannot find column with position (\d+) in SELECT clause. Valid columns: (.*)$",
        "GROUP BY $1: SELECT has the columns $2",
        "name the column",
    ),
    (r"^unary operator '-' only supports", "`-` takes a number or an interval", "convert with CAST(x AS type)"),
    (
        r"^unary operator 'NOT' requires a boolean expression, got (.*)$",
        "NOT takes BOOLEAN, not $1",
        "compare it, for instance with <> 0",
    ),
    (r"^unsupported (?:SQL )?(unary|binary) operator:? (.*)$", "the $1 operator $2 is not known", "write a function"),
];

/// The fault that a message of DataFusion's stands for, if it is a known one.
pub(crate) fn reworded(message: &str) -> Option<Fault> {
    static KNOWN: LazyLock<Vec<(Regex, &str, &str)>> = LazyLock::new(|| {
        MESSAGES
            .iter()
            .filter_map(|(regex, reason, remedy)| Some((Regex::new(regex).ok()?, *reason, *remedy)))
            .collect()
    });
    let (found, reason, remedy) =
        KNOWN.iter().find_map(|(r, reason, remedy)| Some((r.captures(message)?, reason, remedy)))?;
    let mut out = String::new();
    found.expand(reason, &mut out);
    Some(Fault::invalid(Span::empty(), out).remedy(*remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert!(MESSAGES.iter().all(|(regex, ..)| Regex::new(regex).is_ok()));
    }

    #[test]
    fn constants_and_types_are_written_as_in_sql() {
        for (text, out) in [
            ("sum(Int64(1) + Utf8(\"a b\"))", "sum(1 + 'a b')"),
            ("$cast 1 2 3 4(t.i,CAST(NULL AS DECIMAL(10, 2))) + 1", "CAST(t.i AS DECIMAL(10, 2)) + 1"),
            ("count(Int64(1))", "count(*)"),
            ("Date32(\"2020-01-01\")", "'2020-01-01'"),
        ] {
            assert_eq!(plain(text), out);
        }
        for (text, out) in [
            ("Int64 + Utf8", "BIGINT + STRING"),
            ("Struct(\"x\": Int64, \"y\": Struct(\"z\": Utf8)) = List(Int32)", "ROW = ARRAY"),
            (
                "Timestamp(ms, \"UTC\") + Timestamp(µs) + Decimal128(10, 2)",
                "TIMESTAMP_LTZ(3) + TIMESTAMP(6) + DECIMAL(10, 2)",
            ),
            ("Struct(", "ROW"),
        ] {
            assert_eq!(types(text), out);
        }
    }
}
