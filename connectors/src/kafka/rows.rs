//! From records to rows: the value's columns, the key's, and metadata, side by side; bad records set aside.
//!
//! Called by the reader for each batch of one partition. A record is bad if its value or its key cannot be decoded, or is NULL
//! (a tombstone) where the table reads columns of it. What happens to bad records is the table's choice; they are always
//! counted.
//!
//! Invariants
//! - R1 row `i` of every column comes from the same record, whatever the formats dropped.
//! - R2 rows keep the order of offsets.

use super::metadata::{MetadataBuilder, MetadataColumn};
use super::queue::Record;
use crate::bad_record::{BadRecord, Rejected};
use crate::format::{self, Decoder};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use thalweg_engine::batch::Batch;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;

/// Where a column of the table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// A column of the value's decoder, by index.
    Value(usize),
    /// A column of the key's decoder, by index.
    Key(usize),
    /// What the record carries besides.
    Metadata(MetadataColumn),
}

/// Names a batch's place for messages and metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
}

/// Decodes batches of one reader.
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<ColumnSource>,
    pub(crate) value: Option<Box<dyn Decoder>>,
    pub(crate) key: Option<Box<dyn Decoder>>,
    pub(crate) metadata: Vec<MetadataBuilder>,
    pub(crate) policy: BadRecord,
}

/// What a batch of records became.
pub(crate) struct Decoded {
    pub(crate) batch: Batch,
    pub(crate) rejected: Option<Batch>,
}

/// Index of a record and why it is bad.
type Fault = (usize, String);

impl Rows {
    /// Makes the columns of `records`. Errors: `user` for a bad record under [`BadRecord::Fail`].
    pub(crate) fn decode(
        &mut self,
        place: Place<'_>,
        records: &[Record<'_>],
        metrics: &NodeMetrics,
    ) -> Result<Decoded> {
        let mut faults = Vec::new();
        let value = decode_part(self.value.as_mut(), records, "value", Record::value, &mut faults)?;
        let key = decode_part(self.key.as_mut(), records, "key", Record::key, &mut faults)?;
        let value = without(value, &faults)?;
        let key = without(key, &faults)?;
        let keep = keep_mask(records.len(), &faults);
        let rows = keep.as_ref().map_or(records.len(), BooleanArray::true_count);
        let columns = self.columns(place, records, [value.as_ref(), key.as_ref()], keep.as_ref())?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = Batch::new(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        faults.sort();
        faults.dedup_by_key(|f| f.0);
        let rejected = faults.iter().filter_map(|(index, reason)| {
            let record = records.get(*index)?;
            let position = format!("{}-{}:{}", place.topic, place.partition, record.offset());
            Some(Rejected { position, reason, raw: record.value() })
        });
        let rejected = self.policy.apply(place.table, rejected, metrics)?;
        Ok(Decoded { batch, rejected })
    }

    fn columns(
        &mut self,
        place: Place<'_>,
        records: &[Record<'_>],
        parts: [Option<&RecordBatch>; 2],
        keep: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let mut metadata = self.metadata.iter_mut();
        for from in &self.columns {
            columns.push(match from {
                ColumnSource::Value(i) => part_column(parts[0], *i),
                ColumnSource::Key(i) => part_column(parts[1], *i),
                ColumnSource::Metadata(_) => {
                    let builder =
                        metadata.next().ok_or_else(|| Error::internal("a metadata column without a builder"))?;
                    builder.append(place.topic, place.partition, records)?;
                    let column = builder.finish();
                    Ok(match keep {
                        Some(keep) => compute::filter(&column, keep)?,
                        None => column,
                    })
                }
            }?);
        }
        Ok(columns)
    }
}

fn part_column(part: Option<&RecordBatch>, index: usize) -> Result<ArrayRef> {
    let column = part.and_then(|p| p.columns().get(index));
    column.cloned().ok_or_else(|| Error::internal(format!("the format gave no column {index}")))
}

/// One part's rows, and which record each row came from (in order, faults of this part left out).
struct Part {
    batch: RecordBatch,
    origins: Vec<usize>,
}

fn decode_part<'a>(
    decoder: Option<&mut Box<dyn Decoder>>,
    records: &[Record<'a>],
    name: &str,
    bytes: fn(&Record<'a>) -> Option<&'a [u8]>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Part>> {
    let Some(decoder) = decoder else { return Ok(None) };
    let mut origins = Vec::with_capacity(records.len());
    let mut present = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        match bytes(record) {
            Some(bytes) => {
                present.push(format::Record { bytes, position: record.offset().cast_unsigned() });
                origins.push(index);
            }
            None => faults.push((index, format!("the {name} is NULL"))),
        }
    }
    decoder.push(&present);
    let format::Decoded { batch, bad } = decoder.flush()?;
    for fault in &bad {
        let index = origins.get(fault.index).copied();
        let index = index.ok_or_else(|| Error::internal(format!("bad record {} of {}", fault.index, origins.len())))?;
        faults.push((index, format!("{name}: {}", fault.reason)));
    }
    if !bad.is_empty() {
        let mut place = 0;
        origins.retain(|_| {
            place += 1;
            !bad.iter().any(|fault| fault.index + 1 == place)
        });
    }
    if batch.num_rows() != origins.len() {
        let text = format!("{} rows of {} good records", batch.num_rows(), origins.len());
        return Err(Error::internal(text));
    }
    Ok(Some(Part { batch, origins }))
}

/// Drops the rows whose record the other part could not decode.
fn without(part: Option<Part>, faults: &[Fault]) -> Result<Option<RecordBatch>> {
    let Some(Part { batch, origins }) = part else { return Ok(None) };
    let dropped = |origin: &usize| faults.iter().any(|(index, _)| index == origin);
    if faults.is_empty() || !origins.iter().any(dropped) {
        return Ok(Some(batch));
    }
    let keep: BooleanArray = origins.iter().map(|o| Some(!dropped(o))).collect();
    Ok(Some(compute::filter_record_batch(&batch, &keep)?))
}

fn keep_mask(records: usize, faults: &[Fault]) -> Option<BooleanArray> {
    if faults.is_empty() {
        return None;
    }
    let mut keep = vec![true; records];
    for (index, _) in faults {
        if let Some(k) = keep.get_mut(*index) {
            *k = false;
        }
    }
    Some(BooleanArray::from(keep))
}
