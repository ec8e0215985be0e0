//! The statements of our SQL as the parser gives them: sqlparser's tree inside, our own around it.
//!
//! Every [`Statement`] keeps its place in the expanded text; types are Arrow types already.

use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::ast::{Expr, Ident, Query};
use datafusion_sql::sqlparser::tokenizer::Span;

/// One statement with its place in the expanded text.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) span: Span,
    pub(crate) kind: StatementKind,
}

#[derive(Clone, Debug)]
pub(crate) enum StatementKind {
    CreateTable(Box<CreateTable>),
    CreateView(CreateView),
    DropTable {
        name: Ident,
        if_exists: bool,
    },
    DropView {
        name: Ident,
        if_exists: bool,
    },
    /// One INSERT is a set of one.
    StatementSet(Vec<Insert>),
    Query(Box<Query>),
    Explain(Box<Statement>),
    Set {
        key: String,
        value: String,
    },
    /// Without a key: all of them.
    Reset {
        key: Option<String>,
    },
    ShowTables,
    ShowViews,
    ShowFunctions,
    ShowCreate(Ident),
    Describe(Ident),
}

#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Ident,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) watermark: Option<WatermarkClause>,
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) partitioned_by: Vec<Ident>,
    pub(crate) options: Vec<TableOption>,
    pub(crate) like: Option<Ident>,
    /// Whether LIKE takes over the options.
    pub(crate) like_options: bool,
}

/// `WATERMARK FOR column AS expr`.
#[derive(Clone, Debug)]
pub(crate) struct WatermarkClause {
    pub(crate) column: Ident,
    pub(crate) expr: Expr,
}

/// `'key' = 'value'`, with the place of the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableOption {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: Ident,
    pub(crate) kind: ColumnKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ColumnKind {
    /// In the rows.
    Physical { data_type: DataType, nullable: bool },
    /// Beside the rows: a Kafka timestamp. `key` is the connector's name for it; a virtual one is not written.
    Metadata { data_type: DataType, nullable: bool, key: String, is_virtual: bool },
    /// Made from the others when read.
    Computed { expr: Box<Expr> },
}

#[derive(Clone, Debug)]
pub(crate) struct CreateView {
    pub(crate) name: Ident,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}

#[derive(Clone, Debug)]
pub(crate) struct Insert {
    pub(crate) span: Span,
    pub(crate) table: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}
