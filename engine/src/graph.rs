//! What the user asked for: a graph of sources, operators and sinks, its picture as JSON and its fingerprint.
//! The planner and the Rust API build it; `plan.rs` turns it into tasks.
//!
//! Invariants
//! - G1 nodes stand in topological order: inputs come before.
//! - G2 operator ids are unique, stable names made from what a node does, never from positions.
//! - G3 there is one source node per table and job.

use crate::error::{Error, Result};
use crate::operator::{OperatorFactory, OutPort, Port};
use crate::sink::SinkFactory;
use crate::source::{SourceFactory, WatermarkFactory};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// A node's place in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// How rows are spread over the subtasks of the next node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// Subtask i to subtask i; chained if nothing else forbids. Between different parallelisms it is `Rebalance`.
    Forward,
    /// By the hash of these columns of the sender's batch.
    Hash(Vec<usize>),
    /// Every row to every subtask.
    Broadcast,
    /// Batches in turn.
    Rebalance,
}

/// One incoming edge of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The sender.
    pub from: NodeId,
    /// Which of its outputs.
    pub out: OutPort,
    /// Which input of the receiver; several edges may enter one port (a union).
    pub port: Port,
    /// How rows are spread.
    pub partitioning: Partitioning,
    /// Only these columns travel; `None` = all. Hash columns are counted before this.
    pub columns: Option<Vec<usize>>,
}

impl Input {
    /// Everything from the main output of `from` into port 0.
    pub fn new(from: NodeId, partitioning: Partitioning) -> Input {
        Input { from, out: OutPort::MAIN, port: Port(0), partitioning, columns: None }
    }

    /// Another output of the sender.
    pub fn out(self, out: OutPort) -> Input {
        Input { out, ..self }
    }

    /// Another input of the receiver.
    pub fn port(self, port: Port) -> Input {
        Input { port, ..self }
    }
}

/// What a node does.
#[derive(Clone)]
pub enum NodeKind {
    /// Reads splits.
    Source {
        /// Makes its parts.
        factory: Arc<dyn SourceFactory>,
        /// Makes event time; without one the source's watermark stays at MIN until it ends.
        watermark: Option<WatermarkFactory>,
        /// The table's name, for people.
        name: String,
    },
    /// Turns batches into batches.
    Operator(Arc<dyn OperatorFactory>),
    /// Writes rows out.
    Sink {
        /// Makes its parts.
        factory: Arc<dyn SinkFactory>,
        /// The table's name, for people.
        name: String,
    },
}

/// A node with its edges.
#[derive(Clone)]
pub struct NodeSpec {
    /// Stable, unique name: what state is found by.
    pub id: String,
    /// What people see: `window(tumble 10 s)`.
    pub label: String,
    /// What it does.
    pub kind: NodeKind,
    /// Fixed parallelism; `None` = the job's.
    pub parallelism: Option<u32>,
    /// What its state looks like (key types, aggregates, state schema); `null` = stateless.
    pub signature: Value,
    /// Whether it emits updates: the job then has epochs.
    pub updating: bool,
    /// Incoming edges.
    pub inputs: Vec<Input>,
}

impl NodeSpec {
    /// A stateless node with the job's parallelism.
    pub fn new(id: impl Into<String>, label: impl Into<String>, kind: NodeKind, inputs: Vec<Input>) -> NodeSpec {
        let (id, label) = (id.into(), label.into());
        NodeSpec { id, label, kind, parallelism: None, signature: Value::Null, updating: false, inputs }
    }

    /// Fixes the parallelism.
    pub fn parallelism(self, parallelism: u32) -> NodeSpec {
        NodeSpec { parallelism: Some(parallelism), ..self }
    }

    /// Describes its state.
    pub fn signature(self, signature: Value) -> NodeSpec {
        NodeSpec { signature, ..self }
    }
}

/// A job as a graph.
#[derive(Clone, Default)]
pub struct Graph {
    nodes: Vec<NodeSpec>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds a node; its inputs must be there already. Errors: `internal` for a dangling edge, a second node with the same id, or
    /// an input that does not fit the kind.
    pub fn add(&mut self, node: NodeSpec) -> Result<NodeId> {
        let fail = |what: String| Err(Error::internal(format!("add node `{}`: {what}", node.id)));
        if let Some(input) = node.inputs.iter().find(|i| i.from.0 >= self.nodes.len()) {
            return fail(format!("input {} is not there yet", input.from.0));
        }
        if self.nodes.iter().any(|n| n.id == node.id) {
            return fail("the id is taken".into());
        }
        if matches!(node.kind, NodeKind::Source { .. }) != node.inputs.is_empty() {
            return fail("sources have no inputs, all others have".into());
        }
        if node.inputs.iter().any(|i| matches!(self.nodes[i.from.0].kind, NodeKind::Sink { .. })) {
            return fail("a sink has no outputs".into());
        }
        if node.parallelism.is_some_and(|p| !(1..=crate::key::KEY_GROUPS).contains(&p)) {
            return fail(format!("parallelism must be 1..={}", crate::key::KEY_GROUPS));
        }
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// All nodes, in topological order.
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }

    /// Whether some operator emits updates.
    pub fn has_epochs(&self) -> bool {
        self.nodes.iter().any(|n| n.updating)
    }

    /// The picture: nodes with ids, labels, signatures and edges. Stable: part of every checkpoint's manifest.
    pub fn to_json(&self) -> Value {
        let nodes: Vec<Value> = self.nodes.iter().map(|n| self.node_json(n)).collect();
        json!({ "format": 1, "nodes": nodes })
    }

    fn node_json(&self, node: &NodeSpec) -> Value {
        let kind = match node.kind {
            NodeKind::Source { .. } => "source",
            NodeKind::Operator(_) => "operator",
            NodeKind::Sink { .. } => "sink",
        };
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .map(|i| {
                json!({
                    "from": self.nodes[i.from.0].id, "out": i.out, "port": i.port,
                    "partitioning": partitioning_json(&i.partitioning), "columns": i.columns,
                })
            })
            .collect();
        json!({
            "id": node.id, "label": node.label, "kind": kind, "parallelism": node.parallelism,
            "signature": node.signature, "updating": node.updating, "inputs": inputs,
        })
    }

    /// A number that differs if the picture differs: nodes compare it before they start.
    pub fn fingerprint(&self) -> u64 {
        crate::key::hash_content(self.to_json().to_string().as_bytes())
    }

    /// Nodes that nothing reads and that are no sinks; a job should have none.
    pub fn unread(&self) -> Vec<NodeId> {
        let read: HashSet<usize> = self.nodes.iter().flat_map(|n| n.inputs.iter().map(|i| i.from.0)).collect();
        let loose = |(i, n): &(usize, &NodeSpec)| !read.contains(i) && !matches!(n.kind, NodeKind::Sink { .. });
        self.nodes.iter().enumerate().filter(loose).map(|(i, _)| NodeId(i)).collect()
    }
}

fn partitioning_json(p: &Partitioning) -> Value {
    match p {
        Partitioning::Forward => json!("forward"),
        Partitioning::Hash(columns) => json!({ "hash": columns }),
        Partitioning::Broadcast => json!("broadcast"),
        Partitioning::Rebalance => json!("rebalance"),
    }
}
