//! Statements to catalog entries and bound plans. Called by [`compile`](crate::compile), statement by statement, in order.
//!
//! Invariants
//! - B1 every name in a bound plan was resolved against the catalog as it stood at that statement.
//! - B2 a query is checked for unsupported parts before it is bound, and for its size after.

use crate::casts;
use crate::catalog::{Catalog, ColumnDef, ColumnOrigin, Relation, Table, TableWatermark};
use crate::check;
use crate::coerce::is_assignable;
use crate::context::{Context, Functions, options};
use crate::culprit;
use crate::error::{Fault, Result};
use crate::fault;
use crate::marks;
use crate::mixed;
use crate::naming::{name_columns, shown};
use crate::nodes::{Rowtime, extension};
use crate::optimize::optimize;
use crate::parser::statement::{Column, ColumnKind, CreateTable, CreateView, Insert};
use crate::size;
use crate::suggest::closest;
use crate::units::{check_intervals, write_units};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column as ColumnRef, DFSchema, TableReference};
use datafusion_expr::expr::Alias;
use datafusion_expr::logical_plan::LogicalPlanBuilder;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, cast, lit};
use datafusion_sql::planner::PlannerContext;
use datafusion_sql::sqlparser::ast::{self as sql, Ident, Query, Spanned};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::type_name;

/// The state of one text: what was defined so far.
#[derive(Debug)]
pub(crate) struct Binder {
    pub(crate) catalog: Catalog,
    pub(crate) functions: Functions,
    /// `sql.decimal-literals`: 0.5 is DECIMAL(1, 1), else DOUBLE.
    pub(crate) decimal_literals: bool,
}

/// An INSERT, bound and optimized.
#[derive(Debug)]
pub(crate) struct BoundInsert {
    pub(crate) table: Arc<Table>,
    /// Gives exactly the table's written columns, in order.
    pub(crate) plan: LogicalPlan,
    pub(crate) span: Span,
}

impl Binder {
    pub(crate) fn new(decimal_literals: bool) -> Binder {
        Binder { catalog: Catalog::default(), functions: Functions::new(), decimal_literals }
    }

