//! The Nexmark queries of the benchmark against loops over the generator's events that use no engine.

use crate::binary::{Ended, SqlFile, ended};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use thalweg::connectors::nexmark::{Generator, NexmarkConfig, Projection, Slice};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};

const EVENTS: u64 = 20_000;
/// Ten seconds before 08:00, so that rows of two kinds of hours are there.
const BASE: &str = "2026-01-01 07:59:50";
const BASE_MS: i64 = 1_767_225_600_000 + (8 * 3600 - 10) * 1000;

struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: String,
    url: String,
    time: i64,
    extra: String,
}

/// What the generator makes: bids, and of persons and auctions what the queries read.
struct Events {
    bids: Vec<Bid>,
    persons: Vec<(i64, String, i64)>,
    sellers: Vec<(i64, i64)>,
}

fn int(of: &StructArray, name: &str, row: usize) -> i64 {
    of.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
}

fn time(of: &StructArray, row: usize) -> i64 {
    of.column_by_name("dateTime").unwrap().as_primitive::<TimestampMillisecondType>().value(row)
}

fn text(of: &StructArray, name: &str, row: usize) -> String {
    of.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned()
}

fn events() -> Events {
    let config =
        NexmarkConfig { events_num: EVENTS, first_event_rate: 1000, base_time_ms: BASE_MS, ..NexmarkConfig::default() };
    let rows = Generator::new(config).unwrap().generate(Slice::run(0, EVENTS as usize), &Projection::all()).unwrap();
    let part = |rows: &RecordBatch, name: &str| rows.column_by_name(name).unwrap().as_struct().clone();
    let (persons, auctions, bids) = (part(&rows, "person"), part(&rows, "auction"), part(&rows, "bid"));
    let valid = |of: &StructArray| (0..of.len()).filter(|r| of.is_valid(*r)).collect::<Vec<_>>();
    let bid = |row: usize| Bid {
        auction: int(&bids, "auction", row),
        bidder: int(&bids, "bidder", row),
        price: int(&bids, "price", row),
        channel: text(&bids, "channel", row),
        url: text(&bids, "url", row),
        time: time(&bids, row),
        extra: text(&bids, "extra", row),
    };
    let person = |row: usize| (int(&persons, "id", row), text(&persons, "name", row), time(&persons, row));
    let seller = |row: usize| (int(&auctions, "seller", row), time(&auctions, row));
    Events {
        bids: valid(&bids).into_iter().map(bid).collect(),
        persons: valid(&persons).into_iter().map(person).collect(),
        sellers: valid(&auctions).into_iter().map(seller).collect(),
    }
}

