//! One bit per row of a table: live, dirty, in the last snapshot, dead. Called by the keyed table; pages of 1 024 rows are
//! 16 words, so that freezing looks at dirty pages only.

use super::page::PAGE_ROWS;

/// Words of one page.
pub(crate) const PAGE_WORDS: usize = PAGE_ROWS / 64;
/// The bits of one page.
pub(crate) type PageBits = [u64; PAGE_WORDS];

/// A growable bit set over row handles.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowBits {
    words: Vec<u64>,
}

impl RowBits {
    /// Room for rows `0..rows`, in whole words.
    pub(crate) fn ensure(&mut self, rows: usize) {
        let words = rows.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words.next_multiple_of(PAGE_WORDS), 0);
        }
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }

    #[inline(always)]
    pub(crate) fn clear(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    #[inline(always)]
    pub(crate) fn test(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// The bits of page `page`, all 0 beyond the end.
    pub(crate) fn page(&self, page: usize) -> PageBits {
        let mut bits = [0; PAGE_WORDS];
        let start = page * PAGE_WORDS;
        if let Some(words) = self.words.get(start..(start + PAGE_WORDS).min(self.words.len())) {
            for (to, from) in bits.iter_mut().zip(words) {
                *to = *from;
            }
        }
        bits
    }

    /// Sets all bits to 0 and keeps the room.
    pub(crate) fn clear_all(&mut self) {
        self.words.fill(0);
    }

    /// Adds the set bits of `other` to these.
    pub(crate) fn union(&mut self, other: &RowBits) {
        self.ensure(other.words.len() * 64);
        for (to, from) in self.words.iter_mut().zip(&other.words) {
            *to |= from;
        }
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> u64 {
        self.words.capacity() as u64 * 8
    }

    /// How many bits are set.
    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The first row at or after `from` whose bit is set.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let mut at = from as usize / 64;
        let mut word = self.words.get(at)? & (u64::MAX << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        Some((at * 64) as u32 + word.trailing_zeros())
    }
}

/// Calls `each` for the position of every set bit of a page, in order.
pub(crate) fn for_each_row(bits: &PageBits, mut each: impl FnMut(usize)) {
    for (at, word) in bits.iter().enumerate() {
        let mut word = *word;
        while word != 0 {
            each(at * 64 + word.trailing_zeros() as usize);
            word &= word - 1;
        }
    }
}

/// The number of set bits of a page.
pub(crate) fn count(bits: &PageBits) -> usize {
    bits.iter().map(|w| w.count_ones() as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_clear_and_walk() {
        let mut bits = RowBits::default();
        bits.ensure(3000);
        for row in [0, 63, 64, 1023, 1024, 2999] {
            bits.set(row);
        }
        bits.clear(64);
        assert!(bits.test(63) && !bits.test(64) && !bits.test(1_000_000));
        let mut rows = vec![];
        let mut at = 0;
        while let Some(row) = bits.next(at) {
            rows.push(row);
            at = row + 1;
        }
        assert_eq!(rows, [0, 63, 1023, 1024, 2999]);
        let mut page = vec![];
        for_each_row(&bits.page(2), |r| page.push(r + 2 * PAGE_ROWS));
        assert_eq!(page, [2999]);
        assert_eq!(count(&bits.page(0)), 3);
        bits.clear_all();
        assert_eq!(bits.next(0), None);
    }
}
