//! The keyed table: key -> row handle, and columns of values indexed by row. Called by operators, one batch at a time.
//!
//! A batch is interned in blocks of 1 024 rows, in loops without dependencies between rows so that cache misses overlap:
//! 1. mix the stable hashes; 2. take the candidate of each row's home bucket; 3. compare keys, leaf by leaf; 4. only what
//!    did not match goes one by one: further buckets, else a new entry.
//!
//! Invariants
//! - T1 `live` rows are exactly those that the index holds. A row handle dies with the batch: it is never stored.
//! - T2 `base` rows are those the chain of snapshots knows. A base row that is removed is *dead*: its key stays in place until
//!   the next freeze wrote the tombstone; only then the row is reused. Other removed rows are reused at once.
//! - T3 `dirty` covers every live row changed since the last freeze: `intern` and `touch` set it, lookups do not.
//! - T4 where there is a budget with a place on disk, whatever is above it goes there (see `paging.rs`).

pub(crate) mod cluster;
mod paging;

use super::bits::RowBits;
use super::budget::{Budget, Charge};
use super::bytes::BytesColumn;
use super::frozen::FrozenRows;
use super::index::{Index, NONE, mix};
use super::keys::{InputKeys, KeyColumns, decode};
use super::page::{AHEAD, Column, PAGE_ROWS, room_for};
use super::spill::encode::OnDisk;
use super::values::{Stored, TableSpec, Values};
use crate::error::{Error, Result};
use arrow::array::ArrayRef;
use paging::{DiskCursor, Paged};
use std::sync::Arc;

/// Rows handled at a time, so that the temporaries stay in the first-level cache.
const BLOCK: usize = 1024;

/// Where a scan of a table stands; the default is its start.
#[derive(Default)]
pub struct Cursor {
    row: u32,
    disk: Option<DiskCursor>,
}

/// A table of entries with a unique key each.
pub struct KeyedTable {
    spec: Arc<TableSpec>,
    budget: Arc<Budget>,
    keys: KeyColumns,
    values: Vec<Values>,
    index: Index,
    /// The mixed hash of each row.
    hashes: Vec<u32>,
    /// The mixed hash of each row's cluster columns, if the table has any: the order on disk.
    clusters: Vec<u32>,
    live: RowBits,
    dirty: RowBits,
    base: RowBits,
    dead: RowBits,
    free: Vec<u32>,
    /// Rows `0..top` were used at least once.
    top: u32,
    room: usize,
    len: usize,
    created: Vec<u32>,
    /// What is on disk, once something is.
    paged: Option<Box<Paged>>,
    charge: Charge,
}

impl KeyedTable {
    /// What [`KeyedTable::lookup`] gives for a key without an entry.
    pub const ABSENT: u32 = NONE;

    /// An empty table. Errors: `user` if a field can be no key.
    pub fn new(spec: Arc<TableSpec>, budget: &Arc<Budget>) -> Result<KeyedTable> {
        spec.check()?;
        let keys = KeyColumns::new(spec.keys(), budget)?;
        let values = spec.values().iter().map(|column| Values::new(column, budget)).collect();
        let mut table = KeyedTable {
            keys,
            values,
            index: Index::new(),
            hashes: Vec::new(),
            clusters: Vec::new(),
            live: RowBits::default(),
            dirty: RowBits::default(),
            base: RowBits::default(),
            dead: RowBits::default(),
            free: Vec::new(),
            top: 0,
            room: 0,
            len: 0,
            created: Vec::new(),
            paged: None,
            charge: Charge::new(budget, 0),
            budget: budget.clone(),
            spec,
        };
        table.recharge();
        Ok(table)
    }

    /// The columns.
    pub fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    /// Number of entries, in memory and on disk.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Finds or creates the entry of each input row: `rows[i]` is the handle of the entry of row `i`. All of them count as
    /// changed. `hashes` are [`hash_rows`](crate::key::hash_rows) over all key columns; there must be one per row.
    /// Returns the number of entries created; [`KeyedTable::created`] has their handles.
    /// Errors: `internal` if the columns do not fit the specification; `user` if the table is full.
    pub fn intern(&mut self, keys: &[ArrayRef], hashes: &[u64], rows: &mut Vec<u32>) -> Result<usize> {
        self.relieve()?;
        let clusters = self.clusters_of(keys, hashes.len())?;
        self.intern_clustered(keys, hashes, &clusters, rows)
    }

