//! The arithmetic of windows: which slice an instant falls into, which windows a slice is part of, which slices a window has.
//! Pure; called by all window operators.
//!
//! Time is cut into *slices*, the longest pieces that no window's edge cuts: rows are folded once, into their slice, and a
//! window is merged from its slices when it fires. A slice is named by its end, and so is a window.
//!
//! ```text
//! HOP(slide 4, size 6): slices of gcd(4, 6) = 2   |0 2|2 4|4 6|6 8|8 10|
//!   window ending at 6:                            <--------->
//!   window ending at 10:                                 <--------->
//! ```
//!
//! Invariants
//! - W1 a slice ending at `s` holds the instants of `[s - slice, s)`; division rounds down, so this holds below zero too.
//! - W2 the last window of a slice never decreases with the slice's end: slices become useless in order.
//! - W3 instants lie within [`TIME_LIMIT_MS`] and lengths within [`LENGTH_LIMIT_MS`], so no sum here can overflow.

use thalweg_engine::{Error, Result};

/// Event times outside of `-TIME_LIMIT_MS..=TIME_LIMIT_MS` are refused: 73 million years.
pub const TIME_LIMIT_MS: i64 = 1 << 61;
/// No window is longer.
pub const LENGTH_LIMIT_MS: i64 = 1 << 59;
/// No row is in more windows.
pub const WINDOWS_PER_ROW_MAX: i64 = 100_000;

/// A kind of window over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Of one length, end to end.
    Tumble {
        /// The length in ms.
        size_ms: i64,
        /// Where windows start, from the epoch.
        offset_ms: i64,
    },
    /// Of one length, one every so often.
    Hop {
        /// From the start of one to the start of the next, in ms.
        slide_ms: i64,
        /// The length in ms.
        size_ms: i64,
        /// Where windows start, from the epoch.
        offset_ms: i64,
    },
    /// Growing by a step up to a length, then starting again.
    Cumulate {
        /// What each window is longer than the one before, in ms.
        step_ms: i64,
        /// The length of the last one in ms, a multiple of the step.
        size_ms: i64,
        /// Where windows start, from the epoch.
        offset_ms: i64,
    },
}

impl Windows {
    /// TUMBLE without offset.
    pub fn tumble(size_ms: i64) -> Windows {
        Windows::Tumble { size_ms, offset_ms: 0 }
    }

    /// HOP without offset.
    pub fn hop(slide_ms: i64, size_ms: i64) -> Windows {
        Windows::Hop { slide_ms, size_ms, offset_ms: 0 }
    }

    /// CUMULATE without offset.
    pub fn cumulate(step_ms: i64, size_ms: i64) -> Windows {
        Windows::Cumulate { step_ms, size_ms, offset_ms: 0 }
    }

    /// Checks lengths. Errors: `user`, with the remedy; the planner asks before anything runs.
    pub fn check(&self) -> Result<()> {
        let (size, step, offset) = (self.size(), self.period(), self.offset());
        if size <= 0 || step <= 0 {
            return Err(Error::user(format!("a window of {size} ms every {step} ms: both must be positive")));
        }
        if size > LENGTH_LIMIT_MS || step > LENGTH_LIMIT_MS || offset.unsigned_abs() > LENGTH_LIMIT_MS.unsigned_abs() {
            return Err(Error::user(format!("a window of {size} ms every {step} ms, offset {offset} ms is too long")));
        }
        if matches!(self, Windows::Cumulate { .. }) && size % step != 0 {
            return Err(Error::user(format!(
                "the size of a CUMULATE window, {size} ms, must be a multiple of its step, {step} ms"
            )));
        }
        if size / step > WINDOWS_PER_ROW_MAX {
            let text = format!("each row would be in {} windows, the limit is {WINDOWS_PER_ROW_MAX}", size / step);
            return Err(Error::user(format!("{text}; choose a longer step or a shorter size")));
        }
        Ok(())
    }

    fn size(&self) -> i64 {
        match *self {
            Windows::Tumble { size_ms, .. } | Windows::Hop { size_ms, .. } | Windows::Cumulate { size_ms, .. } => {
                size_ms
            }
        }
    }

