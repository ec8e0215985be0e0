//! Scalar functions with Flink's names and semantics, over Arrow arrays.
//!
//! The binder registers [`scalar_functions`] on top of DataFusion's own library (a later registration wins, so these replace functions
//! of the same name), leaves out [`HIDDEN`], and puts [`FunctionPlanner`] before DataFusion's expression planners. `docs/functions.md`
//! lists everything that is visible; a test compares the two.
//!
//! Invariants
//! - F1 names are lower case; callers lower-case what the user wrote.
//! - F2 no argument makes a function panic, hang or exhaust memory: see `text::MAX_OUTPUT_BYTES`.
//! - F3 a volatile function is never folded, every other is a pure function of its arguments.

mod calendar;
pub(crate) mod cast;
mod clock;
mod date_format;
mod datetime;
pub(crate) mod decimal;
mod encode;
mod exact;
mod json;
mod json_scan;
mod logic;
mod math;
mod nested;
mod params;
mod parse_number;
mod pattern;
mod planner;
mod regexp;
mod round;
mod scalar;
mod search;
mod strings;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod types;
mod url;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

pub use clock::set_wall_clock;
pub use planner::FunctionPlanner;
pub use types::{LTZ_ZONE, ltz_type};

/// DataFusion functions that must not be visible: they need a file scan, tell about the library instead of this engine, only work when
/// frozen at planning, or serve the library itself.
pub const HIDDEN: &[&str] = &[
    "arrow_field",
    "arrow_metadata",
    "cast_to_type",
    "datepart",
    "datetrunc",
    "file_row_index",
    "input_file_name",
    "to_char",
    "to_local_time",
    "today",
    "try_cast_to_type",
    "union_extract",
    "union_tag",
    "version",
    "with_metadata",
];

/// All functions to register on top of `datafusion_functions::all_default_functions()`.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let families = [
        strings::SPECS,
        search::SPECS,
        regexp::SPECS,
        json::SPECS,
        encode::SPECS,
        url::SPECS,
        math::SPECS,
        round::SPECS,
        logic::SPECS,
        types::SPECS,
        clock::SPECS,
        date_format::SPECS,
        datetime::SPECS,
    ];
    families.into_iter().flatten().map(scalar::Function::udf).collect()
}
