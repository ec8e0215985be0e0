//! The job as streams: what [`lower`](super::lower) makes from logical plans and [`physical`](super::physical) turns into a graph.
//!
//! A node is made once: asking for an equal one gives the one that is there, across all statements of a job. Expressions
//! name columns by place (`#0`), so plans that differ in names only are equal.
//!
//! Invariants
//! - S1 inputs of a node come before it.
//! - S2 `lineage` and `rows` are made from what a node does and from source columns, never from places or names given on the way:
//!   ids built from them survive unrelated changes of the text.

use crate::aggregate::Function;
use crate::catalog::Table;
use crate::nodes::WindowKind;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, ScalarValue};
use datafusion_expr::Expr;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::key::hash_text;
use thalweg_operators::join::JoinKind;

/// A node's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) usize);

/// A table by identity: a dropped and newly created one is another.
#[derive(Clone, Debug)]
pub(crate) struct TableRef(pub(crate) Arc<Table>);

impl PartialEq for TableRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TableRef {}

impl Hash for TableRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

/// What a node does with its inputs' rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StreamOp {
    /// Reads a table: all columns of its source schema; pruned when the graph is made.
    Source(TableRef),
    /// One row, or none, without a meaning: what `SELECT 1` reads.
    Constant { rows: usize },
    /// The rows of VALUES.
    Values { rows: Vec<Vec<ScalarValue>> },
    /// Filter, then projection.
    Calc { predicate: Option<Expr>, outputs: Vec<Expr> },
    /// Every row once per window that it is in: the input's columns, window start, window end, window time.
    Assign(Windows),
    /// Aggregates per key and window.
    Window(WindowSpec),
    /// Aggregates per key over all rows there are.
    Group(GroupSpec),
    /// Rows of two inputs side by side.
    Join(JoinSpec),
    /// The rows of all inputs; they have equal columns.
    Union,
}

/// Aggregates per key and window. Output: keys, window start, window end, window time, aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowSpec {
    pub(crate) windows: Windows,
    /// Input columns.
    pub(crate) keys: Vec<usize>,
    pub(crate) aggregates: Vec<AggregateSpec>,
    pub(crate) late: Option<Late>,
}

/// Aggregates per key. Output: keys, aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupSpec {
    /// Input columns.
    pub(crate) keys: Vec<usize>,
    pub(crate) aggregates: Vec<AggregateSpec>,
    /// The event time among the input columns, if an aggregate goes by it.
    pub(crate) time: Option<usize>,
}

/// A join. Output: the left input's columns, then the right one's; of SEMI and ANTI only the left one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinSpec {
    pub(crate) kind: JoinKind,
    /// Columns of the left and of the right input that must be equal.
    pub(crate) keys: Vec<(usize, usize)>,
    /// Whether NULL equals NULL in keys.
    pub(crate) nulls_equal: bool,
    /// NOT IN: nothing is known to be absent once NULL is there.
    pub(crate) null_aware: bool,
    /// What must hold beside, over both inputs' columns.
    pub(crate) filter: Option<Expr>,
    /// When rows are freed.
    pub(crate) bound: Option<JoinBound>,
}

/// The event times of both inputs, and how long after them their rows may find partners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinBound {
    pub(crate) left: usize,
    pub(crate) left_keep_ms: i64,
    pub(crate) right: usize,
    pub(crate) right_keep_ms: i64,
}

/// The table that takes the late rows, and for each of its written columns the input column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    pub(crate) table: TableRef,
    pub(crate) columns: Vec<usize>,
}

/// Where a row's windows come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Windows {
    /// From its event time, an input column.
    EventTime { kind: WindowKind, time: usize },
    /// From the clock.
    ProcessingTime { kind: WindowKind },
    /// The row is the result of a window and carries its bounds in two input columns.
    Attached { start: usize, end: usize, processing_time: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AggregateSpec {
    pub(crate) kind: Function,
    pub(crate) distinct: bool,
    /// Input column; none for count(*).
    pub(crate) argument: Option<usize>,
    /// Input column of FILTER (WHERE ..).
    pub(crate) filter: Option<usize>,
    pub(crate) data_type: DataType,
}

/// A node with what is known about its rows.
#[derive(Clone, Debug)]
pub(crate) struct StreamNode {
    pub(crate) op: StreamOp,
    pub(crate) inputs: Vec<StreamId>,
    pub(crate) schema: SchemaRef,
    /// Per column, what it is made from.
    pub(crate) lineage: Vec<u64>,
    /// Which rows these are.
    pub(crate) rows: u64,
    /// Whether rows may go again.
    pub(crate) kind: StreamKind,
    /// The event-time column, if it is among the columns.
    pub(crate) rowtime: Option<usize>,
    /// Columns that no two rows share, if known; empty = not known.
    pub(crate) unique: Vec<usize>,
}

/// All nodes of a job.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    nodes: Vec<StreamNode>,
    known: HashMap<(StreamOp, Vec<StreamId>, Vec<String>), StreamId>,
}

impl Streams {
    pub(crate) fn node(&self, id: StreamId) -> &StreamNode {
        &self.nodes[id.0]
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (StreamId, &StreamNode)> {
        self.nodes.iter().enumerate().map(|(i, n)| (StreamId(i), n))
    }

    /// The node, or the equal one that is there already. `names` makes nodes with other column names different: only the last one
    /// before a sink needs that.
    pub(crate) fn add(&mut self, node: StreamNode, names: Vec<String>) -> StreamId {
        let key = (node.op.clone(), node.inputs.clone(), names);
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id = StreamId(self.nodes.len());
        self.nodes.push(node);
        self.known.insert(key, id);
        id
    }
}

/// The n-th column of a node, in expressions.
pub(crate) fn column(place: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("#{place}")))
}

/// The place that an expression names, if it is a plain column.
pub(crate) fn place(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(c) => c.name.strip_prefix('#').and_then(|n| n.parse().ok()),
        _ => None,
    }
}

/// All places that an expression names.
pub(crate) fn places(expr: &Expr) -> Vec<usize> {
    let mut all: Vec<usize> =
        expr.column_refs().into_iter().filter_map(|c| c.name.strip_prefix('#')?.parse().ok()).collect();
    all.sort_unstable();
    all
}

/// What an expression is made from: its text over the lineage of its columns.
pub(crate) fn lineage_of(expr: &Expr, columns: &[u64]) -> u64 {
    if let Some(lineage) = place(expr).and_then(|p| columns.get(p)) {
        return *lineage;
    }
    let named = expr.clone().transform(|e| match place(&e).and_then(|p| columns.get(p)) {
        Some(lineage) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(format!("{lineage:016x}"))))),
        None => Ok(Transformed::no(e)),
    });
    match named {
        Ok(named) => hash_text(&named.data.to_string()),
        Err(_) => hash_text(&expr.to_string()),
    }
}

/// A number from several, in order.
pub(crate) fn mix(parts: impl IntoIterator<Item = u64>) -> u64 {
    let text: Vec<String> = parts.into_iter().map(|p| format!("{p:016x}")).collect();
    hash_text(&text.join(","))
}
