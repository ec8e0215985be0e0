//! Reads `.slt` files: blocks between blank lines, `#` begins a comment line. Called by `main.rs`.
//!
//! | block | meaning |
//! |---|---|
//! | `data NAME`, lines of JSON | the rows of table NAME for what follows; a line `split` begins another split |
//! | `statement ok`, SQL | compiles; what it defines stays for the rest of the file |
//! | `statement error REGEX`, SQL | is refused with `LINE:COLUMN reason; remedy`, the line counted in the SQL |
//! | `statement answer`, SQL, `----`, rows | EXPLAIN, SHOW or DESCRIBE, answered with these rows |
//! | `query error REGEX`, SQL | compiles, and fails when it runs |
//! | `query rowsort`, SQL, `oracle ..`, `----`, rows | gives these rows, in any order |
//!
//! `oracle datafusion` is followed by the SQL that DataFusion is asked; nothing means the same SQL. `oracle hand: HOW` says how the rows
//! were computed. Rows are values joined by `|`; an empty text alone in its row is written `(empty)`. Rows of an INSERT begin with `TABLE: `.

use std::ops::Range;

/// A block, with the number of its first line.
pub struct Item {
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    Data { table: String, splits: Vec<Vec<String>> },
    Setup { sql: String },
    Answer { sql: String, rows: Vec<String> },
    Refused { sql: String, error: String },
    Fails { sql: String, error: String },
    Query(Query),
}

pub struct Query {
    pub sql: String,
    /// What DataFusion is asked; `None` = the rows were computed by hand.
    pub oracle: Option<String>,
    pub rows: Vec<String>,
    /// The rows' lines in the file, counted from 0.
    pub at: Range<usize>,
}

/// All blocks of a file. Errors name the line.
pub fn parse(text: &str) -> Result<Vec<Item>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut items = vec![];
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim().is_empty() || lines[at].starts_with('#') {
            at += 1;
            continue;
        }
        let end = lines[at..].iter().position(|l| l.trim().is_empty()).map_or(lines.len(), |n| at + n);
        let kind = block(lines[at], &lines[at + 1..end], at + 1).map_err(|e| format!("line {}: {e}", at + 1))?;
        items.push(Item { line: at + 1, kind });
        at = end;
    }
    Ok(items)
}

fn block(head: &str, body: &[&str], first: usize) -> Result<Kind, String> {
    let sql = || body.join("\n");
    if let Some(table) = head.strip_prefix("data ") {
        let splits = body.split(|l| *l == "split").map(|s| s.iter().map(|l| l.to_string()).collect()).collect();
        return Ok(Kind::Data { table: table.to_owned(), splits });
    }
    if let Some(error) = head.strip_prefix("statement error ") {
        return Ok(Kind::Refused { sql: sql(), error: error.to_owned() });
    }
    if let Some(error) = head.strip_prefix("query error ") {
        return Ok(Kind::Fails { sql: sql(), error: error.to_owned() });
    }
    match head {
        "statement answer" => {
            let mut parts = body.split(|l| *l == "----").map(<[&str]>::to_vec);
            let (Some(sql), Some(rows)) = (parts.next(), parts.next()) else { return Err("no `----`".into()) };
            Ok(Kind::Answer { sql: sql.join("\n"), rows: rows.iter().map(|l| l.to_string()).collect() })
        }
        "statement ok" => Ok(Kind::Setup { sql: sql() }),
        "query rowsort" => query(body, first).map(Kind::Query),
        _ => Err(format!("no kind of block: {head}")),
    }
}

fn query(body: &[&str], first: usize) -> Result<Query, String> {
    let oracle = body.iter().position(|l| l.starts_with("oracle ")).ok_or("the query names no oracle")?;
    let dashes = body.iter().position(|l| *l == "----").ok_or("the query has no `----`")?;
    let (sql, asked) = (body[..oracle].join("\n"), body[oracle + 1..dashes].join("\n"));
    let oracle = match body[oracle] {
        "oracle datafusion" if asked.is_empty() => Some(sql.clone()),
        "oracle datafusion" => Some(asked),
        hand if hand.starts_with("oracle hand: ") => None,
        other => return Err(format!("no oracle: {other}")),
    };
    let rows = body[dashes + 1..].iter().map(|l| l.to_string()).collect();
    Ok(Query { sql, oracle, rows, at: first + dashes + 1..first + body.len() })
}
