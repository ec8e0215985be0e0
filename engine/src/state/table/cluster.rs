//! A keyed table that is clustered: on disk, entries whose first key columns are equal are neighbours, and are found by them. Part of
//! the table, made for the multimap.
//!
//! In memory the index uses the hash of the whole key, so that a million entries of one cluster do not meet in one bucket; on disk
//! the order is the hash of the first columns, then the encoded key, which begins with them.
//!
//! Invariants
//! - L1 what a search finds has no version in memory and no grave: those in memory are found there.
//! - L2 a search goes up in hash and prefix, and is over when the table writes to disk.

use super::super::index::mix;
use super::super::keys::KeyColumns;
use super::super::spill::disk::{Codec, lost};
use super::super::spill::merge::Merge;
use super::super::spill::run::{Entry, flag};
use super::super::values::TableSpec;
use super::{KeyedTable, NONE};
use crate::error::{Error, Result};
use crate::key::hash_rows;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute;

/// Bytes of entries decoded at a time, about.
const CHUNK_BYTES: usize = 1 << 20;

/// A cluster to be found: its hash as the table has it, how the encoded key begins, and what the finder calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) hash: u32,
    /// Empty: all clusters of this hash.
    pub(crate) prefix: Vec<u8>,
    pub(crate) tag: u32,
}

/// A search of the runs for clusters.
pub(crate) struct ClusterSearch {
    merge: Merge,
    wanted: Vec<Wanted>,
    at: usize,
    /// Whether the merge stands in the cluster `at`.
    is_inside: bool,
}

/// Entries that were found on disk.
pub(crate) struct Found {
    /// The key columns.
    pub(crate) keys: Vec<ArrayRef>,
    /// The value columns.
    pub(crate) values: Vec<ArrayRef>,
    /// Of each entry the tag of its cluster.
    pub(crate) tags: Vec<u32>,
}

impl KeyedTable {
    /// [`KeyedTable::intern`] of a clustered table, which never writes to disk: no other handle dies by it.
    pub(crate) fn intern_clustered(
        &mut self,
        keys: &[ArrayRef],
        hashes: &[u64],
        clusters: &[u64],
        rows: &mut Vec<u32>,
    ) -> Result<usize> {
        self.intern_rows(keys, hashes, clusters, rows)?;
        if self.paged.is_some() {
            self.page_in()?;
        }
        self.touch(rows);
        Ok(self.created.len())
    }

    /// The hashes of the cluster columns, if there are any.
    pub(super) fn clusters_of(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
        let mut clusters = Vec::new();
        if let Some(columns) = self.spec.cluster_columns() {
            hash_rows(keys.get(..columns).unwrap_or(keys), rows, &mut clusters)?;
        }
        Ok(clusters)
    }

    /// The hashes that the index has for keys that were on disk under `stored`.
    pub(super) fn index_hashes(
        &self,
        keys: &[ArrayRef],
        stored: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<u32>> {
        if self.spec.cluster_columns().is_none() {
            return Ok(stored.collect());
        }
        let mut hashes = Vec::new();
        hash_rows(keys, stored.len(), &mut hashes)?;
        Ok(hashes.into_iter().map(mix).collect())
    }

    pub(crate) fn key_columns(&self) -> &KeyColumns {
        &self.keys
    }

    /// The mixed hash of the cluster columns of each row of a clustered table.
    pub(crate) fn clusters(&self) -> &[u32] {
        &self.clusters
    }

    pub(crate) fn is_live(&self, row: u32) -> bool {
        self.live.test(row)
    }

    /// The entries in memory.
    pub(crate) fn live_rows(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.live.next(0), |row| self.live.next(row + 1))
    }

    /// Whether there may be entries on disk.
    pub(crate) fn is_paged(&self) -> bool {
        self.paged.is_some()
    }