    fn offset(&self) -> i64 {
        match *self {
            Windows::Tumble { offset_ms, .. }
            | Windows::Hop { offset_ms, .. }
            | Windows::Cumulate { offset_ms, .. } => offset_ms,
        }
    }

    /// From the end of one window to the end of the next.
    pub fn period(&self) -> i64 {
        match *self {
            Windows::Tumble { size_ms, .. } => size_ms,
            Windows::Hop { slide_ms, .. } => slide_ms,
            Windows::Cumulate { step_ms, .. } => step_ms,
        }
    }

    /// The length of a slice.
    pub fn slice(&self) -> i64 {
        match *self {
            Windows::Hop { slide_ms, size_ms, .. } => gcd(slide_ms, size_ms),
            _ => self.period(),
        }
    }

    /// The end of the slice that an instant falls into.
    pub fn slice_end(&self, time: i64) -> i64 {
        let slice = self.slice();
        (time - self.offset()).div_euclid(slice) * slice + self.offset() + slice
    }

    /// The greatest possible window end that is at most `time`: what has fired once the frontier is there.
    pub fn last_end_through(&self, time: i64) -> i64 {
        let time = clamp(time);
        let anchor = self.anchor();
        (time - anchor).div_euclid(self.period()) * self.period() + anchor
    }

    /// An instant at which some window ends.
    fn anchor(&self) -> i64 {
        self.offset() + if let Windows::Hop { size_ms, .. } = self { *size_ms } else { 0 }
    }

    /// The first and the last end of the windows that a slice is part of, `None` if there is no such window (a HOP whose slide
    /// is longer than its size leaves gaps). The others lie between, a [`Windows::period`] apart.
    pub fn ends_of(&self, slice_end: i64) -> Option<(i64, i64)> {
        match *self {
            Windows::Tumble { .. } => Some((slice_end, slice_end)),
            Windows::Hop { size_ms, .. } => {
                let first = self.last_end_through(slice_end - 1) + self.period();
                let last = self.last_end_through(slice_end - self.slice() + size_ms);
                (first <= last).then_some((first, last))
            }
            Windows::Cumulate { size_ms, .. } => Some((slice_end, self.start_of(slice_end) + size_ms)),
        }
    }

    /// The start of the window that ends at `end`.
    pub fn start_of(&self, end: i64) -> i64 {
        match *self {
            Windows::Tumble { size_ms, .. } | Windows::Hop { size_ms, .. } => end.saturating_sub(size_ms),
            Windows::Cumulate { size_ms, offset_ms, .. } => end
                .saturating_sub(1)
                .saturating_sub(offset_ms)
                .div_euclid(size_ms)
                .saturating_mul(size_ms)
                .saturating_add(offset_ms),
        }
    }
}

/// A frontier as a time that can be reckoned with: beyond every window, but not at the end of i64.
pub(crate) fn clamp(time: i64) -> i64 {
    time.clamp(-2 * TIME_LIMIT_MS + 1, 2 * TIME_LIMIT_MS - 1)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// Consecutive rows of one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The end of the slice.
    pub end: i64,
    /// The first row.
    pub start: usize,
    /// How many rows.
    pub len: usize,
}

/// Cuts a batch into runs of rows of one slice. Errors: `user` for a time out of range.
pub fn runs(windows: &Windows, times: &[i64]) -> Result<Vec<Run>> {
    let slice = windows.slice();
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(time) = times.get(at).copied() {
        if time.unsigned_abs() > TIME_LIMIT_MS.unsigned_abs() {
            return Err(Error::user(format!("event time {time} ms is out of range for a window")));
        }
        let end = windows.slice_end(time);
        let inside = end - slice..end;
        let len = times.iter().skip(at).take_while(|t| inside.contains(t)).count();
        runs.push(Run { end, start: at, len });
        at += len;
    }
    Ok(runs)
}

