//! The runs of one table: finds entries in them, many at a time, and keeps their number small. Called by the table's paging.
//!
//! Invariants
//! - K1 of the versions of a key in several runs the newest counts; a key that is gone hides older versions.
//! - K2 an entry whose run is of an earlier epoch is in the snapshots; in one of this epoch its flags say so.
//! - K3 runs are merged with their neighbours only, so that their order stays that of their age.

use super::SpillArea;
use super::encode::OnDisk;
use super::merge::Merge;
use super::run::{Entry, Place, Run, RunWriter, entry, flag};
use crate::error::{Error, Result};
use crate::state::budget::Budget;
use crate::state::values::TableSpec;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// So many runs of similar size are merged into one.
const SIMILAR_RUNS: usize = 4;

/// Columns as byte strings, which are equal if the values are.
pub(crate) struct Codec(Option<RowConverter>);

impl Codec {
    /// Of columns of these types.
    pub(crate) fn of<'a>(types: impl Iterator<Item = &'a DataType>) -> Result<Codec> {
        let fields: Vec<SortField> = types.map(|t| SortField::new(t.clone())).collect();
        Ok(Codec(if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) }))
    }

    /// Of a table's keys.
    pub(crate) fn keys(spec: &TableSpec) -> Result<Codec> {
        Codec::of(spec.keys().iter().map(|f| f.data_type()))
    }

    /// Of a table's values.
    pub(crate) fn values(spec: &TableSpec) -> Result<Codec> {
        Codec::of(spec.values().iter().map(|v| v.data_type()))
    }

    /// Of a batch.
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        Ok(Encoded(self.0.as_ref().map(|c| c.convert_columns(columns)).transpose()?))
    }

    /// The columns of byte strings that [`Codec::encode`] gave.
    pub(crate) fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.0 else { return Ok(vec![]) };
        let parser = converter.parser();
        Ok(converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

/// Rows as byte strings.
pub(crate) struct Encoded(Option<Rows>);

impl Encoded {
    /// The bytes of a row; none if there are no columns.
    pub(crate) fn row(&self, i: usize) -> &[u8] {
        match &self.0 {
            Some(rows) if i < rows.num_rows() => rows.row(i).data(),
            _ => &[],
        }
    }
}

/// A version that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Which of the keys.
    pub(crate) key: usize,
    pub(crate) is_gone: bool,
    pub(crate) is_dirty: bool,
    pub(crate) is_base: bool,
    /// Its values in [`Finds::bytes`].
    pub(crate) values: Range<usize>,
}

/// What was found for a batch of keys.
#[derive(Default)]
pub(crate) struct Finds {
    pub(crate) found: Vec<Found>,
    pub(crate) bytes: Vec<u8>,
}

/// Keys that are gone and hide older versions in the runs: by hash and key, whether the snapshots have them still.
pub(crate) type Graves = BTreeMap<(u32, Box<[u8]>), bool>;

/// See the module.
pub(crate) struct Disk {
    area: Arc<SpillArea>,
    budget: Arc<Budget>,
    pub(crate) keys: Codec,
    pub(crate) values: Codec,
    /// Oldest first.
    runs: Vec<Arc<Run>>,
    pub(crate) graves: Graves,
    /// Freezes of the table so far.
    epoch: u64,
    /// Changes with every change of what is in the runs.
    version: u64,
}

