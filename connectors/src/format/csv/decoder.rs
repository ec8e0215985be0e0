//! The CSV decoder: fields by position, straight into column buffers; fields nobody reads are stepped over.

use super::CsvOptions;
use crate::format::column::Column;
use crate::format::{BadRecord, Decoded, Decoder, MAX_BATCH_BYTES, Record};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use thalweg_engine::error::{Error, Result};
use thalweg_engine::type_name;

/// Decodes CSV records along a schema: those of the file's columns that somebody reads.
pub struct CsvDecoder {
    schema: SchemaRef,
    options: CsvOptions,
    columns: Vec<Target>,
    /// For each field of a record, the column it goes into.
    targets: Vec<Option<usize>>,
    scratch: Vec<u8>,
    rows: usize,
    bad: Vec<BadRecord>,
    pending: usize,
    pending_bytes: usize,
}

struct Target {
    name: String,
    column: Column,
    nullable: bool,
    text: bool,
}

impl CsvDecoder {
    /// Prepares for a schema. `fields` names all fields of a record in their order; those that `schema` lacks are stepped over.
    ///
    /// # Errors
    /// `user`, if an option cannot be used, a column's type cannot be read from CSV, or a column is no field.
    pub fn new(schema: SchemaRef, fields: &[String], options: CsvOptions) -> Result<Self> {
        options.validate()?;
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name = field.name().clone();
            if field.data_type().is_nested() {
                let text = format!("column `{name}`: type {} cannot be read from CSV", type_name(field.data_type()));
                return Err(Error::user(text));
            }
            let column = Column::new(field.data_type()).map_err(|error| error.context(format!("column `{name}`")))?;
            let text = field.data_type() == &DataType::Utf8;
            columns.push(Target { name, column, nullable: field.is_nullable(), text });
        }
        let mut decoder = Self {
            schema,
            options,
            columns,
            targets: Vec::new(),
            scratch: Vec::new(),
            rows: 0,
            bad: Vec::new(),
            pending: 0,
            pending_bytes: 0,
        };
        decoder.set_fields(fields)?;
        Ok(decoder)
    }

    /// Takes the order of the fields from a file's first record.
    ///
    /// # Errors
    /// `user`, if the record is no CSV or lacks a column.
    pub fn read_header(&mut self, record: &[u8]) -> Result<()> {
        let mut names = Vec::new();
        let mut rest = Some(record);
        while let Some(text) = rest {
            let field = next_field(text, &self.options, &mut self.scratch);
            let (value, _, after) = field.map_err(|reason| Error::user(format!("header: {reason}")))?;
            names.push(String::from_utf8_lossy(value).trim().to_owned());
            rest = after;
        }
        self.set_fields(&names).map_err(|error| error.context("header"))
    }

    fn set_fields(&mut self, fields: &[String]) -> Result<()> {
        for target in &self.columns {
            if !fields.contains(&target.name) {
                return Err(Error::user(format!("no field `{}` among `{}`", target.name, fields.join("`, `"))));
            }
        }
        self.targets =
            fields.iter().map(|field| self.columns.iter().position(|target| &target.name == field)).collect();
        Ok(())
    }

    fn read(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        if bytes.len() > MAX_BATCH_BYTES - self.pending_bytes {
            return Err(format!("{} bytes more than one batch holds ({MAX_BATCH_BYTES} bytes)", bytes.len()));
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(format!("invalid UTF-8 at byte {}", error.valid_up_to()));
        }
        let mut rest = Some(bytes);
        for (number, target) in self.targets.iter().enumerate() {
            let Some(text) = rest else {
                return Err(format!("{number} fields instead of {}", self.targets.len()));
            };
            let (value, quoted, after) = next_field(text, &self.options, &mut self.scratch)?;
            if let Some(target) = target.and_then(|at| self.columns.get_mut(at)) {
                target.push(value, quoted, &self.options)?;
            }
            rest = after;
        }
        if rest.is_some() {
            return Err(format!("more than {} fields", self.targets.len()));
        }
        self.pending_bytes += bytes.len();
        Ok(())
    }
}

impl Target {
    fn push(&mut self, value: &[u8], quoted: bool, options: &CsvOptions) -> std::result::Result<(), String> {
        let literal = options.null_literal.as_ref().is_some_and(|literal| literal.as_bytes() == value);
        let null = !quoted && (literal || (value.is_empty() && !self.text));
        if null && !self.nullable {
            return Err(format!("field `{}`: NULL, but the column is NOT NULL", self.name));
        }
        if null {
            self.column.push_nulls(1);
            return Ok(());
        }
        let value = if self.text { value } else { value.trim_ascii() };
        if self.column.push_text(value) {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(value).chars().take(40).collect();
        let is_header = value.eq_ignore_ascii_case(self.name.as_bytes());
        let hint =
            if is_header { "; where the first record of a file names the columns, `csv.header` says so" } else { "" };
        Err(format!("field `{}`: `{shown}` is no value of the column's type{hint}", self.name))
    }
}

type Field<'a, 's> = (&'s [u8], bool, Option<&'a [u8]>);

/// The next field's value, whether it was quoted, and what follows its delimiter (`None` at the end of the record).
fn next_field<'a, 's>(
    text: &'a [u8],
    options: &CsvOptions,
    scratch: &'s mut Vec<u8>,
) -> std::result::Result<Field<'a, 's>, String>
where
    'a: 's,
{
    match (text.split_first(), options.quote) {
        (Some((first, rest)), Some(quote)) if *first == quote => quoted_field(rest, quote, options.delimiter, scratch),
        _ => {
            let end = memchr::memchr(options.delimiter, text);
            let value = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
            Ok((value, false, end.and_then(|end| text.get(end + 1..))))
        }
    }
}

fn quoted_field<'a, 's>(
    text: &'a [u8],
    quote: u8,
    delimiter: u8,
    scratch: &'s mut Vec<u8>,
) -> std::result::Result<Field<'a, 's>, String>
where
    'a: 's,
{
    scratch.clear();
    let mut rest = text;
    let mut doubled = false;
    loop {
        let end = memchr::memchr(quote, rest).ok_or("a quote is never closed")?;
        let (value, after) = rest.split_at_checked(end).unwrap_or_default();
        match after.get(1) {
            Some(byte) if *byte == quote => {
                scratch.extend_from_slice(value);
                scratch.push(quote);
                doubled = true;
                rest = after.get(2..).unwrap_or_default();
            }
            Some(byte) if *byte != delimiter => {
                return Err(format!("`{}` after a closing quote", byte.escape_ascii()));
            }
            _ => {
                let value = if doubled {
                    scratch.extend_from_slice(value);
                    scratch.as_slice()
                } else {
                    value
                };
                return Ok((value, true, after.get(2..)));
            }
        }
    }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn push(&mut self, records: &[Record<'_>]) {
        for record in records {
            match self.read(record.bytes) {
                Ok(()) => self.rows += 1,
                Err(reason) => {
                    self.columns.iter_mut().for_each(|target| target.column.truncate(self.rows));
                    let (index, position) = (self.pending, record.position);
                    self.bad.push(BadRecord { index, position, reason, raw: record.bytes.to_vec() });
                }
            }
            self.pending += 1;
        }
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn flush(&mut self) -> Result<Decoded> {
        let fields = self.schema.fields().iter();
        let columns =
            self.columns.iter_mut().zip(fields).map(|(target, field)| target.column.finish(field.data_type()));
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        (self.rows, self.pending, self.pending_bytes) = (0, 0, 0);
        Ok(Decoded { batch, bad: std::mem::take(&mut self.bad) })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