    fn context(&self) -> Context<'_> {
        Context {
            catalog: &self.catalog,
            functions: &self.functions,
            options: Arc::new(options(self.decimal_literals)),
        }
    }

    /// A query, bound and within the limits, not optimized. `top` says that nobody looks up its columns' names.
    fn query(&self, query: &Query, top: bool) -> Result<LogicalPlan> {
        check::check_query(query)?;
        size::check_query(query, &self.catalog)?;
        let mut query = query.clone();
        write_units(&mut query);
        name_columns(&mut query, top)?;
        marks::mark(&mut query)?;
        check_intervals(&query, |interval| self.interval(interval))?;
        let span = query.span();
        let bind = |query: Query| {
            let statement = sql::Statement::Query(Box::new(query));
            self.context().planner().sql_statement_to_plan(statement).map_err(fault::of)
        };
        let plan = bind(query.clone()).map_err(|fault| culprit::placed(fault, &query, |q| bind(q).err()))?;
        size::check(&plan, span)?;
        mixed::check_plan(&plan)?;
        Ok(plan)
    }

    /// Whether an INTERVAL can be read.
    fn interval(&self, interval: &sql::Expr) -> Result<()> {
        let bound =
            self.context().planner().sql_to_expr(interval.clone(), &DFSchema::empty(), &mut PlannerContext::new());
        let unread = |e| fault::of(e).remedy("write a number and a unit: INTERVAL '10' SECOND");
        bound.map(|_| ()).map_err(unread)
    }

    /// A bare SELECT: bound and optimized.
    pub(crate) fn select(&self, query: &Query) -> Result<LogicalPlan> {
        let plan = self.query(query, true)?;
        optimize(plan, &self.context())
    }

    fn expr(&self, expr: &sql::Expr, schema: &DFSchema) -> Result<Expr> {
        check::check_expr(expr)?;
        let mut names = PlannerContext::new();
        let mut written = expr.clone();
        write_units(&mut written);
        marks::mark(&mut written)?;
        check_intervals(&written, |interval| self.interval(interval))?;
        let bound = self.context().planner().sql_to_expr(written, schema, &mut names).map_err(fault::of)?;
        // Type errors show here, not at the first query.
        bound.get_type(schema).map_err(|e| fault::of(e).at(expr.span()))?;
        mixed::check(&bound, schema).map_err(fault::of)?;
        casts::rewrite(bound.clone(), schema).map_err(|e| fault::of(e).at(expr.span()))?;
        Ok(bound)
    }

    /// Defines a table. Whether its connector knows the options is asked by the caller, through the registry.
    pub(crate) fn create_table(&mut self, statement: &CreateTable, text: &str) -> Result<Option<Arc<Table>>> {
        if self.is_taken(&statement.name, statement.if_not_exists)? {
            return Ok(None);
        }
        let definition = self.with_like(statement)?;
        let name = definition.name.value.as_str();
        let source_schema = source_schema(&definition);
        let table_name = TableReference::bare(name);
        let scan_schema = DFSchema::try_from_qualified_schema(table_name.clone(), &source_schema).map_err(fault::of)?;
        let outputs = self.outputs(&definition, &table_name, &scan_schema)?;
        let columns: Vec<ColumnDef> =
            definition.columns.iter().zip(&outputs).map(column_def(&scan_schema)).collect::<Result<_>>()?;
        check_names(&definition, &columns)?;
        let watermark = self.watermark(&definition, &table_name, &columns, &outputs)?;
        let table = Arc::new(Table {
            name: name.to_owned(),
            columns,
            source_schema: Arc::clone(&source_schema),
            watermark,
            primary_key: definition.primary_key.iter().map(|i| i.value.clone()).collect(),
            partitioned_by: definition.partitioned_by.iter().map(|i| i.value.clone()).collect(),
            options: definition.options.iter().map(|o| (o.key.clone(), o.value.clone())).collect(),
            written_options: definition.options.clone(),
            definition: definition.clone(),
        });
        let plan = table_plan(&table, source_schema, outputs).map_err(fault::of)?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let relation = Relation {
            schema,
            plan: Some(plan),
            table: Some(Arc::clone(&table)),
            text: text.to_owned(),
            is_view: false,
            nodes: 1,
        };
        self.catalog.insert(name.to_owned(), relation);
        Ok(Some(table))
    }

    fn is_taken(&self, name: &Ident, if_not_exists: bool) -> Result<bool> {
        match (self.catalog.get(&name.value), if_not_exists) {
            (None, _) => Ok(false),
            (Some(_), true) => Ok(true),
            (Some(_), false) => Err(Fault::invalid(name.span, format!("`{}` exists already", name.value))
                .remedy(format!("choose another name, or DROP `{}` first", name.value))),
        }
    }

    /// LIKE: the other table's definition, with what this one adds or replaces.
    fn with_like(&self, statement: &CreateTable) -> Result<CreateTable> {
        let Some(like) = &statement.like else { return Ok(statement.clone()) };
        let base = self.table(like)?;
        let mut out = base.definition.clone();
        out.name = statement.name.clone();
        (out.like, out.like_options) = (statement.like.clone(), statement.like_options);
        if !statement.like_options {
            out.options.clear();
        }
        out.columns.extend(statement.columns.iter().cloned());
        out.watermark = statement.watermark.clone().or(out.watermark);
        for option in &statement.options {
            out.options.retain(|o| o.key != option.key);
            out.options.push(option.clone());
        }
        if !statement.primary_key.is_empty() {
            out.primary_key = statement.primary_key.clone();
        }
        if !statement.partitioned_by.is_empty() {
            out.partitioned_by = statement.partitioned_by.clone();
        }
        let mut seen = std::collections::BTreeSet::new();
        match out.columns.iter().find(|c| !seen.insert(c.name.value.clone())) {
            Some(twice) => Err(Fault::invalid(
                statement.name.span,
                format!("LIKE brings a column `{}` that is defined here too", twice.name.value),
            )
            .remedy("leave it out here")),
            None => Ok(out),
        }
    }

    /// One expression over the scan per column.
    fn outputs(&self, table: &CreateTable, name: &TableReference, scan: &DFSchema) -> Result<Vec<Expr>> {
        let one = |c: &Column| match &c.kind {
            ColumnKind::Computed { expr } => {
                let bound = self.expr(expr, scan)?.unalias_nested().data;
                Ok(Expr::Alias(Alias::new(bound, Some(name.clone()), c.name.value.clone())))
            }
            _ => Ok(Expr::Column(ColumnRef::new(Some(name.clone()), c.name.value.clone()))),
        };
        table.columns.iter().map(one).collect()
    }

    /// The watermark, bound over all columns, then written out over the connector's.
    fn watermark(
        &self,
        definition: &CreateTable,
        name: &TableReference,
        columns: &[ColumnDef],
        outputs: &[Expr],
    ) -> Result<Option<TableWatermark>> {
        let Some(clause) = &definition.watermark else { return Ok(None) };
        let column = &clause.column;
        let Some(found) = columns.iter().find(|c| c.name == column.value) else {
            return Err(unknown_column(column, columns.iter().map(|c| c.name.as_str())));
        };
        if !matches!(found.data_type, DataType::Timestamp(..)) {
            let fault = Fault::invalid(
                column.span,
                format!("the WATERMARK column `{}` is {}", column.value, type_name(&found.data_type)),
            );
            return Err(fault.remedy(
                "it must be TIMESTAMP(3) or TIMESTAMP_LTZ(3): add a computed column, ts AS TO_TIMESTAMP_LTZ(millis, 3)",
            ));
        }
        let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect();
        let schema = DFSchema::try_from_qualified_schema(name.clone(), &Schema::new(fields)).map_err(fault::of)?;
        let bound = self.expr(&clause.expr, &schema)?;
        let data_type = bound.get_type(&schema).map_err(fault::of)?;
        if !matches!(data_type, DataType::Timestamp(..)) {
            let fault = Fault::invalid(
                clause.expr.span(),
                format!("the watermark is {}, not a timestamp", type_name(&data_type)),
            );
            return Err(fault.remedy(format!("write WATERMARK FOR `{0}` AS `{0}` - INTERVAL '5' SECOND", column.value)));
        }
        let by_name: BTreeMap<&str, &Expr> = columns.iter().map(|c| c.name.as_str()).zip(outputs).collect();
        let written_out = bound.transform(|e| match &e {
            Expr::Column(c) => match by_name.get(c.name.as_str()) {
                Some(Expr::Alias(computed)) => Ok(Transformed::yes((*computed.expr).clone())),
                _ => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        });
        let expr = casts::unmarked(written_out.map_err(fault::of)?.data)?;
        Ok(Some(TableWatermark { column: column.value.clone(), expr }))
    }

    pub(crate) fn create_view(&mut self, view: &CreateView, text: &str) -> Result<()> {
        if self.is_taken(&view.name, view.if_not_exists)? {
            return Ok(());
        }
        let mut plan = self.query(&view.query, false)?;
        let given = plan.schema().fields().len();
        if !view.columns.is_empty() && view.columns.len() != given {
            let fault = Fault::invalid(
                view.name.span,
                format!("the view names {} columns, its query has {given}", view.columns.len()),
            );
            return Err(fault.remedy("name every column of the query, or none"));
        }
        if !view.columns.is_empty() {
            let renamed: Vec<Expr> = plan
                .schema()
                .columns()
                .into_iter()
                .zip(&view.columns)
                .map(|(c, n)| Expr::Column(c).alias(n.value.clone()))
                .collect();
            plan = LogicalPlanBuilder::from(plan).project(renamed).and_then(|b| b.build()).map_err(fault::of)?;
        }
        // Twice the same name would only fail where the view is used.
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = plan.schema().fields().iter().find(|f| !seen.insert(f.name().clone())) {
            let fault = Fault::invalid(view.name.span, format!("two columns of the view are named `{}`", twice.name()));
            return Err(fault.remedy("rename one with AS"));
        }
        // A mistake in a view is reported where the view is defined, not where it is used.
        optimize(plan.clone(), &self.context())?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let nodes = size::nodes(&plan);
        let relation = Relation { schema, plan: Some(plan), table: None, text: text.to_owned(), is_view: true, nodes };
        self.catalog.insert(view.name.value.clone(), relation);
        Ok(())
    }

    pub(crate) fn drop(&mut self, name: &Ident, if_exists: bool, view: bool) -> Result<()> {
        let what = if view { "view" } else { "table" };
        match self.catalog.get(&name.value) {
            Some(relation) if relation.is_view == view => {
                self.catalog.remove(&name.value);
                Ok(())
            }
            Some(_) => {
                let other = if view { "table" } else { "view" };
                Err(Fault::invalid(name.span, format!("`{}` is a {other}", name.value))
                    .remedy(format!("write DROP {}", other.to_uppercase())))
            }
            None if if_exists => Ok(()),
            None => Err(self.unknown_table(name, what)),
        }
    }

    fn unknown_table(&self, name: &Ident, what: &str) -> Fault {
        let fault = Fault::invalid(name.span, format!("{what} `{}` does not exist", name.value));
        match closest(&name.value, self.catalog.names()) {
            Some(near) => fault.remedy(format!("write `{near}`")),
            None => fault.remedy(format!("define it before with CREATE {} `{}`", what.to_uppercase(), name.value)),
        }
    }

    /// The table of this name; a view is none.
    pub(crate) fn table(&self, name: &Ident) -> Result<Arc<Table>> {
        match self.catalog.get(&name.value) {
            Some(relation) => relation.table.clone().ok_or_else(|| {
                Fault::invalid(name.span, format!("`{}` is a view", name.value))
                    .remedy("name a table made by CREATE TABLE")
            }),
            None => Err(self.unknown_table(name, "table")),
        }
    }

    pub(crate) fn relation(&self, name: &Ident) -> Result<&Relation> {
        self.catalog.get(&name.value).map(AsRef::as_ref).ok_or_else(|| self.unknown_table(name, "table"))
    }

    /// An INSERT: the query's columns put into the table's order and types.
    pub(crate) fn insert(&self, insert: &Insert) -> Result<BoundInsert> {
        let table = self.table(&insert.table)?;
        let plan = self.query(&insert.query, true)?;
        let targets = target_columns(&table, insert)?;
        let given = plan.schema().fields().len();
        if given != targets.len() {
            let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
            let fault = Fault::invalid(
                insert.table.span,
                format!("the query has {given} columns, `{}` takes {}", table.name, targets.len()),
            );
            return Err(fault.remedy(format!("select exactly {}", names.join(", "))));
        }
        let mut values: BTreeMap<&str, Expr> = BTreeMap::new();
        for (i, (column, target)) in plan.schema().columns().into_iter().zip(&targets).enumerate() {
            let from = plan.schema().field(i).data_type();
            if !is_written_for(&insert.query, i, from, &target.data_type) {
                return Err(type_mismatch(i, &column, from, target, insert));
            }
            let value = Expr::Column(column);
            let span = select_item(&insert.query, i).map_or(insert.table.span, Spanned::span);
            let value = if *from == target.data_type { value } else { marks::cast(value, &target.data_type, span) };
            values.insert(target.name.as_str(), value);
        }
        let written: Vec<Expr> = table
            .columns
            .iter()
            .filter(|c| c.is_written())
            .map(|c| match values.remove(c.name.as_str()) {
                Some(value) => value.alias(c.name.clone()),
                None => cast(lit(datafusion_common::ScalarValue::Null), c.data_type.clone()).alias(c.name.clone()),
            })
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(written).and_then(|b| b.build()).map_err(fault::of)?;
        Ok(BoundInsert { table, plan: optimize(plan, &self.context())?, span: insert.span })
    }
}