impl Disk {
    pub(crate) fn new(area: &Arc<SpillArea>, budget: &Arc<Budget>, spec: &TableSpec) -> Result<Disk> {
        Ok(Disk {
            area: area.clone(),
            budget: budget.clone(),
            keys: Codec::keys(spec)?,
            values: Codec::values(spec)?,
            runs: vec![],
            graves: Graves::new(),
            epoch: 0,
            version: 0,
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// The runs that hold something which the snapshots do not have, or all of them; the next epoch begins.
    pub(crate) fn freeze(&mut self, full: bool) -> OnDisk {
        let runs: Vec<_> = self.runs.iter().filter(|r| full || r.epoch() == self.epoch).cloned().collect();
        let graves = if runs.is_empty() { Graves::new() } else { self.graves.clone() };
        self.epoch += 1;
        self.graves.values_mut().for_each(|dirty| *dirty = false);
        OnDisk { runs, graves, full }
    }

    pub(crate) fn may_have(&self, hash: u32) -> bool {
        self.runs.iter().any(|r| r.may_have(hash))
    }

    /// Finds the newest version of each of `wanted`, which are hashes and indices of `keys`. Errors: a run cannot be read.
    pub(crate) fn find(&self, mut wanted: Vec<(u32, usize)>, keys: &Encoded) -> Result<Finds> {
        wanted.sort_unstable_by(|a, b| (a.0, keys.row(a.1)).cmp(&(b.0, keys.row(b.1))));
        let mut finds = Finds::default();
        let mut buffer = vec![];
        for run in self.runs.iter().rev() {
            let mut open = Vec::with_capacity(wanted.len());
            let mut search = Search { run, block: 0, loaded: None, at: 0, buffer: &mut buffer };
            for (hash, key) in wanted {
                match search.find(hash, keys.row(key))? {
                    Some(place) => finds.add(key, place.of(search.buffer), run.epoch() == self.epoch),
                    None => open.push((hash, key)),
                }
            }
            wanted = open;
        }
        Ok(finds)
    }

    pub(crate) fn writer(&self, entries: u64) -> Result<RunWriter> {
        RunWriter::new(&self.area, entries)
    }

    /// Takes a run in. Errors: runs cannot be merged.
    pub(crate) fn push(&mut self, writer: RunWriter) -> Result<()> {
        self.version += 1;
        let run = writer.finish(self.epoch, &self.budget)?;
        self.runs.push(Arc::new(run));
        let bytes: Vec<u64> = self.runs.iter().map(|r| r.bytes()).collect();
        match mergeable(&bytes) {
            Some(first) => self.merge_from(first),
            None => Ok(()),
        }
    }

    /// Makes the runs from `first` on one.
    fn merge_from(&mut self, first: usize) -> Result<()> {
        let (older, newer) = self.runs.split_at(first.min(self.runs.len()));
        let mut writer = RunWriter::new(&self.area, newer.iter().map(|r| r.entries()).sum())?;
        let mut merge = Merge::new(newer);
        while let Some((entry, epoch)) = merge.next()? {
            let is_gone = entry.flags & flag::GONE != 0;
            let flags = match epoch == self.epoch {
                true => entry.flags,
                false if is_gone => flag::GONE,
                false => flag::BASE,
            };
            // Nothing is left for it to hide, and the snapshots have learned of it.
            let is_needless = older.is_empty() && is_gone && flags & flag::DIRTY == 0;
            if !is_needless {
                writer.push(Entry { flags, ..entry })?;
            }
        }
        let run = writer.finish(self.epoch, &self.budget)?;
        self.runs.truncate(first);
        self.runs.push(Arc::new(run));
        Ok(())
    }
}

impl Finds {
    fn add(&mut self, key: usize, entry: Entry<'_>, is_this_epoch: bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry.values);
        let has = |flag: u8| entry.flags & flag != 0;
        let is_gone = has(flag::GONE);
        self.found.push(Found {
            key,
            is_gone,
            is_dirty: is_this_epoch && has(flag::DIRTY),
            is_base: !is_gone && (!is_this_epoch || has(flag::BASE)),
            values: start..self.bytes.len(),
        });
    }
}

/// A search that goes up in one run, in order of hash and key.
struct Search<'a> {
    run: &'a Run,
    block: usize,
    loaded: Option<usize>,
    /// In the loaded block: where the first entry is that may be wanted next.
    at: usize,
    buffer: &'a mut Vec<u8>,
}

impl Search<'_> {
    fn find(&mut self, hash: u32, key: &[u8]) -> Result<Option<Place>> {
        if !self.run.may_have(hash) {
            return Ok(None);
        }
        self.block = self.run.first_block(hash, self.block);
        let mut block = self.block;
        while self.run.reaches(block, hash) {
            if self.loaded != Some(block) {
                self.run.read(block, self.buffer)?;
                (self.loaded, self.at) = (Some(block), 0);
            }
            let mut at = self.at;
            while let Some(place) = entry(self.buffer, at) {
                match (place.hash(), place.of(self.buffer).key).cmp(&(hash, key)) {
                    Ordering::Greater => return Ok(None),
                    Ordering::Equal => return Ok(Some(place)),
                    Ordering::Less => self.at = place.end(),
                }
                at = place.end();
            }
            // Nothing that is wanted later is in a block that ends before this: many entries may have one hash.
            block += 1;
            self.block = block;
        }
        Ok(None)
    }
}

/// The first of the runs to be merged into one, by their bytes, oldest first.
fn mergeable(bytes: &[u64]) -> Option<usize> {
    let (mut first, mut sum) = (bytes.len().checked_sub(1)?, *bytes.last()?);
    for (i, older) in bytes.iter().enumerate().rev().skip(1) {
        if *older > 2 * sum {
            break;
        }
        (first, sum) = (i, sum + older);
    }
    (bytes.len() - first >= SIMILAR_RUNS).then_some(first)
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("runs", &self.runs.len()).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The error of a row that cannot be where it is said to be.
pub(crate) fn lost(what: &str) -> Error {
    Error::internal(format!("state on disk: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_similar_size_are_merged_and_their_number_stays_small() {
        assert_eq!(mergeable(&[]), None);
        assert_eq!(mergeable(&[1, 1, 1]), None);
        assert_eq!(mergeable(&[1, 1, 1, 1]), Some(0));
        assert_eq!(mergeable(&[100, 1, 1, 1, 1]), Some(1));
        assert_eq!(mergeable(&[7, 1, 1, 1]), None);
        let (mut runs, mut written, mut most) = (vec![], 0u64, 0);
        for _ in 0..1000 {
            runs.push(1u64);
            written += 1;
            if let Some(first) = mergeable(&runs) {
                let sum = runs[first..].iter().sum();
                runs.truncate(first);
                runs.push(sum);
                written += sum;
            }
            most = most.max(runs.len());
        }
        assert!(most < 16 && written < 8 * 1000, "{most} runs, {written} written");
    }
}
