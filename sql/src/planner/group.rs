//! Aggregates without windows: one result per key, over all rows there are.
//!
//! The result changes with its rows, so what comes out is a changelog; only the distinct rows of an append stream, once there, stay.

use super::calls::Inputs;
use super::lower::{Lower, Pending};
use super::physical::{Emit, Made, compile, short};
use super::refuse;
use super::stream::{AggregateSpec, GroupSpec, StreamId, StreamNode, StreamOp, column, mix};
use crate::aggregate::Function;
use crate::attribute::Attribute;
use crate::error::{Fault, Result};
use arrow::datatypes::{Field, Schema};
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, lit};
use std::sync::Arc;
use thalweg_engine::key::hash_text;
use thalweg_engine::{NodeKind, NodeSpec, Partitioning, StreamKind};
use thalweg_operators::aggregate::Aggregate as Call;
use thalweg_operators::group::GroupAggregate;

impl Lower<'_> {
    /// An aggregate that no window bounds.
    pub(super) fn group(&mut self, input: Pending, aggregate: &Aggregate) -> Result<Pending> {
        if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return self.grouping_sets(input, aggregate);
        }
        let mut input = self.assign(input)?;
        let schema = Arc::clone(aggregate.input.schema());
        let (mut inputs, mut keys, mut groups) = (Inputs::default(), vec![], vec![]);
        for expr in &aggregate.group_expr {
            let at = self.key(expr, &input, &schema, &mut inputs)?;
            groups.push(keys.iter().position(|k| *k == at).unwrap_or_else(|| {
                keys.push(at);
                keys.len() - 1
            }));
        }
        let mut aggregates = vec![];
        for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
            let data_type = aggregate.schema.field(aggregate.group_expr.len() + i).data_type().clone();
            aggregates.push(self.call(expr, data_type, &input, &schema, &mut inputs)?);
        }
        let time = self.time_of(&input, aggregate, &aggregates, &mut inputs)?;
        if inputs.exprs.is_empty() {
            // count(*): rows without columns have no length everywhere.
            inputs.place(lit(true), "row");
        }
        input.attributes = vec![None; inputs.exprs.len()];
        input.outputs = inputs.exprs;
        let below = self.calc(input, &inputs.names, None)?;
        let node = self.group_node(below, GroupSpec { keys, aggregates, time }, aggregate)?;
        let StreamOp::Group(spec) = &node.op else { return Err(Fault::internal("a group is no group")) };
        let (first, all) = (spec.keys.len(), node.schema.fields().len());
        let outputs: Vec<Expr> = groups.into_iter().chain(first..all).map(column).collect();
        let base = self.streams.add(node, vec![]);
        Ok(Pending { base, predicates: vec![], attributes: vec![None; outputs.len()], outputs, window: None })
    }

    /// The column that FIRST_VALUE and LAST_VALUE go by.
    fn time_of(
        &self,
        input: &Pending,
        aggregate: &Aggregate,
        calls: &[AggregateSpec],
        inputs: &mut Inputs,
    ) -> Result<Option<usize>> {
        let timed = |a: &&AggregateSpec| matches!(a.kind, Function::FirstValue | Function::LastValue);
        let Some(call) = calls.iter().find(timed) else { return Ok(None) };
        let is_time = |a: &Option<Attribute>| {
            matches!(a, Some(Attribute::Rowtime | Attribute::Window { place: 2, processing_time: false }))
        };
        let at = input.attributes.iter().position(is_time);
        let expr = at.and_then(|at| input.outputs.get(at).cloned());
        let Some(expr) = expr.or_else(|| self.streams.node(input.base).rowtime.map(column)) else {
            return Err(refuse::without_time(aggregate, call.kind.name(), self.span));
        };
        Ok(Some(inputs.place(expr, "rowtime")))
    }

    fn group_node(&self, id: StreamId, spec: GroupSpec, aggregate: &Aggregate) -> Result<StreamNode> {
        let below = self.streams.node(id);
        let timed = |a: &&AggregateSpec| matches!(a.kind, Function::FirstValue | Function::LastValue);
        if below.kind == StreamKind::Changelog
            && let Some(call) = spec.aggregates.iter().find(timed)
        {
            return Err(refuse::irrevocable(aggregate, call.kind.name(), self.span));
        }
        let mut fields: Vec<Field> = spec.keys.iter().map(|k| below.schema.field(*k).clone()).collect();
        let mut lineage: Vec<u64> = spec.keys.iter().map(|k| below.lineage[*k]).collect();
        let key_lineage = mix(lineage.iter().copied());
        let groups = aggregate.group_expr.len();
        let mut calls = vec![];
        for (i, call) in spec.aggregates.iter().enumerate() {
            fields.push(Field::new(aggregate.schema.field(groups + i).name(), call.data_type.clone(), true));
            let part = |p: Option<usize>| p.map_or(0, |p| below.lineage[p]);
            let what = hash_text(&format!("{} distinct={}", call.kind.name(), call.distinct));
            calls.push(mix([what, part(call.argument), part(call.filter)]));
            lineage.push(mix([below.rows, key_lineage, calls[i]]));
        }
        let names = crate::naming::unique(fields.iter().map(|f| f.name()));
        let fields: Vec<Field> = fields.into_iter().zip(names).map(|(f, n)| f.with_name(n)).collect();
        let stays = spec.aggregates.is_empty() && !spec.keys.is_empty();
        Ok(StreamNode {
            rows: mix([hash_text("group"), below.rows, key_lineage].into_iter().chain(calls)),
            lineage,
            kind: if stays { below.kind } else { StreamKind::Changelog },
            rowtime: None,
            unique: (0..spec.keys.len()).collect(),
            schema: Arc::new(Schema::new(fields)),
            inputs: vec![id],
            op: StreamOp::Group(spec),
        })
    }
}

