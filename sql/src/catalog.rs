//! The tables and views that a text has defined so far. Filled by the binder, statement by statement.
//!
//! Invariants
//! - C1 a table or view never changes once it is there; DROP takes it out for later statements, earlier plans keep it.
//! - C2 nothing here looks outside: whether a topic or folder exists is asked when the job starts.

use crate::parser::statement::TableOption;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_expr::{Expr, LogicalPlan, TableSource};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A column of a table, in the order of its definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: String,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Where its values come from.
    pub origin: ColumnOrigin,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

/// Where a column's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnOrigin {
    /// From the record.
    Physical,
    /// From beside the record, under the connector's name for it.
    Metadata {
        /// The connector's name.
        key: String,
        /// Read only.
        is_virtual: bool,
    },
    /// Computed from the others, as written.
    Computed(String),
}

impl ColumnDef {
    /// Whether INSERT writes it.
    pub fn is_written(&self) -> bool {
        match &self.origin {
            ColumnOrigin::Physical => true,
            ColumnOrigin::Metadata { is_virtual, .. } => !is_virtual,
            ColumnOrigin::Computed(_) => false,
        }
    }

    /// Whether the connector gives it.
    pub fn is_read(&self) -> bool {
        !matches!(self.origin, ColumnOrigin::Computed(_))
    }
}

/// A table as CREATE TABLE defined it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// All its columns.
    pub columns: Vec<ColumnDef>,
    /// The connector's columns: physical and metadata.
    pub source_schema: SchemaRef,
    /// The rowtime and what its watermark is, both over `source_schema`.
    pub(crate) watermark: Option<TableWatermark>,
    /// PRIMARY KEY, not enforced.
    pub primary_key: Vec<String>,
    /// PARTITIONED BY.
    pub partitioned_by: Vec<String>,
    /// WITH (..), in order, without the place.
    pub options: BTreeMap<String, String>,
    pub(crate) written_options: Vec<TableOption>,
    /// As written: what LIKE copies.
    pub(crate) definition: crate::parser::statement::CreateTable,
}

/// The WATERMARK clause, bound.
#[derive(Clone, Debug)]
pub(crate) struct TableWatermark {
    /// The rowtime column's name.
    pub(crate) column: String,
    /// The watermark, over the connector's columns.
    pub(crate) expr: Expr,
}

/// A table or view for DataFusion: its columns, and the plan that stands in its place.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) schema: SchemaRef,
    /// A view's query; a table's computed columns and rowtime mark over its scan.
    pub(crate) plan: Option<LogicalPlan>,
    /// Set in the scan of a table.
    pub(crate) table: Option<Arc<Table>>,
    /// The statement as written, for SHOW CREATE TABLE.
    pub(crate) text: String,
    pub(crate) is_view: bool,
    /// How many operators `plan` has.
    pub(crate) nodes: u64,
}

impl TableSource for Relation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }
}

/// All tables and views, by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    relations: BTreeMap<String, Arc<Relation>>,
}

impl Catalog {
    pub(crate) fn relation(&self, name: &str) -> Option<Arc<dyn TableSource>> {
        self.get(name).map(|r| Arc::clone(r) as Arc<dyn TableSource>)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.relations.keys().map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Relation)> {
        self.relations.iter().map(|(n, r)| (n.as_str(), r.as_ref()))
    }

    /// All tables, views left out.
    pub(crate) fn tables(&self) -> BTreeMap<String, Arc<Table>> {
        self.relations.iter().filter_map(|(n, r)| Some((n.clone(), Arc::clone(r.table.as_ref()?)))).collect()
    }

    pub(crate) fn insert(&mut self, name: String, relation: Relation) {
        self.relations.insert(name, Arc::new(relation));
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.relations.remove(name).is_some()
    }
}