/// A time of that day as text.
fn clock(ms: i64) -> String {
    let ms = ms - 1_767_225_600_000;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("2026-01-01 {h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

fn run(name: &str, sink: &str, files: &str) -> Ended {
    let query = |name: &str| std::fs::read_to_string(format!("benches/nexmark/queries/{name}.sql")).unwrap();
    let file = SqlFile::new(&format!("{}\n{}", query("source"), query(name)));
    let source =
        format!("SOURCE='connector'='nexmark','events.num'='{EVENTS}','first-event.rate'='1000','base-time'='{BASE}'");
    let (sink, files) = (format!("SINK={sink}"), format!("FILES={files}"));
    let path = file.path();
    let mut arguments = vec!["run", &path, "--json", "--parallelism", "3", "--define", &source];
    arguments.extend(["--define", &sink, "--define", &files]);
    let out = ended(&arguments);
    assert_eq!(out.status, 0, "{name}: {}", out.stderr);
    assert_eq!(out.messages("summary")[0]["late_rows"], 0, "{name}");
    out
}

fn printed(name: &str) -> Vec<Value> {
    run(name, "'connector'='print'", "").rows()
}

fn sorted(rows: Vec<Value>) -> Vec<String> {
    let mut all: Vec<String> = rows.iter().map(Value::to_string).collect();
    all.sort();
    all
}

fn assert_same(name: &str, found: Vec<Value>, expected: Vec<Value>) {
    let (found, expected) = (sorted(found), sorted(expected));
    assert!(!expected.is_empty(), "{name} tests nothing");
    let first = found.iter().zip(&expected).find(|(f, e)| f != e);
    assert!(first.is_none(), "{name}: {first:?}");
    assert_eq!(found.len(), expected.len(), "{name}");
}

/// 0.908 times the price, in thousandths.
fn in_euros(bid: &Bid) -> i64 {
    bid.price * 908
}

fn decimal(thousandths: i64) -> Value {
    serde_json::from_str(&format!("{}.{:03}", thousandths / 1000, thousandths % 1000)).unwrap()
}

/// Read from text as what was printed is: reading JSON may round the last digit.
fn float(value: f64) -> Value {
    serde_json::from_str(&format!("{value:?}")).unwrap()
}

fn with_price(bid: &Bid, price: Value) -> Value {
    let (auction, bidder, time, extra) = (bid.auction, bid.bidder, clock(bid.time), &bid.extra);
    json!({ "auction": auction, "bidder": bidder, "price": price, "dateTime": time, "extra": extra })
}

#[test]
fn projections_and_filters_equal_a_loop() {
    let bids = events().bids;
    let each = |row: fn(&Bid) -> Option<Value>| bids.iter().filter_map(row).collect::<Vec<_>>();
    assert_same("q0", printed("q0"), each(|b| Some(with_price(b, b.price.into()))));
    assert_same("q1", printed("q1"), each(|b| Some(with_price(b, float(0.908 * b.price as f64)))));
    assert_same("q1-decimal", printed("q1-decimal"), each(|b| Some(with_price(b, decimal(in_euros(b))))));
    let of_some = |b: &Bid| (b.auction % 123 == 0).then(|| json!({ "auction": b.auction, "price": b.price }));
    assert_same("q2", printed("q2"), each(of_some));
    let in_range = |b: &Bid| {
        let kind = match (b.time - 1_767_225_600_000) / 3_600_000 {
            8..=18 => "dayTime",
            0..=6 | 20.. => "nightTime",
            _ => "otherTime",
        };
        let mut row = with_price(b, decimal(in_euros(b)));
        row["bidTimeType"] = kind.into();
        row["c_counts"] = b.extra.matches('c').count().into();
        (in_euros(b) > 1_000_000_000 && in_euros(b) < 50_000_000_000).then_some(row)
    };
    assert_same("q14", printed("q14"), each(in_range));
    let with_id = |b: &Bid| {
        let known = ["apple", "google", "facebook", "baidu"].iter().position(|c| *c == b.channel.to_lowercase());
        let in_url = || b.url.split_once("&channel_id=").map(|(_, id)| id.split('&').next().unwrap().to_owned());
        let id = known.map(|n| n.to_string()).or_else(in_url)?;
        let (auction, bidder, price, channel) = (b.auction, b.bidder, b.price, &b.channel);
        Some(json!({ "auction": auction, "bidder": bidder, "price": price, "channel": channel, "channel_id": id }))
    };
    assert_same("q21", printed("q21"), each(with_id));
    let with_directories = |b: &Bid| {
        let directory = |n: usize| b.url.split('/').nth(n);
        let (auction, bidder, price, channel) = (b.auction, b.bidder, b.price, &b.channel);
        let mut row = json!({ "auction": auction, "bidder": bidder, "price": price, "channel": channel });
        for (name, n) in [("dir1", 3), ("dir2", 4), ("dir3", 5)] {
            row[name] = directory(n).into();
        }
        Some(row)
    };
    assert_same("q22", printed("q22"), each(with_directories));
}

fn tumble(time: i64) -> (String, String) {
    let start = time / 10_000 * 10_000;
    (clock(start), clock(start + 10_000))
}

#[test]
fn windows_equal_a_loop() {
    let events = events();
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut highest: BTreeMap<(String, String), i64> = BTreeMap::new();
    for b in &events.bids {
        for hop in 0..5 {
            *counts.entry((b.auction, (b.time / 2000 - hop) * 2000)).or_default() += 1;
        }
        let most = highest.entry(tumble(b.time)).or_default();
        *most = b.price.max(*most);
    }
    let row = |((auction, start), n): (&(i64, i64), &i64)| json!({ "auction": auction, "num": n, "starttime": clock(*start), "endtime": clock(start + 10_000) });
    assert_same("q5", printed("q5"), counts.iter().map(row).collect());
    let row = |((start, end), most): (&(String, String), &i64)| json!({ "maxprice": most, "starttime": start, "endtime": end });
    assert_same("q7", printed("q7"), highest.iter().map(row).collect());
    let persons: BTreeSet<_> = events.persons.iter().map(|(id, name, time)| (*id, name, tumble(*time))).collect();
    let sellers: BTreeSet<_> = events.sellers.iter().map(|(id, time)| (*id, tumble(*time))).collect();
    let persons = persons
        .into_iter()
        .map(|(id, name, (start, end))| json!({ "id": id, "name": name, "starttime": start, "endtime": end }));
    let sellers =
        sellers.into_iter().map(|(id, (start, end))| json!({ "seller": id, "starttime": start, "endtime": end }));
    assert_same("q8", printed("q8"), persons.chain(sellers).collect());
}

#[test]
fn processing_time_windows_count_every_bid_once() {
    let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
    events().bids.iter().for_each(|b| *expected.entry(b.bidder).or_default() += 1);
    let mut found: BTreeMap<i64, i64> = BTreeMap::new();
    for row in printed("q12") {
        *found.entry(row["bidder"].as_i64().unwrap()).or_default() += row["bid_count"].as_i64().unwrap();
    }
    assert_eq!(found, expected);
}

/// Rows of all visible files, with the folders they are in.
fn files(folder: &Path, inside: &str, out: &mut Vec<Value>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        if name.starts_with(['.', '_']) {
            continue;
        }
        if path.is_dir() {
            files(&path, &format!("{inside}/{name}"), out);
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row["folder"] = inside.into();
            out.push(row);
        }
    }
}

#[test]
fn partitioned_files_hold_every_bid_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    run("q10", "", &format!("'connector'='filesystem','format'='json','path'='{path}'"));
    let mut found = vec![];
    files(dir.path(), "", &mut found);
    let expected = |b: &Bid| {
        let mut row = with_price(b, b.price.into());
        row["folder"] = format!("/dt=2026-01-01/hm={}", &clock(b.time)[11..16].replace(':', "%3A")).into();
        row
    };
    assert_same("q10", found, events().bids.iter().map(expected).collect());
}
