//! A run: entries of one table in an immutable file, sorted by hash and key. Written once, then found by hash, or read in order.
//!
//! ```text
//! block    CRC-32 of the rest (u32), length of the rest (u32), entries
//! entry    hash (u32), flags (u8), length of the key, length of the values (both LEB128), key, values
//! ```
//! In memory there are the first hash and place of each block, and a filter that says for most other keys that they are not here.
//!
//! Invariants
//! - R1 entries are ordered by hash, then by key; no key is there twice.
//! - R2 the filter has no false negatives.

use super::SpillArea;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::state::budget::{Budget, Charge};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes at which a block is closed.
const BLOCK_BYTES: usize = 4 << 10;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes before the entries of a block.
const HEADER: usize = 8;
/// Bits of the filter per entry.
const FILTER_BITS: u64 = 12;

/// What an entry says beside its values.
pub(crate) mod flag {
    /// The snapshots do not have this version.
    pub(crate) const DIRTY: u8 = 1;
    /// The snapshots have the key.
    pub(crate) const BASE: u8 = 2;
    /// The entry is gone.
    pub(crate) const GONE: u8 = 4;
}

/// An entry in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) hash: u32,
    pub(crate) flags: u8,
    pub(crate) key: &'a [u8],
    pub(crate) values: &'a [u8],
}

/// Where the parts of an entry are in its block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    hash: u32,
    flags: u8,
    key: usize,
    values: usize,
    end: usize,
}

impl Place {
    pub(crate) fn of<'a>(&self, block: &'a [u8]) -> Entry<'a> {
        let part = |from: usize, to: usize| block.get(from..to).unwrap_or_default();
        let (key, values) = (part(self.key, self.values), part(self.values, self.end));
        Entry { hash: self.hash, flags: self.flags, key, values }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fence {
    first: u32,
    offset: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    area: Arc<SpillArea>,
    file: File,
    fences: Vec<Fence>,
    filter: Filter,
    bytes: u64,
    entries: u64,
    /// Freezes of the table before it was written: flags of earlier epochs say nothing any more.
    epoch: u64,
    _charge: Charge,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.area.shrank(self.bytes);
    }
}

impl Run {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn blocks(&self) -> usize {
        self.fences.len()
    }

    /// False for most hashes that no entry has.
    #[inline]
    pub(crate) fn may_have(&self, hash: u32) -> bool {
        self.filter.may_have(hash)
    }

    /// The first block that may have entries of this hash, at or after block `from`, where no earlier one may.
    pub(crate) fn first_block(&self, hash: u32, from: usize) -> usize {
        // Callers go up: what they look for is near.
        let mut step = 1;
        let (mut low, mut high) = (from, from + 1);
        while self.fences.get(high).is_some_and(|f| f.first < hash) {
            low = high;
            step *= 2;
            high = low + step;
        }
        let high = high.min(self.fences.len());
        let near = self.fences.get(low..high).unwrap_or_default();
        low + near.partition_point(|f| f.first < hash).saturating_sub(1)
    }

    /// Whether a block may have entries of this hash, by where it begins.
    pub(crate) fn reaches(&self, block: usize, hash: u32) -> bool {
        self.fences.get(block).is_some_and(|f| f.first <= hash)
    }

    /// Reads a block's entries into `buffer`. Errors: `external` if it cannot be read or is damaged.
    pub(crate) fn read(&self, block: usize, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(fence) = self.fences.get(block) else {
            return Err(Error::internal(format!("block {block} of a run of {}", self.fences.len())));
        };
        let end = self.fences.get(block + 1).map_or(self.bytes, |f| f.offset);
        let mut header = [0; HEADER];
        buffer.resize(usize::try_from(end - fence.offset).unwrap_or(0), 0);
        self.file.read_exact_at(buffer, fence.offset).map_err(|e| self.area.read_failed(e))?;
        header.copy_from_slice(buffer.get(..HEADER).ok_or_else(|| self.area.read_failed("a block is cut off"))?);
        let [a, b, c, d, ..] = header;
        buffer.drain(..HEADER);
        if crc32fast::hash(buffer) != u32::from_le_bytes([a, b, c, d]) {
            return Err(self.area.read_failed("a block is damaged: its checksum differs"));
        }
        Ok(())
    }
}

