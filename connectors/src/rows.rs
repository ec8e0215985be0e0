//! Rows outside of a job: as text for people, and as files for other tools. Called by the command line for what is in a checkpoint.

use crate::format::json::JsonEncoder;
use crate::format::{Encoded, Encoder};
use crate::terminal::{RowFormat, Table};
use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::sync::Arc;
use thalweg_engine::error::{Error, Result};

/// Rows as lines, like those of a bare SELECT.
#[derive(Debug)]
pub struct Lines {
    format: RowFormat,
    table: Table,
}

impl Lines {
    /// For rows of this schema.
    pub fn new(format: RowFormat, schema: &Schema) -> Lines {
        Lines { format, table: Table::new(schema, None) }
    }

    /// What stands above the first row.
    pub fn header(&self) -> String {
        if self.format == RowFormat::Text { self.table.header() } else { String::new() }
    }

    /// A line for each row. Errors: `user` for a value that has no text.
    pub fn of(&mut self, rows: &RecordBatch) -> Result<Vec<u8>> {
        match self.format {
            RowFormat::Text => self.table.rows(rows),
            RowFormat::Json => json_lines(rows),
        }
    }
}

/// What a file of rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Parquet, compressed with zstd.
    Parquet,
    /// One JSON object a line.
    Json,
}

impl FileKind {
    /// What the names of such files end with.
    pub fn extension(self) -> &'static str {
        match self {
            FileKind::Parquet => "parquet",
            FileKind::Json => "json",
        }
    }
}

/// A file under construction, in memory: the caller ends it before it is too large.
pub enum RowFile {
    /// Its rows are encoded when a row group is full.
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    /// Lines.
    Json(Vec<u8>),
}

impl RowFile {
    /// An empty one. Errors: `user` for a type that such files do not have.
    pub fn new(kind: FileKind, schema: &SchemaRef) -> Result<RowFile> {
        if kind == FileKind::Json {
            return Ok(RowFile::Json(Vec::new()));
        }
        let level = ZstdLevel::try_new(1).map_err(invalid)?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(invalid)?;
        Ok(RowFile::Parquet(Box::new(writer)))
    }

    /// Adds rows. Errors: `user` for a value that such files do not have.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match self {
            RowFile::Json(lines) => lines.extend(json_lines(rows)?),
            RowFile::Parquet(writer) => writer.write(rows).map_err(invalid)?,
        }
        Ok(())
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        match self {
            RowFile::Json(lines) => lines.len(),
            RowFile::Parquet(writer) => writer.bytes_written() + writer.in_progress_size(),
        }
    }

    /// The whole file.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self {
            RowFile::Json(lines) => Ok(lines),
            RowFile::Parquet(writer) => writer.into_inner().map_err(invalid),
        }
    }
}

fn invalid(e: ParquetError) -> Error {
    Error::user(format!("write parquet: {e}"))
}

/// One JSON object per row, written as the JSON format writes it.
pub(crate) fn json_lines(rows: &RecordBatch) -> Result<Vec<u8>> {
    let rows = narrowed(rows)?;
    let mut encoded = Encoded::default();
    JsonEncoder::default().encode(&rows, &mut encoded)?;
    let mut out = Vec::with_capacity(encoded.bytes().len() + encoded.len());
    for row in encoded.rows() {
        out.extend_from_slice(row);
        out.push(b'\n');
    }
    Ok(out)
}

/// Decimals of 256 bits as those that the JSON format writes. Errors: `user` if one has more than 38 digits.
fn narrowed(rows: &RecordBatch) -> Result<RecordBatch> {
    let is_wide = |f: &Field| matches!(f.data_type(), DataType::Decimal256(..));
    if !rows.schema_ref().fields().iter().any(|f| is_wide(f)) {
        return Ok(rows.clone());
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let DataType::Decimal256(_, scale) = field.data_type() else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
            continue;
        };
        let narrow = DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale);
        columns.push(cast_with_options(column, &narrow, &CastOptions { safe: false, ..Default::default() })?);
        fields.push(Field::new(field.name(), narrow, true));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Decimal256Array, Int64Array};
    use arrow::datatypes::i256;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    fn rows(wide: i256) -> RecordBatch {
        let wide = Decimal256Array::from_iter_values([wide]).with_precision_and_scale(76, 2).unwrap();
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(Int64Array::from(vec![None]))), ("wide", Arc::new(wide))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    #[test]
    fn lines_are_padded_columns_or_objects() {
        let rows = rows(i256::from_i128(-150));
        let mut text = Lines::new(RowFormat::Text, &rows.schema());
        assert!(text.header().contains('n') && text.header().ends_with("wide\n"), "{}", text.header());
        assert!(String::from_utf8(text.of(&rows).unwrap()).unwrap().contains("NULL"));
        let mut json = Lines::new(RowFormat::Json, &rows.schema());
        assert_eq!((json.header().as_str(), json.of(&rows).unwrap()), ("", b"{\"n\":null,\"wide\":-1.50}\n".to_vec()));
    }

    #[test]
    fn numbers_that_json_lines_cannot_hold_are_errors() {
        assert!(json_lines(&rows(i256::MAX)).is_err());
    }

    #[test]
    fn parquet_comes_back_as_it_was() {
        let rows = rows(i256::from_i128(7));
        for count in [0, 1, 3] {
            let mut file = RowFile::new(FileKind::Parquet, &rows.schema()).unwrap();
            (0..count).for_each(|_| file.write(&rows).unwrap());
            let bytes = bytes::Bytes::from(file.finish().unwrap());
            let back: Vec<_> = ParquetRecordBatchReader::try_new(bytes, 10).unwrap().map(|b| b.unwrap()).collect();
            assert_eq!(back.iter().map(RecordBatch::num_rows).sum::<usize>(), count);
            assert!(back.iter().all(|b| b.column(1).slice(0, 1) == rows.column(1).slice(0, 1)));
        }
    }
}
