//! The record formats of a table by name, with their options: `json.*`, `csv.*`, for one part with `value.` or `key.` in front.
//!
//! Called by the planner between [`KafkaOptions::parse`](super::KafkaOptions::parse), which hands these options back, and
//! [`plan_source`](super::plan_source) or [`plan_sink`](super::plan_sink), which ask for decoders and encoders.

use super::sink::EncoderFactory;
use super::source::DecoderFactory;
use super::table::{FormatRequest, RecordPart};
use crate::format::csv::{CsvDecoder, CsvEncoder, CsvOptions};
use crate::format::json::{JsonDecoder, JsonEncoder, JsonEncoderOptions};
use crate::options::nearest;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

/// The options of one part's format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PartOptions {
    csv: CsvOptions,
    json: JsonEncoderOptions,
}

/// The options of a table's formats, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    value: PartOptions,
    key: PartOptions,
}

/// Options of formats, without the part in front; the policies for bad records are the planner's.
pub const FORMAT_OPTIONS: &[&str] = &[
    "csv.disable-quote-character",
    "csv.field-delimiter",
    "csv.null-literal",
    "csv.quote-character",
    "json.encode.ignore-null-fields",
];

/// Said twice per table by Flink's users, and meant for the table.
const BAD_RECORD_OPTIONS: &[&str] = &["json.ignore-parse-errors", "csv.ignore-parse-errors"];

impl Formats {
    /// Takes the options of formats out of `rest`; what stays there is the planner's. Errors: `user`, for unknown options and values
    /// that mean nothing.
    pub fn parse(rest: &mut BTreeMap<String, String>) -> Result<Formats> {
        let mut formats = Formats::default();
        let ours = |name: &str| {
            let bare = name.strip_prefix("value.").or(name.strip_prefix("key.")).unwrap_or(name);
            let format = bare.starts_with("json.") || bare.starts_with("csv.");
            (format && !BAD_RECORD_OPTIONS.contains(&name)).then(|| bare.to_owned())
        };
        let taken: Vec<(String, String)> = rest.keys().filter_map(|n| Some((n.clone(), ours(n)?))).collect();
        for (name, bare) in taken {
            let value = rest.remove(&name).unwrap_or_default();
            let (of_value, of_key) = (!name.starts_with("key."), !name.starts_with("value."));
            for (part, wanted) in [(&mut formats.value, of_value), (&mut formats.key, of_key)] {
                if wanted {
                    set(part, &name, &bare, &value)?;
                }
            }
        }
        formats.value.csv.validate()?;
        formats.key.csv.validate()?;
        Ok(formats)
    }

    fn of(&self, part: RecordPart) -> PartOptions {
        match part {
            RecordPart::Value => self.value.clone(),
            RecordPart::Key => self.key.clone(),
        }
    }

    /// How records of a part are read. Errors: `user`, for a format that does not exist, and columns that it cannot read.
    pub fn decoder(&self, request: FormatRequest<'_>) -> Result<DecoderFactory> {
        let PartOptions { csv, .. } = self.of(request.part);
        let FormatRequest { schema, fields, .. } = request;
        let make: DecoderFactory = match request.format {
            "json" => Arc::new(move || Ok(Box::new(JsonDecoder::new(schema.clone())?))),
            "csv" => Arc::new(move || Ok(Box::new(CsvDecoder::new(schema.clone(), &fields, csv.clone())?))),
            other => return Err(unknown(request.part, other)),
        };
        // A column that the format cannot read is to be told now, and not when the job starts.
        make().map(|_| make)
    }

    /// How records of a part are written. Errors: as for [`decoder`](Formats::decoder).
    pub fn encoder(&self, request: FormatRequest<'_>) -> Result<EncoderFactory> {
        let PartOptions { csv, json } = self.of(request.part);
        match request.format {
            "json" => {
                JsonEncoder::new(json).check(&request.schema)?;
                Ok(Arc::new(move || Ok(Box::new(JsonEncoder::new(json)))))
            }
            "csv" => {
                CsvEncoder::new(csv.clone())?;
                Ok(Arc::new(move || Ok(Box::new(CsvEncoder::new(csv.clone())?))))
            }
            other => Err(unknown(request.part, other)),
        }
    }
}

