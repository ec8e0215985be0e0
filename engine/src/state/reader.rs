//! Reads containers out of snapshots without the operator that wrote them: for people who ask what is in a checkpoint.
//!
//! A chain is taken up as a restore does it, by the container itself, so that changes, deletions and dropped slices mean here what
//! they mean there. Entries over the budget go to local disk meanwhile.
//!
//! Invariants
//! - R1 one file of a chain is in memory at a time, and entries up to the budget.
//! - R2 what comes out has the columns of the snapshot without `$kind`: keys, values, `$group`, and `$slice` for slices.

use super::budget::Budget;
use super::cells::{self, Cells};
use super::slices::Slices;
use super::snapshot::{Chain, ContainerKind, ContainerSnapshot, Parts};
use super::store::Container;
use super::table::{Cursor, KeyedTable};
use super::values::{Initial, TableSpec, ValueColumn};
use crate::error::{Error, Result};
use crate::key::{KeyGroup, KeyGroupRange, hash_rows};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the field of a key column says in its metadata: `group` if it decides the key group, `own` if not.
pub const KEY: &str = "thalweg.key";
/// What the field of a value column says in its metadata: the type that people expect, where state has a wider one.
pub const SHOWN_TYPE: &str = "thalweg.type";

/// How the columns of a container are to be read.
#[derive(Clone, Debug)]
pub struct Layout {
    name: String,
    kind: ContainerKind,
    /// Keys, values, `$group`, `$slice`.
    schema: SchemaRef,
    keys: usize,
    group_columns: usize,
}

impl Layout {
    /// Of a container as a snapshot has it. `group_columns`: how many columns decide the key group, if the fields do not say so; they
    /// do in all but the first snapshots. There, all other columns of a container without numbers are keys, too.
    pub fn of(container: &ContainerSnapshot, group_columns: usize) -> Layout {
        let fields = container.schema.fields();
        let columns = fields.iter().filter(|f| !matches!(f.name().as_str(), "$kind" | "$group" | "$slice")).count();
        let marked = |value: Option<&str>| {
            let key = |f: &&Arc<Field>| match (f.metadata().get(KEY), value) {
                (Some(found), Some(value)) => found == value,
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            };
            fields.iter().filter(key).count()
        };
        let (keys, group_columns) = match marked(None) {
            0 if container.name.starts_with("distinct") => (columns, group_columns.min(columns)),
            0 => (group_columns.min(columns), group_columns.min(columns)),
            keys => (keys, marked(Some("group"))),
        };
        let kept = fields.iter().filter(|f| f.name() != "$kind").cloned().collect::<Vec<_>>();
        let (name, kind) = (container.name.clone(), container.kind);
        Layout { name, kind, schema: Arc::new(Schema::new(kept)), keys, group_columns }
    }

    /// The name that the operator declared.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sort of container.
    pub fn kind(&self) -> ContainerKind {
        self.kind
    }

    /// The columns that come out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many of them are keys: the first ones.
    pub fn keys(&self) -> usize {
        self.keys
    }

    fn spec(&self) -> Result<TableSpec> {
        let fields = self.schema.fields().iter().filter(|f| !f.name().starts_with('$'));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for field in fields {
            if keys.len() < self.keys {
                keys.push(field.clone());
            } else {
                values.push(ValueColumn::new(field.name(), initial(field)?).with_type(field.data_type().clone()));
            }
        }
        Ok(TableSpec::new(keys, values).grouped_by(self.group_columns))
    }
}

/// What state of this type begins with; only its kind matters here.
fn initial(field: &Field) -> Result<Initial> {
    use DataType::*;
    match field.data_type() {
        Boolean => Ok(Initial::Bool(false)),
        Int64 | UInt64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) => Ok(Initial::I64(0)),
        Float64 => Ok(Initial::F64(0.0)),
        Decimal128(..) => Ok(Initial::I128(0)),
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => Ok(Initial::Bytes),
        other => {
            let text = format!("state column `{}` is {other}, which no state has", field.name());
            Err(Error::external(text).with_retry(false))
        }
    }
}

enum Entries {
    Table(Box<KeyedTable>),
    /// The slice under the cursor is the first.
    Slices(Slices),
    Cells(Option<RecordBatch>),
}

/// The entries of one container in one chain.
pub struct Reader {
    layout: Layout,
    entries: Entries,
    cursor: Cursor,
    rows: Vec<u32>,
    hashes: Vec<u64>,
}

