//! Copy-on-write pages of 1 024 rows, and the fixed-width columns made of them. Called by the keyed table for its keys and values.
//!
//! A page is either *owned* by the live column or *shared* with frozen snapshots. Freezing moves a page into an `Arc`; the
//! next write takes it back, without a copy if the snapshot is gone by then. An owned page that was moved out leaves an empty
//! one in its place, so that the bounds check of a kernel's access is also the check for "shared": no extra branch.
//!
//! Invariants
//! - P1 a page index has rows in exactly one of `owned` and `shared`.
//! - P2 every page but the first has room for [`PAGE_ROWS`] rows; the first one grows from [`FIRST_ROWS`] by doubling, so that
//!   small tables stay small.
//! - P3 all bytes of a page are charged once, by the column while it is owned, by the page itself while it is shared.

use super::budget::{Budget, Charge};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Rows of a page.
pub(crate) const PAGE_ROWS: usize = 1024;
/// Rows of the first page of a small table.
pub(crate) const FIRST_ROWS: usize = 64;

/// How many rows ahead of its use a value is asked for: about as many as there can be misses under way.
pub(crate) const AHEAD: usize = 16;

/// Bytes from which on a column or an index counts as larger than the cache.
pub(crate) const LARGE: usize = 256 << 10;

/// Asks for the cache line of a value.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "batches overlap their cache misses by this; SSE belongs to every x86_64")]
pub(crate) fn prefetch<T>(value: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and cannot fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
}

/// Asks for the cache line of a value: nothing on this architecture.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn prefetch<T>(_value: &T) {}

/// Page and place in it of a row handle.
#[inline(always)]
pub(crate) fn split(row: u32) -> (usize, usize) {
    (row as usize / PAGE_ROWS, row as usize % PAGE_ROWS)
}

/// The room that columns must have for `rows` rows.
pub(crate) fn room_for(rows: usize) -> usize {
    if rows <= PAGE_ROWS { rows.next_power_of_two().max(FIRST_ROWS) } else { rows.next_multiple_of(PAGE_ROWS) }
}

/// What a page is made of. The default has no rows and no memory.
pub(crate) trait PageData: Default + Clone + Send + Sync {
    fn rows(&self) -> usize;
    fn bytes(&self) -> u64;
}

/// A page that a frozen snapshot may hold too.
#[derive(Debug)]
pub(crate) struct SharedPage<P> {
    data: P,
    _charge: Charge,
}

/// The pages of one column.
#[derive(Debug)]
pub(crate) struct Pages<P> {
    owned: Vec<P>,
    shared: Vec<Option<Arc<SharedPage<P>>>>,
    charge: Charge,
}

impl<P: PageData> Pages<P> {
    pub(crate) fn new(budget: &Arc<Budget>) -> Pages<P> {
        Pages { owned: Vec::new(), shared: Vec::new(), charge: Charge::new(budget, 0) }
    }

    fn directory_bytes(&self) -> u64 {
        (self.owned.capacity() * size_of::<P>() + self.shared.capacity() * size_of::<Option<Arc<SharedPage<P>>>>())
            as u64
    }

    /// Bytes of all pages, those shared with snapshots included.
    pub(crate) fn bytes(&self) -> u64 {
        let shared = self.shared.iter().flatten().map(|p| p.data.bytes()).sum::<u64>();
        self.owned.iter().map(P::bytes).sum::<u64>() + shared
    }

    /// Number of pages.
    pub(crate) fn len(&self) -> usize {
        self.owned.len()
    }

    /// Adds a page that is full of rows.
    pub(crate) fn push(&mut self, page: P) {
        let before = self.directory_bytes();
        self.charge.grow(page.bytes());
        self.owned.push(page);
        self.shared.push(None);
        self.charge.grow(self.directory_bytes() - before);
    }

    /// The page, owned or not.
    #[inline(always)]
    pub(crate) fn page(&self, page: usize) -> Option<&P> {
        let owned = self.owned.get(page)?;
        if owned.rows() > 0 { Some(owned) } else { self.shared(page) }
    }

    #[cold]
    fn shared(&self, page: usize) -> Option<&P> {
        self.shared.get(page)?.as_ref().map(|p| &p.data)
    }

    /// The page to write into.
    ///
    /// # Panics
    /// If there is no such page.
    #[inline(always)]
    pub(crate) fn page_mut(&mut self, page: usize) -> &mut P {
        if self.owned[page].rows() == 0 {
            self.take_back(page);
        }
        &mut self.owned[page]
    }

