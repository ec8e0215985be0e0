//! Type names to Arrow types, as Flink means them.
//!
//! [`parse_type`] reads the types of DDL, nested ones included; [`arrow_type`] maps what sqlparser read elsewhere (`CAST`).
//!
//! Invariants
//! - TY1 timestamps are milliseconds up to precision 3, microseconds up to 6, nanoseconds up to 9; without a precision it is 6.
//! - TY2 strings are `Utf8`, never views: views carry whole buffers over the wire.

use crate::error::{Fault, Result};
use crate::parser::{Tokens, fault_at, is_word};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};
use datafusion_sql::sqlparser::ast::{self as sql, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};
use datafusion_sql::sqlparser::tokenizer::{Span, Token};
use std::sync::Arc;

/// Reads a type of a column definition.
pub(crate) fn parse_type(p: &mut Tokens<'_>) -> Result<DataType> {
    let first = p.peek_token();
    let nested = |t: Token| matches!(t, Token::Lt | Token::LParen);
    let second = p.peek_nth_token(1).token;
    match &first.token {
        // `ROW<` became `STRUCT<` in the token list.
        t if (is_word(t, "STRUCT") || is_word(t, "ROW")) && nested(second.clone()) => {
            p.next_token();
            parse_row(p)
        }
        t if is_word(t, "ARRAY") && second == Token::Lt => {
            p.next_token();
            p.next_token();
            let element = parse_type(p)?;
            let nullable = parse_nullable(p);
            expect(p, &Token::Gt)?;
            Ok(DataType::List(Arc::new(Field::new("item", element, nullable))))
        }
        t if is_word(t, "MAP") && second == Token::Lt => {
            p.next_token();
            p.next_token();
            parse_map(p)
        }
        _ => {
            let parsed = p.parse_data_type().map_err(|e| fault_at(e, p))?;
            arrow_type(&parsed).map_err(|fault| fault.at(first.span))
        }
    }
}

/// `NOT NULL` or `NULL` after a type; nullable unless it says otherwise.
pub(crate) fn parse_nullable(p: &mut Tokens<'_>) -> bool {
    use datafusion_sql::sqlparser::keywords::Keyword;
    if p.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
        return false;
    }
    // An explicit NULL says what holds anyway.
    let _ = p.parse_keyword(Keyword::NULL);
    true
}

fn expect(p: &mut Tokens<'_>, token: &Token) -> Result<()> {
    p.expect_token(token).map(|_| ()).map_err(|e| fault_at(e, p))
}

fn parse_row(p: &mut Tokens<'_>) -> Result<DataType> {
    let close = if p.next_token().token == Token::Lt { Token::Gt } else { Token::RParen };
    let mut fields: Vec<Field> = vec![];
    loop {
        let name = p.parse_identifier().map_err(|e| fault_at(e, p))?;
        if fields.iter().any(|f| *f.name() == name.value) {
            return Err(Fault::invalid(name.span, format!("field `{}` stands twice in one ROW", name.value)));
        }
        let data_type = parse_type(p)?;
        let nullable = parse_nullable(p);
        fields.push(Field::new(name.value, data_type, nullable));
        if is_word(&p.peek_token().token, "COMMENT") {
            p.next_token();
            p.parse_literal_string().map_err(|e| fault_at(e, p))?;
        }
        if !p.consume_token(&Token::Comma) {
            expect(p, &close)?;
            return Ok(DataType::Struct(Fields::from(fields)));
        }
    }
}

fn parse_map(p: &mut Tokens<'_>) -> Result<DataType> {
    let key = parse_type(p)?;
    parse_nullable(p);
    expect(p, &Token::Comma)?;
    let value = parse_type(p)?;
    let nullable = parse_nullable(p);
    expect(p, &Token::Gt)?;
    Ok(map_type(key, value, nullable))
}

fn map_type(key: DataType, value: DataType, nullable: bool) -> DataType {
    let entry = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, nullable)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// The Arrow type of a type that sqlparser read. The fault has no place yet.
