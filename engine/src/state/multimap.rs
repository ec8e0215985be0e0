//! The multimap: rows with weights by a key that many of them may share. Called by joins, which keep each of their sides in one, and by
//! aggregates that must know all values of a group.
//!
//! An entry is key columns and row columns with a weight; equal entries (NULL, NaN and zeros as in [`key`](crate::key)) are one, whose
//! weights add up, and one of weight 0 is gone. The entries are a keyed table over key and row columns, grouped by the key columns.
//! Beside it, and made anew at a restore: lists of the entries in memory by key (`links.rs`), hints by time (`times.rs`), totals by key.
//!
//! What it costs, n entries in all, of which a key has k:
//! - *memory* per entry: its columns, 8 bytes for weight and hash each, about 6 for the index, 8 for its list, 7 for that of a key's
//!   head; 4 more for the time if there is one; a key's columns and 16 bytes again per key if there are totals.
//! - *update*: one probe of the index per row. *probe*: one per row, and one step per match. *totals*: one per row, whatever k is.
//! - *evict*: in proportion to what is evicted, and what is left of the last bucket of about a second if it is old enough to be looked at.
//! - *on disk* (above the budget): all entries are written to a sorted run, ordered by the hash of the key, then key and row, so those of
//!   a key are neighbours. A probe reads those of its keys from every run that may have them, by a filter of 12 bits per entry, and
//!   keeps nothing in memory: hot keys are read again by each batch. An update reads the entries that it changes, for which it may
//!   pass all k of their keys, once per batch. Eviction looks at all k entries of each key that has a due one. A scan writes what is in
//!   memory first. Totals go to disk by themselves, as any keyed table.
//!
//! Invariants
//! - M1 no entry in memory has weight 0 between two calls.
//! - M2 an entry in memory is newer than any version of it on disk; probes find each entry once.
//! - M3 every call on `&mut` may move entries: handles and probes die by it.

mod links;
mod probe;
mod times;

use super::budget::Budget;
use super::frozen;
use super::slices::FrozenTable;
use super::snapshot::{ContainerKind, Parts, kind};
use super::store::{Container, Frozen};
use super::table::cluster::Wanted;
use super::table::{Cursor, KeyedTable};
use super::values::{TableSpec, ValueColumn};
use crate::error::{Error, Result};
use crate::key::{KeyGroupRange, hash_more, hash_rows};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use links::Links;
use std::sync::Arc;
use times::{Bucket, Times};

pub use probe::{Matches, Probe};

/// The name of the column of weights in snapshots.
const WEIGHT: &str = "weight";
/// The name of the column of partners.
const PARTNERS: &str = "partners";
/// Entries taken at a time.
const CHUNK_ROWS: usize = 4096;

/// The columns of a multimap.
#[derive(Clone, Debug)]
pub struct MultimapSpec {
    keys: Vec<FieldRef>,
    rows: Vec<FieldRef>,
    time: Option<usize>,
    has_totals: bool,
    has_partners: bool,
    in_one_group: bool,
}

impl MultimapSpec {
    /// Entries of these key columns and row columns. No key column: all entries have one key.
    pub fn new(keys: impl IntoIterator<Item = FieldRef>, rows: impl IntoIterator<Item = FieldRef>) -> MultimapSpec {
        let (keys, rows) = (keys.into_iter().collect(), rows.into_iter().collect());
        MultimapSpec { keys, rows, time: None, has_totals: false, has_partners: false, in_one_group: false }
    }

    /// Entries may be evicted by this column, counted over key and row columns: a whole number or a timestamp.
    pub fn evicted_by(self, column: usize) -> MultimapSpec {
        MultimapSpec { time: Some(column), ..self }
    }

    /// Keeps the sum of the weights of each key, for [`Multimap::totals`].
    pub fn with_totals(self) -> MultimapSpec {
        MultimapSpec { has_totals: true, ..self }
    }

    /// Keeps a number with each entry, 0 at first: how many partners it has on the other side of a join.
    pub fn with_partners(self) -> MultimapSpec {
        MultimapSpec { has_partners: true, ..self }
    }