fn unknown(part: RecordPart, format: &str) -> Error {
    let option = match part {
        RecordPart::Value => "format",
        RecordPart::Key => "key.format",
    };
    Error::user(format!("option `{option}` = '{format}': there are 'json' and 'csv'"))
}

fn set(part: &mut PartOptions, name: &str, bare: &str, value: &str) -> Result<()> {
    let bad = |wanted: &str| Error::user(format!("option `{name}` = '{value}': {wanted}"));
    let flag = || match value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad("expected 'true' or 'false'")),
    };
    let character = || match value {
        r"\t" => Ok(b'\t'),
        _ => match value.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(bad("expected one ASCII character, or '\\t'")),
        },
    };
    match bare {
        "csv.field-delimiter" => part.csv.delimiter = character()?,
        "csv.quote-character" => part.csv.quote = Some(character()?),
        "csv.disable-quote-character" if flag()? => part.csv.quote = None,
        "csv.disable-quote-character" => {}
        "csv.null-literal" => part.csv.null_literal = Some(value.to_owned()),
        "json.encode.ignore-null-fields" => part.json.ignore_null_fields = flag()?,
        _ => {
            let hint = nearest(bare, FORMAT_OPTIONS.iter().copied())
                .map_or_else(|| format!("there are {}", FORMAT_OPTIONS.join(", ")), |o| format!("did you mean `{o}`?"));
            return Err(Error::user(format!("unknown option `{name}`; {hint}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    fn parse(options: &[(&str, &str)]) -> (Result<Formats>, Vec<String>) {
        let mut rest = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let formats = Formats::parse(&mut rest);
        (formats, rest.into_keys().collect())
    }

    fn request(part: RecordPart, format: &str, data_type: DataType) -> FormatRequest<'_> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", data_type, true)]));
        FormatRequest { part, format, schema, fields: vec!["a".to_owned()] }
    }

    #[test]
    fn options_go_to_the_part_they_name_or_to_both() {
        let (formats, rest) = parse(&[
            ("csv.field-delimiter", ";"),
            ("key.csv.null-literal", "NULL"),
            ("value.csv.quote-character", "'"),
            ("json.ignore-parse-errors", "true"),
            ("late.table", "late"),
        ]);
        let formats = formats.unwrap();
        assert_eq!((formats.value.csv.delimiter, formats.key.csv.delimiter), (b';', b';'));
        assert_eq!((formats.value.csv.quote, formats.key.csv.quote), (Some(b'\''), Some(b'"')));
        assert_eq!((formats.value.csv.null_literal, formats.key.csv.null_literal), (None, Some("NULL".to_owned())));
        assert_eq!(rest, ["json.ignore-parse-errors", "late.table"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (option, value, expected) in [
            ("csv.field-delimter", ";", "did you mean `csv.field-delimiter`?"),
            ("csv.field-delimiter", ";;", "expected one ASCII character"),
            ("csv.field-delimiter", "\"", "the same character"),
            ("csv.disable-quote-character", "yes", "expected 'true' or 'false'"),
            ("value.json.zzz", "", "unknown option `value.json.zzz`"),
        ] {
            let error = parse(&[(option, value)]).0.unwrap_err();
            assert!(error.message().contains(expected), "{option}: {error}");
        }
    }

    #[test]
    fn formats_are_made_or_refused_when_planned() {
        let formats = Formats::default();
        for format in ["json", "csv"] {
            assert!(formats.decoder(request(RecordPart::Value, format, DataType::Int64)).is_ok());
            assert!(formats.encoder(request(RecordPart::Key, format, DataType::Int64)).unwrap()().is_ok());
        }
        let error = formats.decoder(request(RecordPart::Key, "avro", DataType::Int64)).err().unwrap();
        assert_eq!(error.message(), "option `key.format` = 'avro': there are 'json' and 'csv'");
        assert!(formats.encoder(request(RecordPart::Value, "xml", DataType::Int64)).is_err());
        let duration = DataType::Duration(arrow::datatypes::TimeUnit::Second);
        assert!(formats.decoder(request(RecordPart::Value, "json", duration)).is_err());
    }
}