    /// Finds in memory, or creates, the entry of each row. `clusters`: the hashes of the cluster columns, if there are any.
    fn intern_rows(&mut self, keys: &[ArrayRef], hashes: &[u64], clusters: &[u64], rows: &mut Vec<u32>) -> Result<()> {
        let decoded = decode(self.spec.keys(), keys, hashes.len())?;
        let input = InputKeys::new(decoded.as_deref().unwrap_or(keys))?;
        rows.clear();
        self.created.clear();
        let (mut mixed, mut misses) = ([0; BLOCK], [0; BLOCK]);
        for (block, hashes) in hashes.chunks(BLOCK).enumerate() {
            let offset = block * BLOCK;
            self.probe(&input, offset, hashes, &mut mixed, rows);
            let missed = positions(&rows[offset..], &mut misses);
            for i in missed.iter().map(|place| offset + usize::from(*place)) {
                let hash = mixed[i - offset];
                let found = self.index.find(hash, |row| self.keys.same(&input, i, row));
                rows[i] = match found {
                    Some(row) => row,
                    None => self.create(&input, i, hash)?,
                };
                if let (None, Some(cluster)) = (found, clusters.get(i)) {
                    self.clusters[rows[i] as usize] = mix(*cluster);
                }
            }
        }
        Ok(())
    }

    /// The handles of the entries that the last [`KeyedTable::intern`] created, in order of creation.
    pub fn created(&self) -> &[u32] {
        &self.created
    }

    /// Like [`KeyedTable::intern`], but creates nothing and changes nothing: `rows[i]` is [`KeyedTable::ABSENT`] if row `i`
    /// has no entry. Errors: `internal` if the columns do not fit the specification.
    pub fn lookup(&mut self, keys: &[ArrayRef], hashes: &[u64], rows: &mut Vec<u32>) -> Result<()> {
        if self.paged.is_some() {
            return self.lookup_paged(keys, hashes, rows);
        }
        self.lookup_memory(keys, hashes, rows)
    }

    /// Like [`KeyedTable::lookup`], of the entries in memory only.
    pub(crate) fn lookup_memory(&self, keys: &[ArrayRef], hashes: &[u64], rows: &mut Vec<u32>) -> Result<()> {
        let decoded = decode(self.spec.keys(), keys, hashes.len())?;
        let input = InputKeys::new(decoded.as_deref().unwrap_or(keys))?;
        rows.clear();
        let mut mixed = [0; BLOCK];
        for (block, hashes) in hashes.chunks(BLOCK).enumerate() {
            let offset = block * BLOCK;
            self.probe(&input, offset, hashes, &mut mixed, rows);
            for i in offset..rows.len() {
                if rows[i] == NONE {
                    let found = self.index.find(mixed[i - offset], |row| self.keys.same(&input, i, row));
                    rows[i] = found.unwrap_or(NONE);
                }
            }
        }
        Ok(())
    }

    /// Appends one row per hash: the entry, if it is the candidate of its home bucket, else [`NONE`].
    #[inline]
    fn probe(
        &self,
        input: &InputKeys<'_>,
        offset: usize,
        hashes: &[u64],
        mixed: &mut [u32; BLOCK],
        rows: &mut Vec<u32>,
    ) {
        for (mixed, hash) in mixed.iter_mut().zip(hashes) {
            *mixed = mix(*hash);
        }
        let mixed = &mixed[..hashes.len()];
        if self.index.is_large() {
            rows.extend(mixed.iter().enumerate().map(|(i, hash)| {
                self.index.prefetch(mixed.get(i + AHEAD).copied().unwrap_or(*hash));
                self.index.candidate(*hash)
            }));
        } else {
            rows.extend(mixed.iter().map(|hash| self.index.candidate(*hash)));
        }
        self.keys.verify(input, offset, &mut rows[offset..]);
    }