fn type_mismatch(place: usize, column: &ColumnRef, from: &DataType, target: &ColumnDef, insert: &Insert) -> Fault {
    let to = type_name(&target.data_type);
    let span = select_item(&insert.query, place).map_or(insert.table.span, Spanned::span);
    let fault =
        Fault::invalid(span, format!("column `{}` takes {to}, the query gives {}", target.name, type_name(from)));
    let written = select_item(&insert.query, place).map(ToString::to_string);
    let written = written.unwrap_or_else(|| format!("`{}`", shown(&column.name)));
    fault.remedy(format!("write CAST({written} AS {to})"))
}

/// Whether the n-th column of a query may be written into a column of this type; with VALUES that of every row.
fn is_written_for(query: &Query, place: usize, from: &DataType, to: &DataType) -> bool {
    match query.body.as_ref() {
        sql::SetExpr::Values(values) => values.rows.iter().all(|row| is_assignable(row.content.get(place), from, to)),
        _ => is_assignable(select_item(query, place), from, to),
    }
}

/// The n-th column of a query as it was written; that of the first row of VALUES.
fn select_item(query: &Query, place: usize) -> Option<&sql::Expr> {
    if let sql::SetExpr::Values(values) = query.body.as_ref() {
        return values.rows.first().and_then(|row| row.content.get(place));
    }
    let sql::SetExpr::Select(select) = query.body.as_ref() else { return None };
    let items = select.projection.iter().map(|item| match item {
        sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    items.collect::<Option<Vec<_>>>()?.get(place).copied()
}

/// The columns that an INSERT names, else all that are written.
fn target_columns<'a>(table: &'a Table, insert: &Insert) -> Result<Vec<&'a ColumnDef>> {
    if insert.columns.is_empty() {
        return Ok(table.columns.iter().filter(|c| c.is_written()).collect());
    }
    let one = |name: &Ident| match table.columns.iter().find(|c| c.name == name.value) {
        Some(column) if column.is_written() => Ok(column),
        Some(_) => Err(Fault::invalid(name.span, format!("column `{}` is computed or read only", name.value))
            .remedy("leave it out")),
        None => Err(unknown_column(name, table.columns.iter().map(|c| c.name.as_str()))),
    };
    insert.columns.iter().map(one).collect()
}