    /// All entries belong to the first key group, whatever their keys: for input that is not partitioned.
    pub fn in_one_group(self) -> MultimapSpec {
        MultimapSpec { in_one_group: true, ..self }
    }

    fn table(&self) -> TableSpec {
        let columns = self.keys.iter().chain(&self.rows).cloned();
        let names = [WEIGHT, PARTNERS].into_iter().take(1 + usize::from(self.has_partners));
        let group_columns = if self.in_one_group { 0 } else { self.keys.len() };
        TableSpec::new(columns, names.map(|name| ValueColumn::new(name, 0i64)))
            .grouped_by(group_columns)
            .clustered_by(self.keys.len())
    }
}

/// Entries that were evicted.
pub struct Evicted<'a> {
    /// Key columns, then row columns.
    pub columns: &'a [ArrayRef],
    /// Their weights.
    pub weights: &'a [i64],
    /// The numbers of their partners; empty if the specification has none.
    pub partners: &'a [i64],
}

/// How old entries are.
struct Ages {
    times: Times,
    /// The column and its leaf among the stored ones.
    column: usize,
    leaf: usize,
}

/// See the module.
pub struct Multimap {
    spec: MultimapSpec,
    table: KeyedTable,
    links: Links,
    ages: Option<Ages>,
    totals: Option<KeyedTable>,
    /// Entries whose weight is below 0.
    negative: i64,
    hashes: Vec<u64>,
    handles: Vec<u32>,
}

impl Multimap {
    /// No entries. Errors: `user` if a column can be no key, or not the one that entries are evicted by.
    pub fn new(spec: MultimapSpec, budget: &Arc<Budget>) -> Result<Multimap> {
        let table = KeyedTable::new(Arc::new(spec.table()), budget)?;
        let columns = table.key_columns();
        let ages = match spec.time.map(|column| (column, spec.keys.iter().chain(&spec.rows).nth(column))) {
            None => None,
            Some((column, Some(field))) if matches!(field.data_type(), DataType::Int64 | DataType::Timestamp(..)) => {
                let times = Times::new(field.data_type(), budget);
                Some(Ages { times, column, leaf: columns.leaves_of(column) })
            }
            Some((column, field)) => {
                let text = format!("state is evicted by a time, column {column} is {:?}", field.map(|f| f.data_type()));
                return Err(Error::internal(text));
            }
        };
        let links = Links::new(columns.leaves_of(spec.keys.len()), budget);
        let total = TableSpec::new(spec.keys.iter().cloned(), [ValueColumn::new(WEIGHT, 0i64)]);
        // Where an entry is its key, its weight is the total.
        let has_totals = spec.has_totals && !spec.rows.is_empty();
        let totals = has_totals.then(|| KeyedTable::new(Arc::new(total), budget)).transpose()?;
        let (hashes, handles) = (Vec::new(), Vec::new());
        Ok(Multimap { spec, table, links, ages, totals, negative: 0, hashes, handles })
    }

    /// Number of entries, in memory and on disk.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Adds rows with their weights (`None`: 1 each) to the entries of their keys. `key_hashes` are those of
    /// [`hash_rows`](crate::key::hash_rows) over the key columns.
    /// Errors: `internal` if the columns do not fit the specification; `user` if a weight leaves the range of i64 or the state is full.
    pub fn update(
        &mut self,
        keys: &[ArrayRef],
        key_hashes: &[u64],
        rows: &[ArrayRef],
        weights: Option<&[i64]>,
    ) -> Result<()> {
        check_weights(key_hashes.len(), weights)?;
        self.relieve()?;
        let columns = [keys, rows].concat();
        self.hashes.clear();
        self.hashes.extend_from_slice(key_hashes);
        hash_more(rows, keys.len(), &mut self.hashes)?;
        let mut handles = std::mem::take(&mut self.handles);
        self.table.intern_clustered(&columns, &self.hashes, key_hashes, &mut handles)?;
        self.links.add(&self.table, &handles);
        self.note_times();
        let zero = add_weights(&mut self.table, &handles, weights, &mut self.negative)?;
        self.remove(&zero)?;
        if let Some(totals) = &mut self.totals {
            totals.intern(keys, key_hashes, &mut handles)?;
            let zero = add_weights(totals, &handles, weights, &mut 0)?;
            totals.remove(&zero)?;
        }
        self.handles = handles;
        Ok(())
    }