impl Reader {
    /// Takes a chain up. Errors: `external` if a file is missing or damaged.
    pub fn open(chain: &Chain, layout: &Layout, budget: &Arc<Budget>) -> Result<Reader> {
        let (name, kind, met) = (layout.name.as_str(), layout.kind, RefCell::default());
        let parts = [Parts { name, kind, chain, met: &met }];
        let all = KeyGroupRange::ALL;
        let entries = match kind {
            ContainerKind::KeyedTable | ContainerKind::Multimap => {
                let mut table = KeyedTable::new(Arc::new(layout.spec()?), budget)?;
                Container::restore(&mut table, &parts, all)?;
                Entries::Table(Box::new(table))
            }
            ContainerKind::Slices => {
                let mut slices = Slices::new(Arc::new(layout.spec()?), budget)?;
                slices.restore(&parts, all)?;
                Entries::Slices(slices)
            }
            ContainerKind::Cells => {
                let mut cells = Cells::new(budget);
                cells.restore(&parts, all)?;
                Entries::Cells(Some(cells::shown(&cells, &layout.schema)?))
            }
        };
        Ok(Reader { layout: layout.clone(), entries, cursor: Cursor::default(), rows: Vec::new(), hashes: Vec::new() })
    }

    /// The next entries, `limit` at most if they are many; `None` at the end. Errors: what is on local disk cannot be read.
    pub fn next(&mut self, limit: usize) -> Result<Option<RecordBatch>> {
        let (layout, cursor, rows, hashes) = (&self.layout, &mut self.cursor, &mut self.rows, &mut self.hashes);
        match &mut self.entries {
            Entries::Cells(batch) => Ok(batch.take().filter(|b| b.num_rows() > 0)),
            Entries::Table(table) => match table.scan(cursor, limit, rows)? {
                true => layout.batch(table, rows, hashes, None).map(Some),
                false => Ok(None),
            },
            Entries::Slices(slices) => {
                while let Some(end) = slices.first_end() {
                    let Some(table) = slices.get_mut(end) else { break };
                    if table.scan(cursor, limit, rows)? {
                        return layout.batch(table, rows, hashes, Some(end)).map(Some);
                    }
                    slices.drop_through(end);
                    *cursor = Cursor::default();
                }
                Ok(None)
            }
        }
    }
}

impl Layout {
    fn batch(&self, table: &KeyedTable, rows: &[u32], hashes: &mut Vec<u64>, end: Option<i64>) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = table.keys(rows)?;
        hash_rows(columns.get(..self.group_columns).unwrap_or(&columns), rows.len(), hashes)?;
        for value in 0..table.spec().values().len() {
            columns.push(table.values(value, rows)?);
        }
        columns.push(Arc::new(hashes.iter().map(|h| Some(KeyGroup::of(*h).0)).collect::<UInt8Array>()));
        if let Some(end) = end {
            columns.push(Arc::new(Int64Array::from(vec![end; rows.len()])));
        }
        super::frozen::batch(&self.schema, columns)
    }
}

/// A name for people out of the text of an expression: `price` for `bids.bid[price]`, `a_b` for `CAST(a + b AS BIGINT)` and the like
/// only as far as letters and digits go.
pub fn label(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '`' | '"');
    let last = text.trim_end_matches([']', '`', '"']).rsplit(['.', '[', '`', '"']).next().unwrap_or(text);
    let text = if text.chars().all(is_path) { last } else { text };
    let mut out = String::new();
    for c in text.chars() {
        match c.is_alphanumeric() || c == '_' {
            true => out.push(c),
            false if out.ends_with('_') || out.is_empty() => {}
            false => out.push('_'),
        }
    }
    let out: String = out.chars().take(CHARS_MAX).collect();
    let out = out.trim_end_matches('_');
    if out.is_empty() { "value".into() } else { out.to_owned() }
}

/// Names that were given out.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// The name, with a number behind it if it was given out already.
    pub fn unique(&mut self, name: impl Into<String>) -> String {
        let name = name.into();
        let numbered = (2..).map(|n: u32| format!("{name}_{n}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|n| !self.0.contains(&n.to_lowercase()));
        let free = free.unwrap_or(name);
        self.0.insert(free.to_lowercase());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_that_need_no_quotes() {
        for (text, want) in [
            ("price", "price"),
            ("events.bid[auction]", "auction"),
            ("`t`.`a b`", "t_a_b"),
            ("a + b", "a_b"),
            ("", "value"),
            ("+", "value"),
        ] {
            assert_eq!(label(text), want, "{text}");
        }
        let mut names = Names::default();
        assert_eq!(["a", "A", "a", "b"].map(|n| names.unique(n)), ["a", "A_2", "a_3", "b"]);
    }
}
