//! Joins: two streams brought together by equal keys, each side kept as state. Rows of tables are compared with all rows of the other
//! table there are, so state grows with the tables, unless event time bounds it (`bound.rs`).

use super::bound::Times;
use super::calls::Inputs;
use super::lower::{Lower, Pending, bare, over_base};
use super::physical::{Emit, Made, compile, short};
use super::stream::{JoinBound, JoinSpec, StreamId, StreamNode, StreamOp, column, lineage_of, mix, place};
use super::{guard, refuse};
use crate::attribute::Attribute;
use crate::error::{Fault, Result};
use crate::fault;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, JoinType, NullEquality};
use datafusion_expr::Expr;
use datafusion_expr::logical_plan::Join;
use std::sync::Arc;
use thalweg_engine::key::hash_text;
use thalweg_engine::{NodeKind, NodeSpec, Partitioning, Port, StreamKind};
use thalweg_operators::join::{Join as JoinOperator, JoinKind, TimeBound};

/// One side of a join as a stream, with where its columns and keys stand in it.
struct Side {
    id: StreamId,
    columns: Vec<usize>,
    keys: Vec<usize>,
    /// Of every column of the stream.
    attributes: Vec<Option<Attribute>>,
}

impl Side {
    fn width(&self) -> usize {
        self.attributes.len()
    }
}

