//! Results that change in a topic: the last record of every key is the answer, whatever crashes, and what is no result any more has a
//! tombstone. On a real broker only: the mock makes no topic of markers.

use crate::crash;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use thalweg_connectors::kafka::testing::Cluster;
use thalweg_connectors::nexmark::{Generator, NexmarkConfig, Projection, Slice, wide_schema};

const EVENTS: u64 = 30_000;
/// Auctions are shown as long as they have fewer bids than this.
const FEW: i64 = 30;

/// Bids and their sum by auction, by a loop over the generator's rows.
fn naive() -> BTreeMap<i64, (i64, i64)> {
    let rows = Generator::new(NexmarkConfig { events_num: EVENTS, ..NexmarkConfig::default() }).unwrap();
    let all = Projection::new(wide_schema()).unwrap();
    let mut totals: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for first in (0..EVENTS).step_by(8192) {
        let count = 8192.min(EVENTS - first) as usize;
        let batch = rows.generate(Slice { first, stride: 1, count }, &all).unwrap();
        let bids = batch.column_by_name("bid").unwrap().as_struct();
        let column = |name| bids.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        let (auction, price) = (column("auction"), column("price"));
        for row in (0..count).filter(|r| bids.is_valid(*r)) {
            let total = totals.entry(auction.value(row)).or_default();
            *total = (total.0 + 1, total.1 + price.value(row));
        }
    }
    totals
}

fn start(dir: &Path, parallelism: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.arg("run").arg(dir.join("job.sql")).args(["--from", "auto", "--parallelism", parallelism]);
    command.arg("--set").arg(format!("checkpoint.dir={}", dir.join("checkpoints").display()));
    command.args(["--set", "checkpoint.interval=20ms", "--set", "epoch.interval=5ms"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_and_rescaled_the_last_record_of_every_key_is_the_answer() {
    let cluster = Cluster::start();
    if !cluster.is_real() {
        return;
    }
    let topic = cluster.topic("totals", 3);
    let dir = tempfile::tempdir().unwrap();
    let sql = format!(
        "CREATE TABLE nexmark (event_type INT, bid ROW<auction BIGINT, bidder BIGINT, price BIGINT>)
         WITH ('connector' = 'nexmark', 'events.num' = '{EVENTS}', 'rows-per-second' = '15000');
         CREATE TABLE totals (auction BIGINT, bids BIGINT, total BIGINT, PRIMARY KEY (auction) NOT ENFORCED)
         WITH ('connector' = 'upsert-kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}',
               'key.format' = 'json', 'value.format' = 'json');
         INSERT INTO totals SELECT bid.auction, COUNT(*), SUM(bid.price) FROM nexmark WHERE event_type = 2
         GROUP BY bid.auction HAVING COUNT(*) < {FEW};",
        cluster.bootstrap()
    );
    std::fs::write(dir.path().join("job.sql"), sql).unwrap();
    let checkpoints = dir.path().join("checkpoints");
    for parallelism in ["2", "3", "1", "2"] {
        let mut job = start(dir.path(), parallelism);
        crash::await_checkpoint(&checkpoints, crash::generation(&checkpoints) + 1);
        job.kill().unwrap();
        job.wait().unwrap();
    }
    assert!(start(dir.path(), "3").wait().unwrap().success());
    let mut last = BTreeMap::new();
    let records = cluster.consume_all(&topic, 3);
    for record in &records {
        last.insert(record.key.clone().unwrap(), record.value.clone());
    }
    let totals = naive();
    assert!(last.len() <= totals.len());
    for (auction, (bids, total)) in totals {
        // One that has many bids within an epoch was never shown.
        let value = last.get(format!("{{\"auction\":{auction}}}").as_bytes()).cloned().flatten();
        let wanted = (bids < FEW).then(|| format!("{{\"auction\":{auction},\"bids\":{bids},\"total\":{total}}}"));
        assert_eq!(value.map(|v| String::from_utf8(v).unwrap()), wanted);
    }
    let tombstones = last.values().filter(|v| v.is_none()).count();
    assert!(tombstones > 0 && tombstones < last.len(), "{tombstones} of {}", last.len());
}