    /// Notes the times of the entries that were just created.
    fn note_times(&mut self) {
        let Some(ages) = &mut self.ages else { return };
        let columns = self.table.key_columns();
        for row in self.table.created() {
            if let Some(time) = columns.int(ages.leaf, *row) {
                ages.times.add(time, *row);
            }
        }
        ages.times.recharge();
    }

    fn remove(&mut self, rows: &[u32]) -> Result<()> {
        rows.iter().for_each(|row| self.links.remove(&self.table, *row));
        self.table.remove(rows)
    }

    /// Whether the weight of some entry is below 0. After a restore, entries are counted from there on.
    pub fn has_negative(&self) -> bool {
        self.negative != 0
    }

    /// The columns of an entry whose weight is below 0, if there is one. Looks at all entries.
    pub fn find_negative(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let (mut cursor, mut matches) = (Cursor::default(), Matches::default());
        while self.scan(&mut cursor, CHUNK_ROWS, &mut matches)? {
            let weights = self.weights(&matches)?;
            if let Some(at) = weights.iter().position(|w| *w < 0) {
                return Ok(Some(self.columns(&matches)?.iter().map(|c| c.slice(at, 1)).collect()));
            }
        }
        Ok(None)
    }

    /// The sum of the weights of each key, 0 where there is no entry, into `out` (cleared first).
    /// Errors: `internal` if the specification has no totals.
    pub fn totals(&mut self, keys: &[ArrayRef], key_hashes: &[u64], out: &mut Vec<i64>) -> Result<()> {
        let Some(totals) = &mut self.totals else {
            return if self.spec.rows.is_empty() { self.find(keys, key_hashes, &[], out) } else { Err(no_totals()) };
        };
        totals.lookup(keys, key_hashes, &mut self.handles)?;
        gather(totals, 0, &self.handles, out)
    }

    /// The next keys, `limit` at most, with the sums of their weights; `None` at the end. Errors: as [`Multimap::totals`].
    pub fn scan_totals(&mut self, cursor: &mut Cursor, limit: usize) -> Result<Option<(Vec<ArrayRef>, Vec<i64>)>> {
        let Some(totals) = &mut self.totals else {
            if !self.spec.rows.is_empty() {
                return Err(no_totals());
            }
            let mut matches = Matches::default();
            return match self.scan(cursor, limit, &mut matches)? {
                true => Ok(Some((self.columns(&matches)?, self.weights(&matches)?))),
                false => Ok(None),
            };
        };
        if !totals.scan(cursor, limit, &mut self.handles)? {
            return Ok(None);
        }
        let mut sums = Vec::new();
        gather(totals, 0, &self.handles, &mut sums)?;
        Ok(Some((totals.keys(&self.handles)?, sums)))
    }

    /// The weights of exactly these entries, 0 where there is none, into `weights` (cleared first).
    /// Errors: `internal` if the columns do not fit the specification.
    pub fn find(
        &mut self,
        keys: &[ArrayRef],
        key_hashes: &[u64],
        rows: &[ArrayRef],
        weights: &mut Vec<i64>,
    ) -> Result<()> {
        self.locate(keys, key_hashes, rows)?;
        gather(&self.table, 0, &self.handles, weights)
    }

    /// The numbers of partners of exactly these entries, 0 where there is none, into `partners` (cleared first). Errors: as
    /// [`Multimap::find`]; `internal` if the specification has no partners.
    pub fn find_partners(
        &mut self,
        keys: &[ArrayRef],
        key_hashes: &[u64],
        rows: &[ArrayRef],
        partners: &mut Vec<i64>,
    ) -> Result<()> {
        self.locate(keys, key_hashes, rows)?;
        gather(&self.table, 1, &self.handles, partners)
    }

