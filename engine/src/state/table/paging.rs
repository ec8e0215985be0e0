//! A keyed table that is larger than memory: all of it goes to disk when the budget is exceeded, and entries come back as batches
//! ask for them. Part of the table.
//!
//! Invariants
//! - G1 an entry in memory is newer than, or equal to, any version on disk.
//! - G2 `on_disk` covers the rows whose key is in some run; when such a row is removed, a grave hides those versions.
//! - G3 what the snapshots do not have yet goes to disk with a flag that says so, and comes back with it.

use super::super::bits::RowBits;
use super::super::budget::Budget;
use super::super::index::{Index, NONE};
use super::super::keys::{InputKeys, KeyColumns};
use super::super::spill::disk::{Disk, Found, Graves, lost};
use super::super::spill::merge::Merge;
use super::super::spill::run::{Entry, RunWriter, flag};
use super::super::values::{TableSpec, Values};
use super::{Cursor, KeyedTable};
use crate::error::Result;
use arrow::array::ArrayRef;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A table of fewer bytes goes to disk only if it is a large part of the budget.
const SMALL_BYTES: u64 = 1 << 20;
/// Rows taken at a time, at most and, of large ones, at least.
const CHUNK: RangeInclusive<u64> = 64..=8192;
/// Bytes of them, about.
const CHUNK_BYTES: u64 = 1 << 20;

/// What a table has on disk.
#[derive(Debug)]
pub(super) struct Paged {
    pub(super) disk: Disk,
    pub(super) on_disk: RowBits,
    /// Whether memory has anything that the runs have not.
    pub(super) is_changed: bool,
}

/// Where a scan of a table on disk stands.
#[derive(Default)]
pub(super) struct DiskCursor {
    merge: Option<Merge>,
    version: u64,
    last: Option<(u32, Vec<u8>)>,
}

impl Paged {
    fn new(budget: &Arc<Budget>, spec: &TableSpec) -> Result<Option<Paged>> {
        let Some(area) = budget.spill() else { return Ok(None) };
        let disk = Disk::new(area, budget, spec)?;
        Ok(Some(Paged { disk, on_disk: RowBits::default(), is_changed: true }))
    }
}

impl KeyedTable {
    /// Rows in memory that are or were in use.
    pub(crate) fn memory_rows(&self) -> u32 {
        self.top
    }

    /// Bytes in memory, those shared with snapshots included.
    fn memory_bytes(&self) -> u64 {
        self.charge.bytes() + self.keys.memory_bytes() + self.values.iter().map(Values::memory_bytes).sum::<u64>()
    }

    /// So many rows are gathered at a time, to keep the copies small.
    pub(super) fn chunk_rows(&self) -> usize {
        let row_bytes = self.memory_bytes() / u64::from(self.top).max(1);
        (CHUNK_BYTES / row_bytes.max(1)).clamp(*CHUNK.start(), *CHUNK.end()) as usize
    }

    /// Writes everything to disk if the memory is needed: handles die by it.
    pub(crate) fn relieve(&mut self) -> Result<()> {
        if self.needs_relief() { self.spill() } else { Ok(()) }
    }

    /// Whether memory is needed, and this table has enough of it.
    pub(crate) fn needs_relief(&self) -> bool {
        let over = self.budget.over_bytes();
        if over == 0 || self.budget.spill().is_none() || self.spec.keys().is_empty() || self.top == 0 {
            return false;
        }
        let limit = self.budget.limit_bytes();
        let bytes = self.memory_bytes();
        let is_large = bytes >= limit / 16;
        is_large || over >= limit / 8 && bytes >= SMALL_BYTES.min(limit / 64)
    }

