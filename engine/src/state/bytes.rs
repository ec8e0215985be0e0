//! Columns of byte strings with NULL, in copy-on-write pages. Called by the keyed table for text and binary keys and values.
//!
//! A page keeps its strings in one arena. A value that fits overwrites the old one; else it is appended and the old one is
//! garbage, which goes when the arena must grow: growing always copies the live strings only.
//!
//! Invariants
//! - S1 a span lies within the arena, or is NULL.
//! - S2 after growing, at least a third of the arena is free, so appending costs amortised constant time.

use super::budget::Budget;
use super::page::{AHEAD, PAGE_ROWS, PageData, Pages, prefetch, split};
use crate::error::{Error, Result};
use std::sync::Arc;

const NULL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

/// Spans into an arena.
#[derive(Clone, Debug, Default)]
struct BytesPage {
    spans: Vec<Span>,
    arena: Vec<u8>,
    live: usize,
}

impl PageData for BytesPage {
    fn rows(&self) -> usize {
        self.spans.len()
    }

    fn bytes(&self) -> u64 {
        (self.spans.capacity() * size_of::<Span>() + self.arena.capacity()) as u64
    }
}

impl BytesPage {
    fn with_rows(rows: usize) -> BytesPage {
        BytesPage { spans: vec![Span { start: 0, len: NULL }; rows], arena: Vec::new(), live: 0 }
    }

    fn get(&self, place: usize) -> Option<&[u8]> {
        let span = self.spans.get(place).filter(|s| s.len != NULL)?;
        self.arena.get(span.start as usize..span.start as usize + span.len as usize)
    }

    fn set(&mut self, place: usize, value: Option<&[u8]>) -> Result<()> {
        let old = self.spans[place];
        let old_len = if old.len == NULL { 0 } else { old.len as usize };
        let Some(value) = value else {
            self.live -= old_len;
            self.spans[place] = Span { start: 0, len: NULL };
            return Ok(());
        };
        if value.len() <= old_len {
            let start = old.start as usize;
            self.arena[start..start + value.len()].copy_from_slice(value);
            self.live -= old_len - value.len();
            self.spans[place].len = value.len() as u32;
            return Ok(());
        }
        self.live -= old_len;
        self.spans[place] = Span { start: 0, len: NULL };
        self.reserve(value.len())?;
        self.spans[place] = Span { start: self.arena.len() as u32, len: value.len() as u32 };
        self.arena.extend_from_slice(value);
        self.live += value.len();
        Ok(())
    }

    /// Makes room for `more` bytes; leaves garbage behind.
    fn reserve(&mut self, more: usize) -> Result<()> {
        if self.arena.len() + more <= self.arena.capacity() {
            return Ok(());
        }
        let needed = self.live + more;
        if needed >= NULL as usize {
            return Err(Error::user(format!(
                "the values of {PAGE_ROWS} state entries take {needed} bytes, the limit is {NULL}"
            )));
        }
        let mut arena = Vec::with_capacity((needed + needed / 2).clamp(64, NULL as usize));
        for span in self.spans.iter_mut().filter(|s| s.len != NULL) {
            let start = arena.len() as u32;
            arena.extend_from_slice(&self.arena[span.start as usize..span.start as usize + span.len as usize]);
            span.start = start;
        }
        self.arena = arena;
        Ok(())
    }
}

/// A column of byte strings with NULL, indexed by row handle. New entries start with NULL.
#[derive(Debug)]
pub struct BytesColumn {
    pages: Pages<BytesPage>,
}

impl BytesColumn {
    pub(crate) fn new(budget: &Arc<Budget>) -> BytesColumn {
        BytesColumn { pages: Pages::new(budget) }
    }

    /// Makes room, filled with NULL.
    pub(crate) fn ensure(&mut self, room: usize) {
        if self.pages.len() > 0 {
            let rows = room.min(PAGE_ROWS);
            let first = self.pages.page_mut(0);
            if first.spans.len() < rows {
                let before = first.bytes();
                first.spans.reserve_exact(rows - first.spans.len());
                first.spans.resize(rows, Span { start: 0, len: NULL });
                let after = first.bytes();
                self.pages.resized(before, after);
            }
        }
        while self.pages.len() * PAGE_ROWS < room {
            let rows = (room - self.pages.len() * PAGE_ROWS).min(PAGE_ROWS);
            self.pages.push(BytesPage::with_rows(rows));
        }
    }

    /// The value of a row, `None` if it is NULL.
    #[inline]
    pub fn get(&self, row: u32) -> Option<&[u8]> {
        let (page, place) = split(row);
        self.pages.page(page)?.get(place)
    }

    /// Asks for the values of later rows before row `i` of a batch is used: first where they are, then what they are.
    #[inline(always)]
    pub fn prefetch(&self, rows: &[u32], i: usize) {
        let place_of = |i: usize| {
            let (page, place) = split(*rows.get(i)?);
            let page = self.pages.page(page)?;
            Some((page, page.spans.get(place)?))
        };
        if let Some((_, span)) = place_of(i + 2 * AHEAD) {
            prefetch(span);
        }
        if let Some(byte) = place_of(i + AHEAD).and_then(|(page, span)| page.arena.get(span.start as usize)) {
            prefetch(byte);
        }
    }

    /// Sets the value of a row. Errors: `user` if 1 024 neighbouring entries would need more than 4 GiB.
    ///
    /// # Panics
    /// If the handle is none of this table's.
    pub fn set(&mut self, row: u32, value: Option<&[u8]>) -> Result<()> {
        let (page, place) = split(row);
        let data = self.pages.page_mut(page);
        let before = data.arena.capacity() as u64;
        data.set(place, value)?;
        let after = data.arena.capacity() as u64;
        if before != after {
            self.pages.resized(before, after);
        }
        Ok(())
    }

    /// Bytes of its pages.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.pages.bytes()
    }

    pub(crate) fn freeze(&mut self, pages: &[usize]) -> BytesColumn {
        BytesColumn { pages: self.pages.freeze(pages) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::room_for;
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn random_sets_read_back_and_stay_charged() {
        let budget = Budget::unlimited("t");
        let mut column = BytesColumn::new(&budget);
        let mut model: HashMap<u32, Option<Vec<u8>>> = HashMap::new();
        let mut seed = 3u64;
        let mut frozen = None;
        for step in 0..20_000u32 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let row = (seed >> 40) as u32 % 3000;
            column.ensure(room_for(row as usize + 1));
            let len = (seed >> 20) as usize % 40;
            let value = (len > 0).then(|| vec![step as u8; len - 1]);
            column.set(row, value.as_deref()).unwrap();
            model.insert(row, value);
            if step == 15_000 {
                frozen = Some((column.freeze(&[0, 2]), model.clone()));
            }
        }
        for (row, value) in &model {
            assert_eq!(column.get(*row), value.as_deref());
        }
        let (frozen, then) = frozen.unwrap();
        for row in 0..1024 {
            assert_eq!(frozen.get(row), then.get(&row).and_then(Option::as_deref));
        }
        drop((frozen, column));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn garbage_goes_when_the_arena_grows() {
        let budget = Budget::unlimited("t");
        let mut column = BytesColumn::new(&budget);
        column.ensure(64);
        for i in 0..10_000usize {
            column.set((i % 2) as u32, Some(&vec![1; 100 + i % 50])).unwrap();
        }
        assert!(budget.used_bytes() < 3000, "{}", budget.used_bytes());
        assert_eq!(column.get(5), None);
        column.set(5, Some(b"")).unwrap();
        assert_eq!(column.get(5), Some(&b""[..]));
    }
}
