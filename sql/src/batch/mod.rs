//! Queries over tables that are there already: the state of a checkpoint. One SELECT, run to its end by DataFusion's operators on the
//! calling thread; no stream, no job.
//!
//! [`compile`] reads the text with the same parser, names, casts and functions as a job's; the aggregates and window functions are
//! DataFusion's own. Tables give their rows in parts, so that a query holds no more of them than its operators need.
//!
//! Invariants
//! - Q1 a text is one statement, and only SELECT, SHOW TABLES, SHOW FUNCTIONS and DESCRIBE: nothing here can change anything.
//! - Q2 every operator has one partition: rows come out in the order in which ORDER BY puts them.

mod context;
mod join;
mod plan;
mod run;
mod scan;
#[cfg(test)]
mod tests;

use crate::error::{Fault, Result, SqlError};
use crate::fault;
use crate::limits::check_text;
use crate::parser;
use crate::parser::statement::{Statement, StatementKind};
use crate::stack::on_large_stack;
use crate::text::SourceText;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use context::BatchContext;
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use thalweg_engine::type_name;

pub use crate::program::Answer;
pub use run::Query;

/// Rows, part by part. An error ends them.
pub type Parts = Box<dyn Iterator<Item = thalweg_engine::Result<RecordBatch>> + Send>;

/// A table to be read.
pub trait BatchTable: Debug + Send + Sync {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The rows, with all columns. Errors: what stores them cannot be read.
    fn scan(&self) -> thalweg_engine::Result<Parts>;
}

/// All tables that a query may name.
pub trait BatchTables: Debug + Send + Sync {
    /// The table of this name. Errors: what stores it cannot be read.
    fn table(&self, name: &str) -> thalweg_engine::Result<Option<Arc<dyn BatchTable>>>;

    /// All names, in the order in which they are shown.
    fn names(&self) -> Vec<String>;

    /// Other names of some of them, which are proposed where they are near to what was written.
    fn short_names(&self) -> Vec<String>;
}

/// What a text asks for.
pub enum Asked {
    /// Run this.
    Query(Query),
    /// Show this.
    Answer(Answer),
}

/// Why a query cannot be run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BatchError {
    /// The text is refused.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A table that it names cannot be read.
    #[error(transparent)]
    Table(#[from] thalweg_engine::Error),
}

/// Compiles a query over `tables`, to run within `memory_bytes`. Errors: the first mistake, with its place; a table that cannot be read.
pub fn compile(text: &str, tables: &Arc<dyn BatchTables>, memory_bytes: u64) -> std::result::Result<Asked, BatchError> {
    check_text(text.len()).map_err(|fault| SqlError::new(fault, None, None))?;
    // `${` has no meaning here: there is nothing to stand for it.
    let source = SourceText::new(text, &BTreeMap::new())?;
    let context = BatchContext::new(tables.clone());
    let compiled = on_large_stack(|| {
        let statements = parser::parse(source.expanded())?;
        let statement = single(&statements)?;
        asked(statement, &context, memory_bytes).map_err(|f| fault::locate(f, &source, statement.span))
    });
    if let Some(e) = context.unreadable() {
        return Err(BatchError::Table(e));
    }
    Ok(compiled.and_then(|inner| inner).map_err(|fault| source.error(fault))?)
}

/// The only statement of a text.
fn single(statements: &[Statement]) -> Result<&Statement> {
    match statements {
        [one] => Ok(one),
        [] => Err(Fault::syntax(Span::empty(), "there is no query").remedy("write a SELECT")),
        [_, second, ..] => Err(Fault::syntax(second.span, "there are several statements")
            .remedy("write one SELECT, without what follows it")),
    }
}

fn asked(statement: &Statement, context: &BatchContext, memory_bytes: u64) -> Result<Asked> {
    let answer = |columns, rows| Ok(Asked::Answer(Answer { columns, rows }));
    let lines = |names: Vec<String>| names.into_iter().map(|n| vec![n]).collect();
    match &statement.kind {
        StatementKind::Query(query) => {
            let logical = context.bind(query)?;
            Ok(Asked::Query(Query::new(plan::physical(&logical, context)?, memory_bytes)))
        }
        StatementKind::ShowTables => answer(vec!["table name"], lines(context.tables.names())),
        StatementKind::ShowFunctions => answer(vec!["function name"], lines(context.function_names())),
        StatementKind::Describe(name) => {
            let table = context.find(&name.value).map_err(|f| f.at(name.span))?;
            let schema = table.schema();
            let rows = schema.fields().iter().map(|f| vec![f.name().clone(), type_name(f.data_type())]);
            answer(vec!["name", "type"], rows.collect())
        }
        _ => Err(Fault::invalid(statement.span, "this is no SELECT, and nothing else is run here")
            .remedy("write SELECT, SHOW TABLES or DESCRIBE")),
    }
}
