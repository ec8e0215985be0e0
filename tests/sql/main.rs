//! Every query that is supported, as records in `.slt` files (`script.rs` tells the form): run at every parallelism and batch size of
//! `run.rs`, resumed from a checkpoint, and killed and resumed by another process (`crashed.rs`), each must give the stated rows; and so must the oracle, if it is one that can be asked.
//!
//! `THALWEG_SLT_COMPLETE=1 cargo test --test sql` writes the oracle's rows into the records that ask DataFusion.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod crashed;
mod oracle;
mod random;
mod run;
mod script;
mod tables;

use crate::script::{Item, Kind, Query};
use crate::tables::{Splits, Tables};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thalweg_sql::{Program, compile};

macro_rules! files {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        const FILES: &[&str] = &[$(stringify!($name)),*];
    };
}

files!(aggregates, answers, assign, casts, functions, groups, joins, limits, nested, projection, refusals, windows);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql")
}

/// What `crashed.rs` starts.
#[test]
fn child() {
    crashed::child();
}

#[test]
fn every_file_is_run() {
    let files = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|p| p.extension().is_some_and(|e| e == "slt"))
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut run = FILES.to_vec();
    run.sort_unstable();
    assert_eq!(names, run);
}

/// What the blocks before have set up.
#[derive(Default)]
struct Context {
    data: BTreeMap<String, Splits>,
    setup: String,
    /// Rows for the file's text, by the lines they replace.
    completed: Vec<(std::ops::Range<usize>, Vec<String>)>,
}

/// The blocks of a file.
fn items(name: &str) -> Vec<Item> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.slt"))).unwrap();
    script::parse(&text).unwrap_or_else(|e| panic!("{name}.slt: {e}"))
}

fn check(name: &str) {
    let path = folder().join(format!("{name}.slt"));
    let mut context = Context::default();
    let mut failures = vec![];
    let mut crashed =
        crashed::answers(name).unwrap_or_else(|e| panic!("tests/sql/{name}.slt: killed and resumed: {e}"));
    for Item { line, kind } in items(name) {
        if let Kind::Query(query) = &kind {
            let mut expected = query.rows.clone();
            expected.sort();
            let rows = crashed.remove(&line).unwrap_or_default();
            if let Err(e) =
                same("killed behind a checkpoint at parallelism 2, resumed at 3 by a new process", &expected, &rows)
            {
                failures.push(format!("tests/sql/{name}.slt:{line}: {e}"));
            }
        }
        if let Err(e) = context.item(kind) {
            failures.push(format!("tests/sql/{name}.slt:{line}: {e}"));
        }
    }
    if !context.completed.is_empty() {
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, complete(&text, &context.completed)).unwrap();
    }
    assert!(failures.is_empty(), "{} records fail\n\n{}\n", failures.len(), failures.join("\n\n"));
}

fn complete(text: &str, completed: &[(std::ops::Range<usize>, Vec<String>)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (range, rows) in completed.iter().rev() {
        lines.splice(range.clone(), rows.iter().cloned());
    }
    lines.join("\n") + "\n"
}

impl Context {
    fn item(&mut self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::Data { table, splits } => drop(self.data.insert(table, splits)),
            Kind::Setup { sql } => {
                self.compiled(&sql)?;
                self.setup.push_str(&sql);
                self.setup.push_str(if sql.trim_end().ends_with(';') { "\n" } else { ";\n" });
            }
            Kind::Answer { sql, rows } => {
                let (program, _) = self.compiled(&sql)?;
                let Some(thalweg_sql::Item::Answer(answer)) = program.items.last() else {
                    return Err("the statement is not answered".into());
                };
                let lines = answer.rows.iter().map(|row| row.join("|").trim_end().to_owned());
                same("answer", &rows, &lines.collect::<Vec<_>>())?;
            }
            Kind::Refused { sql, error } => match self.compiled(&sql) {
                Ok(_) => return Err("is not refused".into()),
                Err(text) => matches(&text, &error)?,
            },
            Kind::Fails { sql, error } => self.fails(&sql, &error)?,
            Kind::Query(query) => self.query(query)?,
        }
        Ok(())
    }

    /// The text after what was set up. Errors: `LINE:COLUMN reason; remedy`.
    fn compiled(&self, sql: &str) -> Result<(Program, Tables), String> {
        self.compiled_with(sql, self.tables())
    }

    fn tables(&self) -> Tables {
        Tables::new(self.data.clone())
    }

    fn compiled_with(&self, sql: &str, tables: Tables) -> Result<(Program, Tables), String> {
        let before = self.setup.lines().count();
        let program = compile(&format!("{}{sql}", self.setup), &BTreeMap::new(), &tables, &tables);
        let program = program.map_err(|e| {
            let place =
                e.position().map(|p| format!("{}:{} ", p.line as i64 - before as i64, p.column)).unwrap_or_default();
            format!("{place}{}; {}", e.reason(), e.remedy().unwrap_or("no remedy"))
        });
        Ok((program?, tables))
    }

    fn fails(&self, sql: &str, error: &str) -> Result<(), String> {
        let (program, tables) = self.compiled(sql)?;
        let job = program.jobs().next().ok_or("there is no job")?;
        for (how, rows) in run::answers(&job.graph, &tables, run::HowMany::All) {
            match rows {
                Ok(rows) => return Err(format!("{how}: does not fail, but gives\n{}", rows.join("\n"))),
                Err(text) => matches(&text, error).map_err(|e| format!("{how}: {e}"))?,
            }
        }
        Ok(())
    }

    fn query(&mut self, query: Query) -> Result<(), String> {
        let (program, tables) = self.compiled(&query.sql)?;
        let mut jobs = program.jobs();
        let (Some(job), None) = (jobs.next(), jobs.next()) else { return Err("the query is not one job".into()) };
        let mut expected = query.rows.clone();
        expected.sort();
        if let Some(sql) = &query.oracle {
            let rows = oracle::answer(sql, &self.data, &tables.declared()).map_err(|e| format!("oracle: {e}"))?;
            if rows != expected && std::env::var_os("THALWEG_SLT_COMPLETE").is_some() {
                expected.clone_from(&rows);
                self.completed.push((query.at.clone(), rows.clone()));
            }
            same("oracle", &expected, &rows)?;
        }
        for (how, rows) in run::answers(&job.graph, &tables, run::HowMany::All) {
            same(&how, &expected, &rows.map_err(|e| format!("{how}: {e}"))?)?;
        }
        Ok(())
    }
}

fn matches(text: &str, regex: &str) -> Result<(), String> {
    let found = Regex::new(regex).map_err(|e| e.to_string())?.is_match(text);
    if found { Ok(()) } else { Err(format!("another error: {text}")) }
}

/// Both sorted. Errors: the lines that only one of them has.
fn same(how: &str, expected: &[String], rows: &[String]) -> Result<(), String> {
    if expected == rows {
        return Ok(());
    }
    let mut rest = rows.to_vec();
    let mut diff = format!("{how}: {} rows instead of {}", rows.len(), expected.len());
    for row in expected {
        match rest.iter().position(|r| r == row) {
            Some(i) => drop(rest.remove(i)),
            None => diff.push_str(&format!("\n- {row}")),
        }
    }
    rest.iter().for_each(|row| diff.push_str(&format!("\n+ {row}")));
    Err(diff)
}