    /// Sets the numbers of partners of these entries; those that are not there are left out. Errors: as [`Multimap::find_partners`].
    pub fn set_partners(
        &mut self,
        keys: &[ArrayRef],
        key_hashes: &[u64],
        rows: &[ArrayRef],
        partners: &[i64],
    ) -> Result<()> {
        self.locate(keys, key_hashes, rows)?;
        let column = self.table.column_mut::<i64>(1)?;
        let set = self.handles.iter().zip(partners).filter(|(row, _)| **row != KeyedTable::ABSENT);
        set.for_each(|(row, value)| column[*row] = *value);
        self.handles.retain(|row| *row != KeyedTable::ABSENT);
        self.table.touch(&self.handles);
        Ok(())
    }

    /// Puts the handles of entries into `handles`, and brings them into memory.
    fn locate(&mut self, keys: &[ArrayRef], key_hashes: &[u64], rows: &[ArrayRef]) -> Result<()> {
        self.relieve()?;
        let columns = [keys, rows].concat();
        self.hashes.clear();
        self.hashes.extend_from_slice(key_hashes);
        hash_more(rows, keys.len(), &mut self.hashes)?;
        self.table.lookup(&columns, &self.hashes, &mut self.handles)?;
        if self.table.is_paged() {
            let there: Vec<u32> = self.handles.iter().copied().filter(|row| *row != KeyedTable::ABSENT).collect();
            self.links.add(&self.table, &there);
        }
        Ok(())
    }

    /// All entries, `limit` at a time at most; false at the end. Entries that are added meanwhile may be met or not.
    pub fn scan(&mut self, cursor: &mut Cursor, limit: usize, matches: &mut Matches) -> Result<bool> {
        matches.clear();
        if !self.table.is_paged() {
            return self.table.scan(cursor, limit, matches.handles_mut());
        }
        self.forget();
        let more = self.table.scan(cursor, limit, matches.handles_mut())?;
        self.links.add(&self.table, matches.handles_mut());
        Ok(more)
    }

    /// Writes everything to disk if memory is needed.
    fn relieve(&mut self) -> Result<()> {
        if !self.table.needs_relief() {
            return Ok(());
        }
        self.forget();
        self.table.spill()
    }

    /// What has to be done before the table empties its memory.
    fn forget(&mut self) {
        self.links.clear();
        if let Some(ages) = &mut self.ages {
            ages.times.send_to_disk(self.table.clusters());
        }
    }

    /// Removes all entries whose time is before `before`, in the unit of its column; NULL is never. Each gets them in chunks: their columns
    /// (keys, then rows), weights, and numbers of partners if there are any. Returns how many they were. Errors: those of `each`; what is on disk cannot be read.
    pub fn evict(&mut self, before: i64, each: &mut dyn FnMut(Evicted<'_>) -> Result<()>) -> Result<u64> {
        let mut evicted = 0;
        loop {
            self.relieve()?;
            let Some(ages) = &mut self.ages else { return Err(Error::internal("a multimap without a time")) };
            let Some((number, mut bucket)) = ages.times.take_due(before) else {
                ages.times.recharge();
                return Ok(evicted);
            };
            let mut kept = Bucket::empty();
            let rows = std::mem::take(&mut bucket.rows);
            let old = self.part(&rows, number, before, &mut kept);
            evicted += self.expel(&old, each)?;
            evicted += self.evict_hashes(&bucket.hashes, number, before, &mut kept, each)?;
            if let Some(ages) = &mut self.ages {
                ages.times.put_back(number, kept);
            }
        }
    }

    /// Of these hints: which entries are old; those that stay in the bucket go to `kept`.
    fn part(&self, rows: &[u32], number: i64, before: i64, kept: &mut Bucket) -> Vec<u32> {
        let Some(ages) = &self.ages else { return vec![] };
        let columns = self.table.key_columns();
        let mut old = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| self.table.is_live(**row)) {
            match columns.int(ages.leaf, *row) {
                Some(time) if time < before => old.push(*row),
                Some(time) if ages.times.bucket(time) == number => {
                    kept.rows.push(*row);
                    kept.least = kept.least.min(time);
                }
                _ => {}
            }
        }
        // A row that was used anew is there twice.
        old.sort_unstable();
        old.dedup();
        old
    }

