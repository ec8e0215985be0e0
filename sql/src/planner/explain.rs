//! EXPLAIN: a job as a tree, sinks first, each operator with what is known about its rows.
//!
//! Called for EXPLAIN statements and by the command line. The text is for people; tools read the graph's JSON.

use super::physical::Made;
use super::stream::{AggregateSpec, StreamId, StreamNode, StreamOp, Windows, place};
use super::{JobPlan, Target};
use crate::shown::written;
use datafusion_common::Column;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::Expr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use thalweg_engine::Graph;
use thalweg_engine::type_name;

/// The tree of a job; `parallelism` is that of operators without one of their own.
pub(crate) fn explain(plan: &JobPlan, graph: &Graph, made: &BTreeMap<StreamId, Made>, parallelism: &str) -> String {
    let mut out = Tree { plan, graph, made, parallelism, shown: BTreeSet::new(), text: String::new() };
    for sink in &plan.sinks {
        let name = match &sink.target {
            Target::Table(table) => format!("insert into {}", table.name),
            Target::Terminal => "print".to_owned(),
        };
        let columns: Vec<String> =
            sink.schema.fields().iter().map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect();
        let _ = writeln!(out.text, "{name} ({})", columns.join(", "));
        for input in &sink.inputs {
            out.node(*input, 1);
        }
    }
    out.warnings();
    out.text
}

struct Tree<'a> {
    plan: &'a JobPlan,
    graph: &'a Graph,
    made: &'a BTreeMap<StreamId, Made>,
    parallelism: &'a str,
    shown: BTreeSet<StreamId>,
    text: String,
}

