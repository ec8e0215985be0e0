//! The graphs that the scenarios run, with the answer that each must give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::operator::OperatorFactory;
use thalweg_engine::rng::Rng;
use thalweg_engine::sink::{Release, SinkFactory};
use thalweg_engine::testing::collect::CollectSink;
use thalweg_engine::testing::operators::{AsyncPass, KeyedSum, Pass};
use thalweg_engine::testing::rows::{ZSet, int_batch, zset};
use thalweg_engine::testing::scripted::{ScriptedSource, watermark};
use thalweg_engine::{Batch, Graph, Input, JobOptions, NodeId, NodeKind, NodeSpec, Partitioning, Port};

pub const KEYS: u64 = 7;

/// Splits of rows [time, key, value] with small random values.
pub fn splits(rng: &mut Rng, n: usize, rows: usize) -> Vec<Batch> {
    let mut split = |_| {
        let row = |i: usize, rng: &mut Rng| [i as i64 * 10, rng.below(KEYS) as i64, rng.below(100) as i64 - 50];
        let rows: Vec<[i64; 3]> = (0..rows).map(|i| row(i, rng)).collect();
        int_batch(["time", "key", "value"], &rows)
    };
    (0..n).map(&mut split).collect()
}

/// `SELECT key, sum(value) GROUP BY key`, every row counted `times` times.
pub fn sums(splits: &[Batch], times: i64) -> ZSet {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for (text, _) in splits.iter().flat_map(thalweg_engine::testing::rows::texts) {
        let row: Vec<i64> = text.split('|').map(|v| v.parse().unwrap()).collect();
        *sums.entry(row[1]).or_default() += row[2] * times;
    }
    sums.iter().map(|(k, s)| (format!("{k}|{s}"), 1)).collect()
}

pub fn source(graph: &mut Graph, id: &str, script: ScriptedSource) -> NodeId {
    let (factory, watermark) = (Arc::new(script), Some(watermark(0, 5)));
    let kind = NodeKind::Source { factory, watermark, name: id.to_owned() };
    graph.add(NodeSpec::new(id, id, kind, vec![])).unwrap()
}

pub fn operator(graph: &mut Graph, id: &str, factory: Arc<dyn OperatorFactory>, inputs: Vec<Input>) -> NodeId {
    let spec = NodeSpec::new(id, id, NodeKind::Operator(factory), inputs);
    graph.add(NodeSpec { updating: id.starts_with("sum"), ..spec }).unwrap()
}

pub fn sink(graph: &mut Graph, from: NodeId, to: &CollectSink) {
    sink_into(graph, from, Arc::new(to.clone()));
}

fn sink_into(graph: &mut Graph, from: NodeId, factory: Arc<dyn SinkFactory>) {
    let kind = NodeKind::Sink { factory, name: "collect".into() };
    graph.add(NodeSpec::new("sink", "collect", kind, vec![Input::new(from, Partitioning::Forward)])).unwrap();
}

fn by_key(from: NodeId) -> Input {
    Input::new(from, Partitioning::Hash(vec![1]))
}

/// The shapes that deadlock engines which do not take care.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One source, two ways through it, joined again.
    Diamond,
    /// The same output into both inputs of one operator.
    SelfJoin,
    /// Two sources, one of which never has a row and never ends.
    IdleInput,
    /// Two sources, one of which ends at once.
    EndedInput,
}

impl Shape {
    /// The graph, and how often each row of the first source is counted.
    pub fn build(self, script: &ScriptedSource, to: &CollectSink) -> (Graph, i64) {
        self.build_into(script, Arc::new(to.clone()))
    }

    /// The same with a sink of its own.
    pub fn build_into(self, script: &ScriptedSource, to: Arc<dyn SinkFactory>) -> (Graph, i64) {
        let mut g = Graph::new();
        let first = source(&mut g, "events", script.clone());
        let sum = KeyedSum::factory(1, 2);
        let (node, times) = match self {
            Shape::Diamond => {
                let forward = || Input::new(first, Partitioning::Forward);
                let left = operator(&mut g, "left", Pass::factory(), vec![forward()]);
                let right = operator(&mut g, "right", AsyncPass::factory(3), vec![forward()]);
                (operator(&mut g, "sum", sum, vec![by_key(left), by_key(right).port(Port(1))]), 2)
            }
            Shape::SelfJoin => (operator(&mut g, "sum", sum, vec![by_key(first), by_key(first).port(Port(1))]), 2),
            Shape::IdleInput | Shape::EndedInput => {
                let idle = matches!(self, Shape::IdleInput);
                let rows = int_batch(["time", "key", "value"], &[]);
                let other = ScriptedSource { endless: idle, ..ScriptedSource::new(vec![rows]) };
                let second = source(&mut g, "other", other);
                (operator(&mut g, "sum", sum, vec![by_key(first), by_key(second)]), 1)
            }
        };
        sink_into(&mut g, node, to);
        (g, times)
    }
}

/// One-batch credits and 1 ms epochs.
pub fn tight(parallelism: u32) -> JobOptions {
    JobOptions {
        parallelism,
        batch_rows: 16,
        gate_bytes: 1,
        edge_bytes: 1,
        epoch_interval: Duration::from_millis(1),
        idle_timeout: Some(Duration::from_millis(2)),
        ..JobOptions::default()
    }
}

pub fn collect() -> CollectSink {
    CollectSink::new(Release::Epoch)
}

/// Folds the released epochs one by one; `check` sees the answer after each.
pub fn fold(sink: &CollectSink, mut check: impl FnMut(u64, &ZSet)) -> ZSet {
    let mut all = ZSet::new();
    for (epoch, batches) in &sink.collected().released {
        for (row, weight) in zset(batches) {
            *all.entry(row).or_default() += weight;
        }
        all.retain(|_, w| *w != 0);
        check(*epoch, &all);
    }
    all
}
