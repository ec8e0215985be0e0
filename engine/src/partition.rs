//! Partitioners: which rows of a batch go to which channel of an edge.
//!
//! Hash: hash the key columns once, counting-sort the row numbers by target, gather each column once, slice. With one target, or
//! when all rows of a batch have the same one, nothing is copied.

use crate::batch::Batch;
use crate::error::Result;
use crate::graph::Partitioning;
use crate::key::{KeyGroup, hash_rows};
use arrow::array::{ArrayRef, UInt32Array};

/// Splits batches of one edge of one subtask.
#[derive(Debug)]
pub struct Partitioner {
    partitioning: Partitioning,
    columns: Option<Vec<usize>>,
    targets: u32,
    turn: usize,
    hashes: Vec<u64>,
    owners: Vec<u8>,
    starts: Vec<u32>,
}

impl Partitioner {
    /// For an edge with so many channels (1..=256).
    pub fn new(partitioning: Partitioning, columns: Option<Vec<usize>>, targets: u32) -> Partitioner {
        let (hashes, owners, starts) = (vec![], vec![], vec![]);
        Partitioner { partitioning, columns, targets, turn: 0, hashes, owners, starts }
    }

    /// Calls `ship(channel, rows)` for every channel that gets rows of this batch.
    pub fn split(&mut self, batch: Batch, mut ship: impl FnMut(usize, Batch) -> Result<()>) -> Result<()> {
        match &self.partitioning {
            _ if self.targets <= 1 => ship(0, self.prune(batch)?),
            Partitioning::Forward => ship(0, self.prune(batch)?),
            Partitioning::Broadcast => {
                let batch = self.prune(batch)?;
                (0..self.targets as usize).try_for_each(|t| ship(t, batch.clone()))
            }
            Partitioning::Rebalance => {
                let t = self.turn;
                self.turn = (t + 1) % self.targets as usize;
                ship(t, self.prune(batch)?)
            }
            Partitioning::Hash(keys) => {
                let keys = keys.iter().map(|&k| batch.column(k).cloned()).collect::<Result<Vec<ArrayRef>>>()?;
                hash_rows(&keys, batch.num_rows(), &mut self.hashes)?;
                let order = self.sort_by_owner();
                let batch = self.prune(batch)?;
                self.ship_sorted(batch, order, ship)
            }
        }
    }

    fn prune(&self, batch: Batch) -> Result<Batch> {
        match &self.columns {
            Some(columns) => batch.project(columns),
            None => Ok(batch),
        }
    }

    /// Fills `starts` (one past the end included) and returns the row numbers by target, in stable order.
    fn sort_by_owner(&mut self) -> Vec<u32> {
        let n = self.targets as usize;
        self.owners.clear();
        let targets = self.targets;
        self.owners.extend(self.hashes.iter().map(|&h| KeyGroup::of(h).owner(targets) as u8));
        let mut counts = [0u32; 256];
        for &o in &self.owners {
            counts[o as usize] += 1;
        }
        self.starts.clear();
        self.starts.push(0);
        let mut next = [0u32; 256];
        let mut sum = 0;
        for (slot, count) in next.iter_mut().zip(counts).take(n) {
            *slot = sum;
            sum += count;
            self.starts.push(sum);
        }
        let mut order = vec![0u32; self.owners.len()];
        for (row, &o) in self.owners.iter().enumerate() {
            let at = &mut next[o as usize];
            order[*at as usize] = row as u32;
            *at += 1;
        }
        order
    }

    fn ship_sorted(
        &self,
        batch: Batch,
        order: Vec<u32>,
        mut ship: impl FnMut(usize, Batch) -> Result<()>,
    ) -> Result<()> {
        let rows = order.len() as u32;
        let ranges = self.starts.iter().zip(self.starts.iter().skip(1)).map(|(&a, &b)| (a, b));
        if let Some(only) = ranges.clone().position(|(a, b)| b - a == rows) {
            return ship(only, batch);
        }
        let sorted = batch.take(&UInt32Array::from(order))?;
        for (t, (a, b)) in ranges.enumerate().filter(|(_, (a, b))| a < b) {
            ship(t, sorted.slice(a as usize, (b - a) as usize))?;
        }
        Ok(())
    }
}
