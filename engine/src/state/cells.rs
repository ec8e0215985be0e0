//! Cells: small named values, redistributed when the parallelism changes. Called by operators for what is no table: how far a
//! key group has fired, counters, positions.
//!
//! A cell is kept per key group and moves with it, or is a *union list*: each subtask contributes items, and after a restore
//! every subtask sees the items of all.
//!
//! Invariants
//! - C1 a list is written whole whenever it changed, so a chain's last version of it is the whole of it.

use super::budget::{Budget, Charge};
use super::snapshot::{ContainerKind, Parts, Piece, check_schema, column, kind, snapshot_schema};
use super::store::{Container, Encoded, Frozen};
use crate::error::{Error, Result};
use crate::key::{KeyGroup, KeyGroupRange};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, UInt8Array, UInt32Array};
use arrow::datatypes::{DataType, Field, SchemaRef, UInt8Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that a value takes beside its own, about: its share of the nodes of a tree that are two thirds full.
const CELL_BYTES: usize = 47;
/// Bytes that a name takes beside its own, about, with the first node of its values.
const NAME_BYTES: usize = 340;
/// Bytes that the mark of a change takes beside its name, about.
const CHANGE_BYTES: usize = 56;

/// Small named values.
pub struct Cells {
    grouped: BTreeMap<String, BTreeMap<u8, Vec<u8>>>,
    lists: BTreeMap<String, Vec<Vec<u8>>>,
    changed: BTreeSet<(u8, String)>,
    changed_lists: BTreeSet<String>,
    charge: Charge,
    /// For the marks of changes, which are dropped at every snapshot.
    changed_charge: Charge,
}

impl Cells {
    /// No cells.
    pub fn new(budget: &Arc<Budget>) -> Cells {
        Cells {
            grouped: BTreeMap::new(),
            lists: BTreeMap::new(),
            changed: BTreeSet::new(),
            changed_lists: BTreeSet::new(),
            charge: Charge::new(budget, size_of::<Cells>() as u64),
            changed_charge: Charge::new(budget, 0),
        }
    }

    /// Sets the value of a cell in a key group.
    pub fn set(&mut self, group: KeyGroup, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.charge.grow((CELL_BYTES + value.len()) as u64);
        let cells = match self.grouped.get_mut(name) {
            Some(cells) => cells,
            None => {
                self.charge.grow((NAME_BYTES + name.len()) as u64);
                self.grouped.entry(name.to_owned()).or_default()
            }
        };
        if let Some(old) = cells.insert(group.0, value) {
            self.charge.shrink((CELL_BYTES + old.len()) as u64);
        }
        self.mark(group, name);
    }

    fn mark(&mut self, group: KeyGroup, name: &str) {
        if self.changed.insert((group.0, name.to_owned())) {
            self.changed_charge.grow((CHANGE_BYTES + name.len()) as u64);
        }
    }

    /// Sets the value of a cell in each key group of a range.
    pub fn set_range(&mut self, range: KeyGroupRange, name: &str, value: &[u8]) {
        for group in range.start..range.end {
            self.set(KeyGroup(group as u8), name, value);
        }
    }

    /// The value of a cell in a key group.
    pub fn get(&self, group: KeyGroup, name: &str) -> Option<&[u8]> {
        self.grouped.get(name)?.get(&group.0).map(Vec::as_slice)
    }

    /// The values of a cell in all key groups that have one, in order.
    pub fn groups(&self, name: &str) -> impl Iterator<Item = (KeyGroup, &[u8])> {
        self.grouped.get(name).into_iter().flatten().map(|(group, value)| (KeyGroup(*group), value.as_slice()))
    }

    /// Removes a cell from a key group; whether it was there.
    pub fn remove(&mut self, group: KeyGroup, name: &str) -> bool {
        let Some(cells) = self.grouped.get_mut(name) else { return false };
        let Some(old) = cells.remove(&group.0) else { return false };
        self.charge.shrink((CELL_BYTES + old.len()) as u64);
        if cells.is_empty() {
            self.grouped.remove(name);
            self.charge.shrink((NAME_BYTES + name.len()) as u64);
        }
        self.mark(group, name);
        true
    }

    /// Replaces this subtask's items of a union list.
    pub fn set_list(&mut self, name: &str, items: Vec<Vec<u8>>) {
        self.charge.grow(list_bytes(&items));
        if let Some(old) = self.lists.insert(name.to_owned(), items) {
            self.charge.shrink(list_bytes(&old));
        }
        self.changed_lists.insert(name.to_owned());
    }

    /// The items of a union list: after a restore those of all old subtasks, until [`Cells::set_list`] replaces them by this
    /// subtask's share. Do so in `open`: what is not replaced is contributed by every subtask.
    pub fn list(&self, name: &str) -> &[Vec<u8>] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    fn grouped_row(&self, group: u8, name: &str) -> Row {
        let value = self.get(KeyGroup(group), name).map(<[u8]>::to_vec);
        Row { group: Some(group), name: name.to_owned(), item: None, value }
    }

    fn list_rows(&self, name: &str, rows: &mut Vec<Row>) {
        rows.push(Row { group: None, name: name.to_owned(), item: None, value: None });
        for (item, value) in self.list(name).iter().enumerate() {
            let item = Some(u32::try_from(item).unwrap_or(u32::MAX));
            rows.push(Row { group: None, name: name.to_owned(), item, value: Some(value.clone()) });
        }
    }
}

fn list_bytes(items: &[Vec<u8>]) -> u64 {
    items.iter().map(|item| (size_of::<Vec<u8>>() + item.len()) as u64).sum()
}

fn schema() -> SchemaRef {
    let columns = [("cell", DataType::Utf8), ("item", DataType::UInt32), ("value", DataType::Binary)];
    snapshot_schema(columns.into_iter().map(|(name, t)| Field::new(name, t, true)), false)
}

impl Container for Cells {
    fn freeze(&mut self, full: bool) -> Box<dyn Frozen> {
        let (changed, lists) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.changed_lists));
        self.changed_charge.resize(0);
        let mut grouped = Vec::new();
        let mut listed = Vec::new();
        if full {
            for (name, cells) in &self.grouped {
                grouped.extend(cells.keys().map(|group| self.grouped_row(*group, name)));
            }
            grouped.sort_by_key(|row| row.group);
            self.lists.keys().for_each(|name| self.list_rows(name, &mut listed));
        } else {
            grouped.extend(changed.iter().map(|(group, name)| self.grouped_row(*group, name)));
            lists.iter().for_each(|name| self.list_rows(name, &mut listed));
        }
        let bytes = grouped.iter().chain(&listed).map(Row::bytes).sum();
        let charge = Charge::new(self.charge.budget(), bytes);
        Box::new(FrozenCells { grouped, listed, _charge: charge })
    }

    fn restore(&mut self, chains: &[Parts<'_>], range: KeyGroupRange) -> Result<()> {
        for chain in chains {
            let mut lists: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            chain.each(range, |_, snapshot| {
                check_schema(chain.name, &snapshot.schema, &schema())?;
                snapshot.read(range).try_for_each(|rows| self.restore_rows(&rows?, &mut lists))
            })?;
            for (name, items) in lists {
                let all = [self.list(&name).to_vec(), items].concat();
                self.set_list(&name, all);
            }
        }
        Ok(())
    }
}