    /// Begins a search. `None`: nothing of it is on disk.
    pub(crate) fn search(&self, mut wanted: Vec<Wanted>) -> Option<ClusterSearch> {
        let disk = &self.paged.as_ref()?.disk;
        wanted.retain(|w| disk.may_have(w.hash));
        if wanted.is_empty() {
            return None;
        }
        wanted.sort_unstable();
        Some(ClusterSearch { merge: Merge::new(disk.runs()), wanted, at: 0, is_inside: false })
    }

    /// The next entries, `limit` at most if they are small; `None` at the end. Errors: the runs cannot be read.
    pub(crate) fn found(&self, search: &mut ClusterSearch, limit: usize) -> Result<Option<Found>> {
        let Some(disk) = self.paged.as_ref().map(|p| &p.disk) else { return Err(lost("the table has none")) };
        loop {
            let (mut bytes, mut ends, mut tags) = (Vec::new(), Vec::new(), Vec::new());
            while tags.len() < limit.max(1) && bytes.len() < CHUNK_BYTES && search.at < search.wanted.len() {
                let Some((entry, tag)) = search.next()? else { continue };
                let is_gone = entry.flags & flag::GONE != 0
                    || !disk.graves.is_empty() && disk.graves.contains_key(&(entry.hash, entry.key.into()));
                if !is_gone {
                    let start = bytes.len();
                    bytes.extend_from_slice(entry.key);
                    let key_end = bytes.len();
                    bytes.extend_from_slice(entry.values);
                    ends.push((start..key_end, key_end..bytes.len()));
                    tags.push(tag);
                }
            }
            if tags.is_empty() {
                return Ok(None);
            }
            let keys = disk.keys.decode(ends.iter().map(|(key, _)| bytes.get(key.clone()).unwrap_or_default()))?;
            let values = disk.values.decode(ends.iter().map(|(_, v)| bytes.get(v.clone()).unwrap_or_default()))?;
            let found = self.not_in_memory(Found { keys, values, tags })?;
            if !found.tags.is_empty() {
                return Ok(Some(found));
            }
        }
    }

    /// Without what has a newer version in memory.
    fn not_in_memory(&self, found: Found) -> Result<Found> {
        if self.index.is_empty() {
            return Ok(found);
        }
        let (mut hashes, mut rows) = (Vec::new(), Vec::new());
        hash_rows(&found.keys, found.tags.len(), &mut hashes)?;
        self.lookup_memory(&found.keys, &hashes, &mut rows)?;
        if rows.iter().all(|row| *row == NONE) {
            return Ok(found);
        }
        let keep: BooleanArray = rows.iter().map(|row| Some(*row == NONE)).collect();
        let filter = |columns: &[ArrayRef]| {
            columns.iter().map(|c| compute::filter(c, &keep).map_err(Error::from)).collect::<Result<Vec<_>>>()
        };
        let tags = found.tags.iter().zip(&rows).filter(|(_, row)| **row == NONE).map(|(tag, _)| *tag).collect();
        Ok(Found { keys: filter(&found.keys)?, values: filter(&found.values)?, tags })
    }
}

impl ClusterSearch {
    /// The newest version of the next key; `None` at the end of a cluster.
    fn next(&mut self) -> Result<Option<(Entry<'_>, u32)>> {
        let Some(wanted) = self.wanted.get(self.at) else { return Ok(None) };
        if !self.is_inside {
            self.merge.seek(wanted.hash, &wanted.prefix)?;
            self.is_inside = true;
        }
        let is_in = |hash: u32, key: &[u8]| hash == wanted.hash && key.starts_with(&wanted.prefix);
        if !self.merge.peek(is_in)? {
            self.is_inside = false;
            self.at += 1;
            return Ok(None);
        }
        Ok(self.merge.next()?.map(|(entry, _)| (entry, wanted.tag)))
    }
}

/// How the first columns of keys are encoded: the beginning of the whole key's encoding.
pub(crate) fn prefixes(spec: &TableSpec) -> Result<Codec> {
    Codec::of(spec.keys().iter().take(spec.cluster_columns().unwrap_or(0)).map(|f| f.data_type()))
}
