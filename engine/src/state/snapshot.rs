//! What a snapshot is once it is encoded: Arrow batches per container, sorted by key group. Made by `FrozenState::encode` on any
//! thread, read by `StateStore` at a restore, written as bytes by `codec.rs`.
//!
//! The schema of a container is its key columns, its value columns, then `$kind` (UInt8), `$group` (UInt8), and for slices
//! `$slice` (Int64, the slice's end in ms). Names may repeat; the order decides. Names and the fields' metadata are for readers only, see
//! `reader.rs`: a restore looks at types.
//!
//! Invariants
//! - N1 rows of a piece lie in the piece's key groups; pieces are in order of their first group. Rows whose `$group` is NULL
//!   belong to no group and go to every restore; they are in pieces of their own.
//! - N2 within one snapshot deletions precede upserts: an entry may be in both (removed, then made again).
//! - N3 a chain is a full snapshot and the changes after it, oldest first.

use crate::error::{Error, Result};
use crate::key::KeyGroupRange;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The version of snapshots written by this build.
pub const FORMAT: u16 = 1;

/// `$kind`: what a row of a snapshot says.
pub(crate) mod kind {
    /// The entry has these values.
    pub(crate) const UPSERT: u8 = 0;
    /// The entry is gone; its values are NULL.
    pub(crate) const DELETE: u8 = 1;
    /// The whole slice `$slice` is gone; keys and values are NULL.
    pub(crate) const DROP_SLICE: u8 = 2;
}

/// Which sort of container a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerKind {
    /// [`KeyedTable`](super::KeyedTable).
    KeyedTable,
    /// [`Slices`](super::Slices).
    Slices,
    /// [`Cells`](super::Cells).
    Cells,
    /// [`Multimap`](super::Multimap).
    Multimap,
}

/// Rows of a contiguous range of key groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The range; `None`: rows that belong to no key group.
    pub groups: Option<KeyGroupRange>,
    /// The rows.
    pub rows: RecordBatch,
}

/// The snapshot of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSnapshot {
    /// The name that the operator declared.
    pub name: String,
    /// The sort of container.
    pub kind: ContainerKind,
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub pieces: Vec<Piece>,
}

/// The snapshot of one operator subtask.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorSnapshot {
    /// The version of the format.
    pub format: u16,
    /// Whether it holds everything, or only what changed since the snapshot before it.
    pub full: bool,
    /// The key groups that the subtask owned.
    pub range: KeyGroupRange,
    /// All containers of the operator.
    pub containers: Vec<ContainerSnapshot>,
}

/// A snapshot in storage.
pub trait InStorage: Send + Sync + Debug {
    /// Reads the pieces that a restore of `range` needs. Errors: it is missing or damaged.
    fn load(&self, range: KeyGroupRange) -> Result<OperatorSnapshot>;
}

/// One old subtask's chain: a full snapshot and the changes after it, oldest first.
pub type Chain = Vec<Link>;

/// One snapshot of a chain: in memory, or in storage until it is needed.
#[derive(Clone, Debug)]
pub struct Link {
    full: bool,
    range: KeyGroupRange,
    at: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<OperatorSnapshot>),
    Storage(Arc<dyn InStorage>),
}