/// Adds the operators of an aggregate: one in front of the hash edge, one behind it.
pub(super) fn emit(emit: &mut Emit<'_>, node: &StreamNode, spec: &GroupSpec) -> Result<Made> {
    let input = emit.input(node)?.clone();
    let of = |place: usize| compile(&column(place), &input.schema, &input.places);
    let aggregate = |a: &AggregateSpec| -> Result<Call> {
        let (argument, filter) = (a.argument.map(of).transpose()?, a.filter.map(of).transpose()?);
        Ok(Call { function: a.kind, argument, filter, distinct: a.distinct, output: a.data_type.clone() })
    };
    let operator = GroupAggregate {
        input: Arc::clone(&input.schema),
        kind: node.inputs.first().map_or(StreamKind::Append, |i| emit.streams.node(*i).kind),
        keys: spec.keys.iter().map(|k| of(*k)).collect::<Result<_>>()?,
        aggregates: spec.aggregates.iter().map(aggregate).collect::<Result<_>>()?,
        time: spec.time.map(of).transpose()?,
        output: Arc::clone(&node.schema),
    };
    let wrong = |e: thalweg_engine::Error| Fault::invalid(emit.span, e.message()).remedy("choose other arguments");
    let signature = operator.signature().map_err(wrong)?;
    let partial = operator.partial_schema().map_err(wrong)?;
    let (id, label) =
        (format!("group-{:08x}", short(node.rows)), if spec.aggregates.is_empty() { "distinct" } else { "aggregate" });
    let edges = input.edges(&Partitioning::Forward);
    let local_id = emit.id(format!("{id}-local"));
    let local = NodeSpec::new(local_id, format!("local {label}"), NodeKind::Operator(operator.local()), edges);
    let local = emit.add(local, partial)?;
    let edges = local.edges(&Partitioning::Hash(operator.partial_keys()));
    let id = emit.id(id);
    let mut global = NodeSpec::new(id, label, NodeKind::Operator(operator.global()), edges).signature(signature);
    global.updating = operator.output_kind() == StreamKind::Changelog;
    if spec.keys.is_empty() {
        global = global.parallelism(1);
    }
    emit.add(global, Arc::clone(&node.schema))
}
