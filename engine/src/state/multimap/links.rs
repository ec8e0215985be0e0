//! Which entries in memory have one key: an index of the first of them, and a list of the others through it. Part of the multimap.
//!
//! Invariants
//! - A1 every live row of the table in memory is in exactly one list, that of its key; the index holds the head of each list.
//! - A2 nothing here is on disk: lists are forgotten when the table writes, and made again as entries come back.

use super::super::bits::RowBits;
use super::super::budget::{Budget, Charge};
use super::super::index::{Index, NONE, mix};
use super::super::keys::{InputKeys, decode};
use super::super::page::AHEAD;
use super::super::table::KeyedTable;
use crate::error::Result;
use arrow::array::ArrayRef;
use std::sync::Arc;

/// Rows probed at a time: the index counts its rows by itself.
const BLOCK: usize = 1024;

/// See the module.
pub(super) struct Links {
    heads: Index,
    /// By row; [`NONE`] at the end of a list.
    next: Vec<u32>,
    /// By row; [`NONE`] at the head.
    prev: Vec<u32>,
    linked: RowBits,
    /// Leaves of the key columns.
    leaves: usize,
    charge: Charge,
}

impl Links {
    pub(super) fn new(leaves: usize, budget: &Arc<Budget>) -> Links {
        let (next, prev, linked) = (Vec::new(), Vec::new(), RowBits::default());
        Links { heads: Index::new(), next, prev, linked, leaves, charge: Charge::new(budget, 0) }
    }

    /// Forgets all lists.
    pub(super) fn clear(&mut self) {
        self.heads = Index::new();
        (self.next, self.prev, self.linked) = (Vec::new(), Vec::new(), RowBits::default());
        self.charge.resize(0);
    }

    /// Takes in those of the rows that are not in yet.
    pub(super) fn add(&mut self, table: &KeyedTable, rows: &[u32]) {
        let clusters = table.clusters();
        if self.next.len() < clusters.len() {
            self.next.resize(clusters.len(), NONE);
            self.prev.resize(clusters.len(), NONE);
            self.linked.ensure(clusters.len());
        }
        let keys = table.key_columns();
        for (i, row) in rows.iter().enumerate() {
            if self.linked.test(*row) {
                continue;
            }
            if let Some(ahead) = rows.get(i + AHEAD) {
                self.heads.prefetch(clusters[*ahead as usize]);
            }
            let hash = clusters[*row as usize];
            match self.heads.find(hash, |head| keys.same_rows(head, *row, self.leaves)) {
                Some(head) => self.insert_after(head, *row),
                None => self.insert_head(clusters, hash, *row),
            }
            self.linked.set(*row);
        }
        let lists = (self.next.capacity() + self.prev.capacity()) * size_of::<u32>();
        self.charge.resize(self.heads.bytes() + self.linked.bytes() + lists as u64);
    }

    fn insert_after(&mut self, head: u32, row: u32) {
        let second = self.next[head as usize];
        self.next[row as usize] = second;
        self.prev[row as usize] = head;
        self.next[head as usize] = row;
        if second != NONE {
            self.prev[second as usize] = row;
        }
    }

    fn insert_head(&mut self, clusters: &[u32], hash: u32, row: u32) {
        if self.heads.is_full() {
            let (linked, prev) = (&self.linked, &self.prev);
            let rows = std::iter::successors(linked.next(0), |row| linked.next(row + 1));
            let heads = rows.filter(|row| prev[*row as usize] == NONE);
            let capacity = 2 * self.heads.capacity();
            self.heads.rebuild(capacity, heads.map(|row| (clusters[row as usize], row)));
        }
        (self.next[row as usize], self.prev[row as usize]) = (NONE, NONE);
        self.heads.insert(hash, row);
    }

    /// Takes a row out that the table is about to remove.
    pub(super) fn remove(&mut self, table: &KeyedTable, row: u32) {
        if !self.linked.test(row) {
            return;
        }
        self.linked.clear(row);
        let (next, prev) = (self.next[row as usize], self.prev[row as usize]);
        if next != NONE {
            self.prev[next as usize] = prev;
        }
        if prev != NONE {
            self.next[prev as usize] = next;
            return;
        }
        let hash = table.clusters()[row as usize];
        self.heads.remove(hash, row);
        if next != NONE {
            self.heads.insert(hash, next);
        }
    }

    /// The head of the list of each key, [`NONE`] if there is none in memory.
    pub(super) fn heads(
        &self,
        table: &KeyedTable,
        keys: &[ArrayRef],
        hashes: &[u64],
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let fields = table.spec().keys().get(..keys.len()).unwrap_or_default();
        let decoded = decode(fields, keys, hashes.len())?;
        let input = InputKeys::new(decoded.as_deref().unwrap_or(keys))?;
        let columns = table.key_columns();
        out.clear();
        for (block, hashes) in hashes.chunks(BLOCK).enumerate() {
            let offset = block * BLOCK;
            out.extend(hashes.iter().enumerate().map(|(i, hash)| {
                self.heads.prefetch(mix(hashes.get(i + AHEAD).copied().unwrap_or(*hash)));
                self.heads.candidate(mix(*hash))
            }));
            columns.verify(&input, offset, &mut out[offset..]);
            for i in offset..out.len() {
                if out[i] == NONE {
                    let found = self.heads.find(mix(hashes[i - offset]), |row| columns.same(&input, i, row));
                    out[i] = found.unwrap_or(NONE);
                }
            }
        }
        Ok(())
    }

    /// The next row of a list.
    #[inline]
    pub(super) fn next(&self, row: u32) -> u32 {
        self.next.get(row as usize).copied().unwrap_or(NONE)
    }

    /// Appends all rows of the keys with this mixed hash.
    pub(super) fn of_hash(&self, table: &KeyedTable, hash: u32, out: &mut Vec<u32>) {
        let clusters = table.clusters();
        self.heads.find(hash, |head| {
            let mut row = head;
            while row != NONE && clusters[head as usize] == hash {
                out.push(row);
                row = self.next(row);
            }
            false
        });
    }
}
