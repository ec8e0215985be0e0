//! Frozen entries of tables and slices: pages shared with the live containers, their encoding into Arrow batches sorted by key
//! group, and the way back. Encoding runs on any thread while the live container goes on.
//!
//! Invariants
//! - Z1 nothing here changes once it is made; the live container copies a shared page before it writes to it.
//! - Z2 rows are ordered by key group through a counting sort, so that a restore reads its own groups only.

use super::bits::{self, PageBits};
use super::budget::Charge;
use super::keys::KeyColumns;
use super::page::PAGE_ROWS;
use super::reader;
use super::snapshot::{Piece, check_schema, column, kind, snapshot_schema};
use super::spill::encode::{OnDisk, PART_BYTES, parts};
use super::table::KeyedTable;
use super::values::{TableSpec, ValueColumn, Values, absent};
use crate::error::Result;
use crate::key::{KEY_GROUPS, KeyGroup, KeyGroupRange, hash_rows};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array, UInt32Array, new_null_array,
};
use arrow::compute;
use arrow::datatypes::{Field, FieldRef, SchemaRef, UInt8Type};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of an encoded batch.
const BATCH_ROWS: usize = 8192;

/// The changed entries of one table: whole pages, and which of their rows matter.
pub(crate) struct FrozenRows {
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) keys: KeyColumns,
    pub(crate) values: Vec<Values>,
    pub(crate) upserts: Vec<PageBits>,
    pub(crate) deletes: Vec<PageBits>,
    /// What is on disk, older than the pages.
    pub(crate) on_disk: OnDisk,
    pub(crate) charge: Charge,
}

impl FrozenRows {
    pub(crate) fn charged(mut self) -> FrozenRows {
        let bytes = (self.upserts.capacity() + self.deletes.capacity()) * size_of::<PageBits>() + size_of::<Self>();
        self.charge.resize(bytes as u64);
        self
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.on_disk.runs.is_empty() && self.upserts.iter().chain(&self.deletes).all(|page| bits::count(page) == 0)
    }

    /// What is on disk, part by part; see [`parts`].
    fn encode_runs(
        &self,
        end: Option<i64>,
        schema: &SchemaRef,
        each: &mut dyn FnMut(Vec<Piece>) -> Result<()>,
    ) -> Result<()> {
        if self.on_disk.runs.is_empty() { Ok(()) } else { parts(&self.on_disk, &self.spec, schema, end, each) }
    }

    fn rows(&self, deleted: bool) -> Vec<u32> {
        let pages = if deleted { &self.deletes } else { &self.upserts };
        let mut rows = Vec::with_capacity(pages.iter().map(bits::count).sum());
        for (page, bits) in pages.iter().enumerate() {
            bits::for_each_row(bits, |place| rows.push((page * PAGE_ROWS + place) as u32));
        }
        rows
    }

    /// The columns of a run of rows: keys, then values (NULL if deleted).
    fn columns(&self, rows: &[u32], deleted: bool) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.gather(rows)?;
        for (values, spec) in self.values.iter().zip(self.spec.values()) {
            columns.push(match deleted {
                true => absent(spec.data_type(), rows.len()),
                false => values.gather(spec.data_type(), rows)?,
            });
        }
        Ok(columns)
    }
}

/// One row to be written: where it is and what it says.
#[derive(Clone, Copy)]
struct Entry {
    /// Which of the frozen tables.
    table: u32,
    row: u32,
    deleted: bool,
    group: u8,
}

/// The snapshot schema of a table or of slices.
pub(crate) fn table_schema(spec: &TableSpec, slices: bool) -> SchemaRef {
    let role = |i: usize| if i < spec.group_columns() { "group" } else { "own" };
    let key = |(i, f): (usize, &FieldRef)| {
        let field = Field::new(f.name(), f.data_type().clone(), true);
        field.with_metadata([(reader::KEY.to_owned(), role(i).to_owned())].into())
    };
    let value = |v: &ValueColumn| {
        let shown = v.shown().map(|t| (reader::SHOWN_TYPE.to_owned(), t.to_string()));
        Field::new(v.name(), v.data_type().clone(), true).with_metadata(shown.into_iter().collect())
    };
    snapshot_schema(spec.keys().iter().enumerate().map(key).chain(spec.values().iter().map(value)), slices)
}

/// Encodes frozen tables with one specification, each with the end of its slice if it is one: first what they have on disk, then their
/// pages, in parts of some MiB. Deletions of an entry come before its upsert.
pub(crate) fn encode(
    tables: &[(Option<i64>, FrozenRows)],
    schema: &SchemaRef,
    each: &mut dyn FnMut(Vec<Piece>) -> Result<()>,
) -> Result<()> {
    tables.iter().try_for_each(|(end, rows)| rows.encode_runs(*end, schema, each))?;
    let (mut part, mut bytes) = (Vec::new(), 0);
    for entries in sorted(tables)?.chunks(BATCH_ROWS) {
        let next = piece(tables, entries.to_vec(), schema)?;
        bytes += next.rows.get_array_memory_size();
        part.push(next);
        if bytes >= PART_BYTES {
            each(std::mem::take(&mut part))?;
            bytes = 0;
        }
    }
    each(part)
}

