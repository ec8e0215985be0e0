//! Streams to the engine's graph: expressions compiled, one source per table with the columns it must read, operators with ids that
//! outlive edits of the text, edges with their partitioning.
//!
//! Called once per job, last.
//!
//! Invariants
//! - PH1 a node's id is made from what it does and from source columns; equal ids get a number.
//! - PH2 a union is no node: its consumer gets several edges.

use super::JobPlan;
use super::constant::Constant;
use super::lower::place_schema;
use super::prune::{prune, usage};
use super::stream::{StreamId, StreamNode, StreamOp, Streams, column, place};
use super::watermark::BoundedDelay;
use super::{SinkPlan, Target, guard, window_op};
use crate::catalog::Table;
use crate::connect::{Connectors, Outcome, TableSpec};
use crate::error::{Fault, Result};
use crate::fault;
use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column as ColumnRef, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, Operator};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_engine::source::{WatermarkFactory, WatermarkStrategy};
use thalweg_engine::{Graph, Input, NodeId, NodeKind, NodeSpec, Partitioning, StreamKind};
use thalweg_operators::calc::Calc;
use thalweg_operators::consolidate::Consolidate;

/// What a node became.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The graph's nodes that give its rows; several for a union.
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) schema: SchemaRef,
    /// For every column of the stream its place in `schema`.
    pub(crate) places: Vec<Option<usize>>,
}

impl Made {
    pub(crate) fn edges(&self, partitioning: &Partitioning) -> Vec<Input> {
        self.nodes.iter().map(|n| Input::new(*n, partitioning.clone())).collect()
    }
}

/// Makes the graph of one job.
pub(crate) struct Emit<'a> {
    pub(crate) streams: &'a Streams,
    /// What sinks take as it is.
    written: BTreeSet<StreamId>,
    connectors: &'a dyn Connectors,
    settings: &'a BTreeMap<String, String>,
    graph: Graph,
    ids: BTreeSet<String>,
    pub(crate) made: BTreeMap<StreamId, Made>,
    pub(crate) span: Span,
}

/// The graph of a job, and which nodes of it every stream became. `settings`: what SET has said.
pub(crate) fn graph(
    plan: &JobPlan,
    connectors: &dyn Connectors,
    settings: &BTreeMap<String, String>,
) -> Result<(Graph, BTreeMap<StreamId, Made>)> {
    let mut emit = Emit {
        streams: &plan.streams,
        written: plan.sinks.iter().flat_map(|s| s.inputs.iter().copied()).collect(),
        connectors,
        settings,
        graph: Graph::new(),
        ids: BTreeSet::new(),
        made: BTreeMap::new(),
        span: plan.span,
    };
    for (id, node) in plan.streams.nodes() {
        if plan.used.contains(&id) {
            let made = emit.node(id, node)?;
            emit.made.insert(id, made);
        }
    }
    emit.sinks(plan)?;
    Ok((emit.graph, emit.made))
}

