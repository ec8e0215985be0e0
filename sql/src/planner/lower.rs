//! Logical plans to streams. Renames cost nothing, filters and projections are gathered and become one operator where something
//! needs their result, window aggregates take the window function below them along.
//!
//! Called with every optimized plan of a job; the [`Streams`] are shared, so equal parts become one.
//!
//! Invariants
//! - LO1 an expression that costs anything is computed once per row: before it would be written out twice, it becomes a column.
//! - LO2 a volatile expression is never written out twice.

use super::calls::name_of;
use super::stream::{StreamId, StreamNode, StreamOp, Streams, TableRef, column, lineage_of, mix, place, places};
use super::{refuse, side};
use crate::attribute::{Attribute, PROCTIME};
use crate::catalog::{Relation, Table};
use crate::error::{Fault, Result};
use crate::fault;
use crate::naming;
use crate::nodes::{Rowtime, WINDOW_COLUMNS, WindowKind, WindowTvf, downcast};
use crate::shown::written;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, ScalarValue};
use datafusion_expr::logical_plan::{TableScan, Values};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::key::hash_text;
use thalweg_operators::text::literal;

/// A plan's result, not yet computed: filter and projection over a node.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) base: StreamId,
    /// Over the base's columns; all must be true.
    pub(crate) predicates: Vec<Expr>,
    /// Over the base's columns, one per output; with a window also [`window_column`]s.
    pub(crate) outputs: Vec<Expr>,
    pub(crate) attributes: Vec<Option<Attribute>>,
    pub(crate) window: Option<PendingWindow>,
}

/// Windows that rows were put into, but not aggregated over yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingWindow {
    pub(crate) kind: WindowKind,
    /// Over the base's columns, and what it is called.
    pub(crate) time: Expr,
    pub(crate) time_name: String,
    pub(crate) processing_time: bool,
    /// The table that takes the late rows, and its columns over the base's.
    pub(crate) late: Option<(TableRef, Vec<Expr>)>,
    /// What was asked of the window's bounds: applied to what comes out.
    pub(crate) predicates: Vec<Expr>,
}

/// A window's bound before there is a column of it; `n` is its place in [`WINDOW_COLUMNS`].
pub(crate) fn window_column(n: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("$window{n}")))
}

pub(crate) fn window_place(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(c) => c.name.strip_prefix("$window")?.parse().ok(),
        _ => None,
    }
}

pub(super) fn mentions_window(expr: &Expr) -> bool {
    expr.column_refs().into_iter().any(|c| c.name.starts_with("$window"))
}

/// Lowers plans into `streams`.
pub(crate) struct Lower<'a> {
    pub(crate) streams: &'a mut Streams,
    /// All tables, for what options name.
    pub(crate) tables: &'a BTreeMap<String, Arc<Table>>,
    /// The statement, for faults that know no better place.
    pub(crate) span: Span,
}