    fn create(&mut self, input: &InputKeys<'_>, i: usize, hash: u32) -> Result<u32> {
        let reused = self.free.pop();
        let row = match reused {
            Some(row) => row,
            None => self.fresh_row()?,
        };
        if self.index.is_full() {
            let (live, hashes) = (&self.live, &self.hashes);
            let rows = std::iter::successors(live.next(0), |row| live.next(row + 1));
            self.index.rebuild(2 * self.index.capacity(), rows.map(|row| (hashes[row as usize], row)));
            self.recharge();
        }
        self.keys.set(input, i, row)?;
        if reused.is_some() {
            self.values.iter_mut().try_for_each(|column| column.reset(row))?;
        }
        self.hashes[row as usize] = hash;
        self.live.set(row);
        self.index.insert(hash, row);
        self.len += 1;
        self.created.push(row);
        Ok(row)
    }

    fn fresh_row(&mut self) -> Result<u32> {
        let row = self.top;
        if row as usize >= NONE as usize - PAGE_ROWS {
            return Err(Error::user(format!("a state table holds {row} entries, which is its limit per subtask")));
        }
        if row as usize == self.room {
            self.ensure(room_for(row as usize + 1));
        }
        self.top += 1;
        Ok(row)
    }

    fn ensure(&mut self, room: usize) {
        self.room = room;
        self.keys.ensure(room);
        self.values.iter_mut().for_each(|column| column.ensure(room));
        self.hashes.resize(room, 0);
        if self.spec.cluster_columns().is_some() {
            self.clusters.resize(room, 0);
        }
        for bits in [&mut self.live, &mut self.dirty, &mut self.base, &mut self.dead] {
            bits.ensure(room);
        }
        self.recharge();
    }

    /// Charges what is not in pages.
    fn recharge(&mut self) {
        let bits: u64 = [&self.live, &self.dirty, &self.base, &self.dead].iter().map(|bits| bits.bytes()).sum();
        let rows = self.hashes.capacity() + self.clusters.capacity() + self.free.capacity() + self.created.capacity();
        let rows = rows * size_of::<u32>();
        let own = size_of::<Self>() + self.values.capacity() * size_of::<Values>();
        self.charge.resize(bits + self.index.bytes() + self.keys.own_bytes() + (rows + own) as u64);
    }

    /// Marks entries as changed: for handles that came from [`KeyedTable::lookup`] or [`KeyedTable::scan`].
    pub fn touch(&mut self, rows: &[u32]) {
        for row in rows {
            self.dirty.set(*row);
        }
    }

    /// Removes entries; handles of removed entries are ignored.
    pub fn remove(&mut self, rows: &[u32]) -> Result<()> {
        self.bury(rows)?;
        for row in rows.iter().filter(|row| **row != NONE) {
            if !self.live.test(*row) {
                continue;
            }
            self.index.remove(self.hashes[*row as usize], *row);
            self.live.clear(*row);
            self.dirty.clear(*row);
            self.len -= 1;
            if self.base.test(*row) {
                self.dead.set(*row);
            } else {
                self.free.push(*row);
            }
        }
        self.recharge();
        Ok(())
    }

    /// Puts the handles of the next `limit` entries at most into `rows` (cleared first), of fewer if entries are large; false at the end.
    /// Entries that are created during a scan may be met or not; all others are met once. Errors: what is on disk cannot be read.
    pub fn scan(&mut self, cursor: &mut Cursor, limit: usize, rows: &mut Vec<u32>) -> Result<bool> {
        if self.paged.is_some() {
            return self.scan_paged(cursor, limit, rows);
        }
        rows.clear();
        let limit = limit.min(self.chunk_rows());
        while rows.len() < limit {
            match self.live.next(cursor.row) {
                Some(row) => {
                    rows.push(row);
                    cursor.row = row + 1;
                }
                None => break,
            }
        }
        Ok(!rows.is_empty())
    }

    /// The keys of the rows, one Arrow column per key field.
    pub fn keys(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.gather(rows)
    }