pub(crate) fn arrow_type(parsed: &sql::DataType) -> Result<DataType> {
    use sql::DataType as T;
    Ok(match parsed {
        T::Boolean | T::Bool => DataType::Boolean,
        T::TinyInt(_) => DataType::Int8,
        T::SmallInt(_) | T::Int2(_) => DataType::Int16,
        T::Int(_) | T::Integer(_) | T::Int4(_) => DataType::Int32,
        T::BigInt(_) | T::Int8(_) => DataType::Int64,
        T::Float(_) | T::Float4 | T::Real => DataType::Float32,
        T::Double(_) | T::DoublePrecision | T::Float8 => DataType::Float64,
        T::Decimal(n) | T::Numeric(n) | T::Dec(n) => decimal(n)?,
        T::Char(_) | T::Character(_) | T::Varchar(_) | T::CharacterVarying(_) | T::CharVarying(_) => DataType::Utf8,
        T::String(_) | T::Text => DataType::Utf8,
        T::Bytes(_) | T::Binary(_) | T::Varbinary(_) => DataType::Binary,
        T::Date => DataType::Date32,
        T::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => time(*precision)?,
        T::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => timestamp(*precision, false)?,
        T::Array(ArrayElemTypeDef::AngleBracket(element)) => {
            DataType::List(Arc::new(Field::new("item", arrow_type(element)?, true)))
        }
        T::Map(key, value) => map_type(arrow_type(key)?, arrow_type(value)?, true),
        T::Struct(fields, _) => DataType::Struct(fields.iter().map(row_field).collect::<Result<_>>()?),
        T::Custom(name, arguments) => return custom(&name.to_string(), arguments),
        other => return Err(unknown_type(&other.to_string())),
    })
}

fn row_field(field: &sql::StructField) -> Result<Field> {
    let Some(name) = &field.field_name else {
        return Err(
            Fault::invalid(Span::empty(), "a field of a ROW type has no name").remedy("write ROW<name TYPE, ..>")
        );
    };
    Ok(Field::new(name.value.clone(), arrow_type(&field.field_type)?, true))
}

fn custom(name: &str, arguments: &[String]) -> Result<DataType> {
    if name.eq_ignore_ascii_case("TIMESTAMP_LTZ") {
        let precision = match arguments {
            [] => None,
            [one] => Some(one.parse().map_err(|_| bad_precision("TIMESTAMP_LTZ", one))?),
            _ => return Err(bad_precision("TIMESTAMP_LTZ", &arguments.join(", "))),
        };
        return timestamp(precision, true);
    }
    Err(unknown_type(name))
}

fn unknown_type(name: &str) -> Fault {
    let instead = match name.to_ascii_uppercase().as_str() {
        n if n.starts_with("MULTISET") => "write ARRAY<..>",
        n if n.starts_with("JSON") || n.starts_with("UUID") => "write STRING",
        n if n.contains("UNSIGNED") || n.starts_with("UINT") => "write BIGINT or DECIMAL(20, 0)",
        n if n.starts_with("DATETIME") || n.starts_with("TIMESTAMPTZ") => "write TIMESTAMP(3) or TIMESTAMP_LTZ(3)",
        n if n.starts_with("TIMESTAMP") || n.starts_with("TIME") => "write TIMESTAMP_LTZ(3)",
        n if n.starts_with("INTERVAL") => "write BIGINT, with the unit in the column's name",
        _ => {
            "write one of BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), STRING, BYTES, DATE, TIME, \
              TIMESTAMP(p), TIMESTAMP_LTZ(p), ARRAY<t>, MAP<k, v>, ROW<name t, ..>"
        }
    };
    Fault::invalid(Span::empty(), format!("type `{name}` is not known")).remedy(instead)
}

/// Flink's default is `DECIMAL(10, 0)`.
fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(p) => (p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (p, s),
    };
    let fits = (1..=u64::from(DECIMAL128_MAX_PRECISION)).contains(&precision)
        && scale >= 0
        && scale.unsigned_abs() <= precision;
    match (fits, u8::try_from(precision), i8::try_from(scale)) {
        (true, Ok(p), Ok(s)) => Ok(DataType::Decimal128(p, s)),
        _ => Err(Fault::invalid(Span::empty(), format!("DECIMAL({precision}, {scale}) does not exist"))
            .remedy(format!("write a precision of 1 to {DECIMAL128_MAX_PRECISION} and a scale of 0 to the precision"))),
    }
}

fn bad_precision(name: &str, precision: &str) -> Fault {
    Fault::invalid(Span::empty(), format!("{name}({precision}) does not exist")).remedy(format!("write {name}(3)"))
}

fn timestamp(precision: Option<u64>, local: bool) -> Result<DataType> {
    let zone = local.then(|| Arc::from("UTC"));
    let unit = match precision.unwrap_or(6) {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        7..=9 => TimeUnit::Nanosecond,
        p => return Err(bad_precision(if local { "TIMESTAMP_LTZ" } else { "TIMESTAMP" }, &p.to_string())),
    };
    Ok(DataType::Timestamp(unit, zone))
}

fn time(precision: Option<u64>) -> Result<DataType> {
    match precision.unwrap_or(0) {
        0..=3 => Ok(DataType::Time32(TimeUnit::Millisecond)),
        4..=6 => Ok(DataType::Time64(TimeUnit::Microsecond)),
        7..=9 => Ok(DataType::Time64(TimeUnit::Nanosecond)),
        p => Err(bad_precision("TIME", &p.to_string())),
    }
}
