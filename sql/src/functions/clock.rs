//! The wall clock as SQL sees it: NOW, CURRENT_TIMESTAMP, LOCALTIMESTAMP, CURRENT_DATE, CURRENT_TIME, PROCTIME.
//!
//! All are volatile: read once per batch while the job runs, never frozen by the planner. The reading is one process-wide function,
//! so that tests can put another in its place with [`set_wall_clock`].

use std::sync::{LazyLock, PoisonError, RwLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Date32Type, Time32SecondType, TimeUnit, TimestampMillisecondType};
use datafusion_common::Result;
use datafusion_expr::Volatility;
use thalweg_engine::clock::Clock;

use super::calendar::DAY_MS;
use super::scalar::{Call, Returns, Spec};
use super::types::ltz_type;

static WALL_CLOCK: LazyLock<RwLock<Clock>> = LazyLock::new(|| RwLock::new(Clock::system()));

/// Replaces the clock behind NOW() and its kin, for the whole process.
pub fn set_wall_clock(clock: Clock) {
    *WALL_CLOCK.write().unwrap_or_else(PoisonError::into_inner) = clock;
}

/// Milliseconds since 1970-01-01 00:00 UTC.
pub(super) fn wall_clock_ms() -> i64 {
    WALL_CLOCK.read().unwrap_or_else(PoisonError::into_inner).wall_ms()
}

const VOLATILE: Spec = Spec { volatility: Volatility::Volatile, ..Spec::DEFAULT };
const LTZ: Returns = Returns::By(|_, _| Ok(ltz_type()));
const TIMESTAMP: Returns = Returns::Type(DataType::Timestamp(TimeUnit::Millisecond, None));
const TIME: Returns = Returns::Type(DataType::Time32(TimeUnit::Second));

/// Functions that read the clock.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "now",
        aliases: &["current_timestamp", "current_row_timestamp"],
        returns: LTZ,
        kernel: timestamp,
        ..VOLATILE
    },
    Spec { name: "proctime", returns: LTZ, kernel: timestamp, ..VOLATILE },
    Spec { name: "localtimestamp", returns: TIMESTAMP, kernel: timestamp, ..VOLATILE },
    Spec { name: "current_date", returns: Returns::Type(DataType::Date32), kernel: date, ..VOLATILE },
    Spec { name: "current_time", aliases: &["localtime"], returns: TIME, kernel: time, ..VOLATILE },
];

fn timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    call.primitive::<TimestampMillisecondType>(vec![wall_clock_ms(); call.rows])
}

fn date(call: &Call<'_>) -> Result<ArrayRef> {
    let day = wall_clock_ms().div_euclid(DAY_MS);
    call.primitive::<Date32Type>(vec![i32::try_from(day).unwrap_or(i32::MAX); call.rows])
}

fn time(call: &Call<'_>) -> Result<ArrayRef> {
    let second = wall_clock_ms().rem_euclid(DAY_MS) / 1_000;
    call.primitive::<Time32SecondType>(vec![second as i32; call.rows])
}