impl Lower<'_> {
    /// The plan's result as a pending calc.
    pub(crate) fn plan(&mut self, plan: &LogicalPlan) -> Result<Pending> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::EmptyRelation(empty) => Ok(self.constant(empty.produce_one_row, empty.schema.as_ref())),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(p) => {
                let input = self.plan(&p.input)?;
                self.project(input, p.input.schema(), &p.expr)
            }
            LogicalPlan::Filter(f) => {
                let input = self.plan(&f.input)?;
                self.filter(input, f.input.schema(), &f.predicate)
            }
            LogicalPlan::Union(union) => self.union(&union.inputs, union.schema.as_ref()),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => {
                let input = self.plan(&aggregate.input)?;
                self.aggregate(input, aggregate)
            }
            other => match (downcast::<Rowtime>(other), downcast::<WindowTvf>(other)) {
                (Some(rowtime), _) => {
                    let mut input = self.plan(&rowtime.input)?;
                    let at = rowtime.input.schema().index_of_column_by_name(None, &rowtime.column.name);
                    if let Some(attribute) = at.and_then(|i| input.attributes.get_mut(i)) {
                        *attribute = Some(Attribute::Rowtime);
                    }
                    Ok(input)
                }
                (_, Some(window)) => self.window_function(window),
                _ => Err(refuse::plan(other, self.span)),
            },
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Pending> {
        let source = Arc::clone(&scan.source);
        let relation = (source.as_ref() as &dyn std::any::Any).downcast_ref::<Relation>();
        let Some(table) = relation.and_then(|r| r.table.clone()) else {
            return Err(Fault::internal(format!("scan of `{}` without a table", scan.table_name)));
        };
        let schema = Arc::clone(&table.source_schema);
        let name = &table.name;
        let lineage = schema.fields().iter().map(|f| hash_text(&format!("{name}.{}", f.name()))).collect();
        let rowtime = table.watermark.as_ref().and_then(|w| schema.index_of(&w.column).ok());
        let node = StreamNode {
            rows: hash_text(&format!("table {name}")),
            op: StreamOp::Source(TableRef(Arc::clone(&table))),
            inputs: vec![],
            lineage,
            rowtime,
            unique: vec![],
            kind: StreamKind::Append,
            schema: Arc::clone(&schema),
        };
        let base = self.streams.add(node, vec![]);
        let taken: Vec<usize> = scan.projection.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let attributes = taken.iter().map(|i| (Some(*i) == rowtime).then_some(Attribute::Rowtime)).collect();
        let pending = Pending {
            base,
            predicates: vec![],
            outputs: taken.into_iter().map(column).collect(),
            attributes,
            window: None,
        };
        let filters = scan.filters.clone();
        filters.iter().try_fold(pending, |p, f| self.filter(p, &scan.projected_schema, f))
    }

    /// Rows that stand in the text.
    fn values(&mut self, values: &Values) -> Result<Pending> {
        let constant = |e: &Expr| match bare(e) {
            Expr::Literal(value, _) => Ok(value),
            other => {
                let fault = Fault::unsupported(self.span, format!("`{}` in VALUES", written(&other)));
                Err(fault.remedy("write constants, or SELECT .. UNION ALL SELECT .."))
            }
        };
        let rows = values.values.iter().map(|row| row.iter().map(constant).collect());
        let rows = rows.collect::<Result<Vec<Vec<_>>>>()?;
        let names: Vec<&String> = values.schema.fields().iter().map(|f| f.name()).collect();
        let types = values.schema.fields().iter().map(|f| f.data_type().clone());
        let fields = names.iter().zip(types).map(|(name, of)| Field::new(*name, of, true));
        let text = |row: &Vec<ScalarValue>| row.iter().map(literal).collect::<Vec<_>>().join(",");
        let all = hash_text(&rows.iter().map(text).collect::<Vec<_>>().join(";"));
        let node = StreamNode {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            lineage: (0..names.len()).map(|at| mix([all, at as u64])).collect(),
            op: StreamOp::Values { rows },
            inputs: vec![],
            rows: all,
            kind: StreamKind::Append,
            rowtime: None,
            unique: vec![],
        };
        let width = node.schema.fields().len();
        let base = self.streams.add(node, vec![]);
        let outputs = (0..width).map(column).collect();
        Ok(Pending { base, predicates: vec![], attributes: vec![None; width], outputs, window: None })
    }

    /// One row without columns, or no row of some columns.
    fn constant(&mut self, one: bool, schema: &DFSchema) -> Pending {
        let node = StreamNode {
            op: StreamOp::Constant { rows: usize::from(one) },
            inputs: vec![],
            schema: Arc::new(Schema::new(vec![Field::new("nothing", DataType::Boolean, true)])),
            lineage: vec![hash_text("nothing")],
            rows: hash_text(if one { "one row" } else { "no row" }),
            kind: StreamKind::Append,
            rowtime: None,
            unique: vec![],
        };
        let base = self.streams.add(node, vec![]);
        let null = |t: &DataType| {
            Expr::Literal(
                datafusion_common::ScalarValue::try_from(t).unwrap_or(datafusion_common::ScalarValue::Null),
                None,
            )
        };
        let outputs: Vec<Expr> = schema.fields().iter().map(|f| null(f.data_type())).collect();
        Pending { base, predicates: vec![], attributes: vec![None; outputs.len()], outputs, window: None }
    }

    fn project(&mut self, input: Pending, schema: &DFSchema, exprs: &[Expr]) -> Result<Pending> {
        let attributes = exprs.iter().map(|e| attribute(e, schema, &input.attributes)).collect();
        let exprs: Vec<Expr> = exprs.iter().map(bare).collect();
        let input = self.settle_repeated(input, schema, &exprs)?;
        let outputs = exprs.iter().map(|e| over_base(e, schema, &input.outputs)).collect::<Result<_>>()?;
        Ok(Pending { outputs, attributes, ..input })
    }

    fn filter(&mut self, input: Pending, schema: &DFSchema, predicate: &Expr) -> Result<Pending> {
        let predicate = bare(predicate);
        let mut input = self.settle_repeated(input, schema, std::slice::from_ref(&predicate))?;
        for part in datafusion_expr::utils::split_conjunction(&predicate) {
            let mut over = over_base(part, schema, &input.outputs)?;
            if let Some(window) = &mut input.window
                && mentions_window(&over)
            {
                if places(&over).is_empty() {
                    window.predicates.push(over);
                    continue;
                }
                input = self.assign(input)?;
                over = over_base(part, schema, &input.outputs)?;
            }
            input.predicates.push(over);
        }
        Ok(input)
    }

    /// Computes what is pending if these expressions would write something out twice that costs, or is volatile.
    fn settle_repeated(&mut self, input: Pending, schema: &DFSchema, exprs: &[Expr]) -> Result<Pending> {
        let mut uses = vec![0usize; input.outputs.len()];
        for expr in exprs {
            count_uses(expr, schema, &mut uses)?;
        }
        let costs = |e: &Expr| {
            place(e).is_none() && window_place(e).is_none() && !is_field(e) && !matches!(e, Expr::Literal(..))
        };
        let repeated = uses.iter().zip(&input.outputs).any(|(n, e)| *n > 1 && costs(e));
        // A projection that keeps a computed column and uses it in a filter above counts once per expression list.
        let filtered_volatile =
            exprs.len() == 1 && uses.iter().zip(&input.outputs).any(|(n, e)| *n > 0 && e.is_volatile());
        if (!repeated && !filtered_volatile) || input.window.is_some() {
            return Ok(input);
        }
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        self.settle(input, &names)
    }

    /// Makes the pending calc an operator; the result's outputs are plain columns.
    pub(crate) fn settle(&mut self, input: Pending, names: &[String]) -> Result<Pending> {
        let attributes = input.attributes.clone();
        let width = input.outputs.len();
        let base = self.calc(input, names, None)?;
        Ok(Pending { base, predicates: vec![], outputs: (0..width).map(column).collect(), attributes, window: None })
    }

    /// The node that computes the pending calc; the base itself if there is nothing to do. With `exact`, the columns have these
    /// names and types.
    pub(crate) fn calc(&mut self, input: Pending, names: &[String], exact: Option<&SchemaRef>) -> Result<StreamId> {
        let mut input = self.assign(input)?;
        let base = self.streams.node(input.base).clone();
        let identity = input.outputs.len() == base.schema.fields().len()
            && input.outputs.iter().enumerate().all(|(i, e)| place(e) == Some(i));
        if identity && input.predicates.is_empty() && exact.is_none_or(|s| **s == *base.schema) {
            return Ok(input.base);
        }
        if base.kind == StreamKind::Changelog
            && let Some(volatile) = input.predicates.iter().chain(&input.outputs).find(|e| e.is_volatile())
        {
            return Err(refuse::volatile(volatile, self.span));
        }
        let by_place = place_schema(&base.schema)?;
        specialise(&mut input, &by_place)?;
        let schema = match exact {
            Some(schema) => Arc::clone(schema),
            None => {
                let types: Vec<DataType> = input
                    .outputs
                    .iter()
                    .map(|e| e.get_type(&by_place))
                    .collect::<std::result::Result<_, _>>()
                    .map_err(fault::of)?;
                let fields = naming::unique(names.iter()).into_iter().zip(types).map(|(n, t)| Field::new(n, t, true));
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            }
        };
        let mut filters: Vec<u64> = input.predicates.iter().map(|p| lineage_of(p, &base.lineage)).collect();
        filters.sort_unstable();
        filters.dedup();
        let rows = if filters.is_empty() { base.rows } else { mix([base.rows].into_iter().chain(filters)) };
        let rowtime = input.attributes.iter().position(|a| *a == Some(Attribute::Rowtime) || *a == Some(WINDOW_TIME));
        let node = StreamNode {
            lineage: input.outputs.iter().map(|e| lineage_of(e, &base.lineage)).collect(),
            rows,
            kind: base.kind,
            rowtime,
            unique: kept_key(&base.unique, &input.outputs),
            schema: Arc::clone(&schema),
            inputs: vec![input.base],
            op: StreamOp::Calc { predicate: input.predicates.into_iter().reduce(Expr::and), outputs: input.outputs },
        };
        let names = exact.map_or(vec![], |s| s.fields().iter().map(|f| f.name().clone()).collect());
        Ok(self.streams.add(node, names))
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>], schema: &DFSchema) -> Result<Pending> {
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let inputs = inputs.iter().map(|input| self.plan(input)).collect::<Result<_>>()?;
        self.union_of(inputs, &names, schema)
    }

    /// The rows of all inputs, with these names and the types of `schema`.
    pub(super) fn union_of(&mut self, inputs: Vec<Pending>, names: &[String], schema: &DFSchema) -> Result<Pending> {
        let fields = naming::unique(names.iter())
            .into_iter()
            .zip(schema.fields())
            .map(|(n, f)| Field::new(n, f.data_type().clone(), true));
        let exact: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut ids = vec![];
        let mut attributes: Option<Vec<Option<Attribute>>> = None;
        for pending in inputs {
            let own = pending.attributes.clone();
            attributes = Some(match attributes {
                None => own,
                Some(all) => all.into_iter().zip(own).map(|(a, b)| a.filter(|_| a == b)).collect(),
            });
            ids.push(self.calc(pending, names, Some(&exact))?);
        }
        let attributes = attributes.unwrap_or_default();
        let of = |f: fn(&StreamNode) -> u64| mix(ids.iter().map(|id| f(self.streams.node(*id))));
        let lineage = (0..names.len()).map(|i| mix(ids.iter().map(|id| self.streams.node(*id).lineage[i]))).collect();
        let node = StreamNode {
            rows: of(|n| n.rows),
            kind: ids.iter().map(|id| self.streams.node(*id).kind).max().unwrap_or_default(),
            lineage,
            rowtime: attributes.iter().position(|a| *a == Some(Attribute::Rowtime)),
            unique: vec![],
            schema: exact,
            inputs: ids.clone(),
            op: StreamOp::Union,
        };
        let base = self.streams.add(node, vec![]);
        Ok(Pending {
            base,
            predicates: vec![],
            outputs: (0..names.len()).map(column).collect(),
            attributes,
            window: None,
        })
    }

    fn window_function(&mut self, window: &WindowTvf) -> Result<Pending> {
        let input = self.plan(&window.input)?;
        let names: Vec<String> = window.input.schema().fields().iter().map(|f| f.name().clone()).collect();
        // A filter below the window function may have asked for the bounds of another window: those must be columns first.
        let mut input = if input.window.is_some() { self.settle(input, &names)? } else { input };
        let written = bare(&window.time);
        if !window.processing_time && attribute(&written, window.input.schema(), &input.attributes).is_none() {
            return Err(refuse::old_times(&window.time, self.span));
        }
        let time = over_base(&written, window.input.schema(), &input.outputs)?;
        let late = match side::late_target(window, self.tables)? {
            Some((table, columns)) => {
                let exprs = columns.iter().filter_map(|i| input.outputs.get(*i).cloned()).collect();
                Some((TableRef(table), exprs))
            }
            None => None,
        };
        input.outputs.extend((0..WINDOW_COLUMNS.len()).map(window_column));
        input.attributes.extend(
            (0..WINDOW_COLUMNS.len())
                .map(|place| Some(Attribute::Window { place, processing_time: window.processing_time })),
        );
        input.window = Some(PendingWindow {
            kind: window.kind,
            time,
            time_name: name_of(&written),
            processing_time: window.processing_time,
            late,
            predicates: vec![],
        });
        Ok(input)
    }
}