/// The entry at `at` of a block, `None` at its end.
#[inline]
pub(crate) fn entry(block: &[u8], at: usize) -> Option<Place> {
    let hash = u32::from_le_bytes(*block.get(at..)?.first_chunk::<4>()?);
    let flags = *block.get(at + 4)?;
    let (key_bytes, at) = length(block, at + 5)?;
    let (value_bytes, key) = length(block, at)?;
    Some(Place { hash, flags, key, values: key + key_bytes, end: key + key_bytes + value_bytes })
}

impl Place {
    /// Where the next entry begins.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    #[inline]
    pub(crate) fn hash(&self) -> u32 {
        self.hash
    }
}

#[inline]
fn length(block: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = *block.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
        shift += 7;
        if shift > 56 {
            return None;
        }
    }
}

fn push_length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A Bloom filter of one word per key.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn new(entries: u64) -> Filter {
        let words = (entries * FILTER_BITS).div_ceil(64).max(1);
        Filter { words: vec![0; usize::try_from(words).unwrap_or(1)] }
    }

    /// The word of a hash, and five bits in it.
    #[inline]
    fn place(&self, hash: u32) -> (usize, u64) {
        let mixed = (u64::from(hash) ^ 0x5851_F42D).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = ((u128::from(mixed) * self.words.len() as u128) >> 64) as usize;
        let bits = mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mask = [0, 6, 12, 18, 24].iter().fold(0, |mask, shift| mask | 1u64 << (bits >> (34 + shift) & 63));
        (word, mask)
    }

    fn add(&mut self, hash: u32) {
        let (word, mask) = self.place(hash);
        if let Some(word) = self.words.get_mut(word) {
            *word |= mask;
        }
    }

    #[inline]
    fn may_have(&self, hash: u32) -> bool {
        let (word, mask) = self.place(hash);
        self.words.get(word).is_none_or(|w| w & mask == mask)
    }
}

/// Writes a run.
pub(crate) struct RunWriter {
    area: Arc<SpillArea>,
    file: File,
    fences: Vec<Fence>,
    filter: Filter,
    /// Blocks that are closed and not written yet.
    out: Vec<u8>,
    /// The entries of the block that is open.
    block: Vec<u8>,
    first: u32,
    written: u64,
    entries: u64,
}

impl RunWriter {
    /// For at most `entries` entries, or somewhat more. Errors: as [`SpillArea::file`].
    pub(crate) fn new(area: &Arc<SpillArea>, entries: u64) -> Result<RunWriter> {
        Ok(RunWriter {
            file: area.file()?,
            area: area.clone(),
            fences: vec![],
            filter: Filter::new(entries),
            out: Vec::with_capacity(WRITE_BYTES + 2 * BLOCK_BYTES),
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            first: 0,
            written: 0,
            entries: 0,
        })
    }

    /// Adds an entry, in order. Errors: the disk is full.
    pub(crate) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        if self.block.is_empty() {
            self.first = entry.hash;
        }
        self.block.extend_from_slice(&entry.hash.to_le_bytes());
        self.block.push(entry.flags);
        push_length(&mut self.block, entry.key.len());
        push_length(&mut self.block, entry.values.len());
        self.block.extend_from_slice(entry.key);
        self.block.extend_from_slice(entry.values);
        self.filter.add(entry.hash);
        self.entries += 1;
        if self.block.len() >= BLOCK_BYTES - HEADER { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.fences.push(Fence { first: self.first, offset: self.written + self.out.len() as u64 });
        let length = u32::try_from(self.block.len()).map_err(|e| Error::user(format!("an entry of state: {e}")))?;
        self.out.extend_from_slice(&crc32fast::hash(&self.block).to_le_bytes());
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.append(&mut self.block);
        if self.out.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let write = || self.file.write_all_at(&self.out, self.written).map_err(|e| self.area.write_failed(&e));
        failpoint::step("spill.write", write)?;
        self.written += self.out.len() as u64;
        self.area.grew(self.out.len() as u64);
        self.out.clear();
        Ok(())
    }

