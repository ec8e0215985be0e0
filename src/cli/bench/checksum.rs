//! A sink that forgets rows after it has added up their hashes: two runs with the same sum wrote the same rows, in whatever
//! order. Used in the untimed run of a benchmark only, since hashing costs more than many queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg::engine::Batch;
use thalweg::engine::error::Result;
use thalweg::engine::key::hash_rows;
use thalweg::engine::sink::{Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written};

/// The sum of all rows' hashes, times their weights; wraps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checksum(Arc<AtomicU64>);

impl Checksum {
    /// The sum so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl SinkFactory for Checksum {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Summing { sum: self.clone(), hashes: vec![] }))
    }
}

struct Summing {
    sum: Checksum,
    hashes: Vec<u64>,
}

impl Sink for Summing {
    fn open(&mut self, _ctx: &mut SinkOpen<'_>) -> Result<Release> {
        Ok(Release::Batch)
    }

    fn write(&mut self, batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        hash_rows(batch.columns().columns(), batch.num_rows(), &mut self.hashes)?;
        let sum = match batch.weights() {
            None => self.hashes.iter().fold(0u64, |sum, h| sum.wrapping_add(*h)),
            Some(w) => self.hashes.iter().zip(w).fold(0u64, |sum, (h, w)| sum.wrapping_add(h.wrapping_mul(*w as u64))),
        };
        self.sum.0.fetch_add(sum, Ordering::SeqCst);
        Ok(Written::Done)
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        Ok(Prepare::Done(Prepared::default()))
    }
}
