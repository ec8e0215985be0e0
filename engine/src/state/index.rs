//! The hash index of a keyed table: mixed hash -> row handle, made for probing in batches. Holds no keys; the table compares.
//!
//! One bucket is one cache line: twelve 8-bit tags (compared at once), an overflow count, twelve rows. A probe reads one
//! line per row and the reads of different rows do not depend on each other, so a batch keeps many of them in flight. This is
//! the layout of F14 (Facebook, 2019).
//!
//! Invariants
//! - X1 tag 0 is an empty place; the tag of a row is never 0.
//! - X2 a bucket's overflow counts the rows stored further along the probe sequence that passed it; at 255 it stays. A bucket
//!   with overflow 0 ends every probe, so removal needs no tombstones.
//! - X3 the index uses the mixed hash only, whose bits are independent of the key group (its top 8 bits are the subtask's own).

use super::page::{LARGE, prefetch};

/// No row: what a probe without a match returns.
pub(crate) const NONE: u32 = u32::MAX;
/// Places of a bucket.
const PLACES: usize = 12;
/// Average fill at which the index doubles.
const FILL: usize = 9;
const OVERFLOW: usize = 12;

/// Turns the stable hash into the index's own: the key group used its top bits, this depends on all of them.
#[inline(always)]
pub(crate) fn mix(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9FB2_1C65_1E98_DF25) >> 32) as u32
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u8; 16],
    rows: [u32; PLACES],
}

const EMPTY: Bucket = Bucket { tags: [0; 16], rows: [NONE; PLACES] };

impl Bucket {
    /// A bit per place whose tag it is.
    #[inline(always)]
    fn matches(&self, tag: u8) -> u32 {
        compare_tags(&self.tags, tag) & 0x0FFF
    }

    #[inline(always)]
    fn overflow(&self) -> u8 {
        self.tags[OVERFLOW]
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a probe is one vector comparison; SSE2 belongs to every x86_64")]
fn compare_tags(tags: &[u8; 16], tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let [a, b, c, d, e, f, g, h, rest @ ..] = *tags;
    let (low, high) = (i64::from_le_bytes([a, b, c, d, e, f, g, h]), i64::from_le_bytes(rest));
    // SAFETY: the instructions are SSE2, which this architecture always has; no memory is accessed.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(high, low), _mm_set1_epi8(tag as i8))) as u32 }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn compare_tags(tags: &[u8; 16], tag: u8) -> u32 {
    tags.iter().enumerate().fold(0, |mask, (i, t)| mask | u32::from(*t == tag) << i)
}

/// Buckets of rows, a power of two of them.
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    bits: u32,
    len: usize,
}

#[inline(always)]
fn tag_of(mixed: u32) -> u8 {
    (mixed as u8).max(1)
}

impl Index {
    /// No buckets, no memory.
    pub(crate) fn new() -> Index {
        Index { buckets: Vec::new(), bits: 0, len: 0 }
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> u64 {
        (self.buckets.capacity() * size_of::<Bucket>()) as u64
    }

    /// Whether buckets have to be asked for ahead.
    #[inline(always)]
    pub(crate) fn is_large(&self) -> bool {
        self.buckets.len() * size_of::<Bucket>() > LARGE
    }

    /// Whether another row needs [`Index::grow`] first.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.buckets.len() * FILL
    }

    #[inline(always)]
    fn home(&self, mixed: u32) -> usize {
        ((u64::from(mixed) << self.bits) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, at: usize, tag: u8) -> usize {
        (at + 2 * usize::from(tag) + 1) & (self.buckets.len() - 1)
    }

    /// The first row of the home bucket whose tag fits, [`NONE`] if there is none: right for nearly all rows that are there.
    #[inline(always)]
    pub(crate) fn candidate(&self, mixed: u32) -> u32 {
        match self.buckets.get(self.home(mixed)) {
            Some(bucket) => {
                let mask = bucket.matches(tag_of(mixed)) | 1 << PLACES;
                bucket.rows.get(mask.trailing_zeros() as usize).copied().unwrap_or(NONE)
            }
            None => NONE,
        }
    }

    /// Asks for the home bucket.
    #[inline(always)]
    pub(crate) fn prefetch(&self, mixed: u32) {
        if let Some(bucket) = self.buckets.get(self.home(mixed)) {
            prefetch(bucket);
        }
    }

    /// The row with this hash for which `same` holds.
    pub(crate) fn find(&self, mixed: u32, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(mixed);
        let mut at = self.home(mixed);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let row = bucket.rows[mask.trailing_zeros() as usize];
                if same(row) {
                    return Some(row);
                }
                mask &= mask - 1;
            }
            if bucket.overflow() == 0 {
                return None;
            }
            at = self.next(at, tag);
        }
        None
    }