    /// Ends the run. Errors: the disk is full.
    pub(crate) fn finish(mut self, epoch: u64, budget: &Arc<Budget>) -> Result<Run> {
        self.close_block()?;
        self.write()?;
        let mut fences = std::mem::take(&mut self.fences);
        fences.shrink_to_fit();
        let filter = std::mem::replace(&mut self.filter, Filter { words: vec![] });
        let bytes = fences.len() * size_of::<Fence>() + filter.words.len() * size_of::<u64>() + size_of::<Run>();
        let file = self.file.try_clone().map_err(|e| self.area.write_failed(&e))?;
        let written = std::mem::take(&mut self.written);
        Ok(Run {
            area: self.area.clone(),
            file,
            fences,
            filter,
            bytes: written,
            entries: self.entries,
            epoch,
            _charge: Charge::new(budget, bytes as u64),
        })
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        // Nothing is left here of a run that was finished.
        self.area.shrank(self.written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn write(area: &Arc<SpillArea>, entries: &[(u32, Vec<u8>, Vec<u8>)]) -> Run {
        let mut writer = RunWriter::new(area, entries.len() as u64).unwrap();
        for (hash, key, values) in entries {
            writer.push(Entry { hash: *hash, flags: flag::BASE, key, values }).unwrap();
        }
        writer.finish(3, &Budget::unlimited("t")).unwrap()
    }

    /// Ten thousand entries, two per hash, some of them larger than a block.
    fn entries() -> Vec<(u32, Vec<u8>, Vec<u8>)> {
        let large = |i: u32| if i % 1000 == 7 { 9000 } else { i as usize % 50 };
        (0..10_000u32).map(|i| (i / 2 * 3, i.to_be_bytes().to_vec(), vec![i as u8; large(i)])).collect()
    }

    fn find(run: &Run, hash: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut out, mut buffer, mut block) = (vec![], vec![], run.first_block(hash, 0));
        while run.reaches(block, hash) {
            run.read(block, &mut buffer).unwrap();
            let mut at = 0;
            while let Some(place) = entry(&buffer, at) {
                let found = place.of(&buffer);
                if found.hash == hash {
                    out.push((found.key.to_vec(), found.values.to_vec()));
                }
                at = place.end();
            }
            block += 1;
        }
        out
    }

    #[test]
    fn every_entry_is_found_by_its_hash_and_others_are_filtered() {
        let folder = tempfile::tempdir().unwrap();
        let area = SpillArea::new(folder.path().join("state"));
        let entries = entries();
        let run = write(&area, &entries);
        assert_eq!((run.entries(), run.epoch(), area.bytes()), (10_000, 3, run.bytes()));
        assert_eq!(std::fs::read_dir(folder.path().join("state")).unwrap().count(), 0, "files have no names");
        for pair in entries.chunks(2) {
            let hash = pair[0].0;
            assert!(run.may_have(hash));
            let want: Vec<_> = pair.iter().map(|(_, k, v)| (k.clone(), v.clone())).collect();
            assert_eq!(find(&run, hash), want);
        }
        let wrong = (0..15_000u32).filter(|h| h % 3 != 0).filter(|h| run.may_have(*h)).count();
        assert!(wrong < 600, "{wrong} of 10 000 pass the filter");
        assert!(find(&run, 1).is_empty() && find(&run, u32::MAX).is_empty());
        drop(run);
        assert_eq!(area.bytes(), 0);
        assert!(area.written_bytes() > 0);
    }

    #[test]
    fn a_search_goes_up_from_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        let area = SpillArea::new(folder.path());
        let run = write(&area, &entries());
        let mut from = 0;
        for hash in 0..15_100 {
            let block = run.first_block(hash, from);
            assert_eq!(block, run.first_block(hash, 0), "{hash}");
            from = block;
        }
    }

    #[test]
    fn damage_and_a_full_disk_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let area = SpillArea::new(folder.path());
        let run = write(&area, &entries());
        let mut byte = [0];
        run.file.read_exact_at(&mut byte, 100).unwrap();
        run.file.write_all_at(&[byte[0] ^ 1], 100).unwrap();
        let e = run.read(0, &mut vec![]).unwrap_err();
        assert!(e.message().contains("its checksum differs"), "{e}");
        run.read(1, &mut vec![]).unwrap();
        let e = area.write_failed(&std::io::Error::other("no space left"));
        assert!(e.message().contains("make room there") && e.retry(), "{e}");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let e = SpillArea::new(folder.path().join("file")).file().unwrap_err();
        assert!(e.message().contains("choose another state.spill-dir"), "{e}");
    }
}