impl Lower<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Pending> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Right, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::LeftSemi, false),
            JoinType::LeftAnti => (JoinKind::LeftAnti, false),
            JoinType::RightSemi => (JoinKind::LeftSemi, true),
            JoinType::RightAnti => (JoinKind::LeftAnti, true),
            JoinType::LeftMark | JoinType::RightMark => return Err(refuse::mark_join(join, self.span)),
        };
        let (mut plans, mut keys) = ((&join.left, &join.right), join.on.clone());
        if swapped {
            (plans, keys) = ((plans.1, plans.0), keys.into_iter().map(|(l, r)| (r, l)).collect());
        }
        let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = keys.into_iter().unzip();
        let left = self.plan(plans.0)?;
        let left = self.side(left, plans.0.schema(), &left_keys)?;
        let right = self.plan(plans.1)?;
        let right = self.side(right, plans.1.schema(), &right_keys)?;
        let all = if swapped { both(&right, &left, left.width(), 0) } else { both(&left, &right, 0, left.width()) };
        let schema = join.left.schema().join(join.right.schema()).map_err(fault::of)?;
        let filter = join.filter.as_ref().map(|f| over_base(&bare(f), &schema, &all)).transpose()?;
        let keys: Vec<(usize, usize)> = left.keys.iter().copied().zip(right.keys.iter().copied()).collect();
        let attributes = [&left.attributes[..], &right.attributes[..]].concat();
        let appended = [left.id, right.id].iter().all(|id| self.streams.node(*id).kind == StreamKind::Append);
        let times = Times { attributes: &attributes, width: left.width() };
        let bound = times.bound(&keys, filter.as_ref()).filter(|_| appended && !join.null_aware);
        let spec = JoinSpec {
            kind,
            bound,
            keys,
            nulls_equal: join.null_equality == NullEquality::NullEqualsNull,
            null_aware: join.null_aware,
            filter,
        };
        let node = self.join_node(&left, &right, spec);
        let base = self.streams.add(node, vec![]);
        let outputs: Vec<Expr> = match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => left.columns.iter().copied().map(column).collect(),
            _ => all,
        };
        let kept = |e: &Expr| place(e).and_then(|p| attributes.get(p).copied().flatten()).filter(|_| bound.is_some());
        // Where a side may be missing its times may be NULL.
        let sure = |e: &Expr| {
            place(e).is_some_and(|p| match kind {
                JoinKind::Full => false,
                JoinKind::Left => p < left.width(),
                JoinKind::Right => p >= left.width(),
                _ => true,
            })
        };
        let attributes = outputs.iter().map(|e| kept(e).filter(|_| sure(e))).collect();
        Ok(Pending { base, predicates: vec![], attributes, outputs, window: None })
    }

    /// The stream of a side: what the plan gives, each once, and the keys.
    fn side(&mut self, input: Pending, schema: &DFSchema, keys: &[Expr]) -> Result<Side> {
        let mut input = self.assign(input)?;
        let mut inputs = Inputs::default();
        let fields = schema.fields().iter();
        let columns: Vec<usize> =
            input.outputs.iter().zip(fields).map(|(e, f)| inputs.place(e.clone(), f.name())).collect();
        let key = |e: &Expr| {
            let over = over_base(&bare(e), schema, &input.outputs)?;
            Ok(inputs.place(over, &super::calls::name_of(e)))
        };
        let keys = keys.iter().map(key).collect::<Result<_>>()?;
        if inputs.exprs.is_empty() {
            // Rows without columns have no length everywhere.
            inputs.place(datafusion_expr::lit(true), "row");
        }
        let mut attributes = vec![None; inputs.exprs.len()];
        for (at, attribute) in columns.iter().zip(&input.attributes) {
            if let Some(of) = attributes.get_mut(*at) {
                *of = *attribute;
            }
        }
        input.attributes = attributes.clone();
        input.outputs = inputs.exprs;
        let id = self.calc(input, &inputs.names, None)?;
        Ok(Side { id, columns, keys, attributes })
    }

    fn join_node(&self, left: &Side, right: &Side, spec: JoinSpec) -> StreamNode {
        let (l, r) = (self.streams.node(left.id), self.streams.node(right.id));
        let one_sided = matches!(spec.kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let both: Vec<u64> = l.lineage.iter().chain(&r.lineage).copied().collect();
        let keys = mix(spec.keys.iter().flat_map(|(a, b)| [l.lineage[*a], r.lineage[*b]]));
        let filter = spec.filter.as_ref().map_or(0, |f| lineage_of(f, &both));
        let what = hash_text(&format!("{:?} {} {}", spec.kind, spec.nulls_equal, spec.null_aware));
        let rows = mix([hash_text("join"), what, l.rows, r.rows, keys, filter]);
        let missing = |side: &StreamNode, may: bool| -> Vec<Field> {
            side.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(f.is_nullable() || may)).collect()
        };
        let mut fields = missing(l, matches!(spec.kind, JoinKind::Right | JoinKind::Full));
        let mut lineage: Vec<u64> = l.lineage.iter().map(|c| mix([*c, rows])).collect();
        if !one_sided {
            fields.extend(missing(r, matches!(spec.kind, JoinKind::Left | JoinKind::Full)));
            lineage.extend(r.lineage.iter().map(|c| mix([*c, rows])));
        }
        let unique = match (one_sided, l.unique.is_empty() || r.unique.is_empty()) {
            (true, _) => l.unique.clone(),
            // What is missing on one side is NULL in its key: two such rows may be alike in the key of the join.
            (false, no_key) if no_key || spec.kind != JoinKind::Inner => vec![],
            (false, _) => l.unique.iter().copied().chain(r.unique.iter().map(|u| u + left.width())).collect(),
        };
        let names = crate::naming::unique(fields.iter().map(|f| f.name()));
        let fields: Vec<Field> = fields.into_iter().zip(names).map(|(f, n)| f.with_name(n)).collect();
        let stays = spec.kind == JoinKind::Inner || spec.bound.is_some();
        let kind = if stays { l.kind.max(r.kind) } else { StreamKind::Changelog };
        let missing_left = matches!(spec.kind, JoinKind::Right | JoinKind::Full);
        let rowtime = spec.bound.map(|b| b.left).filter(|_| !missing_left);
        StreamNode {
            rows,
            lineage,
            kind,
            rowtime,
            unique,
            schema: Arc::new(Schema::new(fields)),
            inputs: vec![left.id, right.id],
            op: StreamOp::Join(spec),
        }
    }
}

/// The columns of both sides in the join's output, which has them at these places.
fn both(first: &Side, second: &Side, first_at: usize, second_at: usize) -> Vec<Expr> {
    let first = first.columns.iter().map(|c| c + first_at);
    first.chain(second.columns.iter().map(|c| c + second_at)).map(column).collect()
}

