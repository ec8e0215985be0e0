//! Where a table's `connector` option leads: the connectors by name, and the checks that all of them share.
//!
//! Called by the planner when a table is declared ([`Registry::check`]) and when a statement uses it ([`Registry::source`],
//! [`Registry::sink`]). Planning does no I/O: a missing folder or an unreachable broker is found by the source's enumerator or the
//! sink's check, when the job starts.
//!
//! Invariants
//! - R1 a connector sees only tables whose option names, option values and metadata keys were checked against its description.
//! - R2 the columns of a source are columns of the table, structs with some of their fields.

use crate::bad_record::{BAD_RECORD_OPTIONS, BadRecords, LATE_OPTIONS};
use crate::options::{OptionError, OptionResult, OptionSpec, Options, TypedOptions, ValueKind, nearest};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use std::sync::Arc;
use thalweg_engine::StreamKind;
use thalweg_engine::s3::S3Options;
use thalweg_engine::sink::SinkFactory;
use thalweg_engine::source::SourceFactory;
use thalweg_engine::type_name;

/// A table as a connector sees it. Computed columns and the watermark are the planner's.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// Its physical and metadata columns, in the order of the declaration.
    pub columns: Vec<TableColumn>,
    /// PRIMARY KEY.
    pub primary_key: Vec<String>,
    /// PARTITIONED BY.
    pub partition_keys: Vec<String>,
    /// WITH (..).
    pub options: Options,
    /// How buckets are reached.
    pub s3: S3Options,
}

/// A column that the connector gives or takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Name, type and nullability.
    pub field: FieldRef,
    /// Set for METADATA columns.
    pub metadata: Option<Metadata>,
}

/// What a METADATA column shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The connector's name for it: `timestamp`.
    pub key: String,
    /// Read only: no column of the sink.
    pub is_virtual: bool,
}

impl TableSpec {
    /// The physical columns.
    pub fn physical(&self) -> SchemaRef {
        let columns = self.columns.iter().filter(|c| c.metadata.is_none());
        Arc::new(Schema::new(columns.map(|c| c.field.clone()).collect::<Vec<_>>()))
    }

    /// The index in `columns` of each field of `schema`. Errors: a field that is no column, or of another type; structs may have
    /// fewer fields.
    pub fn indices(&self, schema: &Schema) -> OptionResult<Vec<usize>> {
        let find = |field: &FieldRef| {
            let found = self.columns.iter().enumerate().find(|(_, c)| c.field.name() == field.name());
            match found {
                Some((i, c)) if is_pruned(field.data_type(), c.field.data_type()) => Ok(i),
                Some((_, c)) => {
                    let (asked, declared) = (field.data_type(), c.field.data_type());
                    let text = format!("column `{}` is read as {asked}, but is declared {declared}", field.name());
                    Err(OptionError::new(text))
                }
                None => Err(OptionError::new(format!("table `{}` has no column `{}`", self.name, field.name()))),
            }
        };
        schema.fields().iter().map(find).collect()
    }
}

/// Whether `pruned` is `full` with some fields of its structs left out.
fn is_pruned(pruned: &DataType, full: &DataType) -> bool {
    match (pruned, full) {
        (DataType::Struct(pruned), DataType::Struct(full)) => pruned.iter().all(|p| {
            let of = full.iter().find(|f| f.name() == p.name());
            of.is_some_and(|f| is_pruned(p.data_type(), f.data_type()))
        }),
        (pruned, full) => pruned == full,
    }
}

/// A metadata column that a connector offers.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataSpec {
    /// Its name in `METADATA FROM '..'`.
    pub key: &'static str,
    /// Its type; a column declared with another one is cast.
    pub data_type: DataType,
    /// Whether a sink takes it.
    pub is_writable: bool,
    /// What it shows.
    pub doc: &'static str,
}

/// What a connector is and knows.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name in `connector = '..'`.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its options, apart from those that every table has.
    pub options: Vec<OptionSpec>,
    /// Its metadata columns.
    pub metadata: Vec<MetadataSpec>,
    /// What else its users should know, a paragraph each.
    pub notes: Vec<String>,
    /// Why it cannot be read from, and what to do instead; `None` = it can.
    pub no_source: Option<&'static str>,
    /// Why it cannot be written to, and what to do instead; `None` = it can.
    pub no_sink: Option<&'static str>,
    /// Why its sinks take no changes, and what to do instead; `None` = they do.
    pub append_only: Option<&'static str>,
    /// Whether its sinks keep the last row of each PRIMARY KEY, so that changes must be those of one row per key.
    pub upserts: bool,
    /// Whether it decodes records, so that some may be bad.
    pub decodes: bool,
    /// Whether PARTITIONED BY means something.
    pub partitions: bool,
}