    /// Writes everything to disk.
    pub(crate) fn spill(&mut self) -> Result<()> {
        if self.paged.is_none() {
            self.paged = Paged::new(&self.budget, &self.spec)?.map(Box::new);
        }
        self.bury_dead()?;
        let Some(paged) = &mut self.paged else { return Ok(()) };
        let mut graves = std::mem::take(&mut paged.disk.graves);
        if paged.disk.runs().is_empty() {
            graves.retain(|_, is_dirty| *is_dirty);
        }
        let mut rows: Vec<u64> = Vec::with_capacity(self.live.count());
        let live = std::iter::successors(self.live.next(0), |row| self.live.next(row + 1));
        let hashes = order(&self.spec, &self.hashes, &self.clusters);
        rows.extend(live.map(|row| u64::from(hashes[row as usize]) << 32 | u64::from(row)));
        rows.sort_unstable();
        if !rows.is_empty() || !graves.is_empty() {
            let mut writer = paged.disk.writer((rows.len() + graves.len()) as u64)?;
            self.write(&rows, graves, &mut writer)?;
            if let Some(paged) = &mut self.paged {
                paged.disk.push(writer)?;
            }
        }
        let freed = self.memory_bytes();
        self.forget()?;
        crate::memory::released(freed);
        Ok(())
    }

    /// Turns rows that the snapshots still have, and that are gone, into graves.
    fn bury_dead(&mut self) -> Result<()> {
        let dead: Vec<u32> = std::iter::successors(self.dead.next(0), |row| self.dead.next(row + 1)).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let columns = self.keys.gather(&dead)?;
        let input = InputKeys::new(&columns)?;
        let Some(paged) = &mut self.paged else { return Ok(()) };
        let keys = paged.disk.keys.encode(&columns)?;
        let order = order(&self.spec, &self.hashes, &self.clusters);
        for (i, row) in dead.iter().enumerate() {
            match self.index.find(self.hashes[*row as usize], |other| self.keys.same(&input, i, other)) {
                // Made again since: the new version overwrites the one that the snapshots have.
                Some(again) => self.base.set(again),
                None => drop(paged.disk.graves.insert((order[*row as usize], keys.row(i).into()), true)),
            }
        }
        Ok(())
    }

    /// Writes rows, given as hash and row in order of the hash, and graves.
    fn write(&self, rows: &[u64], graves: Graves, writer: &mut RunWriter) -> Result<()> {
        let Some(paged) = &self.paged else { return Ok(()) };
        let mut graves = graves.into_iter().peekable();
        let most = self.chunk_rows();
        let mut rest = rows;
        while !rest.is_empty() {
            // Rows of one hash stay together, to be ordered by key.
            let hash_at = |i: usize| rest.get(i).map(|r| r >> 32);
            let mut end = rest.len().min(most);
            while end < rest.len() && hash_at(end) == hash_at(end - 1) {
                end += 1;
            }
            let (chunk, after) = rest.split_at(end);
            rest = after;
            let handles: Vec<u32> = chunk.iter().map(|r| *r as u32).collect();
            let keys = paged.disk.keys.encode(&self.keys.gather(&handles)?)?;
            let values = self.spec.values().iter().zip(&self.values).map(|(s, v)| v.gather(s.data_type(), &handles));
            let values = paged.disk.values.encode(&values.collect::<Result<Vec<_>>>()?)?;
            let mut order: Vec<usize> = (0..chunk.len()).collect();
            for same in order.chunk_by_mut(|a, b| chunk[*a] >> 32 == chunk[*b] >> 32).filter(|c| c.len() > 1) {
                same.sort_by(|a, b| keys.row(*a).cmp(keys.row(*b)));
            }
            for i in order {
                let (hash, key) = ((chunk[i] >> 32) as u32, keys.row(i));
                write_graves(&mut graves, Some((hash, key)), writer)?;
                writer.push(Entry { hash, flags: self.flags(handles[i]), key, values: values.row(i) })?;
            }
        }
        write_graves(&mut graves, None, writer)
    }

    fn flags(&self, row: u32) -> u8 {
        let dirty = if self.dirty.test(row) { flag::DIRTY } else { 0 };
        let base = if self.base.test(row) { flag::BASE } else { 0 };
        dirty | base
    }

    /// Empties the memory; what is on disk stays.
    fn forget(&mut self) -> Result<()> {
        self.keys = KeyColumns::new(self.spec.keys(), &self.budget)?;
        self.values = self.spec.values().iter().map(|column| Values::new(column, &self.budget)).collect();
        self.index = Index::new();
        self.hashes = Vec::new();
        self.clusters = Vec::new();
        for bits in [&mut self.live, &mut self.dirty, &mut self.base, &mut self.dead] {
            *bits = RowBits::default();
        }
        self.free = Vec::new();
        self.created = Vec::new();
        (self.top, self.room) = (0, 0);
        if let Some(paged) = &mut self.paged {
            paged.on_disk = RowBits::default();
            paged.is_changed = false;
        }
        self.recharge();
        Ok(())
    }

