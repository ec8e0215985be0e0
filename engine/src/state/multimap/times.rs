//! What entries of a multimap there are by time, in buckets, so that those that are too old are found without looking at all others.
//! Part of the multimap.
//!
//! A bucket lists rows in memory and hashes of keys on disk. Both are hints: a row may be gone, or another entry by now, and a key
//! may have no such entry any more; who evicts looks. Entries that come back from disk keep their hash here, and get no row.
//!
//! Invariants
//! - E1 every entry in memory is in its bucket by its row or the hash of its key, every entry on disk by the hash.
//! - E2 no entry of a bucket is older than its `least`.

use super::super::budget::{Budget, Charge};
use arrow::datatypes::{DataType, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a bucket beside its lists, about.
const BUCKET_BYTES: usize = 96;

/// The entries of some span of time.
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) rows: Vec<u32>,
    /// Mixed hashes of keys.
    pub(super) hashes: Vec<u32>,
    pub(super) least: i64,
}

/// See the module.
pub(super) struct Times {
    /// A bucket spans so many powers of two of the column's unit: about a second.
    shift: u32,
    buckets: BTreeMap<i64, Bucket>,
    entries: usize,
    charge: Charge,
}

impl Times {
    pub(super) fn new(data_type: &DataType, budget: &Arc<Budget>) -> Times {
        let shift = match data_type {
            DataType::Timestamp(TimeUnit::Second, _) => 0,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 20,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 30,
            _ => 10,
        };
        Times { shift, buckets: BTreeMap::new(), entries: 0, charge: Charge::new(budget, 0) }
    }

    /// The number of the bucket of an instant.
    pub(super) fn bucket(&self, time: i64) -> i64 {
        time >> self.shift
    }

    /// Notes an entry in memory.
    pub(super) fn add(&mut self, time: i64, row: u32) {
        let bucket = self.buckets.entry(time >> self.shift).or_insert_with(Bucket::empty);
        bucket.rows.push(row);
        bucket.least = bucket.least.min(time);
        self.entries += 1;
    }

    /// Everything in memory is about to go to disk.
    pub(super) fn send_to_disk(&mut self, clusters: &[u32]) {
        for bucket in self.buckets.values_mut().filter(|b| !b.rows.is_empty()) {
            let rows = std::mem::take(&mut bucket.rows);
            self.entries -= rows.len() + bucket.hashes.len();
            bucket.hashes.extend(rows.iter().filter_map(|row| clusters.get(*row as usize)));
            bucket.hashes.sort_unstable();
            bucket.hashes.dedup();
            bucket.hashes.shrink_to_fit();
            self.entries += bucket.hashes.len();
        }
        self.recharge();
    }

    /// Takes a bucket out that may have entries older than `before`, the oldest first.
    pub(super) fn take_due(&mut self, before: i64) -> Option<(i64, Bucket)> {
        let through = self.bucket(before);
        let number = self.buckets.range(..=through).find(|(_, b)| b.least < before).map(|(n, _)| *n)?;
        let bucket = self.buckets.remove(&number)?;
        self.entries -= bucket.rows.len() + bucket.hashes.len();
        Some((number, bucket))
    }

    /// Puts back what is left of a bucket.
    pub(super) fn put_back(&mut self, number: i64, bucket: Bucket) {
        if !bucket.rows.is_empty() || !bucket.hashes.is_empty() {
            self.entries += bucket.rows.len() + bucket.hashes.len();
            self.buckets.insert(number, bucket);
        }
    }

    pub(super) fn recharge(&mut self) {
        let bytes = self.entries * size_of::<u32>() + self.buckets.len() * BUCKET_BYTES;
        self.charge.resize(bytes as u64);
    }
}

impl Bucket {
    pub(super) fn empty() -> Bucket {
        Bucket { least: i64::MAX, ..Bucket::default() }
    }
}
