//! The deadlines of one task's operators: a heap of (moment, node), asked by the inbox before it waits.

use crate::clock::Deadline;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Deadlines, the earliest first; each (moment, node) once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Deadline, usize)>>,
}

impl Timers {
    /// Registers a deadline. Asking again for a later or equal moment than the node's last one costs a spurious wake at most.
    pub fn add(&mut self, at: Deadline, node: usize) {
        let is_first = self.heap.peek().is_some_and(|Reverse(first)| *first == (at, node));
        if !is_first {
            self.heap.push(Reverse((at, node)));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Deadline> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one node whose deadline has passed, with all its other passed deadlines of the same moment.
    pub fn pop_due(&mut self, now: Deadline) -> Option<usize> {
        let Reverse((at, node)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        while self.heap.peek().is_some_and(|Reverse(first)| *first == (at, node)) {
            self.heap.pop();
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deadlines_come_in_order_and_once() {
        let ms = Duration::from_millis;
        let mut t = Timers::default();
        for (at, node) in [(ms(5), 1), (ms(3), 2), (ms(3), 2), (ms(9), 0)] {
            t.add(at, node);
        }
        assert_eq!(t.next(), Some(ms(3)));
        assert_eq!(t.pop_due(ms(2)), None);
        assert_eq!((t.pop_due(ms(5)), t.pop_due(ms(5)), t.pop_due(ms(5))), (Some(2), Some(1), None));
        assert_eq!(t.next(), Some(ms(9)));
    }
}
