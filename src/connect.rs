//! What the planner asks of the outside, answered from the connector registry, the terminal and the settings.
//! [`Session`](crate::Session) owns one; nothing here does I/O.

use crate::settings::{Origin, Resolver};
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;
use thalweg_connectors::options::{OptionError, Options};
use thalweg_connectors::registry::{Metadata, Registry, TableColumn, TableSpec};
use thalweg_connectors::terminal::Terminal;
use thalweg_engine::StreamKind;
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;
use thalweg_sql::{ColumnDef, ColumnOrigin, Connectors, Outcome, Refusal};

/// Tables by their `connector`, and the place where a bare SELECT shows its rows.
pub(crate) struct Outside {
    pub(crate) registry: Registry,
    pub(crate) terminal: Terminal,
    /// Those of all places but SQL.
    pub(crate) settings: Resolver,
}

impl Connectors for Outside {
    fn check(&self, table: &thalweg_sql::TableSpec<'_>) -> Outcome<()> {
        self.registry.check(&self.spec(table)?).map_err(refusal)
    }

    fn source(&self, table: &thalweg_sql::TableSpec<'_>, schema: SchemaRef) -> Outcome<Arc<dyn SourceFactory>> {
        self.registry.source(&self.spec(table)?, schema).map_err(refusal)
    }

    fn sink(
        &self,
        table: &thalweg_sql::TableSpec<'_>,
        schema: SchemaRef,
        kind: StreamKind,
    ) -> Outcome<Arc<dyn SinkFactory>> {
        self.registry.sink(&self.spec(table)?, schema, kind).map_err(refusal)
    }

    fn upserts(&self, table: &thalweg_sql::TableSpec<'_>) -> Outcome<bool> {
        self.registry.upserts(&self.spec(table)?).map_err(refusal)
    }

    fn terminal(&self, schema: SchemaRef, kind: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(self.terminal.sink(schema, kind, None))
    }
}

impl Outside {
    /// A table in the registry's words: computed columns are none of its business.
    fn spec(&self, table: &thalweg_sql::TableSpec<'_>) -> Outcome<TableSpec> {
        let options = Options::new(table.options.iter().map(|(k, v)| (k.clone(), v.clone())));
        let mut settings = self.settings.clone();
        for (name, value) in table.settings {
            // Checked where it was said.
            let _ = settings.put(name, value, Origin::Sql);
        }
        Ok(TableSpec {
            name: table.name.to_owned(),
            columns: table.columns.iter().filter_map(column).collect(),
            primary_key: table.primary_key.to_vec(),
            partition_keys: table.partitioned_by.to_vec(),
            options: options.map_err(refusal)?,
            s3: settings.settings().s3,
        })
    }
}

fn column(column: &ColumnDef) -> Option<TableColumn> {
    let metadata = match &column.origin {
        ColumnOrigin::Physical => None,
        ColumnOrigin::Metadata { key, is_virtual } => Some(Metadata { key: key.clone(), is_virtual: *is_virtual }),
        ColumnOrigin::Computed(_) => return None,
    };
    let field = Field::new(&column.name, column.data_type.clone(), column.nullable);
    Some(TableColumn { field: Arc::new(field), metadata })
}

fn refusal(e: OptionError) -> Refusal {
    Refusal { reason: e.message, remedy: e.remedy, option: e.key }
}

/// SET statements against the settings of all other places.
pub(crate) struct Given<'a>(pub(crate) &'a Resolver);

impl thalweg_sql::Settings for Given<'_> {
    fn get(&self, key: &str) -> Option<(String, bool)> {
        self.0.get(key).map(|(value, fixed)| (value.to_owned(), fixed))
    }

    fn check(&self, key: &str, value: &str) -> Outcome<()> {
        let checked = self.0.clone().put(key, value, Origin::Sql);
        checked.map_err(|e| Refusal { reason: e.reason, remedy: Some(e.remedy), option: None })
    }
}
