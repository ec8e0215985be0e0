//! [`compile`]: a text of SQL statements to jobs that can run and texts that can be shown.
//!
//! Called by the command line and by whoever embeds the engine. A pure function of its arguments: every node of a cluster compiles
//! the same program and gets the same graphs.

use crate::bind::Binder;
use crate::catalog::{ColumnDef, ColumnOrigin};
use crate::connect::{Connectors, Settings, TableSpec};
use crate::error::{Fault, Position, Result, SqlError};
use crate::fault;
use crate::limits::check_text;
use crate::parser;
use crate::parser::statement::{Statement, StatementKind};
use crate::planner::{self, JobPlan, explain::explain, physical};
use crate::secret::hidden;
use crate::stack::on_large_stack;
use crate::text::SourceText;
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use thalweg_engine::Graph;
use thalweg_engine::type_name;

/// The setting that makes `0.5` a DECIMAL, as in Flink; else it is a DOUBLE.
pub const DECIMAL_LITERALS: &str = "sql.decimal-literals";

/// The setting that says how many subtasks an operator has.
const PARALLELISM: &str = "parallelism";

/// What a text asks for, in its order.
#[derive(Clone, Default)]
pub struct Program {
    /// What is to be run or shown.
    pub items: Vec<Item>,
}

/// A statement that does something.
#[derive(Clone)]
pub enum Item {
    /// Run this.
    Job(Job),
    /// Show this: the answer to EXPLAIN, SHOW, DESCRIBE.
    Answer(Answer),
}

/// A job: a statement set, one INSERT, or one SELECT.
#[derive(Clone)]
pub struct Job {
    /// What runs.
    pub graph: Graph,
    /// The statement as written, variables replaced.
    pub text: String,
    /// Where it begins.
    pub position: Option<Position>,
    /// What SET said before it.
    pub settings: BTreeMap<String, String>,
    /// The tree that EXPLAIN shows.
    pub explain: String,
    /// Whether its rows go to the terminal: a bare SELECT.
    pub prints: bool,
}

/// Rows of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Column names.
    pub columns: Vec<&'static str>,
    /// Rows, as many cells as columns.
    pub rows: Vec<Vec<String>>,
}

impl Program {
    /// The jobs, in order.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.items.iter().filter_map(|i| match i {
            Item::Job(job) => Some(job),
            Item::Answer(_) => None,
        })
    }
}

/// Compiles a text. `defines` are the values of `${NAME}`. Errors: the first mistake, with its place in `text`.
pub fn compile(
    text: &str,
    defines: &BTreeMap<String, String>,
    settings: &(dyn Settings + Sync),
    connectors: &(dyn Connectors + Sync),
) -> std::result::Result<Program, SqlError> {
    let unplaced = |fault: Fault| SqlError::new(fault, None, None);
    check_text(text.len()).map_err(unplaced)?;
    let source = SourceText::new(text, defines)?;
    check_text(source.expanded().len()).map_err(unplaced)?;
    let compiled = on_large_stack(|| {
        let statements = parser::parse(source.expanded())?;
        let mut compiler = Compiler::new(&source, settings, connectors);
        for statement in &statements {
            compiler.statement(statement).map_err(|f| fault::locate(f, &source, statement.span))?;
        }
        Ok(compiler.program)
    });
    compiled.and_then(|inner| inner).map_err(|fault| source.error(fault))
}

struct Compiler<'a> {
    source: &'a SourceText,
    settings: &'a (dyn Settings + Sync),
    connectors: &'a (dyn Connectors + Sync),
    set: BTreeMap<String, String>,
    binder: Binder,
    program: Program,
}

impl<'a> Compiler<'a> {
    fn new(
        source: &'a SourceText,
        settings: &'a (dyn Settings + Sync),
        connectors: &'a (dyn Connectors + Sync),
    ) -> Self {
        let binder = Binder::new(true);
        let mut compiler =
            Compiler { source, settings, connectors, set: BTreeMap::new(), binder, program: Program::default() };
        compiler.apply_settings();
        compiler
    }

    fn apply_settings(&mut self) {
        self.binder.decimal_literals = self.setting(DECIMAL_LITERALS).is_none_or(|v| !v.eq_ignore_ascii_case("false"));
    }

    /// The value in force: that of SET, unless a flag fixed another.
    fn setting(&self, key: &str) -> Option<String> {
        let below = self.settings.get(key);
        let fixed = below.as_ref().is_some_and(|(_, fixed)| *fixed);
        self.set.get(key).filter(|_| !fixed).cloned().or(below.map(|(value, _)| value))
    }

