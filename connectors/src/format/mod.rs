//! Record formats: bytes of one record to Arrow rows and back. Called by connectors; knows neither files nor brokers.
//!
//! A connector cuts its input into records (a message is one; `lines` and `csv` cut files), pushes them into a [`Decoder`] and
//! flushes a batch. A bad record never spoils the batch: it comes back with its reason and its bytes, and the caller's policy
//! (fail, skip, dead letter) decides.
//!
//! | file | holds |
//! |---|---|
//! | `json` | JSON objects, decoded straight into column buffers along the schema that is left after pruning |
//! | `csv` | RFC 4180 records |
//! | `lines` | cuts a byte stream into lines |
//! | `column` | columns under construction; undo by truncation |
//! | `scalar`, `datetime` | text to values |
//! | `scan` | finds the end of a run of plain string bytes, 16 at a time |

mod column;
pub mod csv;
pub mod datetime;
pub mod json;
pub mod lines;
pub(crate) mod scalar;
mod scan;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use thalweg_engine::error::Result;

/// The most bytes of records between two flushes; keeps every offset of a column within 32 bits.
pub const MAX_BATCH_BYTES: usize = i32::MAX as usize / 2;

/// One record as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where it came from, in the caller's terms (an offset); comes back with a bad record.
    pub position: u64,
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Which record since the last flush, counted from 0; good and bad ones count.
    pub index: usize,
    /// The position it was pushed with.
    pub position: u64,
    /// Why, as a lowercase fragment.
    pub reason: String,
    /// Its bytes.
    pub raw: Vec<u8>,
}

/// What came of the records since the last flush.
#[derive(Debug)]
pub struct Decoded {
    /// One row per good record, in order.
    pub batch: RecordBatch,
    /// The other records, in order.
    pub bad: Vec<BadRecord>,
}

/// Turns records into rows. One record is one row, or one bad record.
pub trait Decoder: Send {
    /// The columns of the batches.
    fn schema(&self) -> &SchemaRef;

    /// Decodes records into the batch under construction. Together they may have [`MAX_BATCH_BYTES`] between two flushes; what
    /// goes beyond is a bad record.
    fn push(&mut self, records: &[Record<'_>]);

    /// Records pushed since the last flush, good and bad.
    fn pending(&self) -> usize;

    /// Ends the batch under construction and starts the next.
    ///
    /// # Errors
    /// `internal`, if the columns do not fit together.
    fn flush(&mut self) -> Result<Decoded>;
}

/// Encoded rows, one after the other without separators.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All rows, without anything between them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(*start..*end).unwrap_or_default())
    }

    /// The bytes of row `index`; none if there is no such row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Turns rows into records.
pub trait Encoder: Send {
    /// Appends every row of `batch` to `out`.
    ///
    /// # Errors
    /// `user`, if a value cannot be written in this format; `out` then holds no row of `batch`.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Encoded) -> Result<()>;
}