/// Runs of equal values: the slices' ends that partial rows and rows with a window end carry.
pub fn equal_runs(ends: &[i64]) -> Vec<Run> {
    let mut start = 0;
    let mut run = |run: &[i64]| {
        let at = start;
        start += run.len();
        Run { end: run.first().copied().unwrap_or_default(), start: at, len: run.len() }
    };
    ends.chunk_by(|a, b| a == b).map(&mut run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows of an instant, found one by one.
    fn naive(w: &Windows, t: i64) -> Vec<(i64, i64)> {
        let (size, offset) = (w.size(), w.offset());
        let base = (t - offset).div_euclid(w.period().max(size)) * w.period().max(size) + offset;
        let mut all = vec![];
        match *w {
            Windows::Cumulate { step_ms, .. } => {
                let start = (t - offset).div_euclid(size) * size + offset;
                all.extend((1..=size / step_ms).map(|k| (start, start + k * step_ms)));
            }
            _ => {
                let first = (base - 3 * size - offset).div_euclid(w.period()) - 3;
                all.extend((first..first + 4000).map(|k| (k * w.period() + offset, k * w.period() + offset + size)));
            }
        }
        all.retain(|(s, e)| (*s..*e).contains(&t));
        all
    }

    #[test]
    fn the_windows_of_an_instant_are_those_found_one_by_one() {
        let kinds = [
            Windows::tumble(10),
            Windows::Tumble { size_ms: 7, offset_ms: -3 },
            Windows::hop(2, 10),
            Windows::hop(4, 6),
            Windows::Hop { slide_ms: 4, size_ms: 6, offset_ms: 1 },
            Windows::hop(10, 3),
            Windows::hop(5, 5),
            Windows::cumulate(2, 10),
            Windows::Cumulate { step_ms: 3, size_ms: 9, offset_ms: 5 },
        ];
        for w in kinds {
            w.check().unwrap();
            for t in -60..60 {
                let slice = w.slice_end(t);
                assert!((slice - w.slice()..slice).contains(&t));
                let ends = w.ends_of(slice).map_or(vec![], |(a, b)| {
                    (0..=(b - a) / w.period()).map(|k| a + k * w.period()).collect::<Vec<_>>()
                });
                let found: Vec<_> = ends.iter().map(|e| (w.start_of(*e), *e)).collect();
                assert_eq!(found, naive(&w, t), "{w:?} at {t}");
                for e in ends {
                    assert_eq!((w.last_end_through(e), w.last_end_through(e + w.period() - 1)), (e, e), "{w:?}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for w in [Windows::tumble(LENGTH_LIMIT_MS), Windows::hop(3, LENGTH_LIMIT_MS / 1000), Windows::cumulate(1, 10)] {
            for t in [-TIME_LIMIT_MS, TIME_LIMIT_MS, 253_402_300_799_999] {
                let run = runs(&w, &[t]).unwrap()[0];
                let (_, last) = w.ends_of(run.end).unwrap();
                assert!(last > t && w.start_of(last) <= t);
            }
            for t in [i64::MIN, i64::MAX, TIME_LIMIT_MS + 1] {
                assert!(runs(&w, &[t]).is_err());
                w.last_end_through(t);
                w.start_of(t);
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for w in [
            Windows::tumble(0),
            Windows::hop(-1, 5),
            Windows::hop(1, 1_000_000),
            Windows::cumulate(4, 10),
            Windows::tumble(i64::MAX),
            Windows::Tumble { size_ms: 1, offset_ms: i64::MIN },
        ] {
            assert!(w.check().is_err(), "{w:?}");
        }
    }

    #[test]
    fn runs_cover_all_rows() {
        let r = runs(&Windows::tumble(10), &[0, 9, -1, 10, 5]).unwrap();
        let got: Vec<_> = r.iter().map(|r| (r.end, r.start, r.len)).collect();
        assert_eq!(got, [(10, 0, 2), (0, 2, 1), (20, 3, 1), (10, 4, 1)]);
        assert_eq!(equal_runs(&[3, 3, 4]).iter().map(|r| (r.end, r.len)).collect::<Vec<_>>(), [(3, 2), (4, 1)]);
        assert!(equal_runs(&[]).is_empty());
    }
}