    /// Value column `column` of the rows, as an Arrow array of its declared type.
    pub fn values(&self, column: usize, rows: &[u32]) -> Result<ArrayRef> {
        match self.spec.values().get(column) {
            Some(spec) => self.at(column)?.gather(spec.data_type(), rows),
            None => Err(no_column(column, self.values.len())),
        }
    }

    /// All value columns, to be changed; `get_disjoint_mut` borrows several of them for one loop.
    pub fn columns_mut(&mut self) -> &mut [Values] {
        &mut self.values
    }

    /// A fixed-width value column. Errors: `internal` if there is none of this type at this place.
    pub fn column<T: Stored>(&self, column: usize) -> Result<&Column<T>> {
        self.at(column)?.fixed::<T>()
    }

    /// A fixed-width value column, to be changed. Errors: `internal` if there is none of this type at this place.
    pub fn column_mut<T: Stored>(&mut self, column: usize) -> Result<&mut Column<T>> {
        let columns = self.values.len();
        self.values.get_mut(column).ok_or_else(|| no_column(column, columns))?.fixed_mut::<T>()
    }

    /// A text or binary value column. Errors: `internal` if there is none at this place.
    pub fn bytes_column(&self, column: usize) -> Result<&BytesColumn> {
        self.at(column)?.bytes()
    }

    /// A text or binary value column, to be changed. Errors: `internal` if there is none at this place.
    pub fn bytes_column_mut(&mut self, column: usize) -> Result<&mut BytesColumn> {
        let columns = self.values.len();
        self.values.get_mut(column).ok_or_else(|| no_column(column, columns))?.bytes_mut()
    }

    fn at(&self, column: usize) -> Result<&Values> {
        self.values.get(column).ok_or_else(|| no_column(column, self.values.len()))
    }

    /// What changed since the last freeze, or everything if `full`; shares pages and copies no entry.
    pub(crate) fn freeze(&mut self, full: bool) -> FrozenRows {
        let pages: Vec<usize> = (0..self.room.div_ceil(PAGE_ROWS))
            .filter(|page| {
                let (changed, dead) = if full { (&self.live, None) } else { (&self.dirty, Some(&self.dead)) };
                changed.page(*page).iter().any(|w| *w != 0)
                    || dead.is_some_and(|d| d.page(*page).iter().any(|w| *w != 0))
            })
            .collect();
        let bits = |bits: &RowBits| pages.iter().map(|page| bits.page(*page)).collect::<Vec<_>>();
        let frozen = FrozenRows {
            upserts: bits(if full { &self.live } else { &self.dirty }),
            deletes: if full { Vec::new() } else { bits(&self.dead) },
            keys: self.keys.freeze(&pages),
            values: self.values.iter_mut().map(|column| column.freeze(&pages)).collect(),
            charge: Charge::new(&self.budget, 0),
            on_disk: self.paged.as_mut().map_or_else(OnDisk::default, |paged| paged.disk.freeze(full)),
            spec: self.spec.clone(),
        };
        let mut row = self.dead.next(0);
        while let Some(dead) = row {
            self.free.push(dead);
            row = self.dead.next(dead + 1);
        }
        self.dead.clear_all();
        self.dirty.clear_all();
        self.base.clear_all();
        self.base.union(&self.live);
        self.recharge();
        frozen.charged()
    }

    /// Sets the values of entries from Arrow columns, one per value column.
    pub(crate) fn load(&mut self, rows: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (values, column) in self.values.iter_mut().zip(columns) {
            values.load(rows, column)?;
        }
        Ok(())
    }
}

/// The places of a block that have no row, without a branch per row.
fn positions<'a>(rows: &[u32], out: &'a mut [u16; BLOCK]) -> &'a [u16] {
    let mut found = 0;
    for (place, row) in rows.iter().enumerate().take(BLOCK) {
        out[found % BLOCK] = place as u16;
        found += usize::from(*row == NONE);
    }
    &out[..found.min(BLOCK)]
}

fn no_column(column: usize, columns: usize) -> Error {
    Error::internal(format!("value column {column} of a state table with {columns}"))
}