fn unknown_column<'a>(name: &Ident, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let fault = Fault::invalid(name.span, format!("column `{}` does not exist", name.value));
    match closest(&name.value, known.clone()) {
        Some(near) => fault.remedy(format!("write `{near}`")),
        None => fault.remedy(format!("the columns are {}", known.collect::<Vec<_>>().join(", "))),
    }
}

/// What the connector gives: everything that is not computed. Nullable throughout: nothing enforces NOT NULL on what comes in.
fn source_schema(table: &CreateTable) -> SchemaRef {
    let field = |c: &Column| match &c.kind {
        ColumnKind::Physical { data_type, .. } | ColumnKind::Metadata { data_type, .. } => {
            Some(Field::new(&c.name.value, data_type.clone(), true))
        }
        ColumnKind::Computed { .. } => None,
    };
    Arc::new(Schema::new(table.columns.iter().filter_map(field).collect::<Vec<_>>()))
}

fn column_def(scan: &DFSchema) -> impl Fn((&Column, &Expr)) -> Result<ColumnDef> + '_ {
    |(column, output)| {
        let name = column.name.value.clone();
        Ok(match &column.kind {
            ColumnKind::Physical { data_type, nullable } => {
                ColumnDef { name, data_type: data_type.clone(), origin: ColumnOrigin::Physical, nullable: *nullable }
            }
            ColumnKind::Metadata { data_type, nullable, key, is_virtual } => {
                let origin = ColumnOrigin::Metadata { key: key.clone(), is_virtual: *is_virtual };
                ColumnDef { name, data_type: data_type.clone(), origin, nullable: *nullable }
            }
            ColumnKind::Computed { expr } => {
                let data_type = output.get_type(scan).map_err(fault::of)?;
                ColumnDef { name, data_type, origin: ColumnOrigin::Computed(expr.to_string()), nullable: true }
            }
        })
    }
}

