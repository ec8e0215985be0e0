//! The CSV encoder: a batch in, one record per row out. Values are written as in JSON, without JSON's quotes; nested values are
//! their JSON text.

use super::CsvOptions;
use crate::format::json::Cell;
use crate::format::{Encoded, Encoder};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use thalweg_engine::error::{Error, Result};

/// Encodes each row as one CSV record, without a line end.
#[derive(Debug)]
pub struct CsvEncoder {
    options: CsvOptions,
    scratch: Vec<u8>,
}

impl CsvEncoder {
    /// An encoder with these options.
    ///
    /// # Errors
    /// `user`, if an option cannot be used.
    pub fn new(options: CsvOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, scratch: Vec::new() })
    }

    /// The record that names the columns; empty unless the options ask for one.
    ///
    /// # Errors
    /// `user`, if a name needs quotes and quoting is off.
    pub fn header(&self, schema: &Schema) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if self.options.header {
            for (at, field) in schema.fields().iter().enumerate() {
                if at > 0 {
                    out.push(self.options.delimiter);
                }
                push_value(field.name().as_bytes(), &self.options, &mut out)?;
            }
        }
        Ok(out)
    }

    fn write_row(&mut self, cells: &[(String, Cell)], row: usize, out: &mut Vec<u8>) -> Result<()> {
        for (at, (name, cell)) in cells.iter().enumerate() {
            if at > 0 {
                out.push(self.options.delimiter);
            }
            if cell.is_null(row) {
                out.extend_from_slice(self.options.null_literal.as_deref().unwrap_or_default().as_bytes());
                continue;
            }
            self.scratch.clear();
            let written = cell.write_plain(row, &mut self.scratch);
            let written = written.and_then(|()| push_value(&self.scratch, &self.options, out));
            written.map_err(|error| error.context(format!("column `{name}`")))?;
        }
        Ok(())
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Encoded) -> Result<()> {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let cells = batch.columns().iter().map(Cell::new).collect::<Result<Vec<_>>>()?;
        let cells: Vec<_> = names.zip(cells).collect();
        let (bytes, rows) = (out.bytes.len(), out.ends.len());
        for row in 0..batch.num_rows() {
            if let Err(error) = self.write_row(&cells, row, &mut out.bytes) {
                out.bytes.truncate(bytes);
                out.ends.truncate(rows);
                return Err(error);
            }
            out.ends.push(out.bytes.len());
        }
        Ok(())
    }
}

/// Appends a value, in quotes where it would otherwise be read as something else.
fn push_value(value: &[u8], options: &CsvOptions, out: &mut Vec<u8>) -> Result<()> {
    let breaks =
        |byte: &u8| *byte == options.delimiter || Some(*byte) == options.quote || matches!(byte, b'\n' | b'\r');
    let literal = options.null_literal.as_ref().is_some_and(|literal| literal.as_bytes() == value);
    // An empty value in quotes keeps a record with one column from being an empty line.
    if !literal && !value.is_empty() && !value.iter().any(breaks) {
        out.extend_from_slice(value);
        return Ok(());
    }
    let Some(quote) = options.quote else {
        if value.is_empty() && !literal {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(value).chars().take(40).collect();
        return Err(Error::user(format!("`{shown}` needs quotes, but quoting is off")));
    };
    out.push(quote);
    for byte in value {
        if *byte == quote {
            out.push(quote);
        }
        out.push(*byte);
    }
    out.push(quote);
    Ok(())
}
