//! Event time and how far a stream has come in it. One unit everywhere: milliseconds since 1970-01-01 UTC as i64.

use std::fmt;

/// An instant of event time: milliseconds since 1970-01-01 00:00:00 UTC. Finer columns are floored to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Nothing is known yet.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// No row will come any more; travels only with end of data.
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// The value in milliseconds.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// `self - millis`, stopping short of MIN and MAX, which are no instants.
    pub fn minus(self, millis: i64) -> EventTime {
        EventTime(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EventTime::MIN => f.write_str("none"),
            EventTime::MAX => f.write_str("end"),
            EventTime(ms) => write!(f, "{ms} ms"),
        }
    }
}

/// A watermark on the wire: how far one edge has come, and whether it counts in the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Watermark {
    /// No later row of this edge is older than this, except late ones.
    pub time: EventTime,
    /// An idle edge is left out of the frontier until it speaks again.
    pub idle: bool,
}

impl Watermark {
    /// What holds before the first one arrived.
    pub const START: Watermark = Watermark { time: EventTime::MIN, idle: false };
}
