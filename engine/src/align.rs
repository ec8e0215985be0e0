//! Barrier alignment: decides which inputs of a task may be read while a barrier is on its way.
//!
//! Called by [`Gate`](crate::gate) for every barrier; holds no channel and no clock, so all of it is testable as a table.
//!
//! Invariants
//! - A1 an input that delivered a barrier is blocked until every input delivered the same one.
//! - A2 only rows, time and barriers wait behind it; out-of-band messages never pass through here.
//! - A3 an ended input keeps delivering barriers until the last one, so it needs no special case.

use crate::error::{Error, Result};
use crate::message::Barrier;

/// Which inputs have delivered the barrier that is being collected.
#[derive(Debug)]
pub struct Aligner {
    blocked: Vec<bool>,
    arrived: usize,
    current: Option<Barrier>,
}

impl Aligner {
    /// For so many inputs, all readable.
    pub fn new(inputs: usize) -> Aligner {
        Aligner { blocked: vec![false; inputs], arrived: 0, current: None }
    }

    /// Whether the input must not be read now.
    pub fn is_blocked(&self, input: usize) -> bool {
        self.blocked.get(input).copied().unwrap_or(true)
    }

    /// Whether some inputs wait for others.
    pub fn is_aligning(&self) -> bool {
        self.arrived > 0
    }

    /// Takes a barrier in. Returns it when all inputs have delivered it; all stay blocked until [`Aligner::release`].
    /// Errors: `internal` if the input delivers twice, or another barrier than the others.
    pub fn deliver(&mut self, input: usize, barrier: Barrier) -> Result<Option<Barrier>> {
        if self.is_blocked(input) {
            return Err(Error::internal(format!("input {input} delivered barrier {} while blocked", barrier.epoch)));
        }
        let current = *self.current.get_or_insert(barrier);
        if current != barrier {
            let text = format!("input {input} delivered barrier {barrier:?} while {current:?} is being aligned");
            return Err(Error::internal(text));
        }
        if let Some(b) = self.blocked.get_mut(input) {
            *b = true;
        }
        self.arrived += 1;
        Ok((self.arrived == self.blocked.len()).then_some(barrier))
    }

    /// The barrier was forwarded: all inputs may be read again.
    pub fn release(&mut self) {
        self.blocked.fill(false);
        self.arrived = 0;
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(epoch: u64) -> Barrier {
        Barrier { epoch, checkpoint: false, last: None }
    }

    #[test]
    fn an_input_is_blocked_from_its_barrier_to_the_release() {
        let mut a = Aligner::new(2);
        assert_eq!(a.deliver(1, barrier(7)).unwrap(), None);
        assert!(a.is_blocked(1) && !a.is_blocked(0) && a.is_aligning());
        assert_eq!(a.deliver(0, barrier(7)).unwrap(), Some(barrier(7)));
        assert!(a.is_blocked(0), "nothing is read between alignment and the release");
        a.release();
        assert!(!a.is_blocked(0) && !a.is_blocked(1) && !a.is_aligning());
    }

    #[test]
    fn two_barriers_at_once_or_one_twice_are_refused() {
        let mut a = Aligner::new(2);
        a.deliver(0, barrier(1)).unwrap();
        assert!(a.deliver(0, barrier(2)).is_err());
        assert!(a.deliver(1, barrier(2)).is_err());
        assert!(a.deliver(9, barrier(1)).is_err(), "no such input");
    }
}
