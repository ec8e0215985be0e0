//! What a batch query can name: the given tables, the functions of jobs, and DataFusion's aggregates and window functions.
//!
//! Tables may be written `state.NAME`: the name of the schema means nothing more.

use super::{BatchTable, BatchTables};
use crate::casts;
use crate::context::{Functions, options};
use crate::error::{Fault, Result};
use crate::fault;
use crate::marks;
use crate::naming::name_columns;
use crate::size;
use crate::suggest::closest;
use crate::units::write_units;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result as DataResult, TableReference};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_optimizer::analyzer::Analyzer;
use datafusion_optimizer::optimizer::{Optimizer, OptimizerContext};
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast::{self as sql, Query, Spanned};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The schema that tables may be written with.
const SCHEMA: &str = "state";

/// One table, as the planner hands it from FROM to the scan.
#[derive(Debug)]
pub(super) struct Source(pub(super) Arc<dyn BatchTable>);

impl TableSource for Source {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}

/// Tables and functions.
#[derive(Debug)]
pub(super) struct BatchContext {
    pub(super) tables: Arc<dyn BatchTables>,
    pub(super) options: Arc<ConfigOptions>,
    functions: Functions,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    windows: BTreeMap<String, Arc<WindowUDF>>,
    unreadable: Mutex<Option<thalweg_engine::Error>>,
}

impl BatchContext {
    pub(super) fn new(tables: Arc<dyn BatchTables>) -> BatchContext {
        let mut options = options(false);
        options.execution.target_partitions = 1;
        // Run as joins, for which there is an operator.
        options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
        let mut aggregates = BTreeMap::new();
        for f in datafusion_functions_aggregate::all_default_aggregate_functions() {
            f.aliases().iter().for_each(|alias| drop(aggregates.insert(alias.clone(), f.clone())));
            aggregates.insert(f.name().to_owned(), f);
        }
        let windows = datafusion_functions_window::all_default_window_functions();
        BatchContext {
            tables,
            options: Arc::new(options),
            functions: Functions::new(),
            aggregates,
            windows: windows.into_iter().map(|f| (f.name().to_owned(), f)).collect(),
            unreadable: Mutex::new(None),
        }
    }

    /// The table that could not be read, if that is why the planner failed.
    pub(super) fn unreadable(&self) -> Option<thalweg_engine::Error> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The table of this name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<dyn BatchTable>> {
        let found = self.tables.table(name).map_err(|e| {
            let fault = Fault::invalid(Span::empty(), e.message());
            *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            fault
        })?;
        let names = self.tables.names();
        let short = self.tables.short_names();
        let missing = || {
            let fault = Fault::invalid(Span::empty(), format!("table `{name}` does not exist"));
            match closest(name, short.iter().chain(&names).map(String::as_str)) {
                Some(near) => fault.remedy(format!("write `{near}`")),
                None => fault.remedy(format!("the tables are {}", names.join(", "))),
            }
        };
        found.ok_or_else(missing)
    }

    pub(super) fn function_names(&self) -> Vec<String> {
        let mut names = self.functions.names();
        names.extend(self.aggregates.keys().chain(self.windows.keys()).cloned());
        names.sort();
        names.dedup();
        names
    }

    /// A query, bound and optimized.
    pub(super) fn bind(&self, query: &Query) -> Result<LogicalPlan> {
        let mut query = query.clone();
        write_units(&mut query);
        name_columns(&mut query, true)?;
        marks::mark(&mut query)?;
        let span = query.span();
        let planner = SqlToRel::new_with_options(self, ParserOptions::from(&self.options.sql_parser));
        let statement = sql::Statement::Query(Box::new(query));
        let plan = planner.sql_statement_to_plan(statement).map_err(fault::of)?;
        size::check(&plan, span)?;
        let plan = Analyzer::new().execute_and_check(plan, &self.options, |_, _| {}).map_err(fault::of)?;
        let plan = casts::rewrite_plan(plan)?;
        let context = OptimizerContext::new_with_config_options(Arc::clone(&self.options));
        Optimizer::new().optimize(plan, &context, |_, _| {}).map_err(fault::of)
    }
}

impl ContextProvider for BatchContext {
    fn get_table_source(&self, name: TableReference) -> DataResult<Arc<dyn TableSource>> {
        match &name {
            TableReference::Bare { table } => Ok(Arc::new(Source(self.find(table)?))),
            TableReference::Partial { schema, table } if schema.eq_ignore_ascii_case(SCHEMA) => {
                Ok(Arc::new(Source(self.find(table)?)))
            }
            other => {
                let fault = Fault::invalid(Span::empty(), format!("table `{}` does not exist", other.table()));
                Err(fault.remedy(format!("write a name without dots, or `{SCHEMA}` in front of it")).into())
            }
        }
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.functions.expr_planners()
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.functions.type_planner())
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(&name.to_ascii_lowercase()).cloned()
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(&name.to_ascii_lowercase()).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.functions.names()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }
    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        self.windows.keys().cloned().collect()
    }
}