impl Emit<'_> {
    fn node(&mut self, id: StreamId, node: &StreamNode) -> Result<Made> {
        match &node.op {
            StreamOp::Source(table) => self.source(id, node, &table.0),
            StreamOp::Constant { rows } => {
                let constant = Constant::nothing(*rows).map_err(|e| Fault::internal(e.to_string()))?;
                let label = if *rows == 0 { "no rows" } else { "one row" };
                self.constant(node, constant, format!("constant-{rows}"), label)
            }
            StreamOp::Values { rows } => {
                let rows = record_batch(rows, &node.schema).map_err(fault::of)?;
                self.constant(node, Constant { rows }, format!("values-{:08x}", short(node.rows)), "values")
            }
            StreamOp::Calc { predicate, outputs } => self.calc(node, predicate.as_ref(), outputs),
            StreamOp::Assign(windows) => window_op::assign(self, node, windows),
            StreamOp::Window(spec) => window_op::emit(self, node, spec),
            StreamOp::Group(spec) => super::group::emit(self, node, spec),
            StreamOp::Join(spec) => super::join::emit(self, node, spec),
            StreamOp::Union => {
                let inputs: Vec<&Made> = node.inputs.iter().filter_map(|i| self.made.get(i)).collect();
                let nodes = inputs.iter().flat_map(|m| m.nodes.iter().copied()).collect();
                Ok(Made {
                    nodes,
                    schema: Arc::clone(&node.schema),
                    places: (0..node.schema.fields().len()).map(Some).collect(),
                })
            }
        }
    }

    fn constant(&mut self, node: &StreamNode, constant: Constant, id: String, label: &str) -> Result<Made> {
        let kind = NodeKind::Source { factory: Arc::new(constant), watermark: None, name: "constant".into() };
        let spec = NodeSpec::new(self.id(id), label, kind, vec![]).parallelism(1);
        self.add(spec, Arc::clone(&node.schema))
    }

    /// Adds a node whose columns are exactly `schema`.
    pub(crate) fn add(&mut self, spec: NodeSpec, schema: SchemaRef) -> Result<Made> {
        let places = (0..schema.fields().len()).map(Some).collect();
        let node = self.graph.add(spec).map_err(|e| Fault::internal(e.to_string()))?;
        Ok(Made { nodes: vec![node], schema, places })
    }

    /// The id, made unique.
    pub(crate) fn id(&mut self, wanted: String) -> String {
        let mut id = wanted.clone();
        let mut n = 1;
        while !self.ids.insert(id.clone()) {
            n += 1;
            id = format!("{wanted}-{n}");
        }
        id
    }

    pub(crate) fn input(&self, node: &StreamNode) -> Result<&Made> {
        node.inputs
            .first()
            .and_then(|i| self.made.get(i))
            .ok_or_else(|| Fault::internal("a node comes before its input"))
    }

    fn source(&mut self, id: StreamId, node: &StreamNode, table: &Arc<Table>) -> Result<Made> {
        let watermark = table.watermark.as_ref().map(|w| by_place(&w.expr, &node.schema)).transpose()?;
        let written = self.written.contains(&id);
        let (schema, places) = prune(&node.schema, &usage(self.streams, id, watermark.as_ref(), written));
        let schema = Arc::new(schema);
        let factory = self.connectors.source(&TableSpec::of(table, self.settings), Arc::clone(&schema));
        let factory = self.connected(factory, table)?;
        let watermark = watermark.map(|expr| watermark_factory(expr, &schema, &places)).transpose()?;
        let kind = NodeKind::Source { factory, watermark, name: table.name.clone() };
        let spec =
            NodeSpec::new(self.id(format!("source-{}", table.name)), format!("read {}", table.name), kind, vec![]);
        let mut made = self.add(spec, schema)?;
        made.places = places;
        Ok(made)
    }

    /// A connector's answer; a refusal gets the place of the option it is about.
    fn connected<T>(&self, outcome: Outcome<T>, table: &Table) -> Result<T> {
        outcome.map_err(|refusal| super::refused(refusal, table).at(self.span))
    }

    fn calc(&mut self, node: &StreamNode, predicate: Option<&Expr>, outputs: &[Expr]) -> Result<Made> {
        let input = self.input(node)?.clone();
        let compiled = |e: Expr| compile(&e, &input.schema, &input.places);
        let predicate_expr = predicate.map(|p| guard::filter(p.clone()).and_then(compiled)).transpose()?;
        let projections: Vec<Arc<dyn PhysicalExpr>> =
            outputs.iter().map(|e| guard::value(e.clone()).and_then(compiled)).collect::<Result<_>>()?;
        let factory = Calc {
            input: Arc::clone(&input.schema),
            predicate: predicate_expr,
            projections: Some(projections),
            output: Arc::clone(&node.schema),
        };
        // A mistake shows now, with a place, and not when the job starts.
        factory.compile().map_err(|e| Fault::internal(e.to_string()).at(self.span))?;
        let label = if predicate.is_some() { "filter and project" } else { "project" };
        let id =
            self.id(format!("calc-{:08x}", short(super::stream::mix(node.lineage.iter().copied().chain([node.rows])))));
        let kind = NodeKind::Operator(Arc::new(factory));
        let spec = NodeSpec::new(id, label, kind, input.edges(&Partitioning::Forward));
        self.add(spec, Arc::clone(&node.schema))
    }

    /// One sink per table, however many INSERTs and side outputs write into it.
    fn sinks(&mut self, plan: &JobPlan) -> Result<()> {
        let mut sides = self.sides(plan)?;
        for sink in &plan.sinks {
            let mut inputs = vec![];
            let (mut rows, mut kind) = (vec![], StreamKind::Append);
            for id in &sink.inputs {
                let Some(made) = self.made.get(id) else {
                    return Err(Fault::internal("a sink comes before its input"));
                };
                inputs.extend(made.edges(&Partitioning::Forward));
                rows.push(self.streams.node(*id).rows);
                kind = kind.max(self.streams.node(*id).kind);
            }
            if kind == StreamKind::Changelog {
                let key = self.upsert_key(sink)?;
                inputs = self.consolidated(sink, inputs, super::stream::mix(rows.iter().copied()), key)?;
            }
            match &sink.target {
                Target::Table(table) => {
                    let (own, rest) = sides.into_iter().partition(|(t, _)| Arc::ptr_eq(t, table));
                    sides = rest;
                    let own: Vec<(Arc<Table>, Vec<Input>)> = own;
                    inputs.extend(own.into_iter().flat_map(|(_, edges)| edges));
                    self.sink(table, inputs, kind)?;
                }
                Target::Terminal => {
                    let factory = self.connectors.terminal(Arc::clone(&sink.schema), kind);
                    let factory = factory.map_err(|r| Fault::invalid(self.span, r.reason))?;
                    let id = self.id(format!("terminal-{:08x}", short(super::stream::mix(rows))));
                    let kind = NodeKind::Sink { factory, name: "terminal".into() };
                    self.graph
                        .add(NodeSpec::new(id, "print", kind, inputs))
                        .map_err(|e| Fault::internal(e.to_string()))?;
                }
            }
        }
        while let Some((table, mut inputs)) = sides.pop() {
            let (own, rest): (Vec<_>, Vec<_>) = sides.into_iter().partition(|(t, _)| Arc::ptr_eq(t, &table));
            sides = rest;
            inputs.extend(own.into_iter().flat_map(|(_, edges)| edges));
            self.sink(&table, inputs, StreamKind::Append)?;
        }
        Ok(())
    }

    /// Whether rows of one key come from one subtask: those of an aggregate do, as long as its key is kept. Those of a join do not: it is
    /// parted by what it joins on, and a row may move when that changes.
    fn is_grouped(&self, id: StreamId) -> bool {
        let node = self.streams.node(id);
        let below = || node.inputs.first().is_some_and(|input| self.is_grouped(*input));
        !node.unique.is_empty()
            && (matches!(node.op, StreamOp::Group(_)) || matches!(node.op, StreamOp::Calc { .. }) && below())
    }

    /// The columns of the PRIMARY KEY of a table that keeps the last row of each. Errors: the rows may have several per key.
    fn upsert_key(&self, sink: &SinkPlan) -> Result<Option<Vec<usize>>> {
        let Target::Table(table) = &sink.target else { return Ok(None) };
        let upserts = self.connectors.upserts(&TableSpec::of(table, self.settings));
        if !self.connected(upserts, table)? {
            return Ok(None);
        }
        let key: Vec<usize> = table.primary_key.iter().filter_map(|name| sink.schema.index_of(name).ok()).collect();
        let unique = |id: &StreamId| {
            let unique = &self.streams.node(*id).unique;
            !unique.is_empty() && unique.iter().all(|column| key.contains(column))
        };
        if !matches!(&sink.inputs[..], [one] if unique(one)) {
            let names = table.primary_key.join(", ");
            let text =
                format!("the query may have several rows of one key for table `{}` (PRIMARY KEY {names})", table.name);
            return Err(
                Fault::unsupported(self.span, text).remedy(format!("write INSERT INTO .. SELECT .. GROUP BY {names}"))
            );
        }
        Ok(Some(key))
    }

    /// The edges from the operator that adds up the changes of each epoch. Changes of a key are together already where it is kept from an
    /// aggregate; else equal rows are brought together.
    fn consolidated(
        &mut self,
        sink: &SinkPlan,
        inputs: Vec<Input>,
        rows: u64,
        key: Option<Vec<usize>>,
    ) -> Result<Vec<Input>> {
        let schema = Arc::clone(&sink.schema);
        let operator = Consolidate { schema: Arc::clone(&schema) };
        operator.check().map_err(|e| {
            let remedy = "leave ARRAY and MAP columns out, or write CAST(x AS STRING)";
            Fault::unsupported(self.span, format!("writing rows that may go again: {}", e.message())).remedy(remedy)
        })?;
        let together = matches!(&sink.inputs[..], [one] if self.is_grouped(*one));
        let partitioning = match together {
            true => Partitioning::Forward,
            false => Partitioning::Hash(key.unwrap_or_else(|| (0..schema.fields().len()).collect())),
        };
        let edges = inputs.into_iter().map(|input| Input { partitioning: partitioning.clone(), ..input }).collect();
        let id = self.id(format!("changes-{:08x}", short(rows)));
        let mut spec = NodeSpec::new(id, "add up changes", NodeKind::Operator(Arc::new(operator)), edges);
        spec.updating = true;
        Ok(self.add(spec, schema)?.edges(&Partitioning::Forward))
    }

    fn sink(&mut self, table: &Arc<Table>, inputs: Vec<Input>, kind: StreamKind) -> Result<()> {
        let factory = self.connectors.sink(&TableSpec::of(table, self.settings), super::written_schema(table), kind);
        let kind = NodeKind::Sink { factory: self.connected(factory, table)?, name: table.name.clone() };
        let id = self.id(format!("sink-{}", table.name));
        let spec = NodeSpec::new(id, format!("write {}", table.name), kind, inputs);
        self.graph.add(spec).map(|_| ()).map_err(|e| Fault::internal(e.to_string()))
    }
}

