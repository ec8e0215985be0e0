//! From a bound query to DataFusion's operators, one for each node: on one partition there is nothing else to decide.
//!
//! Called by [`compile`](super::compile) on the large stack.

use super::context::{BatchContext, Source};
use super::join;
use super::scan::Scan;
use crate::error::{Fault, Result as Placed};
use crate::fault;
use datafusion_common::{DFSchema, DataFusionError, Result};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{NullTreatment, WindowFunction};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{
    Aggregate, Expr, FetchType, Limit, LogicalPlan, Projection, SkipType, Sort, SortExpr, TableScan, Window,
};
use datafusion_physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion_physical_expr::{
    LexOrdering, PhysicalExpr, create_physical_expr, create_physical_exprs, create_physical_sort_exprs,
};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion_physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion_physical_plan::empty::EmptyExec;
use datafusion_physical_plan::filter::FilterExec;
use datafusion_physical_plan::limit::GlobalLimitExec;
use datafusion_physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion_physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::union::UnionExec;
use datafusion_physical_plan::windows::{WindowAggExec, create_window_expr};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::sync::Arc;

/// An operator.
pub(super) type Physical = Arc<dyn ExecutionPlan>;

/// The operators of a query. Errors: what there is no operator for.
pub(super) fn physical(plan: &LogicalPlan, context: &BatchContext) -> Placed<Physical> {
    let mut props = ExecutionProps::new();
    props.config_options = Some(context.options.clone());
    Lowering { props, planning: PhysicalPlanningContext::default() }.plan(plan).map_err(fault::of)
}

/// What expressions are made with.
pub(super) struct Lowering {
    props: ExecutionProps,
    planning: PhysicalPlanningContext,
}

