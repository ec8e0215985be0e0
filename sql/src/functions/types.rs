//! SQL type names, as TYPEOF shows them and as error messages use them; and the zone that TIMESTAMP_LTZ columns carry.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::Result;

use super::params::Param;
use super::scalar::{Call, Spec};

/// The zone written into the Arrow type of TIMESTAMP_LTZ columns; the session zone is UTC.
pub const LTZ_ZONE: &str = "UTC";

/// The type of TIMESTAMP_LTZ(3).
pub fn ltz_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from(LTZ_ZONE)))
}

/// The SQL name of an Arrow type, such as `DECIMAL(10, 2)` or `TIMESTAMP(3)`.
pub fn type_name(data_type: &DataType) -> String {
    let precision = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float16 | DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::FixedSizeBinary(width) => format!("BINARY({width})"),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", precision(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", precision(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", precision(unit)),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            format!("ARRAY<{}>", type_name(item.data_type()))
        }
        DataType::FixedSizeList(item, _) | DataType::LargeListView(item) => {
            format!("ARRAY<{}>", type_name(item.data_type()))
        }
        DataType::Struct(fields) => {
            let inner: Vec<String> =
                fields.iter().map(|field| format!("`{}` {}", field.name(), type_name(field.data_type()))).collect();
            format!("ROW<{}>", inner.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let inner: Vec<String> = pair.iter().map(|field| type_name(field.data_type())).collect();
                format!("MAP<{}>", inner.join(", "))
            }
            _ => "MAP".into(),
        },
        DataType::Dictionary(_, value) => type_name(value),
        DataType::RunEndEncoded(_, value) => type_name(value.data_type()),
        DataType::Null => "NULL".into(),
        DataType::Union(..) => "RAW".into(),
    }
}

/// Functions about types.
pub(super) static SPECS: &[Spec] =
    &[Spec { name: "typeof", required: &[Param::Any], strict: false, kernel: type_of, ..Spec::DEFAULT }];

fn type_of(call: &Call<'_>) -> Result<ArrayRef> {
    let name = type_name(&call.argument_type(0));
    Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, call.rows))))
}