/// PRIMARY KEY and PARTITIONED BY name columns that INSERT writes; a table has columns.
fn check_names(table: &CreateTable, columns: &[ColumnDef]) -> Result<()> {
    if !columns.iter().any(ColumnDef::is_read) {
        let fault = Fault::invalid(table.name.span, format!("table `{}` has no columns", table.name.value));
        return Err(fault.remedy("list at least one column with its type: (a BIGINT, b STRING)"));
    }
    for (names, what) in [(&table.primary_key, "PRIMARY KEY"), (&table.partitioned_by, "PARTITIONED BY")] {
        for name in names {
            match columns.iter().find(|c| c.name == name.value) {
                Some(c) if c.is_written() => {}
                Some(_) => {
                    let fault = Fault::invalid(
                        name.span,
                        format!("{what} names `{}`, which is computed or read only", name.value),
                    );
                    return Err(fault.remedy("name a physical column"));
                }
                None => return Err(unknown_column(name, columns.iter().map(|c| c.name.as_str()))),
            }
        }
    }
    Ok(())
}

/// Scan, computed columns, rowtime mark.
fn table_plan(table: &Arc<Table>, schema: SchemaRef, outputs: Vec<Expr>) -> datafusion_common::Result<LogicalPlan> {
    let source =
        Relation { schema, plan: None, table: Some(Arc::clone(table)), text: String::new(), is_view: false, nodes: 1 };
    let mut plan = LogicalPlanBuilder::scan(table.name.as_str(), Arc::new(source), None)?;
    if outputs.iter().any(|e| matches!(e, Expr::Alias(_))) {
        plan = plan.project(outputs)?;
    }
    let plan = plan.build()?;
    Ok(match &table.watermark {
        None => plan,
        Some(w) => {
            extension(Rowtime { column: ColumnRef::new(Some(table.name.as_str()), w.column.clone()), input: plan })
        }
    })
}
