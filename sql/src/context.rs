//! What DataFusion's planner asks for: tables, functions, types and options, all from the [`Catalog`] and fixed lists.
//!
//! Names are case sensitive, function names are not. No answer depends on anything outside the process.

use crate::aggregate;
use crate::catalog::Catalog;
use crate::error::Fault;
use crate::functions;
use crate::marks;
use crate::parser::types::arrow_type;
use crate::relation::WindowRelations;
use crate::suggest::closest;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Column, Result, TableReference};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, PlannerResult, RelationPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF, lit};
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast as sql;
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Functions, planners and options: the same for every statement.
pub(crate) struct Functions {
    scalar: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<&'static str, Arc<AggregateUDF>>,
    exprs: Vec<Arc<dyn ExprPlanner>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
    types: Arc<dyn TypePlanner>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").field("scalar", &self.scalar.len()).finish_non_exhaustive()
    }
}

impl Functions {
    pub(crate) fn new() -> Functions {
        let mut scalar = BTreeMap::new();
        // Ours come last: they replace DataFusion's under every name they have.
        let theirs = datafusion_functions::all_default_functions().into_iter();
        let theirs = theirs.filter(|f| !functions::HIDDEN.contains(&f.name()));
        for f in theirs.chain(functions::scalar_functions()) {
            for alias in f.aliases() {
                scalar.insert(alias.to_ascii_lowercase(), Arc::clone(&f));
            }
            scalar.insert(f.name().to_ascii_lowercase(), f);
        }
        let exprs: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(FieldPlanner),
            Arc::new(functions::FunctionPlanner::default()),
            Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
            Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
            Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
        ];
        Functions {
            scalar,
            aggregates: aggregate::declarations().into_iter().collect(),
            exprs,
            relations: vec![Arc::new(WindowRelations)],
            types: Arc::new(Types),
        }
    }

    pub(crate) fn expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.exprs
    }

    pub(crate) fn type_planner(&self) -> Arc<dyn TypePlanner> {
        Arc::clone(&self.types)
    }

    /// A function by its name, in any case; also what stands for a cast until `casts` has seen it.
    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(&name.to_ascii_lowercase()).cloned().or_else(|| marks::function(name))
    }

    /// All function names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.scalar.keys().cloned().chain(self.aggregates.keys().map(|n| n.to_string())).collect();
        names.sort();
        names
    }
}

/// DataFusion's options, as our SQL means it.
pub(crate) fn options(decimal_literals: bool) -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.parse_float_as_decimal = decimal_literals;
    options.sql_parser.default_null_ordering = "nulls_min".into();
    options.execution.time_zone = Some("UTC".into());
    // Names of extracted leaves differ per branch: equal sub-plans would no longer be equal.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // A subquery with one value becomes a join as all others do.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    options
}

/// One statement's view of catalog and functions.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) functions: &'a Functions,
    pub(crate) options: Arc<ConfigOptions>,
}

impl Context<'_> {
    pub(crate) fn planner(&self) -> SqlToRel<'_, Self> {
        SqlToRel::new_with_options(self, ParserOptions::from(&self.options.sql_parser))
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if let TableReference::Bare { table } = &name
            && let Some(source) = self.catalog.relation(table)
        {
            return Ok(source);
        }
        let fault = Fault::invalid(Span::empty(), format!("table or view `{}` does not exist", name.table()));
        Err(match closest(name.table(), self.catalog.names()) {
            Some(near) => fault.remedy(format!("write `{near}`")).into(),
            None => fault.remedy(format!("define it before with CREATE TABLE `{}` (..)", name.table())).into(),
        })
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.functions.exprs
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.functions.relations
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.functions.types))
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregates.get(name.to_ascii_lowercase().as_str()).cloned()
    }
    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }
    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregates.keys().map(|n| n.to_string()).collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}

/// `bid.price` of a ROW column `bid` is a column named `price`.
#[derive(Debug)]
struct FieldPlanner;

impl ExprPlanner for FieldPlanner {
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column(Column::from((qualifier, field)));
        let mut data_type = field.data_type();
        for name in nested {
            let DataType::Struct(fields) = data_type else {
                let fault = Fault::invalid(Span::empty(), format!("`{name}` is asked of a value that is no ROW"));
                return Err(fault.remedy("only ROW columns have fields").into());
            };
            let Some(inner) = fields.iter().find(|f| f.name() == name) else {
                let fault = Fault::invalid(Span::empty(), format!("the ROW `{}` has no field `{name}`", field.name()));
                let near = closest(name, fields.iter().map(|f| f.name().as_str()));
                let all: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                return Err(match near {
                    Some(near) => fault.remedy(format!("write `{near}`")).into(),
                    None => fault.remedy(format!("its fields are {}", all.join(", "))).into(),
                });
            };
            data_type = inner.data_type();
            expr = datafusion_functions::core::get_field().call(vec![expr, lit(name.clone())]);
        }
        Ok(PlannerResult::Planned(match nested.last() {
            Some(name) => expr.alias(name.clone()),
            None => expr,
        }))
    }
}

/// Types in CAST, as in DDL.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, written: &sql::DataType) -> Result<Option<FieldRef>> {
        // The type of an INTERVAL literal is DataFusion's own business.
        if matches!(written, sql::DataType::Interval { .. }) {
            return Ok(None);
        }
        Ok(Some(Arc::new(Field::new("", arrow_type(written)?, true))))
    }
}