/// The rows of VALUES, column by column.
fn record_batch(rows: &[Vec<ScalarValue>], schema: &SchemaRef) -> datafusion_common::Result<RecordBatch> {
    let column = |(at, field): (usize, &FieldRef)| {
        let values = ScalarValue::iter_to_array(rows.iter().filter_map(|row| row.get(at).cloned()))?;
        Ok(arrow::compute::cast(&values, field.data_type())?)
    };
    let columns = schema.fields().iter().enumerate().map(column).collect::<datafusion_common::Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The part of a hash that people are shown.
pub(crate) fn short(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// Compiles an expression over a stream's columns for batches of `schema`.
pub(crate) fn compile(expr: &Expr, schema: &Schema, places: &[Option<usize>]) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = expr.clone().transform(|e| match place(&e) {
        Some(at) => match places.get(at).copied().flatten() {
            Some(at) => Ok(Transformed::yes(column(at))),
            None => datafusion_common::internal_err!("column #{at} was pruned"),
        },
        None => Ok(Transformed::no(e)),
    });
    let moved = moved.map_err(fault::of)?.data;
    let by_place = place_schema(schema)?;
    let context = PhysicalPlanningContext::default();
    let props = ExecutionProps::new();
    let physical =
        datafusion_physical_expr::create_physical_expr(&moved, &by_place, &props, &context).map_err(fault::of)?;
    // Errors at run time quote the expression: with the columns' names.
    let named = physical.transform_up(|e| match e.downcast_ref::<Column>() {
        Some(c) => {
            let name = schema.fields().get(c.index()).map_or("?", |f| f.name());
            Ok(Transformed::yes(Arc::new(Column::new(name, c.index())) as Arc<dyn PhysicalExpr>))
        }
        None => Ok(Transformed::no(e)),
    });
    Ok(named.map_err(fault::of)?.data)
}

/// An expression over named columns of a source as one over places.
fn by_place(expr: &Expr, schema: &Schema) -> Result<Expr> {
    let placed = expr.clone().transform(|e| match &e {
        Expr::Column(ColumnRef { name, .. }) => Ok(Transformed::yes(column(schema.index_of(name)?))),
        _ => Ok(Transformed::no(e)),
    });
    let placed = placed.map_err(fault::of)?.data;
    let schema = Arc::new(place_schema(schema)?);
    let info = datafusion_expr::simplify::SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
    let simplifier = datafusion_optimizer::simplify_expressions::ExprSimplifier::new(info);
    let coerced = simplifier.coerce(super::lower::bare(&placed), &schema).map_err(fault::of)?;
    simplifier.simplify(coerced).map_err(fault::of)
}

/// `expr - INTERVAL '..'` as the expression and its delay.
fn split_delay(expr: Expr) -> (Expr, i64) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => match *right {
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _)
                if v.months == 0 && v.nanoseconds % 1_000_000 == 0 =>
            {
                (*left, i64::from(v.days) * 86_400_000 + v.nanoseconds / 1_000_000)
            }
            other => (Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right: Box::new(other) }), 0),
        },
        other => (other, 0),
    }
}

fn watermark_factory(expr: Expr, schema: &Schema, places: &[Option<usize>]) -> Result<WatermarkFactory> {
    let (expr, delay_ms) = split_delay(expr);
    let expr = thalweg_operators::choose::simplify(compile(&guard::value(expr)?, schema, places)?, schema);
    let strategy = BoundedDelay { expr: expr.map_err(fault::of)?, delay_ms };
    Ok(Arc::new(move || Ok(Box::new(strategy.clone()) as Box<dyn WatermarkStrategy>)))
}
