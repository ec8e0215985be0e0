//! What runs: a graph cut into tasks (chains of fused nodes) and the edges between them. Pure.
//!
//! A node joins the task of its sender if it has exactly one input, that input is `Forward`, and both have the same
//! parallelism; so a chain is a tree with one root. Everything else is an edge between tasks.
//!
//! Invariants
//! - L1 every node is in exactly one task; a task's nodes stand in topological order, its root first.
//! - L2 an edge with `Forward` joins tasks of equal parallelism; between different ones it has become `Rebalance`.

use crate::error::{Error, Result};
use crate::graph::{Graph, Input, NodeKind, NodeSpec, Partitioning};
use crate::key::KEY_GROUPS;
use crate::operator::{OutPort, Port};

/// One task of the plan: a chain that runs in `parallelism` threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// The root's label.
    pub label: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Graph nodes, the root first.
    pub nodes: Vec<PlannedNode>,
}

/// A node in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode {
    /// Index in the graph.
    pub node: usize,
    /// Place of the parent in the chain and the parent's output, unless it is the root.
    pub parent: Option<(usize, OutPort)>,
}

/// An edge between two tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePlan {
    /// Sending task, and place of the sending node in its chain.
    pub from: (usize, usize),
    /// The sending node's output.
    pub out: OutPort,
    /// The receiving task; its root receives.
    pub to: usize,
    /// The root's input.
    pub port: Port,
    /// How rows are spread.
    pub partitioning: Partitioning,
    /// Only these columns travel.
    pub columns: Option<Vec<usize>>,
}

/// Tasks and edges.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// All tasks; senders come before receivers.
    pub tasks: Vec<TaskPlan>,
    /// All edges.
    pub edges: Vec<EdgePlan>,
}

impl Plan {
    /// Plans a graph at a parallelism. Errors: `user` for a parallelism outside 1..=256; `internal` if a node's output is read by
    /// nobody.
    pub fn new(graph: &Graph, parallelism: u32) -> Result<Plan> {
        if !(1..=KEY_GROUPS).contains(&parallelism) {
            return Err(Error::user(format!("parallelism {parallelism}: must be 1..={KEY_GROUPS}")));
        }
        if let Some(id) = graph.unread().first().and_then(|n| graph.nodes().get(n.0)) {
            return Err(Error::internal(format!("nothing reads the output of `{}`", id.id)));
        }
        let mut plan = Plan::default();
        // Where each graph node went: (task, place in its chain).
        let mut places: Vec<(usize, usize)> = vec![];
        for (i, node) in graph.nodes().iter().enumerate() {
            let place = plan.place(i, node, parallelism, &places)?;
            places.push(place);
        }
        Ok(plan)
    }

    fn place(&mut self, i: usize, node: &NodeSpec, job: u32, places: &[(usize, usize)]) -> Result<(usize, usize)> {
        let parallelism = node.parallelism.unwrap_or(job);
        let lost = || Error::internal(format!("input of `{}` is not planned", node.id));
        if let [only] = node.inputs.as_slice()
            && let Some(place) = self.chain(i, only, parallelism, places)
        {
            return Ok(place);
        }
        let to = self.tasks.len();
        let label = node.label.clone();
        self.tasks.push(TaskPlan { label, parallelism, nodes: vec![PlannedNode { node: i, parent: None }] });
        for input in &node.inputs {
            let from = *places.get(input.from.0).ok_or_else(lost)?;
            let sender = self.tasks.get(from.0).ok_or_else(lost)?.parallelism;
            let partitioning = match &input.partitioning {
                Partitioning::Forward if sender != parallelism => Partitioning::Rebalance,
                other => other.clone(),
            };
            let (out, port, columns) = (input.out, input.port, input.columns.clone());
            self.edges.push(EdgePlan { from, out, to, port, partitioning, columns });
        }
        Ok((to, 0))
    }

    fn chain(
        &mut self,
        i: usize,
        input: &Input,
        parallelism: u32,
        places: &[(usize, usize)],
    ) -> Option<(usize, usize)> {
        let &(task, parent) = places.get(input.from.0)?;
        let fits = input.partitioning == Partitioning::Forward && input.columns.is_none() && input.port == Port(0);
        let plan = self.tasks.get_mut(task).filter(|t| fits && t.parallelism == parallelism)?;
        plan.nodes.push(PlannedNode { node: i, parent: Some((parent, input.out)) });
        Some((task, plan.nodes.len() - 1))
    }

    /// A picture for people: one line a task, with its chain and its inputs.
    pub fn describe(&self, graph: &Graph) -> String {
        let mut text = String::new();
        for (t, task) in self.tasks.iter().enumerate() {
            let labels = task.nodes.iter().filter_map(|n| graph.nodes().get(n.node)).map(|n| n.label.as_str());
            let chain = labels.collect::<Vec<_>>().join(" -> ");
            text.push_str(&format!("task {t} x{}: {chain}\n", task.parallelism));
            for e in self.edges.iter().filter(|e| e.to == t) {
                let how = match &e.partitioning {
                    Partitioning::Forward => "forward".to_owned(),
                    Partitioning::Hash(columns) => format!("hash{columns:?}"),
                    Partitioning::Broadcast => "broadcast".to_owned(),
                    Partitioning::Rebalance => "rebalance".to_owned(),
                };
                text.push_str(&format!("  <- task {} ({how})\n", e.from.0));
            }
        }
        text
    }
}

/// Whether the node's subtask is a source.
pub(crate) fn is_source(node: &NodeSpec) -> bool {
    matches!(node.kind, NodeKind::Source { .. })
}