impl Description {
    /// A connector without options that reads and writes.
    pub fn new(name: &'static str, doc: &'static str) -> Description {
        Description {
            name,
            doc,
            options: vec![],
            metadata: vec![],
            notes: vec![],
            no_source: None,
            no_sink: None,
            append_only: None,
            upserts: false,
            decodes: false,
            partitions: false,
        }
    }
}

/// A kind of table. All calls but the last two come when tables are declared; none does I/O.
pub trait Connector: Send + Sync {
    /// What it is and knows. Asked once.
    fn describe(&self) -> Description;

    /// Checks what the description cannot say: options that depend on each other, column types. `options` are checked already.
    fn check(&self, spec: &TableSpec, options: &TypedOptions<'_>) -> OptionResult<()>;

    /// A source of `columns`, in this order. Not asked if [`Description::no_source`] is set.
    fn source(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
    ) -> OptionResult<Arc<dyn SourceFactory>> {
        let _ = (options, columns);
        Err(OptionError::new(format!("table `{}` cannot be read from", spec.name)))
    }

    /// A sink of rows with the physical and the writable metadata columns of the table. Not asked if [`Description::no_sink`] is set,
    /// nor for a changelog if [`Description::append_only`] is.
    fn sink(
        &self,
        spec: &TableSpec,
        options: &TypedOptions<'_>,
        columns: SchemaRef,
        kind: StreamKind,
    ) -> OptionResult<Arc<dyn SinkFactory>> {
        let _ = (options, columns, kind);
        Err(OptionError::new(format!("table `{}` cannot be written to", spec.name)))
    }
}

/// Tables that rows of another table are led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Where records go that cannot be decoded (`bad-record.table`).
    pub bad_records: Option<String>,
    /// Where late rows go (`late.table`).
    pub late: Option<String>,
}

struct Entry {
    description: Description,
    /// The connector's options and those of every table.
    known: Vec<OptionSpec>,
    connector: Arc<dyn Connector>,
}

/// All connectors.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

const CONNECTOR_OPTION: OptionSpec = OptionSpec::new("connector", ValueKind::Text, "what kind of table this is");

impl Registry {
    /// No connector yet.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a connector; one of the same name is replaced.
    pub fn register(&mut self, connector: Arc<dyn Connector>) {
        let description = connector.describe();
        let mut known = vec![CONNECTOR_OPTION];
        known.extend_from_slice(&description.options);
        if description.decodes {
            known.extend_from_slice(BAD_RECORD_OPTIONS);
        }
        if description.no_source.is_none() {
            known.extend_from_slice(LATE_OPTIONS);
        }
        self.entries.retain(|e| e.description.name != description.name);
        self.entries.push(Entry { description, known, connector });
    }

    /// The connectors with all options that each knows, by name; for documentation.
    pub fn describe(&self) -> Vec<(&Description, &[OptionSpec])> {
        let mut all: Vec<_> = self.entries.iter().map(|e| (&e.description, e.known.as_slice())).collect();
        all.sort_by_key(|(d, _)| d.name);
        all
    }

    /// Checks a table as declared, whether or not it is used.
    pub fn check(&self, spec: &TableSpec) -> OptionResult<()> {
        let (entry, options) = self.open(spec)?;
        entry.check_columns(spec)?;
        routes(entry, &options)?;
        entry.connector.check(spec, &options)
    }

    /// Where rows of this table go besides.
    pub fn routes(&self, spec: &TableSpec) -> OptionResult<Routes> {
        let (entry, options) = self.open(spec)?;
        routes(entry, &options)
    }

    /// A source that gives `columns`, in this order: some of the table's, structs with some of their fields.
    pub fn source(&self, spec: &TableSpec, columns: SchemaRef) -> OptionResult<Arc<dyn SourceFactory>> {
        let (entry, options) = self.open(spec)?;
        if let Some(why) = entry.description.no_source {
            return Err(entry.refuse("read from", why));
        }
        entry.check_columns(spec)?;
        spec.indices(&columns)?;
        entry.connector.source(spec, &options, columns)
    }

    /// Whether a table's sink keeps the last row of each PRIMARY KEY.
    pub fn upserts(&self, spec: &TableSpec) -> OptionResult<bool> {
        Ok(self.open(spec)?.0.description.upserts)
    }