    /// Adds a row that is not there yet. The index must not be full.
    pub(crate) fn insert(&mut self, mixed: u32, row: u32) {
        let tag = tag_of(mixed);
        let mut at = self.home(mixed);
        self.len += 1;
        loop {
            let free = self.buckets[at].matches(0);
            let bucket = &mut self.buckets[at];
            if free != 0 {
                let place = free.trailing_zeros() as usize;
                bucket.tags[place] = tag;
                bucket.rows[place] = row;
                return;
            }
            bucket.tags[OVERFLOW] = bucket.tags[OVERFLOW].saturating_add(1);
            at = self.next(at, tag);
        }
    }

    /// Removes a row; whether it was there.
    pub(crate) fn remove(&mut self, mixed: u32, row: u32) -> bool {
        let tag = tag_of(mixed);
        let mut at = self.home(mixed);
        for passed in 0..self.buckets.len() {
            let mut mask = self.buckets[at].matches(tag);
            while mask != 0 {
                let place = mask.trailing_zeros() as usize;
                if self.buckets[at].rows[place] == row {
                    self.buckets[at].tags[place] = 0;
                    self.buckets[at].rows[place] = NONE;
                    self.len -= 1;
                    self.leave(mixed, passed);
                    return true;
                }
                mask &= mask - 1;
            }
            if self.buckets[at].overflow() == 0 {
                return false;
            }
            at = self.next(at, tag);
        }
        false
    }

    /// Takes one from the overflow of the first `passed` buckets of a probe; a saturated count stays.
    fn leave(&mut self, mixed: u32, passed: usize) {
        let tag = tag_of(mixed);
        let mut at = self.home(mixed);
        for _ in 0..passed {
            let count = &mut self.buckets[at].tags[OVERFLOW];
            if *count < u8::MAX {
                *count -= 1;
            }
            at = self.next(at, tag);
        }
    }

    /// Rebuilds with room for `rows` rows from `(mixed hash, row)` of all live rows.
    pub(crate) fn rebuild(&mut self, rows: usize, live: impl Iterator<Item = (u32, u32)>) {
        let buckets = (rows / FILL + 1).next_power_of_two();
        self.bits = buckets.trailing_zeros();
        self.buckets = Vec::new();
        self.buckets.resize(buckets, EMPTY);
        self.len = 0;
        for (mixed, row) in live {
            self.insert(mixed, row);
        }
    }

    /// How many rows fit before the next growth.
    pub(crate) fn capacity(&self) -> usize {
        self.buckets.len() * FILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Few distinct hashes, so that buckets overflow and counts saturate.
    fn hash(key: u32, spread: u32) -> u32 {
        mix(u64::from(key % spread).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn random_inserts_and_removes(spread: u32, keys: u32, steps: u32) {
        let mut index = Index::new();
        let mut model: HashMap<u32, ()> = HashMap::new();
        let mut seed = 7u64;
        for _ in 0..steps {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (seed >> 33) as u32 % keys;
            if model.remove(&key).is_some() {
                assert!(index.remove(hash(key, spread), key));
            } else {
                if index.is_full() {
                    let live: Vec<_> = model.keys().map(|k| (hash(*k, spread), *k)).collect();
                    index.rebuild(index.capacity() * 2, live.into_iter());
                }
                index.insert(hash(key, spread), key);
                model.insert(key, ());
            }
        }
        assert_eq!(index.len, model.len());
        for key in 0..keys {
            let found = index.find(hash(key, spread), |row| row == key);
            assert_eq!(found.is_some(), model.contains_key(&key), "key {key}");
            assert_eq!(index.remove(hash(key, spread), key), model.contains_key(&key), "key {key}");
        }
        assert_eq!(index.len, 0);
    }

    #[test]
    fn behaves_like_a_map() {
        random_inserts_and_removes(u32::MAX, 2000, 20_000);
    }

    #[test]
    fn survives_bad_hashes() {
        random_inserts_and_removes(3, 1500, 6_000);
    }

    #[test]
    fn a_candidate_is_the_row_in_nearly_all_cases() {
        let mut index = Index::new();
        index.rebuild(10_000, (0..10_000).map(|k| (hash(k, u32::MAX), k)));
        let right = (0..10_000).filter(|k| index.candidate(hash(*k, u32::MAX)) == *k).count();
        assert!(right > 9_000, "{right}");
        assert_eq!(Index::new().candidate(5), NONE);
    }
}