impl Cells {
    fn restore_rows(&mut self, rows: &RecordBatch, lists: &mut BTreeMap<String, Vec<Vec<u8>>>) -> Result<()> {
        let (names, values) = (column(rows, "cell")?.as_string::<i32>(), column(rows, "value")?.as_binary::<i32>());
        let groups = column(rows, "$group")?.as_primitive::<UInt8Type>();
        for i in 0..rows.num_rows() {
            let name = names.value(i);
            let value = values.is_valid(i).then(|| values.value(i));
            match (groups.is_valid(i), value) {
                (true, Some(value)) => self.set(KeyGroup(groups.value(i)), name, value),
                (true, None) => {
                    self.remove(KeyGroup(groups.value(i)), name);
                }
                (false, Some(value)) => lists.entry(name.to_owned()).or_default().push(value.to_vec()),
                (false, None) => {
                    lists.insert(name.to_owned(), Vec::new());
                }
            }
        }
        Ok(())
    }
}

/// One row of a snapshot of cells; no value: the cell is gone, or its list begins.
struct Row {
    group: Option<u8>,
    name: String,
    item: Option<u32>,
    value: Option<Vec<u8>>,
}

impl Row {
    fn bytes(&self) -> u64 {
        (size_of::<Row>() + self.name.len() + self.value.as_ref().map_or(0, Vec::len)) as u64
    }
}

struct FrozenCells {
    grouped: Vec<Row>,
    listed: Vec<Row>,
    _charge: Charge,
}

/// All cells and items, in the columns of a snapshot without `$kind`.
pub(crate) fn shown(cells: &Cells, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for (name, groups) in &cells.grouped {
        rows.extend(groups.keys().map(|group| cells.grouped_row(*group, name)));
    }
    cells.lists.keys().for_each(|name| cells.list_rows(name, &mut rows));
    rows.retain(|row| row.value.is_some());
    let all = encode_rows(&rows, &self::schema())?;
    let columns = schema.fields().iter().map(|f| column(&all, f.name()).cloned()).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn encode_rows(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch> {
    let kinds = rows.iter().map(|r| if r.value.is_some() { kind::UPSERT } else { kind::DELETE });
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.name))),
        Arc::new(rows.iter().map(|r| r.item).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|r| r.value.as_deref()).collect::<BinaryArray>()),
        Arc::new(UInt8Array::from_iter_values(kinds)),
        Arc::new(rows.iter().map(|r| r.group).collect::<UInt8Array>()),
    ];
    RecordBatch::try_new(schema.clone(), columns).map_err(Error::from)
}

impl Frozen for FrozenCells {
    fn encode(&self, each: &mut dyn FnMut(Encoded) -> Result<()>) -> Result<()> {
        let schema = schema();
        let mut pieces = Vec::new();
        if !self.listed.is_empty() {
            pieces.push(Piece { groups: None, rows: encode_rows(&self.listed, &schema)? });
        }
        let bounds = (self.grouped.first().and_then(|r| r.group), self.grouped.last().and_then(|r| r.group));
        if let (Some(first), Some(last)) = bounds {
            let groups = Some(KeyGroupRange { start: first.into(), end: u16::from(last) + 1 });
            pieces.push(Piece { groups, rows: encode_rows(&self.grouped, &schema)? });
        }
        each(Encoded { kind: ContainerKind::Cells, schema, pieces })
    }
}