/// Where the filter says `column = constant`, the projections know the column's value: `CASE WHEN event_type = 0 ..` behind
/// `event_type = 2` is one branch. Types stay as they are.
fn specialise(input: &mut Pending, schema: &DFSchema) -> Result<()> {
    use datafusion_expr::{BinaryExpr, Operator};
    let mut known: Vec<(usize, Expr)> = vec![];
    for predicate in &input.predicates {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = predicate
            && let (Some(at), Expr::Literal(value, _)) = (place(left), right.as_ref())
            && !value.data_type().is_floating()
        {
            known.push((at, right.as_ref().clone()));
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    let info = datafusion_expr::simplify::SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let simplifier = datafusion_optimizer::simplify_expressions::ExprSimplifier::new(info);
    for output in input.outputs.iter_mut().filter(|e| place(e).is_none() && window_place(e).is_none()) {
        let replaced =
            output.clone().transform(|e| match place(&e).and_then(|at| known.iter().find(|(k, _)| *k == at)) {
                Some((_, value)) => Ok(Transformed::yes(value.clone())),
                None => Ok(Transformed::no(e)),
            });
        let replaced = replaced.map_err(fault::of)?;
        if !replaced.transformed {
            continue;
        }
        let simpler = simplifier.simplify(replaced.data).map_err(fault::of)?;
        let same = |e: &Expr| e.get_type(schema).map_err(fault::of);
        if same(&simpler)? == same(output)? {
            *output = simpler;
        }
    }
    Ok(())
}

/// `window_time` of an event-time window is the rowtime of what comes out of it.
const WINDOW_TIME: Attribute = Attribute::Window { place: 2, processing_time: false };

/// The expression without aliases, at any depth.
pub(crate) fn bare(expr: &Expr) -> Expr {
    expr.clone().unalias_nested().data.unalias()
}

fn attribute(expr: &Expr, schema: &DFSchema, attributes: &[Option<Attribute>]) -> Option<Attribute> {
    match expr {
        Expr::Alias(alias) => attribute(&alias.expr, schema, attributes),
        Expr::Column(c) => attributes.get(schema.maybe_index_of_column(c)?).copied().flatten(),
        Expr::ScalarFunction(call) if call.func.name() == PROCTIME => Some(Attribute::Proctime),
        _ => None,
    }
}

/// An expression over a plan's output as one over its base's columns.
pub(crate) fn over_base(expr: &Expr, schema: &DFSchema, outputs: &[Expr]) -> Result<Expr> {
    let replaced = expr.clone().transform(|e| match &e {
        Expr::Column(c) => match outputs.get(schema.index_of_column(c)?) {
            Some(output) => Ok(Transformed::new(output.clone(), true, TreeNodeRecursion::Jump)),
            None => datafusion_common::internal_err!("column {c} has no place"),
        },
        _ => Ok(Transformed::no(e)),
    });
    Ok(replaced.map_err(fault::of)?.data)
}

fn count_uses(expr: &Expr, schema: &DFSchema, uses: &mut [usize]) -> Result<()> {
    let counted = expr.apply(|e| {
        if let Expr::Column(c) = e
            && let Some(n) = uses.get_mut(schema.index_of_column(c)?)
        {
            *n += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map(|_| ()).map_err(fault::of)
}

/// `column.field`: costs nothing.
fn is_field(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
            call.args.first().is_some_and(|a| place(a).is_some() || is_field(a))
        }
        _ => false,
    }
}

/// A node's schema with the columns named by place.
pub(crate) fn place_schema(schema: &Schema) -> Result<DFSchema> {
    let fields: Vec<Field> =
        schema.fields().iter().enumerate().map(|(i, f)| f.as_ref().clone().with_name(format!("#{i}"))).collect();
    DFSchema::try_from(Schema::new(fields)).map_err(fault::of)
}

/// Where the base's key stands in the outputs, if all of it does.
fn kept_key(unique: &[usize], outputs: &[Expr]) -> Vec<usize> {
    let at = |key: &usize| outputs.iter().position(|e| place(e) == Some(*key));
    unique.iter().map(at).collect::<Option<Vec<_>>>().unwrap_or_default()
}
