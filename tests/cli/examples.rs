//! The examples that need no broker: they run, and print what they say.

use crate::binary::{Ended, ended};
use serde_json::Value;

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
fn random_orders_are_the_same_in_every_run() {
    let [rows, others] = ["1", "3"].map(|parallelism| {
        let mut rows = run("datagen_orders", &["--parallelism", parallelism]).rows();
        rows.sort_by_key(|r| r["last"].as_i64());
        rows
    });
    assert_eq!(rows, others);
    let seconds: Vec<_> = rows.iter().map(|r| (r["orders"].as_i64().unwrap(), r["last"].as_i64().unwrap())).collect();
    assert_eq!(seconds, [(2_000, 2_000), (2_000, 4_000), (1_000, 5_000)]);
    assert!(rows.iter().all(|r| (&r["youngest"], &r["oldest"]) == (&18.into(), &99.into())), "{rows:?}");
}

#[test]
fn late_bids_are_shown_beside_the_result() {
    let out = run("late_rows", &[]);
    let rows = out.rows();
    let late = rows.iter().filter(|r| r.get("bids").is_none()).count();
    assert_eq!(out.messages("summary")[0]["late_rows"], late);
    assert!(late > 0 && late < rows.len(), "{late} of {} rows are late", rows.len());
}

#[test]
fn files_become_summaries_by_the_minute() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("minutes");
    let target = format!("OUT={}", folder.display());
    run("files_to_files", &["--define", "IN=examples/data", "--define", &target]);
    let files = std::fs::read_dir(&folder).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
    let text: Vec<String> = files.collect();
    let mut rows: Vec<Value> = text.iter().flat_map(|t| t.lines()).map(|l| serde_json::from_str(l).unwrap()).collect();
    rows.sort_by_key(|r| (r["machine"].to_string(), r["minute"].to_string()));
    assert_eq!(rows.len(), 6, "{rows:?}");
    let first = &rows[0];
    assert_eq!((&first["machine"], &first["readings"], &first["mean"]), (&"boiler".into(), &2.into(), &72.75.into()));
}

#[test]
fn bids_become_files_by_the_hour() {
    let out = tempfile::tempdir().unwrap();
    run("nexmark_to_files", &["--define", &format!("OUT={}", out.path().display())]);
    let mut hours: Vec<String> =
        std::fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    hours.sort();
    assert_eq!(hours, ["hour=00", "hour=01"]);
}

#[test]
fn broken_records_are_shown_beside_the_result() {
    let out = run("dead_letters", &["--define", "IN=examples/data"]);
    let rows = out.rows();
    let broken: Vec<&Value> = rows.iter().filter(|r| r["reason"].is_string()).collect();
    assert_eq!(broken.len(), 1, "{rows:?}");
    assert!(broken[0]["position"].as_str().unwrap().contains("orders.json"), "{}", broken[0]);
    assert_eq!(out.messages("summary")[0]["bad_records"], 1);
    let sums: Vec<(i64, i64)> =
        rows.iter().filter_map(|r| Some((r["orders"].as_i64()?, r["amount"].as_i64()?))).collect();
    assert_eq!(sums, [(2, 200), (2, 210)]);
}

#[test]
fn what_is_known_of_sellers_adds_up_to_one_row_per_state() {
    let totals = |parallelism: &str| {
        let mut there = std::collections::BTreeMap::<String, i64>::new();
        for mut row in run("nexmark_sellers", &["--parallelism", parallelism]).rows() {
            let weight = row.as_object_mut().unwrap().remove("$weight").unwrap().as_i64().unwrap();
            *there.entry(row.to_string()).or_default() += weight;
        }
        there.retain(|_, n| *n != 0);
        assert!(there.values().all(|n| *n == 1), "{there:?}");
        there.into_keys().map(|row| serde_json::from_str::<Value>(&row).unwrap()).collect::<Vec<_>>()
    };
    let rows = totals("1");
    assert_eq!(rows, totals("3"));
    let row = |r: &Value| {
        (r["state"].as_str().unwrap().to_owned(), ["auctions", "bids", "highest"].map(|c| r[c].as_i64().unwrap()))
    };
    // By a loop over the generator's events.
    let wanted = [
        ("AZ", [1234, 20284, 99_987_856]),
        ("CA", [601, 9724, 99_816_228]),
        ("ID", [125, 929, 99_670_712]),
        ("OR", [111, 835, 95_947_828]),
        ("WA", [354, 4986, 99_951_224]),
        ("WY", [346, 4890, 99_927_655]),
    ];
    let mut rows: Vec<_> = rows.iter().map(row).collect();
    rows.sort();
    assert_eq!(rows, wanted.map(|(state, values)| (state.to_owned(), values)));
}
