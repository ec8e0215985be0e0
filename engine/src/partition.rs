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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::testing::rows::{int_batch, texts};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    fn split(p: &mut Partitioner, batch: &Batch) -> Vec<(usize, Batch)> {
        let mut out = vec![];
        p.split(batch.clone(), |t, b| {
            out.push((t, b));
            Ok(())
        })
        .unwrap();
        out
    }

    fn random(rng: &mut Rng, rows: usize, keys: u64) -> Batch {
        let rows: Vec<[i64; 2]> = (0..rows).map(|i| [rng.below(keys) as i64, i as i64]).collect();
        let batch = int_batch(["k", "v"], &rows);
        let weights: Vec<i64> = rows.iter().map(|r| r[1] % 5 - 2).collect();
        if rng.percent(50) { Batch::with_weights(batch.columns().clone(), weights.into()).unwrap() } else { batch }
    }

    /// Against a loop over rows: the same rows with their weights, in stable order, each at its owner.
    #[test]
    fn hash_sends_each_row_to_its_owner_in_order() {
        let mut rng = Rng::new(3);
        for _ in 0..200 {
            let (targets, keys) = (1 + rng.below(9) as u32, 1 + rng.below(40));
            let rows = rng.below(300) as usize;
            let batch = random(&mut rng, rows, keys);
            let mut p = Partitioner::new(Partitioning::Hash(vec![0]), None, targets);
            let mut hashes = vec![];
            hash_rows(&[batch.columns().column(0).clone()], batch.num_rows(), &mut hashes).unwrap();
            let mut naive: Vec<Vec<(String, i64)>> = vec![vec![]; targets as usize];
            for (row, h) in texts(&batch).into_iter().zip(&hashes) {
                naive[KeyGroup::of(*h).owner(targets) as usize].push(row);
            }
            let mut got: Vec<Vec<(String, i64)>> = vec![vec![]; targets as usize];
            split(&mut p, &batch).into_iter().for_each(|(t, b)| got[t].extend(texts(&b)));
            assert_eq!(got, naive);
        }
    }

    #[test]
    fn one_owner_and_one_target_copy_nothing_and_columns_are_pruned() {
        let batch = int_batch(["k", "v"], &[[7, 1], [7, 2]]);
        for targets in [1, 4] {
            let mut p = Partitioner::new(Partitioning::Hash(vec![0]), Some(vec![1]), targets);
            let parts = split(&mut p, &batch);
            assert_eq!(parts.len(), 1);
            let values = parts[0].1.columns().column(0).as_primitive::<Int64Type>();
            let original = batch.columns().column(1).as_primitive::<Int64Type>();
            assert_eq!(values.values().as_ptr(), original.values().as_ptr(), "the buffer is shared");
            assert_eq!(parts[0].1.columns().num_columns(), 1);
        }
    }

    #[test]
    fn broadcast_goes_everywhere_and_rebalance_in_turn() {
        let batch = int_batch(["k", "v"], &[[1, 1]]);
        let mut all = Partitioner::new(Partitioning::Broadcast, None, 3);
        assert_eq!(split(&mut all, &batch).iter().map(|(t, _)| *t).collect::<Vec<_>>(), [0, 1, 2]);
        let mut turn = Partitioner::new(Partitioning::Rebalance, None, 2);
        let order: Vec<usize> = (0..4).flat_map(|_| split(&mut turn, &batch)).map(|(t, _)| t).collect();
        assert_eq!(order, [0, 1, 0, 1]);
    }
}
