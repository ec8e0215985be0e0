//! The examples that need no broker: they run, and print what they say.

use crate::binary::{Ended, ended};

fn run(name: &str, more: &[&str]) -> Ended {
    let path = format!("examples/{name}.sql");
    let arguments: Vec<&str> = ["run", path.as_str(), "--json"].iter().chain(more).copied().collect();
    let out = ended(&arguments);
    assert_eq!(out.status, 0, "{name}\n{}", out.stderr);
    out
}

#[test]
fn hot_items_are_few_and_hot() {
    let rows = run("nexmark_hot_items", &[]).rows();
    assert!(!rows.is_empty());
    assert!(rows.iter().all(|r| r["bids"].as_i64().unwrap() > 815));
}

#[test]
fn late_bids_are_shown_beside_the_result() {
    let out = run("late_rows", &[]);
    let rows = out.rows();
    let late = rows.iter().filter(|r| r.get("bids").is_none()).count();
    assert_eq!(out.messages("summary")[0]["late_rows"], late);
    assert!(late > 0 && late < rows.len(), "{late} of {} rows are late", rows.len());
}