impl Lowering {
    pub(super) fn expr(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, &self.props, &self.planning)
    }

    pub(super) fn plan(&self, plan: &LogicalPlan) -> Result<Physical> {
        match plan {
            LogicalPlan::TableScan(scan) => table(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Subquery(subquery) => self.plan(&subquery.subquery),
            LogicalPlan::Projection(node) => self.projection(node),
            LogicalPlan::Filter(node) => {
                let predicate = self.expr(&node.predicate, node.input.schema())?;
                Ok(Arc::new(FilterExec::try_new(predicate, self.plan(&node.input)?)?))
            }
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Window(node) => self.window(node),
            LogicalPlan::Sort(Sort { expr, input, fetch }) => {
                self.sort(expr, input.schema(), self.plan(input)?, *fetch)
            }
            LogicalPlan::Limit(node) => self.limit(node),
            LogicalPlan::Union(node) => {
                let inputs = node.inputs.iter().map(|i| self.plan(i)).collect::<Result<_>>()?;
                Ok(Arc::new(CoalescePartitionsExec::new(UnionExec::try_new(inputs)?)))
            }
            LogicalPlan::Join(node) => join::join(self, node),
            LogicalPlan::EmptyRelation(node) if node.produce_one_row => {
                Ok(Arc::new(PlaceholderRowExec::new(node.schema.inner().clone())))
            }
            LogicalPlan::EmptyRelation(node) => Ok(Arc::new(EmptyExec::new(node.schema.inner().clone()))),
            other => {
                let line = other.display().to_string();
                let what = line.split([':', ' ']).next().unwrap_or_default().to_owned();
                Err(unsupported(what))
            }
        }
    }

    fn projection(&self, node: &Projection) -> Result<Physical> {
        let expr = |(e, field): (&Expr, &Arc<arrow::datatypes::Field>)| {
            Ok(ProjectionExpr::new(self.expr(e, node.input.schema())?, field.name().clone()))
        };
        let exprs = node.expr.iter().zip(node.schema.fields()).map(expr).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(exprs, self.plan(&node.input)?)?))
    }

    fn aggregate(&self, node: &Aggregate) -> Result<Physical> {
        let (input, schema) = (self.plan(&node.input)?, node.input.schema());
        if node.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return Err(unsupported("GROUPING SETS"));
        }
        let names = node.schema.fields().iter().map(|f| f.name().clone());
        let group = |(e, name): (&Expr, String)| Ok((self.expr(e, schema)?, name));
        let groups = node.group_expr.iter().zip(names.clone()).map(group).collect::<Result<Vec<_>>>()?;
        let (mut aggregates, mut filters) = (Vec::new(), Vec::new());
        for (e, name) in node.aggr_expr.iter().zip(names.skip(groups.len())) {
            let physical = input.schema();
            let builder = LoweredAggregateBuilder::new(e, schema, &physical, &self.props, &self.planning);
            let lowered = builder.with_name(name).build()?;
            if !lowered.order_bys.is_empty() {
                return Err(unsupported("ORDER BY in an aggregate"));
            }
            aggregates.push(lowered.aggregate);
            filters.push(lowered.filter);
        }
        let (groups, physical) = (PhysicalGroupBy::new_single(groups), input.schema());
        let exec = AggregateExec::try_new(AggregateMode::Single, groups, aggregates, filters, input, physical)?;
        Ok(Arc::new(exec))
    }

    fn sort(&self, exprs: &[SortExpr], schema: &DFSchema, input: Physical, fetch: Option<usize>) -> Result<Physical> {
        let exprs = create_physical_sort_exprs(exprs, schema, &self.props, &self.planning)?;
        match LexOrdering::new(exprs) {
            Some(order) => Ok(Arc::new(SortExec::new(order, input).with_fetch(fetch))),
            None => Ok(input),
        }
    }

    fn limit(&self, node: &Limit) -> Result<Physical> {
        match (node.get_skip_type()?, node.get_fetch_type()?) {
            (SkipType::Literal(skip), FetchType::Literal(fetch)) => {
                Ok(Arc::new(GlobalLimitExec::new(self.plan(&node.input)?, skip, fetch)))
            }
            _ => Err(unsupported("LIMIT or OFFSET that is no number")),
        }
    }

    /// All functions of one node have the same PARTITION BY and ORDER BY.
    fn window(&self, node: &Window) -> Result<Physical> {
        let schema = node.input.schema();
        let mut input = self.plan(&node.input)?;
        if let Some(Expr::WindowFunction(first)) = node.window_expr.first().map(unaliased) {
            let partitions = first.params.partition_by.iter().map(|e| e.clone().sort(true, true));
            let order: Vec<SortExpr> = partitions.chain(first.params.order_by.iter().cloned()).collect();
            input = self.sort(&order, schema, input, None)?;
        }
        let names = node.schema.fields().iter().skip(schema.fields().len());
        let functions = node.window_expr.iter().zip(names).map(|(e, field)| match unaliased(e) {
            Expr::WindowFunction(function) => self.window_function(function, field.name(), schema),
            _ => Err(unsupported("this window function")),
        });
        let functions = functions.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(WindowAggExec::try_new(functions, input, false)?))
    }

    fn window_function(
        &self,
        function: &WindowFunction,
        name: &str,
        schema: &DFSchema,
    ) -> Result<Arc<dyn datafusion_physical_expr::window::WindowExpr>> {
        let params = &function.params;
        let exprs = |all: &[Expr]| create_physical_exprs(all, schema, &self.props, &self.planning);
        let order = create_physical_sort_exprs(&params.order_by, schema, &self.props, &self.planning)?;
        let filter = params.filter.as_ref().map(|f| self.expr(f, schema)).transpose()?;
        create_window_expr(
            &function.fun,
            name.to_owned(),
            &exprs(&params.args)?,
            &exprs(&params.partition_by)?,
            &order,
            Arc::new(params.window_frame.clone()),
            schema.inner().clone(),
            params.null_treatment == Some(NullTreatment::IgnoreNulls),
            params.distinct,
            filter,
        )
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    if let Expr::Alias(alias) = expr { unaliased(&alias.expr) } else { expr }
}

fn table(scan: &TableScan) -> Result<Physical> {
    let source: &dyn std::any::Any = scan.source.as_ref();
    let source = source.downcast_ref::<Source>().ok_or_else(|| unsupported("this table"))?;
    Ok(Arc::new(Scan::new(source.0.clone(), scan.projection.clone())?))
}

pub(super) fn unsupported(what: impl std::fmt::Display) -> DataFusionError {
    Fault::unsupported(Span::empty(), what).remedy("write the query in another way").into()
}
