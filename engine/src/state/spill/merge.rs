//! Several runs of a table read as one, in order of hash and key: of a key that is in more than one, the newest version.

use super::run::{Entry, Place, Run, entry};
use crate::error::Result;
use std::cmp::Ordering;
use std::sync::Arc;

/// How many runs can be read as one.
pub(crate) const RUNS_MAX: usize = 64;

/// Where the reading of one run stands.
struct Source {
    run: Arc<Run>,
    next_block: usize,
    block: Vec<u8>,
    /// The entry that is next.
    place: Option<Place>,
}

impl Source {
    fn key(&self) -> Option<(u32, &[u8])> {
        self.place.as_ref().map(|p| p.of(&self.block)).map(|e| (e.hash, e.key))
    }

    /// Goes on to the next entry.
    fn advance(&mut self) -> Result<()> {
        let at = self.place.take().map_or(0, |p| p.end());
        self.place = entry(&self.block, at);
        while self.place.is_none() && self.next_block < self.run.blocks() {
            self.run.read(self.next_block, &mut self.block)?;
            self.next_block += 1;
            self.place = entry(&self.block, 0);
        }
        Ok(())
    }
}

/// See the module.
pub(crate) struct Merge {
    sources: Vec<Source>,
    /// A bit per source whose entry was given, or is older than the one given.
    done: u64,
}

impl Merge {
    /// Of these runs, oldest first; there are never more than [`RUNS_MAX`].
    pub(crate) fn new(runs: &[Arc<Run>]) -> Merge {
        debug_assert!(runs.len() <= RUNS_MAX, "{} runs", runs.len());
        let source = |run: &Arc<Run>| Source { run: run.clone(), next_block: 0, block: vec![], place: None };
        Merge { sources: runs.iter().map(source).collect(), done: u64::MAX }
    }

    /// The entries after this one only.
    pub(crate) fn after(runs: &[Arc<Run>], hash: u32, key: &[u8]) -> Result<Merge> {
        let mut merge = Merge::new(runs);
        for source in &mut merge.sources {
            source.next_block = source.run.first_block(hash, 0);
            source.advance()?;
            while source.key().is_some_and(|k| k <= (hash, key)) {
                source.advance()?;
            }
        }
        merge.done = 0;
        Ok(merge)
    }

    /// Goes on to the first entry at or after this one. Calls go up.
    pub(crate) fn seek(&mut self, hash: u32, key: &[u8]) -> Result<()> {
        self.settle()?;
        for source in &mut self.sources {
            if source.key().is_some_and(|k| k >= (hash, key)) {
                continue;
            }
            if !source.run.may_have(hash) {
                // It stands aside until a hash comes that it may have.
                source.place = None;
                continue;
            }
            let loaded = source.next_block.saturating_sub(1);
            let first = source.run.first_block(hash, loaded);
            if first > loaded || source.place.is_none() {
                source.next_block = first;
                source.place = None;
                source.block.clear();
                source.advance()?;
            }
            while source.key().is_some_and(|k| k < (hash, key)) {
                source.advance()?;
            }
        }
        Ok(())
    }

    /// Whether the next entry's hash and key are such.
    pub(crate) fn peek(&mut self, is_such: impl FnOnce(u32, &[u8]) -> bool) -> Result<bool> {
        self.settle()?;
        Ok(self.sources.iter().filter_map(Source::key).min().is_some_and(|(hash, key)| is_such(hash, key)))
    }

    /// Leaves what was given.
    fn settle(&mut self) -> Result<()> {
        for (i, source) in self.sources.iter_mut().enumerate() {
            if self.done >> i & 1 == 1 {
                source.advance()?;
            }
        }
        self.done = 0;
        Ok(())
    }

    /// The next entry with the epoch of its run, `None` at the end. Errors: a run cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<(Entry<'_>, u64)>> {
        self.settle()?;
        let mut best: Option<usize> = None;
        for (i, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else { continue };
            let order = best.and_then(|b| self.sources.get(b)?.key()).map_or(Ordering::Less, |b| key.cmp(&b));
            if order == Ordering::Less {
                self.done = 0;
            }
            if order != Ordering::Greater {
                self.done |= 1 << i;
                best = Some(i);
            }
        }
        let source = best.and_then(|b| self.sources.get(b));
        Ok(source.and_then(|s| s.place.as_ref().map(|p| (p.of(&s.block), s.run.epoch()))))
    }
}
