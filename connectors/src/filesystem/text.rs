//! Reads the records of one split of a JSON or CSV file, decompressed on the way, in chunks.
//!
//! Called by the reader. Positions are places in the decompressed file: a record's first byte.
//!
//! Invariants
//! - T1 memory is bounded by one chunk and one line.
//! - T2 a range gives exactly the records that start in it; the one in which it begins belongs to the range before.
//! - T3 a byte order mark at the start of the file belongs to no record, and places count it.

use super::discover::FileSplit;
use super::options::{Compression, FileFormat, FileOptions};
use super::store::{self, Input};
use crate::format::csv::CsvDecoder;
use crate::format::json::JsonDecoder;
use crate::format::lines::LineSplitter;
use crate::format::{BadRecord, Decoded, Decoder, Record};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_engine::Waker;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;

/// UTF-8's byte order mark, which some programs write in front of a text.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A decoder of either format; CSV may take the names of its fields from the file.
enum Format {
    Json(JsonDecoder),
    Csv { decoder: CsvDecoder, header: bool },
}

impl Format {
    fn decoder(&mut self) -> &mut dyn Decoder {
        match self {
            Format::Json(decoder) => decoder,
            Format::Csv { decoder, .. } => decoder,
        }
    }
}

/// Rows that a chunk gave, with the places of their records.
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    /// The place of each row.
    pub(super) places: Vec<u64>,
    /// Where the next record starts.
    pub(super) next: u64,
    pub(super) bad: Vec<BadRecord>,
}

/// One split, being read.
pub(super) struct TextReader {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// What that reads from.
    source: Input,
    lines: LineSplitter,
    format: Format,
    chunk: Vec<u8>,
    /// Records before this place are stepped over: of the range before, or given before a restore.
    from: u64,
    /// Records from this place on belong to the next range.
    end: u64,
    /// Bytes taken from the (decompressed) file up to here.
    taken: u64,
    /// How long the file must be, unless it is compressed.
    expected: Option<u64>,
    header_due: bool,
    done: bool,
}

