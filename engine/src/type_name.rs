//! What Arrow types are called in SQL. Called wherever a person reads a type: error messages, DESCRIBE, EXPLAIN, TYPEOF; also by
//! connectors, so it stands here although the engine knows no SQL.
//!
//! Invariants
//! - every type has a name; that of a type which a column can have is what one writes in CREATE TABLE or CAST to get it.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The SQL name of an Arrow type, such as `DECIMAL(10, 2)`, `TIMESTAMP(3)` or ``ROW<`a` INT>``.
///
/// The encodings of one type have one name: all strings are `STRING`, dictionaries are called like their values.
pub fn type_name(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Null => "NULL".into(),
        T::Boolean => "BOOLEAN".into(),
        T::Int8 => "TINYINT".into(),
        T::Int16 => "SMALLINT".into(),
        T::Int32 => "INT".into(),
        T::Int64 => "BIGINT".into(),
        T::UInt8 => "TINYINT UNSIGNED".into(),
        T::UInt16 => "SMALLINT UNSIGNED".into(),
        T::UInt32 => "INT UNSIGNED".into(),
        T::UInt64 => "BIGINT UNSIGNED".into(),
        T::Float16 | T::Float32 => "FLOAT".into(),
        T::Float64 => "DOUBLE".into(),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            format!("DECIMAL({p}, {s})")
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "STRING".into(),
        T::Binary | T::LargeBinary | T::BinaryView => "BYTES".into(),
        T::FixedSizeBinary(width) => format!("BINARY({width})"),
        T::Date32 | T::Date64 => "DATE".into(),
        T::Time32(unit) | T::Time64(unit) => format!("TIME({})", digits(unit)),
        T::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        T::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        T::Interval(_) | T::Duration(_) => "INTERVAL".into(),
        T::List(item) | T::LargeList(item) | T::ListView(item) | T::LargeListView(item) | T::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", type_name(item.data_type()))
        }
        T::Struct(fields) => format!("ROW<{}>", joined(fields.iter().map(|f| named(f)))),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) => format!("MAP<{}>", joined(pair.iter().map(|f| type_name(f.data_type())))),
            other => format!("MAP<{}>", type_name(other)),
        },
        T::Dictionary(_, value) => type_name(value),
        T::RunEndEncoded(_, value) => type_name(value.data_type()),
        T::Union(..) => "RAW".into(),
    }
}

fn named(field: &Field) -> String {
    format!("`{}` {}", field.name().replace('`', "``"), type_name(field.data_type()))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Digits of a second's fraction.
fn digits(unit: &TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Fields, IntervalUnit, UnionFields, UnionMode};
    use std::sync::Arc;

    fn item(data_type: DataType) -> Arc<Field> {
        Arc::new(Field::new("item", data_type, true))
    }

    #[test]
    fn every_type_has_its_name() {
        use DataType as T;
        let row = T::Struct(Fields::from(vec![Field::new("a", T::Int32, true), Field::new("b`c", T::Utf8, false)]));
        let pair = Fields::from(vec![Field::new("key", T::Utf8, false), Field::new("value", T::Int64, true)]);
        let map = |entries| T::Map(Arc::new(Field::new("entries", entries, false)), false);
        let cases = [
            (T::Null, "NULL"),
            (T::Boolean, "BOOLEAN"),
            (T::Int8, "TINYINT"),
            (T::Int16, "SMALLINT"),
            (T::Int32, "INT"),
            (T::Int64, "BIGINT"),
            (T::UInt8, "TINYINT UNSIGNED"),
            (T::UInt16, "SMALLINT UNSIGNED"),
            (T::UInt32, "INT UNSIGNED"),
            (T::UInt64, "BIGINT UNSIGNED"),
            (T::Float16, "FLOAT"),
            (T::Float32, "FLOAT"),
            (T::Float64, "DOUBLE"),
            (T::Decimal32(4, 2), "DECIMAL(4, 2)"),
            (T::Decimal64(18, 0), "DECIMAL(18, 0)"),
            (T::Decimal128(38, 10), "DECIMAL(38, 10)"),
            (T::Decimal256(76, 3), "DECIMAL(76, 3)"),
            (T::Utf8, "STRING"),
            (T::LargeUtf8, "STRING"),
            (T::Utf8View, "STRING"),
            (T::Binary, "BYTES"),
            (T::LargeBinary, "BYTES"),
            (T::BinaryView, "BYTES"),
            (T::FixedSizeBinary(16), "BINARY(16)"),
            (T::Date32, "DATE"),
            (T::Date64, "DATE"),
            (T::Time32(TimeUnit::Second), "TIME(0)"),
            (T::Time32(TimeUnit::Millisecond), "TIME(3)"),
            (T::Time64(TimeUnit::Microsecond), "TIME(6)"),
            (T::Time64(TimeUnit::Nanosecond), "TIME(9)"),
            (T::Timestamp(TimeUnit::Second, None), "TIMESTAMP(0)"),
            (T::Timestamp(TimeUnit::Millisecond, None), "TIMESTAMP(3)"),
            (T::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), "TIMESTAMP_LTZ(9)"),
            (T::Interval(IntervalUnit::MonthDayNano), "INTERVAL"),
            (T::Duration(TimeUnit::Millisecond), "INTERVAL"),
            (T::List(item(T::Utf8View)), "ARRAY<STRING>"),
            (T::LargeList(item(T::Int8)), "ARRAY<TINYINT>"),
            (T::ListView(item(T::Int8)), "ARRAY<TINYINT>"),
            (T::LargeListView(item(T::Int8)), "ARRAY<TINYINT>"),
            (T::FixedSizeList(item(T::List(item(T::Date32))), 3), "ARRAY<ARRAY<DATE>>"),
            (row.clone(), "ROW<`a` INT, `b``c` STRING>"),
            (T::List(item(row)), "ARRAY<ROW<`a` INT, `b``c` STRING>>"),
            (map(T::Struct(pair)), "MAP<STRING, BIGINT>"),
            (map(T::Utf8), "MAP<STRING>"),
            (T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)), "STRING"),
            (T::RunEndEncoded(item(T::Int32), item(T::Float64)), "DOUBLE"),
            (T::Union(UnionFields::empty(), UnionMode::Sparse), "RAW"),
        ];
        for (data_type, name) in cases {
            assert_eq!(type_name(&data_type), name, "{data_type:?}");
        }
    }
}