/// Adds the operator of a join, behind a hash edge for each side. Without equal keys it is one subtask.
pub(super) fn emit(emit: &mut Emit<'_>, node: &StreamNode, spec: &JoinSpec) -> Result<Made> {
    let made = |i: usize| node.inputs.get(i).and_then(|id| emit.made.get(id)).cloned();
    let (Some(left), Some(right)) = (made(0), made(1)) else {
        return Err(Fault::internal("a join comes before its inputs"));
    };
    let of = |side: &Made, at: usize| compile(&column(at), &side.schema, &side.places);
    let keys = spec.keys.iter().map(|(l, r)| Ok((of(&left, *l)?, of(&right, *r)?))).collect::<Result<Vec<_>>>()?;
    let (output, places) = joined(&left, &right, spec.kind);
    // A filter of a semi join is over the columns of both sides all the same.
    let (both, all) = joined(&left, &right, JoinKind::Inner);
    let filter = spec.filter.as_ref().map(|f| guard::filter(f.clone()).and_then(|f| compile(&f, &both, &all)));
    let filter = filter.transpose()?;
    let operator = JoinOperator {
        kind: spec.kind,
        left: Arc::clone(&left.schema),
        right: Arc::clone(&right.schema),
        keys,
        nulls_equal: spec.nulls_equal,
        null_aware: spec.null_aware,
        filter,
        bound: spec.bound.and_then(|b| time_bound(b, &left, &right)),
        stream: node.kind,
        output: Arc::clone(&output),
    };
    let signature = operator.signature().map_err(|e| {
        Fault::unsupported(emit.span, e.message()).remedy("leave ARRAY and MAP columns out, or write CAST(x AS STRING)")
    })?;
    let hashed = |side: &Made, pick: fn(&(usize, usize)) -> usize| -> Vec<usize> {
        let keys = spec.keys.iter().filter(|_| !spec.null_aware);
        keys.filter_map(|k| side.places.get(pick(k)).copied().flatten()).collect()
    };
    let edges = |side: &Made, keys: Vec<usize>, port: u8| {
        side.edges(&Partitioning::Hash(keys)).into_iter().map(move |e| e.port(Port(port)))
    };
    let inputs = edges(&left, hashed(&left, |k| k.0), 0).chain(edges(&right, hashed(&right, |k| k.1), 1)).collect();
    let id = emit.id(format!("join-{:08x}", short(node.rows)));
    let mut spec_of =
        NodeSpec::new(id, label(spec.kind), NodeKind::Operator(Arc::new(operator)), inputs).signature(signature);
    spec_of.updating = spec.kind != JoinKind::Inner && spec.bound.is_none();
    // NOT IN: whether there is a NULL is for all rows to know.
    if spec.keys.is_empty() || spec.null_aware {
        spec_of = spec_of.parallelism(1);
    }
    let mut all = emit.add(spec_of, output)?;
    all.places = places;
    Ok(all)
}

/// The columns of both sides as the operator gives them, and for every column of the stream its place: what was pruned below is not
/// there.
fn joined(left: &Made, right: &Made, kind: JoinKind) -> (SchemaRef, Vec<Option<usize>>) {
    let width = left.schema.fields().len();
    let mut fields: Vec<Field> = left.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut places = left.places.clone();
    if !matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti) {
        fields.extend(right.schema.fields().iter().map(|f| f.as_ref().clone()));
        places.extend(right.places.iter().map(|p| p.map(|p| p + width)));
    }
    let missing = |i: usize| match kind {
        JoinKind::Full => true,
        JoinKind::Left => i >= width,
        JoinKind::Right => i < width,
        _ => false,
    };
    let names = crate::naming::unique(fields.iter().map(|f| f.name()));
    let named = fields.iter().zip(names).enumerate();
    let fields = named.map(|(i, (f, n))| f.clone().with_name(n).with_nullable(f.is_nullable() || missing(i)));
    (Arc::new(Schema::new(fields.collect::<Vec<_>>())), places)
}

fn time_bound(bound: JoinBound, left: &Made, right: &Made) -> Option<TimeBound> {
    let at = |side: &Made, place: usize| side.places.get(place).copied().flatten();
    Some(TimeBound {
        left: at(left, bound.left)?,
        left_keep_ms: bound.left_keep_ms,
        right: at(right, bound.right)?,
        right_keep_ms: bound.right_keep_ms,
    })
}

/// What people see.
pub(super) fn label(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "join",
        JoinKind::Left => "left join",
        JoinKind::Right => "right join",
        JoinKind::Full => "full join",
        JoinKind::LeftSemi => "semi join",
        JoinKind::LeftAnti => "anti join",
    }
}
