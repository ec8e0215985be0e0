//! One file under construction: rows in, encoded and compressed bytes out. The file is hidden until the committer publishes it.
//!
//! Called by the sink. A file that is dropped unfinished is removed.

use super::options::{Compression, FileFormat, FileOptions, ParquetCompression};
use super::store::{self, Draft, Store};
use crate::format::csv::CsvEncoder;
use crate::format::json::JsonEncoder;
use crate::format::{Encoded, Encoder};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCodec, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_engine::Waker;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::s3::Ticket;

/// Rows of a parquet file that are held in memory until they become a row group.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A file and the bytes that went through it.
struct Counted {
    file: Draft,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

enum Stream {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::Encoder<'static, Counted>),
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(w) => w.write_all(bytes),
            Stream::Gzip(w) => w.write_all(bytes),
            Stream::Zstd(w) => w.write_all(bytes),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Stream::Plain(w) => w.bytes,
            Stream::Gzip(w) => w.get_ref().bytes,
            Stream::Zstd(w) => w.get_ref().bytes,
        }
    }

    fn finish(self) -> std::io::Result<Draft> {
        let mut counted = match self {
            Stream::Plain(w) => w,
            Stream::Gzip(w) => w.finish()?,
            Stream::Zstd(w) => w.finish()?,
        };
        counted.flush()?;
        Ok(counted.file)
    }
}

enum Body {
    Text { stream: Box<Stream>, encoder: Box<dyn Encoder>, encoded: Encoded, lines: Vec<u8> },
    Parquet(Box<ArrowWriter<Draft>>),
}

/// See the module.
pub(super) struct FileWriter {
    path: PathBuf,
    store: Arc<Store>,
    body: Option<Body>,
}

impl FileWriter {
    /// Makes the file `path`, which must not exist, for rows of `schema`.
    pub(super) fn create(path: &Path, schema: &SchemaRef, options: &FileOptions, wake: &Waker) -> Result<FileWriter> {
        let file = options.store.create(path, wake)?;
        let mut writer = FileWriter { path: path.to_owned(), store: options.store.clone(), body: None };
        writer.body = Some(match &options.format {
            FileFormat::Json(json) => text(file, Box::new(JsonEncoder::new(*json)), vec![], options, path)?,
            FileFormat::Csv(csv) => {
                let encoder = CsvEncoder::new(csv.clone())?;
                let mut header = encoder.header(schema)?;
                if !header.is_empty() {
                    header.push(b'\n');
                }
                text(file, Box::new(encoder), header, options, path)?
            }
            FileFormat::Parquet(compression) => {
                let properties = WriterProperties::builder()
                    .set_compression(codec(*compression)?)
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let made = ArrowWriter::try_new(file, schema.clone(), Some(properties));
                let made = made.map_err(|e| Error::user(format!("rows cannot be written as parquet: {e}")))?;
                Body::Parquet(Box::new(made))
            }
        });
        Ok(writer)
    }

    /// Appends rows. Errors: `user`, if the format cannot hold a value; `external`, if the disk fails.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let path = &self.path;
        match &mut self.body {
            None => Err(Error::internal(format!("file `{}` is finished", path.display()))),
            Some(Body::Text { stream, encoder, encoded, lines }) => {
                encoded.clear();
                encoder.encode(rows, encoded)?;
                lines.clear();
                for row in encoded.rows() {
                    lines.extend_from_slice(row);
                    lines.push(b'\n');
                }
                stream.write(lines).map_err(|e| store::failure("write", path, &e))
            }
            Some(Body::Parquet(writer)) => {
                writer.write(rows).map_err(|e| Error::external(format!("write `{}`: {e}", path.display())))
            }
        }
    }

    /// The size so far; of compressed and parquet files about.
    pub(super) fn bytes(&self) -> u64 {
        match &self.body {
            None => 0,
            Some(Body::Text { stream, .. }) => stream.bytes(),
            Some(Body::Parquet(writer)) => (writer.bytes_written() + writer.in_progress_size()) as u64,
        }
    }

    /// Ends the file and makes it durable, still hidden: at once, or when the ticket says so.
    pub(super) fn finish(mut self) -> Result<Option<Ticket<Result<()>>>> {
        let path = self.path.clone();
        let file = match self.body.take() {
            None => return Err(Error::internal(format!("file `{}` is finished", path.display()))),
            Some(Body::Text { stream, .. }) => stream.finish().map_err(|e| store::failure("finish", &path, &e)),
            Some(Body::Parquet(writer)) => {
                writer.into_inner().map_err(|e| Error::external(format!("finish `{}`: {e}", path.display())))
            }
        };
        let done = file.and_then(|file| file.close(&path));
        if done.is_err() {
            // The first error is what counts.
            let _ = self.store.remove(&path);
        }
        done
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // An object that is not finished never appears. The job is failing or was cancelled; there is nobody to tell.
        if self.body.take().is_some() && !store::is_remote(&self.path) {
            let _ = self.store.remove(&self.path);
        }
    }
}

fn text(file: Draft, encoder: Box<dyn Encoder>, header: Vec<u8>, options: &FileOptions, path: &Path) -> Result<Body> {
    let failed = |e: std::io::Error| store::failure("write", path, &e);
    let counted = Counted { file, bytes: 0 };
    let mut stream = match options.compression {
        Compression::None => Stream::Plain(counted),
        Compression::Gzip => Stream::Gzip(GzEncoder::new(counted, flate2::Compression::default())),
        Compression::Zstd => Stream::Zstd(zstd::Encoder::new(counted, 0).map_err(failed)?),
    };
    stream.write(&header).map_err(failed)?;
    Ok(Body::Text { stream: Box::new(stream), encoder, encoded: Encoded::default(), lines: vec![] })
}

fn codec(compression: ParquetCompression) -> Result<ParquetCodec> {
    Ok(match compression {
        ParquetCompression::Snappy => ParquetCodec::SNAPPY,
        ParquetCompression::Zstd => ParquetCodec::ZSTD(ZstdLevel::default()),
        ParquetCompression::Gzip => ParquetCodec::GZIP(GzipLevel::default()),
        ParquetCompression::Lz4 => ParquetCodec::LZ4_RAW,
        ParquetCompression::Uncompressed => ParquetCodec::UNCOMPRESSED,
    })
}
