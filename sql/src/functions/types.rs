//! TYPEOF, and the zone that TIMESTAMP_LTZ columns carry.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::Result;
use thalweg_engine::type_name;

use super::params::Param;
use super::scalar::{Call, Spec};

/// The zone written into the Arrow type of TIMESTAMP_LTZ columns; the session zone is UTC.
pub const LTZ_ZONE: &str = "UTC";

/// The type of TIMESTAMP_LTZ(3).
pub fn ltz_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from(LTZ_ZONE)))
}

/// Functions about types.
pub(super) static SPECS: &[Spec] =
    &[Spec { name: "typeof", required: &[Param::Any], strict: false, kernel: type_of, ..Spec::DEFAULT }];

fn type_of(call: &Call<'_>) -> Result<ArrayRef> {
    let name = type_name(&call.argument_type(0));
    Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, call.rows))))
}