    /// Gives the rows that were just created the values that their keys have on disk; those are not new then.
    pub(super) fn page_in(&mut self) -> Result<()> {
        let Some(paged) = &mut self.paged else { return Ok(()) };
        paged.is_changed = true;
        paged.on_disk.ensure(self.room);
        let has_graves = !paged.disk.graves.is_empty();
        let order = order(&self.spec, &self.hashes, &self.clusters);
        let may_be_there = |row: &u32| has_graves || paged.disk.may_have(order[*row as usize]);
        // Places in `created`.
        let places: Vec<usize> = (0..self.created.len()).filter(|i| may_be_there(&self.created[*i])).collect();
        if places.is_empty() {
            return Ok(());
        }
        let rows: Vec<u32> = places.iter().map(|i| self.created[*i]).collect();
        let keys = paged.disk.keys.encode(&self.keys.gather(&rows)?)?;
        let mut wanted = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let hash = order[*row as usize];
            let grave = if has_graves { paged.disk.graves.remove(&(hash, keys.row(i).into())) } else { None };
            match grave {
                Some(is_dirty) => {
                    paged.on_disk.set(*row);
                    if is_dirty {
                        self.base.set(*row);
                    }
                }
                None => wanted.push((hash, i)),
            }
        }
        let finds = paged.disk.find(wanted, &keys)?;
        let live: Vec<&Found> = finds.found.iter().filter(|f| !f.is_gone).collect();
        let bytes = live.iter().map(|f| finds.bytes.get(f.values.clone()).unwrap_or_default());
        let columns = paged.disk.values.decode(bytes)?;
        for found in &finds.found {
            if let Some(row) = rows.get(found.key) {
                paged.on_disk.set(*row);
                // The snapshots have the key until they learn that it was gone.
                if found.is_gone && found.is_dirty {
                    self.base.set(*row);
                }
            }
        }
        let handles: Vec<u32> = live.iter().filter_map(|f| rows.get(f.key).copied()).collect();
        self.load(&handles, &columns)?;
        for (row, found) in handles.iter().zip(&live) {
            self.mark(*row, found.is_base, found.is_dirty);
        }
        self.len -= handles.len();
        let mut is_old = vec![false; self.created.len()];
        live.iter().filter_map(|f| places.get(f.key)).for_each(|place| is_old[*place] = true);
        let mut is_old = is_old.into_iter();
        self.created.retain(|_| !is_old.next().unwrap_or(false));
        Ok(())
    }

    fn mark(&mut self, row: u32, is_base: bool, is_dirty: bool) {
        if is_base {
            self.base.set(row);
        }
        if is_dirty {
            self.dirty.set(row);
        }
    }

    /// [`KeyedTable::lookup`] for a table on disk.
    pub(super) fn lookup_paged(&mut self, keys: &[ArrayRef], hashes: &[u64], rows: &mut Vec<u32>) -> Result<()> {
        let clusters = self.clusters_of(keys, hashes.len())?;
        self.intern_rows(keys, hashes, &clusters, rows)?;
        self.page_in()?;
        let absent = std::mem::take(&mut self.created);
        self.remove(&absent)?;
        rows.iter_mut().filter(|row| !self.live.test(**row)).for_each(|row| *row = NONE);
        Ok(())
    }

    /// Digs graves for rows that are about to be removed.
    pub(super) fn bury(&mut self, rows: &[u32]) -> Result<()> {
        let Some(paged) = &mut self.paged else { return Ok(()) };
        paged.is_changed = true;
        let (live, on_disk) = (&self.live, &paged.on_disk);
        let hidden: Vec<u32> =
            rows.iter().copied().filter(|row| *row != NONE && live.test(*row) && on_disk.test(*row)).collect();
        if hidden.is_empty() {
            return Ok(());
        }
        let keys = paged.disk.keys.encode(&self.keys.gather(&hidden)?)?;
        let order = order(&self.spec, &self.hashes, &self.clusters);
        for (i, row) in hidden.iter().enumerate() {
            let hash = order[*row as usize];
            paged.disk.graves.insert((hash, keys.row(i).into()), self.base.test(*row));
        }
        Ok(())
    }

    /// [`KeyedTable::scan`] for a table on disk: all of it goes there, and the next entries come back.
    pub(super) fn scan_paged(&mut self, cursor: &mut Cursor, limit: usize, rows: &mut Vec<u32>) -> Result<bool> {
        rows.clear();
        let at = cursor.disk.get_or_insert_default();
        match &self.paged {
            Some(paged) if !paged.is_changed && at.merge.is_some() => self.forget()?,
            _ => self.spill()?,
        }
        let Some(paged) = &mut self.paged else { return Err(lost("the table has none")) };
        let version = paged.disk.version();
        if at.merge.is_none() || at.version != version {
            at.merge = Some(match &at.last {
                None => Merge::new(paged.disk.runs()),
                Some((hash, key)) => Merge::after(paged.disk.runs(), *hash, key)?,
            });
            at.version = version;
        }
        let Some(merge) = &mut at.merge else { return Ok(false) };
        let (mut keys, mut values, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let epoch = paged.disk.epoch();
        while found.len() < limit.max(1)
            && (keys.len() + values.len()) as u64 <= CHUNK_BYTES
            && let Some((entry, of)) = merge.next()?
        {
            if entry.flags & flag::GONE == 0 {
                keys.extend_from_slice(entry.key);
                values.extend_from_slice(entry.values);
                let has = |flag: u8| entry.flags & flag != 0;
                let (is_base, is_dirty) = (of != epoch || has(flag::BASE), of == epoch && has(flag::DIRTY));
                found.push((entry.hash, keys.len(), values.len(), is_base, is_dirty));
            }
        }
        let Some((hash, ..)) = found.last() else { return Ok(false) };
        let starts = |end: fn(&(u32, usize, usize, bool, bool)) -> usize| {
            std::iter::once(0).chain(found.iter().map(end)).zip(found.iter().map(end)).collect::<Vec<_>>()
        };
        let (key_ends, value_ends) = (starts(|f| f.1), starts(|f| f.2));
        let last = key_ends.last().and_then(|(from, to)| keys.get(*from..*to)).unwrap_or_default();
        at.last = Some((*hash, last.to_vec()));
        let columns = paged.disk.keys.decode(key_ends.iter().map(|(a, b)| keys.get(*a..*b).unwrap_or_default()))?;
        let loaded =
            paged.disk.values.decode(value_ends.iter().map(|(a, b)| values.get(*a..*b).unwrap_or_default()))?;
        let input = InputKeys::new(&columns)?;
        let hashes = self.index_hashes(&columns, found.iter().map(|f| f.0))?;
        for (i, ((cluster, ..), hash)) in found.iter().zip(hashes).enumerate() {
            let row = self.create(&input, i, hash)?;
            if let Some(slot) = self.clusters.get_mut(row as usize) {
                *slot = *cluster;
            }
            rows.push(row);
        }
        self.len -= found.len();
        self.created.clear();
        self.load(rows, &loaded)?;
        for (row, (.., is_base, is_dirty)) in rows.iter().zip(&found) {
            self.mark(*row, *is_base, *is_dirty);
        }
        if let Some(paged) = &mut self.paged {
            paged.on_disk.ensure(self.room);
            rows.iter().for_each(|row| paged.on_disk.set(*row));
        }
        Ok(true)
    }
}

/// The hashes by which entries are ordered on disk.
fn order<'a>(spec: &TableSpec, hashes: &'a [u32], clusters: &'a [u32]) -> &'a [u32] {
    if spec.cluster_columns().is_some() { clusters } else { hashes }
}

/// Writes the graves before an entry, or all that are left.
fn write_graves(
    graves: &mut Peekable<impl Iterator<Item = ((u32, Box<[u8]>), bool)>>,
    before: Option<(u32, &[u8])>,
    writer: &mut RunWriter,
) -> Result<()> {
    let is_next = |((hash, key), _): &((u32, Box<[u8]>), bool)| before.is_none_or(|b| (*hash, &**key) < b);
    while let Some(((hash, key), is_dirty)) = graves.next_if(is_next) {
        let flags = flag::GONE | if is_dirty { flag::DIRTY | flag::BASE } else { 0 };
        writer.push(Entry { hash, flags, key: &key, values: &[] })?;
    }
    Ok(())
}
