//! The JSON decoder: records in, a batch and the bad records out.

use super::cursor::{Cursor, Fault, Read};
use super::object;
use crate::format::column::Structs;
use crate::format::{BadRecord, Decoded, Decoder, MAX_BATCH_BYTES, Record};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use thalweg_engine::error::Result;

/// Decodes JSON objects along a schema: the columns that somebody reads, reaching into structs. Fields are found by name, letters
/// and case exactly.
pub struct JsonDecoder {
    schema: SchemaRef,
    rows: Structs,
    scratch: Vec<u8>,
    bad: Vec<BadRecord>,
    pending: usize,
    pending_bytes: usize,
}

impl JsonDecoder {
    /// Prepares for a schema.
    ///
    /// # Errors
    /// `user`, if a column's type cannot be read from JSON.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let rows = Structs::new(schema.fields())?;
        Ok(Self { schema, rows, scratch: Vec::new(), bad: Vec::new(), pending: 0, pending_bytes: 0 })
    }

    fn read(&mut self, bytes: &[u8]) -> Read<()> {
        if bytes.len() > MAX_BATCH_BYTES - self.pending_bytes {
            let length = bytes.len();
            return Err(Fault::new(format!("{length} bytes more than one batch holds ({MAX_BATCH_BYTES} bytes)")));
        }
        let mut cursor = Cursor::new(bytes);
        cursor.skip_space();
        object::read_object(&mut self.rows, &mut cursor, &mut self.scratch)?;
        cursor.expect_end()?;
        if cursor.saw_high_bytes()
            && let Err(error) = std::str::from_utf8(bytes)
        {
            return Err(Fault::new(format!("invalid UTF-8 at byte {}", error.valid_up_to())));
        }
        self.pending_bytes += bytes.len();
        Ok(())
    }

    #[cold]
    fn reject(&mut self, record: &Record<'_>, rows: usize, fault: &Fault) {
        self.rows.truncate(rows);
        self.bad.push(BadRecord {
            index: self.pending,
            position: record.position,
            reason: fault.message(),
            raw: record.bytes.to_vec(),
        });
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn push(&mut self, records: &[Record<'_>]) {
        for record in records {
            let rows = self.rows.len();
            if let Err(fault) = self.read(record.bytes) {
                self.reject(record, rows, &fault);
            }
            self.pending += 1;
        }
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn flush(&mut self) -> Result<Decoded> {
        let (columns, length, _) = self.rows.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(length));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        (self.pending, self.pending_bytes) = (0, 0);
        Ok(Decoded { batch, bad: std::mem::take(&mut self.bad) })
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