    /// Makes a page owned again: the page itself if the snapshot is gone, else a copy.
    #[cold]
    fn take_back(&mut self, page: usize) {
        if let Some(shared) = self.shared.get_mut(page).and_then(Option::take) {
            let data = match Arc::try_unwrap(shared) {
                Ok(SharedPage { data, .. }) => data,
                Err(shared) => shared.data.clone(),
            };
            self.charge.grow(data.bytes());
            self.owned[page] = data;
        }
    }

    /// Changes what is charged after a write changed the size of a page.
    pub(crate) fn resized(&mut self, before: u64, after: u64) {
        self.charge.grow(after);
        self.charge.shrink(before);
    }

    /// The given pages, shared with the result, where they are numbered 0, 1, 2, ...
    pub(crate) fn freeze(&mut self, pages: &[usize]) -> Pages<P> {
        let mut frozen = Pages::new(self.charge.budget());
        frozen.owned.reserve_exact(pages.len());
        frozen.shared.reserve_exact(pages.len());
        for page in pages {
            frozen.owned.push(P::default());
            frozen.shared.push(self.share(*page));
        }
        frozen.charge.resize(frozen.directory_bytes());
        frozen
    }

    fn share(&mut self, page: usize) -> Option<Arc<SharedPage<P>>> {
        let owned = self.owned.get_mut(page)?;
        let slot = self.shared.get_mut(page)?;
        if owned.rows() > 0 {
            let data = std::mem::take(owned);
            let bytes = data.bytes();
            self.charge.shrink(bytes);
            *slot = Some(Arc::new(SharedPage { _charge: Charge::new(self.charge.budget(), bytes), data }));
        }
        slot.clone()
    }
}

impl<T: Copy + Send + Sync> PageData for Box<[T]> {
    #[inline(always)]
    fn rows(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> u64 {
        size_of_val::<[T]>(self) as u64
    }
}

/// A type that a fixed-width value column can hold: `bool`, `i64`, `f64`, `i128`.
pub trait Fixed: sealed::Sealed + Copy + Send + Sync + std::fmt::Debug + 'static {}
impl Fixed for bool {}
impl Fixed for i64 {}
impl Fixed for f64 {}
impl Fixed for i128 {}

pub(crate) mod sealed {
    /// Only the types above.
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
    impl Sealed for i128 {}
}

/// A column of fixed-width values, indexed by row handle.
///
/// Kernels loop over the handles of a batch and write `column[row]`. A handle that the table did not give out in this batch
/// reads or writes another entry's value, or panics.
#[derive(Debug)]
pub struct Column<T: Fixed> {
    pages: Pages<Box<[T]>>,
    initial: T,
}

impl<T: Fixed> Column<T> {
    pub(crate) fn new(budget: &Arc<Budget>, initial: T) -> Column<T> {
        Column { pages: Pages::new(budget), initial }
    }

    /// Makes room, filled with the initial value.
    pub(crate) fn ensure(&mut self, room: usize) {
        if let Some(rows) = self.pages.owned.first().map(|_| room.min(PAGE_ROWS)) {
            let first = self.pages.page_mut(0);
            if first.len() < rows {
                let before = first.bytes();
                let mut values = std::mem::take(first).into_vec();
                values.reserve_exact(rows - values.len());
                values.resize(rows, self.initial);
                *first = values.into_boxed_slice();
                let after = first.bytes();
                self.pages.resized(before, after);
            }
        }
        while self.pages.len() * PAGE_ROWS < room {
            let rows = (room - self.pages.len() * PAGE_ROWS).min(PAGE_ROWS);
            self.pages.push(vec![self.initial; rows].into_boxed_slice());
        }
    }

    /// Bytes of its pages.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// What a new entry starts with.
    pub fn initial(&self) -> T {
        self.initial
    }

    /// The value of a row, `None` if there is no room for such a row.
    #[inline(always)]
    pub(crate) fn try_get(&self, row: u32) -> Option<T> {
        let (page, place) = split(row);
        match self.pages.owned.get(page)?.get(place) {
            Some(value) => Some(*value),
            None => self.pages.shared(page)?.get(place).copied(),
        }
    }

    /// The value of a row.
    #[inline(always)]
    pub fn get(&self, row: u32) -> T {
        self[row]
    }

