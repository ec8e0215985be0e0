//! Whether and when a failed job starts again. Pure; asked by whoever owns the job.

use crate::error::{Error, ErrorKind};
use std::time::Duration;

/// Waits between attempts: doubling from `first` to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first restart.
    pub first: Duration,
    /// Before any.
    pub most: Duration,
    /// How many restarts in a row may pass without a complete checkpoint.
    pub attempts: u32,
}

/// Counts the restarts of one job.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    backoff: Backoff,
    in_a_row: u32,
}

impl RestartPolicy {
    /// Nothing has failed yet.
    pub fn new(backoff: Backoff) -> RestartPolicy {
        RestartPolicy { backoff, in_a_row: 0 }
    }

    /// How long to wait before the next attempt; `None`: there is none, because the error says that none can help, or because too
    /// many did not. `progress`: the attempt that failed has completed a checkpoint.
    pub fn next(&mut self, error: &Error, progress: bool) -> Option<Duration> {
        if progress {
            self.in_a_row = 0;
        }
        let hopeless = !error.retry() || matches!(error.kind(), ErrorKind::User | ErrorKind::Cancelled);
        if hopeless || self.in_a_row >= self.backoff.attempts {
            return None;
        }
        let doubled = self.backoff.first.saturating_mul(1u32.checked_shl(self.in_a_row).unwrap_or(u32::MAX));
        self.in_a_row += 1;
        Some(doubled.min(self.backoff.most))
    }

    /// Restarts since the last complete checkpoint.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew_after_progress() {
        let s = Duration::from_secs;
        let mut policy = RestartPolicy::new(Backoff { first: s(1), most: s(5), attempts: 4 });
        let e = Error::external("gone");
        let waits: Vec<_> = (0..5).map(|_| policy.next(&e, false)).collect();
        assert_eq!(waits, [Some(s(1)), Some(s(2)), Some(s(4)), Some(s(5)), None]);
        assert_eq!(policy.next(&e, true), Some(s(1)));
        assert_eq!(policy.in_a_row(), 1);
    }

    #[test]
    fn what_a_restart_cannot_help_is_not_tried_again() {
        let mut policy =
            RestartPolicy::new(Backoff { first: Duration::ZERO, most: Duration::ZERO, attempts: u32::MAX });
        assert_eq!(policy.next(&Error::user("bad row"), true), None);
        assert_eq!(policy.next(&Error::external("no such topic").with_retry(false), true), None);
        assert_eq!(policy.next(&Error::cancelled(), true), None);
        for _ in 0..100 {
            assert!(policy.next(&Error::external("gone"), false).is_some());
        }
    }
}
