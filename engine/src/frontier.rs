//! The frontier: the minimum watermark over the live inputs of a gate. Pure; called by [`Gate`](crate::gate).
//!
//! Invariants
//! - F1 the frontier never goes back, whatever the inputs say.
//! - F2 an idle or ended input is left out of the minimum; with none left the frontier stands.
//! - F3 it is MAX only when all inputs have ended; ended plus idle is idle.

use crate::time::{EventTime, Watermark};

#[derive(Clone, Copy, Debug)]
struct InputTime {
    mark: Watermark,
    ended: bool,
}

/// Event time over several inputs.
#[derive(Debug)]
pub struct Frontier {
    inputs: Vec<InputTime>,
    reached: EventTime,
}

impl Frontier {
    /// For so many inputs, none of which has spoken; `reached` is where a restored task stood, else MIN.
    pub fn new(inputs: usize, reached: EventTime) -> Frontier {
        Frontier { inputs: vec![InputTime { mark: Watermark::START, ended: false }; inputs], reached }
    }

    /// An input's watermark. A lower one than before is taken as idle information only.
    pub fn update(&mut self, input: usize, mark: Watermark) {
        if let Some(i) = self.inputs.get_mut(input) {
            i.mark = Watermark { time: i.mark.time.max(mark.time), idle: mark.idle };
        }
    }

    /// The input has ended.
    pub fn end(&mut self, input: usize) {
        if let Some(i) = self.inputs.get_mut(input) {
            i.ended = true;
        }
    }

    /// Whether the input has ended.
    pub fn has_ended(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|i| i.ended)
    }

    /// How far the inputs have come together.
    pub fn now(&mut self) -> Watermark {
        let all_ended = self.inputs.iter().all(|i| i.ended);
        let live = self.inputs.iter().filter(|i| !i.ended && !i.mark.idle);
        let low = live.map(|i| i.mark.time).min();
        let time = if all_ended { EventTime::MAX } else { low.unwrap_or(self.reached) };
        self.reached = self.reached.max(time);
        Watermark { time: self.reached, idle: low.is_none() && !all_ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64, idle: bool) -> Watermark {
        Watermark { time: EventTime(time), idle }
    }

    #[test]
    fn the_minimum_over_live_inputs_never_goes_back() {
        let mut f = Frontier::new(2, EventTime::MIN);
        f.update(0, at(10, false));
        assert_eq!(f.now(), at(i64::MIN, false), "one input has not spoken");
        f.update(1, at(5, false));
        assert_eq!(f.now(), at(5, false));
        f.update(1, at(3, false));
        assert_eq!(f.now(), at(5, false));
        f.update(1, at(5, true));
        assert_eq!(f.now(), at(10, false), "idle leaves the minimum");
        f.update(1, at(7, false));
        assert_eq!(f.now(), at(10, false), "back from idle, behind: stands");
    }

    #[test]
    fn end_is_max_only_when_all_have_ended() {
        let mut f = Frontier::new(2, EventTime::MIN);
        f.update(0, at(10, false));
        f.update(1, at(20, false));
        f.end(0);
        assert_eq!(f.now(), at(20, false), "an ended input leaves the minimum");
        f.update(1, at(20, true));
        assert_eq!(f.now(), at(20, true), "ended plus idle is idle and stands");
        f.end(1);
        assert_eq!(f.now(), Watermark { time: EventTime::MAX, idle: false });
    }

    #[test]
    fn a_restored_frontier_holds() {
        let mut f = Frontier::new(1, EventTime(100));
        f.update(0, at(50, false));
        assert_eq!(f.now(), at(100, false));
    }
}
