//! A chain: a tree of operators that one task runs by direct calls, parents before children.
//!
//! Invariants
//! - H1 a node's children come after it, so a context that borrows "everything below" can never reach a parent.
//! - H2 `touched` is set by every call, and cleared by a flush that is done: an operator that did not run is not flushed.

use crate::batch::Batch;
use crate::clock::{Clock, Deadline};
use crate::error::Result;
use crate::message::{Barrier, Waker};
use crate::metrics::NodeMetrics;
use crate::operator::{Context, Operator, OutPort, Port};
use crate::sink::Prepared;
use crate::state::StateStore;
use crate::time::EventTime;
use std::sync::Arc;

/// Where an output port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An operator further down the chain, and which of its inputs.
    Node(usize, Port),
    /// One of the task's outgoing edges.
    Edge(usize),
}

/// One connection of an output port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub port: OutPort,
    pub target: Target,
}

/// One operator in its chain.
pub(crate) struct Node {
    pub id: String,
    pub operator: Box<dyn Operator>,
    pub state: StateStore,
    pub parent: Option<usize>,
    pub links: Vec<Link>,
    pub waker: Waker,
    pub metrics: Arc<NodeMetrics>,
    /// The highest frontier it was told, and the highest watermark it let through.
    pub seen: EventTime,
    pub passed: EventTime,
    /// Per input port, whether `on_end` was called.
    pub ended: Vec<bool>,
    pub touched: bool,
    /// Sinks take part in every barrier, touched or not.
    pub always_flush: bool,
}

/// What lies beyond the chain: the task's edges, its clock and its timers. The task and the test harness implement it.
pub(crate) trait Exits {
    /// Sends rows over an edge; may wait for credit.
    fn emit(&mut self, edge: usize, batch: Batch) -> Result<()>;
    /// Registers a wake-up of a node.
    fn wake_at(&mut self, node: usize, deadline: Deadline);
    /// The clocks.
    fn clock(&self) -> &Clock;
    /// The number of the running epoch.
    fn epoch(&self) -> u64;
    /// The barrier that is being walked, if any.
    fn barrier(&self) -> Option<Barrier>;
    /// Takes what a sink has prepared at this barrier.
    fn put_prepared(&mut self, node: usize, prepared: Prepared);
}

/// Runs `f` on node `i` of the chain whose nodes from number `base` on are `nodes`.
pub(crate) fn call<R>(
    nodes: &mut [Node],
    base: usize,
    i: usize,
    exits: &mut dyn Exits,
    f: impl FnOnce(&mut dyn Operator, &mut Context<'_>) -> R,
) -> R {
    let (head, below) = nodes.split_at_mut(i - base + 1);
    #[expect(clippy::indexing_slicing, reason = "split_at_mut has just made head that long")]
    let node = &mut head[i - base];
    node.touched = true;
    let mut ctx = Context { links: &node.links, below, base: i + 1, node: i, metrics: &node.metrics, exits };
    f(node.operator.as_mut(), &mut ctx)
}

/// Hands a batch to everything that is linked to `port`; the last one gets it without a copy.
pub(crate) fn deliver(
    links: &[Link],
    port: OutPort,
    batch: Batch,
    nodes: &mut [Node],
    base: usize,
    exits: &mut dyn Exits,
) -> Result<()> {
    let mut targets = links.iter().filter(|l| l.port == port).map(|l| l.target).peekable();
    let mut batch = Some(batch);
    while let Some(target) = targets.next() {
        let last = targets.peek().is_none();
        let Some(b) = (if last { batch.take() } else { batch.clone() }) else { break };
        match target {
            Target::Edge(edge) => exits.emit(edge, b)?,
            Target::Node(i, port) => feed(nodes, base, i, port, b, exits)?,
        }
    }
    Ok(())
}

/// Gives a batch to node `i` and counts it.
pub(crate) fn feed(
    nodes: &mut [Node],
    base: usize,
    i: usize,
    port: Port,
    batch: Batch,
    exits: &mut dyn Exits,
) -> Result<()> {
    call(nodes, base, i, exits, |op, ctx| {
        ctx.metrics.rows_in.add(batch.num_rows() as u64);
        ctx.metrics.batches_in.add(1);
        op.process(port, batch, ctx)
    })
}