impl Tree<'_> {
    fn node(&mut self, id: StreamId, depth: usize) {
        let node = self.plan.streams.node(id);
        let pad = "  ".repeat(depth);
        let ids = self.ids(id);
        if !self.shown.insert(id) {
            let _ = writeln!(self.text, "{pad}{} (shared, shown above)", ids.join(", "));
            return;
        }
        let inputs: Vec<&StreamNode> = node.inputs.iter().map(|i| self.plan.streams.node(*i)).collect();
        let _ = writeln!(self.text, "{pad}{}", self.what(node, &inputs, id));
        let _ = writeln!(self.text, "{pad}  [{}]", self.facts(node, &ids));
        for input in &node.inputs {
            self.node(*input, depth + 1);
        }
    }

    /// Which operators keep state for ever, and what to do about it.
    fn warnings(&mut self) {
        for id in std::mem::take(&mut self.shown) {
            let node = self.plan.streams.node(id);
            let (keeps, remedy) = match &node.op {
                StreamOp::Join(spec) if spec.bound.is_none() => (
                    "every row of both sides",
                    "tie their event times together: ON .. AND a.ts BETWEEN b.ts - INTERVAL '10' SECOND AND b.ts",
                ),
                StreamOp::Group(spec) if !spec.keys.is_empty() => {
                    ("an entry per key", "if keys do not come back, aggregate in windows: FROM TABLE(TUMBLE(..))")
                }
                _ => continue,
            };
            // The last of its operators has the state.
            let Some(operator) = self.ids(id).pop() else { continue };
            let _ = writeln!(self.text, "warning: `{operator}` keeps {keeps}, for ever; {remedy}");
        }
    }

    fn ids(&self, id: StreamId) -> Vec<String> {
        let nodes = self.made.get(&id).map_or(&[][..], |m| &m.nodes[..]);
        nodes.iter().filter_map(|n| self.graph.nodes().get(n.0)).map(|n| n.id.clone()).collect()
    }

    fn what(&self, node: &StreamNode, inputs: &[&StreamNode], id: StreamId) -> String {
        let below = inputs.first().copied();
        let text = |e: &Expr| below.map_or_else(|| e.to_string(), |b| named(e, b));
        match &node.op {
            StreamOp::Source(table) => {
                let read = self.made.get(&id).map_or_else(|| node.schema.clone(), |m| m.schema.clone());
                let columns: Vec<String> =
                    read.fields().iter().map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect();
                format!("source {} ({})", table.0.name, columns.join(", "))
            }
            StreamOp::Constant { rows } => format!("constant ({})", if *rows == 1 { "1 row" } else { "no rows" }),
            StreamOp::Values { rows } => {
                format!("values ({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" })
            }
            StreamOp::Union => "union all".into(),
            StreamOp::Calc { predicate, outputs } => {
                let shown: Vec<String> = outputs
                    .iter()
                    .zip(node.schema.fields())
                    .map(|(e, f)| {
                        let written = text(e);
                        if written == *f.name() { written } else { format!("{written} AS {}", f.name()) }
                    })
                    .collect();
                match predicate {
                    Some(p) => format!("calc filter {} project {}", text(p), shown.join(", ")),
                    None => format!("calc project {}", shown.join(", ")),
                }
            }
            StreamOp::Assign(windows) => {
                let column = |i: usize| below.map_or_else(String::new, |b| b.schema.field(i).name().clone());
                format!("assign {}", windows_text(windows, &column))
            }
            StreamOp::Window(spec) => {
                let column = |i: usize| below.map_or_else(String::new, |b| b.schema.field(i).name().clone());
                let windows = windows_text(&spec.windows, &column);
                let calls: Vec<String> = spec.aggregates.iter().map(|a| call(a, &column)).collect();
                let keys: Vec<String> = spec.keys.iter().map(|k| column(*k)).collect();
                format!("window aggregate {windows} keys ({}) compute {}", keys.join(", "), calls.join(", "))
            }
            StreamOp::Join(spec) => {
                let side = |i: usize, at: usize| inputs.get(i).map_or("", |b| b.schema.field(at).name().as_str());
                let keys = spec.keys.iter().map(|(l, r)| format!("{} = {}", side(0, *l), side(1, *r)));
                let keys = keys.collect::<Vec<_>>().join(" AND ");
                let on = if keys.is_empty() { "every row with every row".to_owned() } else { format!("on {keys}") };
                let fields = inputs.iter().flat_map(|b| b.schema.fields().iter().map(|f| f.name()));
                let unique = crate::naming::unique(fields);
                let fields: Vec<&str> = unique.iter().map(String::as_str).collect();
                let filter = spec.filter.as_ref().map(|f| format!(" filter {}", with_names(f, &fields)));
                format!("{} {on}{}", super::join::label(spec.kind), filter.unwrap_or_default())
            }
            StreamOp::Group(spec) => {
                let column = |i: usize| below.map_or_else(String::new, |b| b.schema.field(i).name().clone());
                let calls: Vec<String> = spec.aggregates.iter().map(|a| call(a, &column)).collect();
                let keys: Vec<String> = spec.keys.iter().map(|k| column(*k)).collect();
                match calls.is_empty() {
                    true => format!("distinct ({})", keys.join(", ")),
                    false => format!("aggregate keys ({}) compute {}", keys.join(", "), calls.join(", ")),
                }
            }
        }
    }

    fn facts(&self, node: &StreamNode, ids: &[String]) -> String {
        let name = |i: usize| node.schema.field(i).name().as_str();
        let time = node.rowtime.map_or("none", name);
        let key: Vec<&str> = node.unique.iter().map(|i| name(*i)).collect();
        let key = if key.is_empty() { "none".to_owned() } else { key.join(", ") };
        let state = match node.op {
            StreamOp::Window(_) => "bounded by open windows",
            StreamOp::Group(ref spec) if spec.keys.is_empty() && spec.aggregates.iter().all(|a| !a.distinct) => {
                "one row"
            }
            StreamOp::Group(_) => "unbounded, one entry per key",
            StreamOp::Join(ref spec) if spec.bound.is_some() => "bounded by event time",
            StreamOp::Join(_) => "unbounded, every row of both sides",
            _ => "none",
        };
        let parallelism = self.made_parallelism(ids);
        format!(
            "{}; event time: {time}; key: {key}; state: {state}; parallelism: {parallelism}; id: {}",
            node.kind.name(),
            ids.join(", ")
        )
    }

    fn made_parallelism(&self, ids: &[String]) -> String {
        let node = self.graph.nodes().iter().find(|n| ids.first() == Some(&n.id));
        node.and_then(|n| n.parallelism).map_or_else(|| self.parallelism.to_owned(), |p| p.to_string())
    }
}

fn windows_text(windows: &Windows, column: &dyn Fn(usize) -> String) -> String {
    match windows {
        Windows::EventTime { kind, time } => format!("{kind} by {}", column(*time)),
        Windows::ProcessingTime { kind } => format!("{kind} by processing time"),
        Windows::Attached { .. } => "windows of the rows below".into(),
    }
}

fn call(spec: &AggregateSpec, column: &dyn Fn(usize) -> String) -> String {
    let argument = spec.argument.map_or_else(|| "*".to_owned(), column);
    let distinct = if spec.distinct { "DISTINCT " } else { "" };
    let filter = spec.filter.map_or_else(String::new, |f| format!(" FILTER ({})", column(f)));
    format!("{}({distinct}{argument}){filter}", spec.kind.name())
}

/// An expression with its input's column names.
fn named(expr: &Expr, below: &StreamNode) -> String {
    let names: Vec<&str> = below.schema.fields().iter().map(|f| f.name().as_str()).collect();
    with_names(expr, &names)
}

/// An expression with these names for its places.
fn with_names(expr: &Expr, names: &[&str]) -> String {
    let renamed = expr.clone().transform(|e| match place(&e).and_then(|p| names.get(p)) {
        Some(name) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(*name)))),
        None => Ok(Transformed::no(e)),
    });
    renamed.map_or_else(|e| e.to_string(), |t| written(&t.data))
}