impl TextReader {
    /// Opens a split at a position.
    pub(super) fn open(
        split: &FileSplit,
        options: &FileOptions,
        (schema, fields): (SchemaRef, &[String]),
        position: Option<u64>,
        (metrics, wake): (&Arc<NodeMetrics>, &Waker),
    ) -> Result<TextReader> {
        let compression = Compression::of_name(&split.path.to_string_lossy());
        let format = match &options.format {
            FileFormat::Json(_) => Format::Json(JsonDecoder::new(schema)?),
            FileFormat::Csv(csv) => {
                Format::Csv { decoder: CsvDecoder::new(schema, fields, csv.clone())?, header: csv.header }
            }
            FileFormat::Parquet(_) => return Err(Error::internal("parquet is no text")),
        };
        let header_due = matches!(format, Format::Csv { header: true, .. });
        let from = position.unwrap_or(split.start);
        // Reading starts one byte before a range, so that a record which starts right at it is seen to start there; what starts
        // before is stepped over. A position is known to begin a record.
        let partial = position.is_none() && split.start > 0;
        let whole = compression != Compression::None || header_due;
        let at = if whole { 0 } else { from - u64::from(partial) };
        let source = options.store.open(&split.path, at, split.bytes, wake)?;
        let file = store::Counted { input: source.clone(), metrics: metrics.clone() };
        let mut input: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file))),
            Compression::Zstd => {
                Box::new(zstd::Decoder::new(file).map_err(|e| store::failure("open", &split.path, &e))?)
            }
        };
        let (mut at, mut end) = (at, if compression == Compression::None { split.end } else { u64::MAX });
        if from == 0 || whole {
            let start = start_of(&mut input).map_err(|e| e.context(format!("file `{}`", split.path.display())))?;
            if start == MARK {
                at = MARK.len() as u64;
                // The first record stands behind the mark, and is this range's even if a tiny one ends before: others that start
                // inside of the mark take the line for one that began before them.
                end = if from == 0 { end.max(at + 1) } else { end };
            } else {
                input = Box::new(Cursor::new(start).chain(input));
            }
        }
        let limit = options.max_line_bytes;
        let lines = match &options.format {
            FileFormat::Csv(csv) if csv.quote.is_some() => {
                LineSplitter::quoted(limit, at, csv.quote.unwrap_or(b'"'), csv.delimiter)
            }
            _ => LineSplitter::new(limit, at),
        };
        let plain = compression == Compression::None;
        Ok(TextReader {
            path: split.path.clone(),
            input,
            source,
            lines,
            format,
            chunk: vec![0; CHUNK_BYTES],
            from,
            end,
            taken: at,
            expected: plain.then_some(split.bytes),
            header_due,
            done: false,
        })
    }

    /// Whether the next chunk is there; if not, its arrival wakes the reader.
    pub(super) fn is_ready(&self) -> bool {
        self.done || self.source.is_ready()
    }

    /// The rows of the next chunk that has any; `None` at the end of the split.
    pub(super) fn next(&mut self) -> Result<Option<Rows>> {
        while !self.done {
            if let Some(rows) = self.chunk().map_err(|e| e.context(format!("file `{}`", self.path.display())))? {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    fn chunk(&mut self) -> Result<Option<Rows>> {
        let count = loop {
            match self.input.read(&mut self.chunk) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(unreadable(self.taken, &e));
                }
                Ok(count) => break count,
            }
        };
        self.taken += count as u64;
        if let Some(bytes) = self.expected.filter(|bytes| count == 0 && self.taken < *bytes) {
            let text = format!("ends at byte {}, but had {bytes} bytes when the job started", self.taken);
            return Err(Error::user(text));
        }
        let mut places = Vec::new();
        let (range, header_due) = ((self.from, self.end), &mut self.header_due);
        if count == 0 {
            self.done = true;
            let records: Vec<Record<'_>> = self.lines.finish()?.collect();
            take(&mut self.format, header_due, range, &records, &mut places)?;
        } else {
            let bytes = self.chunk.get(..count).unwrap_or_default();
            let records: Vec<Record<'_>> = self.lines.push(bytes)?.collect();
            take(&mut self.format, header_due, range, &records, &mut places)?;
        }
        let next = self.lines.position();
        self.done |= next >= self.end;
        if places.is_empty() {
            return Ok(None);
        }
        let Decoded { batch, bad } = self.format.decoder().flush()?;
        let mut bad_at = bad.iter().map(|b| b.index).peekable();
        let mut index = 0;
        places.retain(|_| {
            let is_bad = bad_at.next_if_eq(&index).is_some();
            index += 1;
            !is_bad
        });
        Ok(Some(Rows { batch, places, next, bad }))
    }
}

/// What the storage says, or what is wrong with the file.
fn unreadable(after: u64, e: &std::io::Error) -> Error {
    let known = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    known.cloned().unwrap_or_else(|| Error::user(format!("cannot be read after byte {after}: {e}")))
}

/// The first bytes of a text, as many as a mark has. Errors: they say that it is in no encoding that can be read.
fn start_of(input: &mut impl Read) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(MARK.len());
    let read = input.take(MARK.len() as u64).read_to_end(&mut start);
    read.map_err(|e| unreadable(start.len() as u64, &e))?;
    if start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF") {
        return Err(Error::user("begins with the byte order mark of UTF-16; only UTF-8 can be read: convert it"));
    }
    Ok(start)
}

/// Gives the records that belong to the range to the decoder.
fn take(
    format: &mut Format,
    header_due: &mut bool,
    (from, end): (u64, u64),
    records: &[Record<'_>],
    places: &mut Vec<u64>,
) -> Result<()> {
    let mut records = records;
    if let (Some((first, rest)), true) = (records.split_first(), *header_due) {
        *header_due = false;
        if let Format::Csv { decoder, .. } = format {
            decoder.read_header(first.bytes)?;
        }
        records = rest;
    }
    let begin = records.iter().position(|r| r.position >= from).unwrap_or(records.len());
    let stop = records.iter().position(|r| r.position >= end).unwrap_or(records.len());
    let ours = records.get(begin..stop).unwrap_or_default();
    format.decoder().push(ours);
    places.extend(ours.iter().map(|r| r.position));
    Ok(())
}
