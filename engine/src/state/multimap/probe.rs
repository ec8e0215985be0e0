//! Finds the entries of keys, in chunks: first those in memory, list by list, then those on disk. Part of the multimap.

use super::super::budget::Budget;
use super::super::index::{NONE, mix};
use super::super::table::KeyedTable;
use super::super::table::cluster::{ClusterSearch, Found, Wanted, prefixes};
use super::super::values::TableSpec;
use super::{Multimap, gather, ints_of};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute;
use std::sync::Arc;

/// Entries read from disk at a time, at most.
const READ_ROWS: usize = 1024;

/// The entries of some keys, to be read with [`Multimap::next`]. Over when the multimap changes.
pub struct Probe {
    keys: Vec<ArrayRef>,
    hashes: Vec<u64>,
    heads: Vec<u32>,
    /// The row that is being matched, and its next entry in memory.
    at: usize,
    next: u32,
    disk: Disk,
}

enum Disk {
    NotBegun,
    Reading(Box<Reading>),
    Over,
}

/// Where the reading from disk stands.
struct Reading {
    search: ClusterSearch,
    /// The probing rows by key: those of key `t` are at `starts[t]..starts[t + 1]`.
    rows: Vec<u32>,
    starts: Vec<u32>,
    found: Option<Arc<Found>>,
    /// Entries of `found`, and rows of the next one's key, that were given.
    entry: usize,
    row: usize,
}

/// Pairs of a probing row and an entry.
#[derive(Default)]
pub struct Matches {
    rows: Vec<u32>,
    handles: Vec<u32>,
    /// If there: handles are places in it.
    found: Option<Arc<Found>>,
}

impl Matches {
    /// Of each pair the probing row; none after a scan.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.handles.clear();
        self.found = None;
    }

    pub(super) fn handles_mut(&mut self) -> &mut Vec<u32> {
        &mut self.handles
    }

    fn push(&mut self, row: usize, handle: u32) {
        self.rows.push(row as u32);
        self.handles.push(handle);
    }
}

impl Multimap {
    /// Begins to match rows of these keys. `key_hashes` as in [`Multimap::update`].
    /// Errors: `internal` if the columns do not fit the specification.
    pub fn probe(&self, keys: &[ArrayRef], key_hashes: &[u64]) -> Result<Probe> {
        let mut heads = Vec::with_capacity(key_hashes.len());
        self.links.heads(&self.table, keys, key_hashes, &mut heads)?;
        let next = heads.first().copied().unwrap_or(NONE);
        let disk = if self.table.is_paged() { Disk::NotBegun } else { Disk::Over };
        Ok(Probe { keys: keys.to_vec(), hashes: key_hashes.to_vec(), heads, at: 0, next, disk })
    }

    /// The next pairs, `limit` at most, into `matches` (cleared first); false at the end. Errors: what is on disk cannot be read.
    pub fn next(&self, probe: &mut Probe, limit: usize, matches: &mut Matches) -> Result<bool> {
        matches.clear();
        let limit = limit.max(1);
        while probe.at < probe.heads.len() && matches.len() < limit {
            if probe.next == NONE {
                probe.at += 1;
                probe.next = probe.heads.get(probe.at).copied().unwrap_or(NONE);
            } else {
                matches.push(probe.at, probe.next);
                probe.next = self.links.next(probe.next);
            }
        }
        if !matches.is_empty() {
            return Ok(true);
        }
        if let Disk::NotBegun = probe.disk {
            probe.disk = self.begin(probe)?.map_or(Disk::Over, |reading| Disk::Reading(Box::new(reading)));
        }
        if let Disk::Reading(reading) = &mut probe.disk {
            if reading.next(&self.table, limit, matches)? {
                return Ok(true);
            }
            probe.disk = Disk::Over;
        }
        Ok(false)
    }