    /// Evicts from the keys with these hashes.
    fn evict_hashes(
        &mut self,
        hashes: &[u32],
        number: i64,
        before: i64,
        kept: &mut Bucket,
        each: &mut dyn FnMut(Evicted<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut evicted = 0;
        let mut rows = Vec::new();
        hashes.iter().for_each(|hash| self.links.of_hash(&self.table, *hash, &mut rows));
        let mut back = Bucket::empty();
        let old = self.part(&rows, number, before, &mut back);
        evicted += self.expel(&old, each)?;
        // They are on disk, too, perhaps: their hash stays, not their row.
        kept.least = kept.least.min(back.least);
        kept.hashes.extend(back.rows.iter().filter_map(|row| self.table.clusters().get(*row as usize)));
        let wanted = hashes.iter().map(|hash| Wanted { hash: *hash, prefix: vec![], tag: *hash }).collect();
        let Some(mut search) = self.table.search(wanted) else { return Ok(evicted) };
        let (mut handles, mut key_hashes) = (Vec::new(), Vec::new());
        while let Some(mut found) = self.table.found(&mut search, CHUNK_ROWS)? {
            let Some(ages) = &self.ages else { break };
            let times = ages.times_of(&found.keys)?;
            let is_old = |i: usize| times.get(i).copied().flatten().is_some_and(|t| t < before);
            for (i, tag) in found.tags.iter().enumerate().filter(|(i, _)| !is_old(*i)) {
                if let Some(time) = times.get(i).copied().flatten().filter(|t| ages.times.bucket(*t) == number) {
                    kept.hashes.push(*tag);
                    kept.least = kept.least.min(time);
                }
            }
            found.retain(is_old)?;
            if found.tags.is_empty() {
                continue;
            }
            // They come back, so that the table notes that they are gone.
            let keys = found.keys.get(..self.spec.keys.len()).unwrap_or_default();
            hash_rows(keys, found.tags.len(), &mut key_hashes)?;
            hash_rows(&found.keys, found.tags.len(), &mut self.hashes)?;
            self.table.intern_clustered(&found.keys, &self.hashes, &key_hashes, &mut handles)?;
            self.links.add(&self.table, &handles);
            evicted += self.expel(&handles, each)?;
        }
        kept.hashes.sort_unstable();
        kept.hashes.dedup();
        Ok(evicted)
    }

    /// Removes entries in memory, and hands them on.
    fn expel(&mut self, rows: &[u32], each: &mut dyn FnMut(Evicted<'_>) -> Result<()>) -> Result<u64> {
        for rows in rows.chunks(CHUNK_ROWS) {
            let columns = self.table.keys(rows)?;
            let (mut weights, mut partners) = (Vec::new(), Vec::new());
            gather(&self.table, 0, rows, &mut weights)?;
            if self.spec.has_partners {
                gather(&self.table, 1, rows, &mut partners)?;
            }
            self.negative -= weights.iter().filter(|w| **w < 0).count() as i64;
            self.remove(rows)?;
            if let Some(totals) = &mut self.totals {
                let keys = columns.get(..self.spec.keys.len()).unwrap_or_default();
                hash_rows(keys, rows.len(), &mut self.hashes)?;
                totals.intern(keys, &self.hashes, &mut self.handles)?;
                let less: Vec<i64> = weights.iter().map(|w| w.saturating_neg()).collect();
                let zero = add_weights(totals, &self.handles, Some(&less), &mut 0)?;
                totals.remove(&zero)?;
            }
            each(Evicted { columns: &columns, weights: &weights, partners: &partners })?;
        }
        Ok(rows.len() as u64)
    }

    /// Makes lists, times and totals of a table that was restored.
    fn derive(&mut self) -> Result<()> {
        if self.table.is_paged() {
            self.table.spill()?;
        }
        if self.ages.is_none() && self.totals.is_none() {
            let rows: Vec<u32> = self.table.live_rows().collect();
            self.links.add(&self.table, &rows);
            return Ok(());
        }
        let (mut cursor, mut matches) = (Cursor::default(), Matches::default());
        while self.scan(&mut cursor, CHUNK_ROWS, &mut matches)? {
            let rows = matches.handles_mut();
            self.links.add(&self.table, rows);
            if let Some(ages) = &mut self.ages {
                let columns = self.table.key_columns();
                for row in rows.iter() {
                    columns.int(ages.leaf, *row).into_iter().for_each(|time| ages.times.add(time, *row));
                }
            }
            if let Some(totals) = &mut self.totals {
                let mut keys = self.table.keys(rows)?;
                keys.truncate(self.spec.keys.len());
                hash_rows(&keys, rows.len(), &mut self.hashes)?;
                let column = self.table.column::<i64>(0)?;
                let weights: Vec<i64> = rows.iter().map(|row| column.get(*row)).collect();
                totals.intern(&keys, &self.hashes, &mut self.handles)?;
                let zero = add_weights(totals, &self.handles, Some(&weights), &mut 0)?;
                totals.remove(&zero)?;
            }
        }
        Ok(())
    }
}

impl Ages {
    /// The times of entries.
    fn times_of(&self, columns: &[ArrayRef]) -> Result<Vec<Option<i64>>> {
        let no_column = || Error::internal(format!("no column {} to evict by", self.column));
        let column = columns.get(self.column).ok_or_else(no_column)?;
        let ints = super::leaf::ints_from(column, column.nulls());
        Ok(ints.iter().enumerate().map(|(i, time)| column.is_valid(i).then_some(*time)).collect())
    }
}

fn check_weights(rows: usize, weights: Option<&[i64]>) -> Result<()> {
    match weights.map(<[i64]>::len) {
        Some(found) if found != rows => Err(Error::internal(format!("{found} weights for {rows} rows of state"))),
        _ => Ok(()),
    }
}

/// Adds to the weights of entries; returns those whose weight is 0 now. `negative` counts those below 0.
fn add_weights(table: &mut KeyedTable, rows: &[u32], weights: Option<&[i64]>, negative: &mut i64) -> Result<Vec<u32>> {
    let column = table.column_mut::<i64>(0)?;
    let (mut zero, mut lost) = (Vec::new(), None);
    column.update(rows, |i, weight| {
        let more = weights.and_then(|w| w.get(i)).copied().unwrap_or(1);
        match weight.checked_add(more) {
            Some(sum) => {
                *negative += i64::from(sum < 0) - i64::from(*weight < 0);
                *weight = sum;
                if sum == 0 {
                    zero.extend(rows.get(i));
                }
            }
            None => lost = Some((*weight, more)),
        }
    });
    if let Some((weight, more)) = lost {
        return Err(Error::user(format!("a row that is there {weight} times cannot come {more} times more")));
    }
    zero.retain(|row| column.get(*row) == 0);
    zero.sort_unstable();
    zero.dedup();
    Ok(zero)
}

/// The values of some rows, 0 where there is none.
fn gather(table: &KeyedTable, column: usize, rows: &[u32], out: &mut Vec<i64>) -> Result<()> {
    let column = table.column::<i64>(column)?;
    out.clear();
    out.extend(rows.iter().map(|row| column.try_get(*row).unwrap_or(0)));
    Ok(())
}

fn no_totals() -> Error {
    Error::internal("a multimap without totals")
}

/// The values of a column of a run.
fn ints_of(values: &[ArrayRef], column: usize) -> &[i64] {
    values.get(column).and_then(|c| c.as_primitive_opt::<Int64Type>()).map_or(&[], |c| c.values())
}

impl Container for Multimap {
    fn freeze(&mut self, full: bool) -> Box<dyn Frozen> {
        Box::new(FrozenTable { kind: ContainerKind::Multimap, table: [(None, self.table.freeze(full))] })
    }

    fn restore(&mut self, chains: &[Parts<'_>], range: KeyGroupRange) -> Result<()> {
        for chain in chains {
            chain.each(range, |_, snapshot| {
                frozen::check(chain.name, &snapshot.schema, self.table.spec(), false)?;
                for kinds in [kind::DELETE, kind::UPSERT] {
                    snapshot.read(range).try_for_each(|rows| frozen::apply(&mut self.table, &rows?, kinds))?;
                }
                Ok(())
            })?;
        }
        self.derive()
    }
}

#[cfg(test)]
mod tests;