    /// A sink for rows of `columns`: all physical and writable metadata columns of the table, in its order.
    pub fn sink(&self, spec: &TableSpec, columns: SchemaRef, kind: StreamKind) -> OptionResult<Arc<dyn SinkFactory>> {
        let (entry, options) = self.open(spec)?;
        if let Some(why) = entry.description.no_sink {
            return Err(entry.refuse("written to", why));
        }
        if let Some(remedy) = entry.description.append_only.filter(|_| kind == StreamKind::Changelog) {
            let text = "it takes rows that stay, and this query takes rows back when its result changes";
            return Err(OptionError::at("connector", text).remedy(remedy));
        }
        entry.check_columns(spec)?;
        entry.check_writable(spec)?;
        spec.indices(&columns)?;
        entry.connector.sink(spec, &options, columns, kind)
    }

    fn open<'a>(&'a self, spec: &'a TableSpec) -> OptionResult<(&'a Entry, TypedOptions<'a>)> {
        let names = || self.describe().iter().map(|(d, _)| d.name).collect::<Vec<_>>();
        let Some(name) = spec.options.get("connector").map(str::trim) else {
            let remedy = format!("add 'connector' = one of {}", names().join(", "));
            return Err(OptionError::new("option `connector` is missing").remedy(remedy));
        };
        let Some(entry) = self.entries.iter().find(|e| e.description.name == name) else {
            let all = names().join(", ");
            let remedy = match nearest(name, names()) {
                Some(near) => format!("did you mean '{near}'? There are {all}"),
                None => format!("there are {all}"),
            };
            return Err(OptionError::at("connector", format!("there is no connector '{name}'")).remedy(remedy));
        };
        let options = spec.options.check(&format!("connector `{name}`"), &entry.known)?;
        Ok((entry, options))
    }
}

impl Entry {
    fn refuse(&self, what: &str, why: &str) -> OptionError {
        let text = format!("a table of connector `{}` cannot be {what}", self.description.name);
        OptionError::at("connector", text).remedy(why)
    }

    fn check_columns(&self, spec: &TableSpec) -> OptionResult<()> {
        let name = self.description.name;
        if !spec.partition_keys.is_empty() && !self.description.partitions {
            let text = format!("connector `{name}` knows no PARTITIONED BY");
            return Err(OptionError::at("connector", text).remedy("leave the clause out"));
        }
        for column in &spec.columns {
            let Some(metadata) = &column.metadata else { continue };
            let known = self.description.metadata.iter().find(|m| m.key == metadata.key);
            let Some(known) = known else {
                return Err(self.unknown_metadata(column.field.name(), &metadata.key));
            };
            let declared = column.field.data_type();
            if *declared != known.data_type {
                let (given, wanted) = (type_name(declared), type_name(&known.data_type));
                let (column, key) = (column.field.name(), known.key);
                if given == wanted {
                    let text = format!("metadata column `{column}`: elements of `{key}` may be NULL");
                    return Err(OptionError::new(text).remedy(format!("write {wanted}, without NOT NULL")));
                }
                let text = format!(
                    "metadata column `{column}` is declared {given}, but `{key}` of connector `{name}` is {wanted}"
                );
                let remedy = format!("declare it {wanted} and cast it in a computed column");
                return Err(OptionError::new(text).remedy(remedy));
            }
        }
        Ok(())
    }

    fn unknown_metadata(&self, column: &str, key: &str) -> OptionError {
        let keys: Vec<&str> = self.description.metadata.iter().map(|m| m.key).collect();
        let name = self.description.name;
        let error = OptionError::new(format!("metadata column `{column}`: connector `{name}` has no metadata `{key}`"));
        match (keys.is_empty(), nearest(key, keys.iter().copied())) {
            (true, _) => error.remedy("it has none at all"),
            (false, Some(near)) => error.remedy(format!("did you mean '{near}'? It has {}", keys.join(", "))),
            (false, None) => error.remedy(format!("it has {}", keys.join(", "))),
        }
    }

    fn check_writable(&self, spec: &TableSpec) -> OptionResult<()> {
        for column in &spec.columns {
            let Some(metadata) = column.metadata.as_ref().filter(|m| !m.is_virtual) else { continue };
            let writable = self.description.metadata.iter().any(|m| m.key == metadata.key && m.is_writable);
            if !writable {
                let text = format!("metadata column `{}` cannot be written", column.field.name());
                return Err(OptionError::new(text).remedy("declare it VIRTUAL"));
            }
        }
        Ok(())
    }
}

fn routes(entry: &Entry, options: &TypedOptions<'_>) -> OptionResult<Routes> {
    let bad_records = if entry.description.decodes { BadRecords::parse(options)?.table } else { None };
    Ok(Routes { bad_records, late: options.text("late.table").map(str::to_owned) })
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