    fn begin(&self, probe: &Probe) -> Result<Option<Reading>> {
        let keys = self.spec.keys.iter().cloned();
        let mut distinct = KeyedTable::new(Arc::new(TableSpec::new(keys, [])), &Budget::unlimited("probe"))?;
        let mut tags = Vec::new();
        distinct.intern(&probe.keys, &probe.hashes, &mut tags)?;
        // Handles of a new table count from 0.
        let all: Vec<u32> = (0..distinct.len() as u32).collect();
        let encoded = prefixes(self.table.spec())?.encode(&distinct.keys(&all)?)?;
        let mut starts = vec![0u32; distinct.len() + 1];
        let mut hashes = vec![0u64; distinct.len()];
        for (tag, hash) in tags.iter().zip(&probe.hashes) {
            starts[*tag as usize + 1] += 1;
            hashes[*tag as usize] = *hash;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut places = starts.clone();
        let mut rows = vec![0u32; tags.len()];
        for (row, tag) in tags.iter().enumerate() {
            let place = &mut places[*tag as usize];
            rows[*place as usize] = row as u32;
            *place += 1;
        }
        let wanted = |(tag, hash): (usize, &u64)| {
            let prefix = encoded.row(tag).to_vec();
            Wanted { hash: mix(*hash), prefix, tag: tag as u32 }
        };
        let search = self.table.search(hashes.iter().enumerate().map(wanted).collect());
        Ok(search.map(|search| Reading { search, rows, starts, found: None, entry: 0, row: 0 }))
    }

    /// The columns of the entries, keys first.
    pub fn columns(&self, matches: &Matches) -> Result<Vec<ArrayRef>> {
        match &matches.found {
            None => self.table.keys(&matches.handles),
            Some(found) => {
                let places = UInt32Array::from(matches.handles.clone());
                found.keys.iter().map(|c| compute::take(c, &places, None).map_err(Error::from)).collect()
            }
        }
    }

    /// The weights of the entries.
    pub fn weights(&self, matches: &Matches) -> Result<Vec<i64>> {
        self.values(matches, 0)
    }

    /// The numbers of partners of the entries. Errors: `internal` if the specification has none.
    pub fn partners(&self, matches: &Matches) -> Result<Vec<i64>> {
        self.values(matches, 1)
    }

    fn values(&self, matches: &Matches, column: usize) -> Result<Vec<i64>> {
        let mut out = Vec::with_capacity(matches.len());
        match &matches.found {
            None => gather(&self.table, column, &matches.handles, &mut out)?,
            Some(found) => {
                let values = ints_of(&found.values, column);
                out.extend(matches.handles.iter().map(|at| values.get(*at as usize).copied().unwrap_or(0)));
            }
        }
        Ok(out)
    }
}

impl Reading {
    fn next(&mut self, table: &KeyedTable, limit: usize, matches: &mut Matches) -> Result<bool> {
        loop {
            let found = match &self.found {
                Some(found) => found.clone(),
                None => match table.found(&mut self.search, READ_ROWS)? {
                    Some(found) => {
                        (self.entry, self.row) = (0, 0);
                        self.found.insert(Arc::new(found)).clone()
                    }
                    None => return Ok(false),
                },
            };
            while let Some(tag) = found.tags.get(self.entry) {
                let (start, end) = (self.starts[*tag as usize] as usize, self.starts[*tag as usize + 1] as usize);
                let rows = self.rows.get(start + self.row..end).unwrap_or_default();
                for row in rows.iter().take(limit - matches.len()) {
                    matches.push(*row as usize, self.entry as u32);
                    self.row += 1;
                }
                if start + self.row < end {
                    break;
                }
                (self.entry, self.row) = (self.entry + 1, 0);
            }
            if self.entry >= found.tags.len() {
                self.found = None;
            }
            if !matches.is_empty() {
                matches.found = Some(found);
                return Ok(true);
            }
        }
    }
}

impl Found {
    /// Keeps those for which it is true.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) -> Result<()> {
        let mask: BooleanArray = (0..self.tags.len()).map(|i| Some(keep(i))).collect();
        for column in self.keys.iter_mut().chain(&mut self.values) {
            *column = compute::filter(column, &mask)?;
        }
        let mut kept = mask.values().iter();
        self.tags.retain(|_| kept.next().unwrap_or(false));
        Ok(())
    }
}