impl From<OperatorSnapshot> for Link {
    fn from(snapshot: OperatorSnapshot) -> Link {
        Link { full: snapshot.full, range: snapshot.range, at: Place::Memory(Arc::new(snapshot)) }
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Link) -> bool {
        match (&self.at, &other.at) {
            (Place::Memory(a), Place::Memory(b)) => a == b,
            (Place::Storage(a), Place::Storage(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Link {
    /// A snapshot in storage, of which this is known already.
    pub fn stored(full: bool, range: KeyGroupRange, snapshot: Arc<dyn InStorage>) -> Link {
        Link { full, range, at: Place::Storage(snapshot) }
    }

    /// Whether it holds everything, or only what changed since the snapshot before it.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The key groups that its subtask owned.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// The snapshot, with at least the pieces that a restore of `range` needs. Errors: it is missing, damaged, or of a format that
    /// this build does not read.
    pub fn load(&self, range: KeyGroupRange) -> Result<Arc<OperatorSnapshot>> {
        let snapshot = match &self.at {
            Place::Memory(snapshot) => snapshot.clone(),
            Place::Storage(stored) => Arc::new(stored.load(range)?),
        };
        if snapshot.format != FORMAT {
            let text = format!("snapshot of format {}, this build reads {FORMAT}", snapshot.format);
            return Err(Error::external(text).with_retry(false));
        }
        Ok(snapshot)
    }
}

/// What a chain has of one container.
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: ContainerKind,
    pub(crate) chain: &'a [Link],
    /// Containers that were met with rows in them.
    pub(crate) met: &'a RefCell<BTreeSet<String>>,
}

/// Snapshots of this many subtasks are read from storage at a time: decoded ones are large.
const READ_AT_A_TIME: usize = 2;
static READING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to have a snapshot from storage in memory. Nobody holds two.
struct Turn;

impl Turn {
    fn wait() -> Turn {
        let (reading, ended) = &READING;
        let mut now = reading.lock().unwrap_or_else(PoisonError::into_inner);
        while *now >= READ_AT_A_TIME {
            now = ended.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (reading, ended) = &READING;
        *reading.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ended.notify_one();
    }
}

impl Parts<'_> {
    /// Hands the container's snapshots on, oldest first, one in memory at a time; each with its place in the chain. Of those in
    /// storage only the pieces that `range` needs. Errors: as [`Link::load`]; `user` if the container was of another kind.
    pub(crate) fn each(
        &self,
        range: KeyGroupRange,
        mut to: impl FnMut(usize, &ContainerSnapshot) -> Result<()>,
    ) -> Result<()> {
        for (at, link) in self.chain.iter().enumerate() {
            let _turn = matches!(link.at, Place::Storage(_)).then(Turn::wait);
            let snapshot = link.load(range)?;
            let filled = snapshot.containers.iter().filter(|c| c.num_rows() > 0);
            self.met.borrow_mut().extend(filled.map(|c| c.name.clone()));
            let Some(container) = snapshot.container(self.name) else { continue };
            if container.kind != self.kind {
                let (name, other, kind) = (self.name, container.kind, self.kind);
                let text = format!("state `{name}` is {other:?} in the snapshot, {kind:?} in the program");
                return Err(Error::user(text));
            }
            to(at, container)?;
        }
        Ok(())
    }
}

impl OperatorSnapshot {
    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerSnapshot> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// Bytes of its rows in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let pieces = self.containers.iter().flat_map(|c| &c.pieces);
        pieces.map(|p| p.rows.get_array_memory_size() as u64).sum()
    }

    /// Number of rows in all containers.
    pub fn num_rows(&self) -> usize {
        self.containers.iter().map(ContainerSnapshot::num_rows).sum()
    }
}

impl ContainerSnapshot {
    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.pieces.iter().map(|p| p.rows.num_rows()).sum()
    }

    /// The rows that a restore of `range` needs, without those of other groups.
    pub(crate) fn read(&self, range: KeyGroupRange) -> impl Iterator<Item = Result<RecordBatch>> {
        self.pieces
            .iter()
            .filter(move |p| p.groups.is_none_or(|g| g.intersects(&range)))
            .map(move |p| piece_rows(p, range))
    }
}

fn piece_rows(piece: &Piece, range: KeyGroupRange) -> Result<RecordBatch> {
    let Some(groups) = piece.groups else { return Ok(piece.rows.clone()) };
    if range.start <= groups.start && groups.end <= range.end {
        return Ok(piece.rows.clone());
    }
    let column = piece.rows.column_by_name("$group").and_then(|c| c.as_primitive_opt::<UInt8Type>());
    let groups = column.ok_or_else(|| Error::external("a snapshot without `$group`").with_retry(false))?;
    let keep: BooleanArray =
        groups.values().iter().map(|g| Some((range.start..range.end).contains(&u16::from(*g)))).collect();
    Ok(compute::filter_record_batch(&piece.rows, &keep)?)
}

/// The schema of a container's snapshot: `columns`, all of them nullable, then `$kind`, `$group`, and `$slice` for slices.
pub(crate) fn snapshot_schema(columns: impl Iterator<Item = Field>, slices: bool) -> SchemaRef {
    let loose = |f: Field| {
        let data_type = nullable(f.data_type());
        f.with_data_type(data_type).with_nullable(true)
    };
    let mut fields: Vec<Field> = columns.map(loose).collect();
    fields.push(Field::new("$kind", DataType::UInt8, false));
    fields.push(Field::new("$group", DataType::UInt8, true));
    if slices {
        fields.push(Field::new("$slice", DataType::Int64, false));
    }
    Arc::new(Schema::new(fields))
}

/// The type with all its inner fields nullable, so that a NULL struct needs no values.
fn nullable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| Field::new(f.name(), nullable(f.data_type()), true)).collect())
        }
        other => other.clone(),
    }
}

/// Checks that the columns of a snapshot are those declared. Errors: `user`, naming the first difference.
pub(crate) fn check_schema(name: &str, found: &Schema, declared: &Schema) -> Result<()> {
    let (a, b) = (found.fields(), declared.fields());
    if a.len() != b.len() {
        let text = format!("state `{name}` has {} columns in the snapshot, {} in the program", a.len(), b.len());
        return Err(Error::user(text));
    }
    for (a, b) in a.iter().zip(b) {
        if a.data_type() != b.data_type() {
            let (column, found, declared) = (b.name(), a.data_type(), b.data_type());
            let text =
                format!("state `{name}`: column `{column}` is {found} in the snapshot, {declared} in the program");
            return Err(Error::user(text));
        }
    }
    Ok(())
}

/// The column called `name`, which every snapshot has. Errors: `external` if it has not.
pub(crate) fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let missing = || Error::external(format!("a snapshot without `{name}`")).with_retry(false);
    rows.column_by_name(name).ok_or_else(missing)
}