/// All rows in order of their key groups.
fn sorted(tables: &[(Option<i64>, FrozenRows)]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut counts = [0usize; KEY_GROUPS as usize + 1];
    let mut hashes = Vec::new();
    for (table, (_, frozen)) in tables.iter().enumerate() {
        for deleted in [true, false] {
            for rows in frozen.rows(deleted).chunks(BATCH_ROWS) {
                let keys = frozen.keys.gather(rows)?;
                hash_rows(keys.get(..frozen.spec.group_columns()).unwrap_or(&keys), rows.len(), &mut hashes)?;
                for (row, hash) in rows.iter().zip(&hashes) {
                    let group = KeyGroup::of(*hash).0;
                    counts[usize::from(group) + 1] += 1;
                    entries.push(Entry { table: table as u32, row: *row, deleted, group });
                }
            }
        }
    }
    for group in 1..counts.len() {
        counts[group] += counts[group - 1];
    }
    let mut out = entries.clone();
    for entry in entries {
        let place = &mut counts[usize::from(entry.group)];
        out[*place] = entry;
        *place += 1;
    }
    Ok(out)
}

/// One batch of entries; within it they stand by table, so that each run is one gather per column.
fn piece(tables: &[(Option<i64>, FrozenRows)], mut entries: Vec<Entry>, schema: &SchemaRef) -> Result<Piece> {
    let first = entries.first().map_or(0, |e| e.group);
    let last = entries.last().map_or(0, |e| e.group);
    entries.sort_by_key(|e| (e.table, !e.deleted));
    let mut runs = Vec::new();
    for run in entries.chunk_by(|a, b| (a.table, a.deleted) == (b.table, b.deleted)) {
        let Some((end, frozen)) = run.first().and_then(|e| tables.get(e.table as usize)) else { continue };
        let deleted = run.first().is_some_and(|e| e.deleted);
        let rows: Vec<u32> = run.iter().map(|e| e.row).collect();
        let mut columns = frozen.columns(&rows, deleted)?;
        let kind = if deleted { kind::DELETE } else { kind::UPSERT };
        columns.push(Arc::new(UInt8Array::from(vec![kind; run.len()])));
        columns.push(Arc::new(run.iter().map(|e| Some(e.group)).collect::<UInt8Array>()));
        if let Some(end) = end {
            columns.push(Arc::new(Int64Array::from(vec![*end; run.len()])));
        }
        runs.push(batch(schema, columns)?);
    }
    let rows = if let [run] = runs.as_slice() { run.clone() } else { compute::concat_batches(schema, &runs)? };
    Ok(Piece { groups: Some(KeyGroupRange { start: first.into(), end: u16::from(last) + 1 }), rows })
}

/// A batch of the schema; struct keys are cast to their nullable form.
pub(crate) fn batch(schema: &SchemaRef, mut columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        if column.data_type() != field.data_type() {
            *column = compute::cast(column, field.data_type())?;
        }
    }
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// The piece that says which slices are gone.
pub(crate) fn dropped(ends: &[i64], schema: &SchemaRef) -> Result<Piece> {
    let fields = schema.fields();
    let keep = fields.len().saturating_sub(3);
    let mut columns: Vec<ArrayRef> =
        fields.iter().take(keep).map(|f| new_null_array(f.data_type(), ends.len())).collect();
    columns.push(Arc::new(UInt8Array::from(vec![kind::DROP_SLICE; ends.len()])));
    columns.push(Arc::new(UInt8Array::from(vec![None; ends.len()])));
    columns.push(Arc::new(Int64Array::from(ends.to_vec())));
    Ok(Piece { groups: None, rows: RecordBatch::try_new(schema.clone(), columns)? })
}

/// The rows of one kind in a snapshot's batch, if there are any.
pub(crate) fn of_kind(rows: &RecordBatch, kinds: u8) -> Result<Option<RecordBatch>> {
    let found = column(rows, "$kind")?.as_primitive::<UInt8Type>();
    let keep: BooleanArray = found.values().iter().map(|k| Some(*k == kinds)).collect();
    Ok(match keep.true_count() {
        0 => None,
        all if all == rows.num_rows() => Some(rows.clone()),
        _ => Some(compute::filter_record_batch(rows, &keep)?),
    })
}

/// Applies the rows of one kind in a snapshot's batch to a table.
pub(crate) fn apply(table: &mut KeyedTable, rows: &RecordBatch, kinds: u8) -> Result<()> {
    let Some(rows) = of_kind(rows, kinds)? else { return Ok(()) };
    let spec = table.spec().clone();
    let (keys, values) = rows.columns().split_at(spec.keys().len());
    let mut keys = keys.to_vec();
    for (key, field) in keys.iter_mut().zip(spec.keys()) {
        if key.data_type() != field.data_type() {
            *key = compute::cast(key, field.data_type())?;
        }
    }
    let (mut hashes, mut handles) = (Vec::new(), Vec::new());
    hash_rows(&keys, rows.num_rows(), &mut hashes)?;
    if kinds == kind::DELETE {
        table.lookup(&keys, &hashes, &mut handles)?;
        return table.remove(&handles);
    }
    table.intern(&keys, &hashes, &mut handles)?;
    table.load(&handles, values)
}

/// Checks a snapshot's schema against a table's.
pub(crate) fn check(name: &str, found: &SchemaRef, spec: &TableSpec, slices: bool) -> Result<()> {
    check_schema(name, found, &table_schema(spec, slices))
}

/// The rows of a batch by the slice they are in.
pub(crate) fn by_slice(rows: &RecordBatch) -> Result<HashMap<i64, RecordBatch>> {
    let ends = column(rows, "$slice")?.as_primitive::<arrow::datatypes::Int64Type>();
    let mut places: HashMap<i64, Vec<u32>> = HashMap::new();
    for (i, end) in ends.values().iter().enumerate() {
        places.entry(*end).or_default().push(i as u32);
    }
    let take = |(end, places): (i64, Vec<u32>)| match places.len() == rows.num_rows() {
        true => Ok((end, rows.clone())),
        false => Ok((end, compute::take_record_batch(rows, &UInt32Array::from(places))?)),
    };
    places.into_iter().map(take).collect()
}