    /// The value of a row, to be changed.
    #[inline(always)]
    pub fn get_mut(&mut self, row: u32) -> &mut T {
        let (page, place) = split(row);
        if place >= self.pages.owned[page].len() {
            self.pages.take_back(page);
        }
        &mut self.pages.owned[page][place]
    }

    /// Calls `each` with the number and the value of every row, in order. On a table larger than the caches this is several
    /// times as fast as a plain loop over [`Column::get_mut`]: values are asked for some rows ahead.
    #[inline(always)]
    pub fn update(&mut self, rows: &[u32], mut each: impl FnMut(usize, &mut T)) {
        if !self.is_large() {
            return rows.iter().enumerate().for_each(|(i, row)| each(i, self.get_mut(*row)));
        }
        for (i, row) in rows.iter().enumerate() {
            self.prefetch(rows, i);
            each(i, self.get_mut(*row));
        }
    }

    /// Whether values have to be asked for ahead: a column that fits into the second-level cache is faster without.
    #[inline(always)]
    pub(crate) fn is_large(&self) -> bool {
        self.pages.len() * PAGE_ROWS * size_of::<T>() > LARGE
    }

    /// What [`Column::update`] does before row `i` of a batch: asks for the value of a later row. For loops over several
    /// columns at once.
    #[inline(always)]
    pub fn prefetch(&self, rows: &[u32], i: usize) {
        if let Some(row) = rows.get(i + AHEAD) {
            let (page, place) = split(*row);
            if let Some(value) = self.pages.owned.get(page).and_then(|p| p.get(place)) {
                prefetch(value);
            }
        }
    }

    /// Appends the values of `rows` to `out`.
    pub fn gather(&self, rows: &[u32], out: &mut Vec<T>) {
        out.extend(rows.iter().map(|row| self[*row]));
    }

    /// Sets a row to the initial value.
    pub(crate) fn reset(&mut self, row: u32) {
        *self.get_mut(row) = self.initial;
    }

    pub(crate) fn freeze(&mut self, pages: &[usize]) -> Column<T> {
        Column { pages: self.pages.freeze(pages), initial: self.initial }
    }
}

impl<T: Fixed> Index<u32> for Column<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, row: u32) -> &T {
        let (page, place) = split(row);
        match self.pages.owned[page].get(place) {
            Some(value) => value,
            None => self.pages.shared(page).map_or(&self.initial, |p| &p[place]),
        }
    }
}

impl<T: Fixed> IndexMut<u32> for Column<T> {
    #[inline(always)]
    fn index_mut(&mut self, row: u32) -> &mut T {
        self.get_mut(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_page_keeps_its_values_and_bytes_are_charged_once() {
        let budget = Budget::unlimited("t");
        let mut column = Column::new(&budget, 7i64);
        column.ensure(room_for(2000));
        for row in 0..2000 {
            column[row] += i64::from(row);
        }
        let live = budget.used_bytes();
        let frozen = column.freeze(&[1]);
        assert!(budget.used_bytes() < live + 200);
        column[1024] = -1;
        assert!(budget.used_bytes() >= live + 8192, "the copy is charged while the frozen page lives");
        assert_eq!((frozen[0], frozen[975], column[1024], column[1025]), (7 + 1024, 7 + 1999, -1, 7 + 1025));
        drop(frozen);
        assert_eq!(budget.used_bytes(), live);
        drop(column);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_page_comes_back_without_a_copy_when_the_snapshot_is_gone() {
        let budget = Budget::unlimited("t");
        let mut column = Column::new(&budget, 0i64);
        column.ensure(64);
        let address = std::ptr::from_ref(&column[3]);
        drop(column.freeze(&[0]));
        assert_eq!(column.try_get(3), Some(0));
        *column.get_mut(3) = 5;
        assert_eq!(std::ptr::from_ref(&column[3]), address);
    }

    #[test]
    fn the_first_page_grows_also_while_it_is_shared() {
        let budget = Budget::unlimited("t");
        let mut column = Column::new(&budget, 1i128);
        column.ensure(room_for(1));
        assert_eq!(budget.used_bytes() / 1024, 1);
        column[63] = 9;
        let frozen = column.freeze(&[0]);
        column.ensure(room_for(65));
        column.ensure(room_for(5000));
        assert_eq!((column[63], column[64], column[4999], frozen[63]), (9, 1, 1, 9));
        assert_eq!(column.try_get(u32::MAX), None);
        assert_eq!((room_for(65), room_for(1024), room_for(1025)), (128, 1024, 2048));
    }
}