    fn statement(&mut self, statement: &Statement) -> Result<()> {
        let text = self.source.slice(statement.span);
        match &statement.kind {
            StatementKind::CreateTable(table) => {
                if let Some(table) = self.binder.create_table(table, text)? {
                    self.connectors
                        .check(&TableSpec::of(&table, &self.set))
                        .map_err(|r| planner::refused(r, &table))?;
                }
                Ok(())
            }
            StatementKind::CreateView(view) => self.binder.create_view(view, text),
            StatementKind::DropTable { name, if_exists } => self.binder.drop(name, *if_exists, false),
            StatementKind::DropView { name, if_exists } => self.binder.drop(name, *if_exists, true),
            StatementKind::Set { key, value } => self.set(key, value, statement.span),
            StatementKind::Reset { key } => {
                match key {
                    Some(key) => drop(self.set.remove(key)),
                    None => self.set.clear(),
                }
                self.apply_settings();
                Ok(())
            }
            StatementKind::StatementSet(_) | StatementKind::Query(_) => {
                let job = self.job(statement)?;
                self.program.items.push(Item::Job(job));
                Ok(())
            }
            StatementKind::Explain(inner) => {
                let job = self.job(inner).map_err(|f| fault::locate(f, self.source, inner.span))?;
                let rows = job.explain.lines().map(|l| vec![l.to_owned()]).collect();
                self.answer(vec!["plan"], rows);
                Ok(())
            }
            other => self.show(other),
        }
    }

    fn set(&mut self, key: &str, value: &str, span: Span) -> Result<()> {
        self.settings.check(key, value).map_err(|refusal| {
            let fault = Fault::invalid(span, refusal.reason);
            match refusal.remedy {
                Some(remedy) => fault.remedy(remedy),
                None => fault,
            }
        })?;
        self.set.insert(key.to_owned(), value.to_owned());
        self.apply_settings();
        Ok(())
    }

    fn plan(&self, statement: &Statement) -> Result<JobPlan> {
        match &statement.kind {
            StatementKind::StatementSet(inserts) => {
                let bind = |i| self.binder.insert(i).map_err(|f| fault::locate(f, self.source, i.span));
                let bound = inserts.iter().map(bind).collect::<Result<Vec<_>>>()?;
                planner::inserts(&bound, self.binder.catalog.tables(), statement.span)
            }
            StatementKind::Query(query) => {
                planner::select(&self.binder.select(query)?, self.binder.catalog.tables(), statement.span)
            }
            _ => Err(Fault::internal("only queries and INSERTs are jobs").at(statement.span)),
        }
    }

    fn job(&self, statement: &Statement) -> Result<Job> {
        let plan = self.plan(statement)?;
        let (graph, made) = physical::graph(&plan, self.connectors, &self.set)?;
        Ok(Job {
            explain: explain(&plan, &graph, &made, self.setting(PARALLELISM).as_deref().unwrap_or("auto")),
            graph,
            text: self.source.slice(statement.span).to_owned(),
            position: self.source.position(statement.span.start),
            settings: self.set.clone(),
            prints: matches!(statement.kind, StatementKind::Query(_)),
        })
    }

    fn answer(&mut self, columns: Vec<&'static str>, rows: Vec<Vec<String>>) {
        self.program.items.push(Item::Answer(Answer { columns, rows }));
    }

    fn show(&mut self, kind: &StatementKind) -> Result<()> {
        let names = |views: bool| {
            let of_kind = self.binder.catalog.iter().filter(|(_, r)| r.is_view == views);
            of_kind.map(|(name, _)| vec![name.to_owned()]).collect::<Vec<_>>()
        };
        let (columns, rows) = match kind {
            StatementKind::ShowTables => (vec!["table name"], names(false)),
            StatementKind::ShowViews => (vec!["view name"], names(true)),
            StatementKind::ShowFunctions => {
                (vec!["function name"], self.binder.functions.names().into_iter().map(|n| vec![n]).collect())
            }
            StatementKind::ShowCreate(name) => {
                (vec!["statement"], vec![vec![hidden(&self.binder.relation(name)?.text)]])
            }
            StatementKind::Describe(name) => {
                let relation = self.binder.relation(name)?;
                let rows = match &relation.table {
                    Some(table) => table.columns.iter().map(|c| describe(c, table)).collect(),
                    None => relation.schema.fields().iter().map(|f| view_column(f)).collect(),
                };
                (vec!["name", "type", "null", "key", "extras", "watermark"], rows)
            }
            _ => return Err(Fault::internal("this statement shows nothing")),
        };
        self.answer(columns, rows);
        Ok(())
    }
}

fn view_column(field: &arrow::datatypes::Field) -> Vec<String> {
    let mut row = vec![field.name().clone(), type_name(field.data_type()), "TRUE".into()];
    row.resize(6, String::new());
    row
}

fn describe(column: &ColumnDef, table: &crate::catalog::Table) -> Vec<String> {
    let key = if table.primary_key.contains(&column.name) {
        format!("PRI({})", table.primary_key.join(", "))
    } else {
        String::new()
    };
    let extras = match &column.origin {
        ColumnOrigin::Physical => String::new(),
        ColumnOrigin::Metadata { key, is_virtual } => {
            format!("METADATA FROM '{key}'{}", if *is_virtual { " VIRTUAL" } else { "" })
        }
        ColumnOrigin::Computed(expr) => format!("AS {expr}"),
    };
    let watermark = table.definition.watermark.as_ref().filter(|w| w.column.value == column.name);
    let null = if column.nullable && key.is_empty() { "TRUE" } else { "FALSE" };
    vec![
        column.name.clone(),
        type_name(&column.data_type),
        null.into(),
        key,
        extras,
        watermark.map_or_else(String::new, |w| w.expr.to_string()),
    ]
}
