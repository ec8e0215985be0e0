//! The only door to time. Operators, sources and the coordinator ask the [`Clock`] they are given, so that tests can turn it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock: the time since the clock was made.
pub type Moment = Duration;
/// A moment at which something is to happen.
pub type Deadline = Moment;

/// A monotonic and a wall clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Hands>);

#[derive(Debug)]
enum Hands {
    System { start: Instant },
    Fake { nanos: AtomicU64, wall_start_ms: i64 },
}

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this file is the door to the clock")]
    pub fn system() -> Clock {
        Clock(Arc::new(Hands::System { start: Instant::now() }))
    }

    /// A clock that stands still until [`Clock::advance`]; its wall clock starts at `wall_ms`.
    pub fn fake(wall_ms: i64) -> Clock {
        Clock(Arc::new(Hands::Fake { nanos: AtomicU64::new(0), wall_start_ms: wall_ms }))
    }

    /// The time since the clock was made; never goes back.
    pub fn now(&self) -> Moment {
        match &*self.0 {
            Hands::System { start } => start.elapsed(),
            Hands::Fake { nanos, .. } => Duration::from_nanos(nanos.load(Ordering::SeqCst)),
        }
    }

    /// Milliseconds since 1970-01-01 UTC by the wall clock; may jump.
    #[expect(clippy::disallowed_methods, reason = "this file is the door to the clock")]
    pub fn wall_ms(&self) -> i64 {
        match &*self.0 {
            Hands::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Hands::Fake { wall_start_ms, .. } => {
                wall_start_ms.saturating_add(i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Turns a fake clock; does nothing to the machine's.
    pub fn advance(&self, by: Duration) {
        if let Hands::Fake { nanos, .. } = &*self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fake_clock_moves_only_when_told() {
        let c = Clock::fake(1_000);
        assert_eq!((c.now(), c.wall_ms()), (Duration::ZERO, 1_000));
        c.clone().advance(Duration::from_millis(5));
        assert_eq!((c.now(), c.wall_ms()), (Duration::from_millis(5), 1_005));
    }
}
