//! The wire form of a batch: what crosses a socket between two tasks that both know the schema.
//!
//! ```text
//! version u16   little endian, 1
//! flags   u16   bit 0: the last column of the record batch holds the weights
//! meta    u32   length, then an Arrow IPC message (record batch)
//! body    u64   length, then the message's buffers
//! check   u64   `key::hash_content` of everything before it
//! ```
//!
//! Invariants
//! - X1 only the rows of the batch travel, never the rest of the buffers that a slice refers to.
//! - X2 dictionaries travel as their values and arrive as dictionaries.
//! - X3 bytes that are no batch of the expected schema are an error, never a panic and never wrong rows. The reader below trusts
//!   offsets inside the message, so nothing is parsed before the check has matched.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::key::hash_content;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use std::collections::HashMap;
use std::sync::Arc;

const VERSION: u16 = 1;
const HAS_WEIGHTS: u16 = 1;
const WEIGHT: &str = "$weight";

fn plain_field(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(field.as_ref().clone().with_data_type(values.as_ref().clone())),
        _ => field.clone(),
    }
}

/// The schema of the record batch inside: dictionaries as values, weights as a last column.
fn wire_schema(schema: &Schema, weights: bool) -> SchemaRef {
    let mut fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
    if weights {
        fields.push(Arc::new(Field::new(WEIGHT, DataType::Int64, false)));
    }
    Arc::new(Schema::new(fields))
}

fn columns_as(columns: &[ArrayRef], schema: &Schema) -> Result<Vec<ArrayRef>> {
    let fit = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
        true => Ok(column.clone()),
        false => Ok(cast(column, field.data_type())?),
    };
    columns.iter().zip(schema.fields()).map(fit).collect()
}

fn batch_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Appends the batch's wire form to `out`.
pub fn encode(batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
    let weights = batch.weights();
    let schema = wire_schema(&batch.schema(), weights.is_some());
    let mut columns = columns_as(batch.columns().columns(), &schema)?;
    if let Some(weights) = weights {
        columns.push(Arc::new(Int64Array::from(weights.to_vec())));
    }
    let record_batch = batch_of(schema, columns, batch.num_rows())?;
    let (_, data) = IpcDataGenerator::default().encode(
        &record_batch,
        &mut DictionaryTracker::new(false),
        &IpcWriteOptions::default(),
        &mut IpcWriteContext::default(),
    )?;
    let meta = u32::try_from(data.ipc_message.len()).map_err(|_| Error::internal("batch metadata over 4 GiB"))?;
    let start = out.len();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&if weights.is_some() { HAS_WEIGHTS } else { 0 }.to_le_bytes());
    out.extend_from_slice(&meta.to_le_bytes());
    out.extend_from_slice(&data.ipc_message);
    out.extend_from_slice(&(data.arrow_data.len() as u64).to_le_bytes());
    out.extend_from_slice(&data.arrow_data);
    let check = hash_content(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&check.to_le_bytes());
    Ok(())
}

/// Reads a number of `N` bytes and moves on.
fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let short = || Error::external(format!("batch of {} bytes ends early", bytes.len()));
    let (head, rest) = bytes.split_at_checked(n).ok_or_else(short)?;
    *bytes = rest;
    Ok(head)
}

fn number(bytes: &mut &[u8], width: usize) -> Result<u64> {
    let mut word = [0u8; 8];
    for (to, from) in word.iter_mut().zip(take(bytes, width)?) {
        *to = *from;
    }
    Ok(u64::from_le_bytes(word))
}

/// Reads a batch of `schema` back. Errors: `external`, if the bytes are anything else.
pub fn decode(schema: &SchemaRef, mut bytes: &[u8]) -> Result<Batch> {
    let bad = |what: String| Error::external(format!("decode a batch: {what}"));
    let (content, mut check) = bytes.split_at(bytes.len().saturating_sub(8));
    bytes = content;
    let version = number(&mut bytes, 2)?;
    if version != u64::from(VERSION) {
        return Err(bad(format!("version {version}, this build reads {VERSION}")));
    }
    if number(&mut check, 8)? != hash_content(content) {
        return Err(bad(format!("the check of {} bytes does not match", content.len())));
    }
    let weighted = number(&mut bytes, 2)? & u64::from(HAS_WEIGHTS) != 0;
    let meta_len = number(&mut bytes, 4)?;
    let meta = take(&mut bytes, usize::try_from(meta_len).unwrap_or(usize::MAX))?;
    let body_len = number(&mut bytes, 8)?;
    let body = take(&mut bytes, usize::try_from(body_len).unwrap_or(usize::MAX))?;
    let message = arrow::ipc::root_as_message(meta).map_err(|e| bad(e.to_string()))?;
    let header = message.header_as_record_batch().ok_or_else(|| bad("no record batch".into()))?;
    let inner = wire_schema(schema, weighted);
    let read = read_record_batch(&Buffer::from(body), header, inner, &HashMap::new(), None, &message.version());
    let read = read.map_err(|e| bad(e.to_string()))?;
    let rows = read.num_rows();
    let mut columns = read.columns().to_vec();
    let weights = if weighted { columns.pop() } else { None };
    let columns = batch_of(schema.clone(), columns_as(&columns, schema)?, rows)?;
    match weights {
        Some(w) => Batch::with_weights(columns, w.as_primitive::<Int64Type>().values().clone()),
        None => Ok(Batch::new(columns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use arrow::array::{DictionaryArray, StringArray, StructArray};
    use arrow::datatypes::Int32Type;

    fn sample() -> Batch {
        let texts = StringArray::from(vec![Some("a"), None, Some(""), Some("longer than the others")]);
        let dictionary: DictionaryArray<Int32Type> = ["x", "y", "x", "z"].into_iter().collect();
        let inner = Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(i64::MAX)]);
        let nested =
            StructArray::from(vec![(Arc::new(Field::new("v", DataType::Int64, true)), Arc::new(inner) as ArrayRef)]);
        let columns: [(&str, ArrayRef); 3] =
            [("t", Arc::new(texts)), ("d", Arc::new(dictionary)), ("s", Arc::new(nested))];
        Batch::new(RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap())
    }

    fn round_trip(batch: &Batch) -> Batch {
        let mut bytes = vec![];
        encode(batch, &mut bytes).unwrap();
        decode(&batch.schema(), &bytes).unwrap()
    }

    #[test]
    fn batches_weights_slices_and_rows_without_columns_come_back() {
        let plain = sample();
        let weighted = Batch::with_weights(plain.columns().clone(), vec![1, -1, 2, i64::MIN].into()).unwrap();
        let bare = Batch::new(batch_of(Arc::new(Schema::empty()), vec![], 3).unwrap());
        for batch in [&plain, &weighted, &plain.slice(1, 2), &weighted.slice(3, 1), &plain.slice(2, 0), &bare] {
            assert_eq!(&round_trip(batch), batch);
        }
    }

    #[test]
    fn a_slice_travels_without_the_rest_of_its_buffers() {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..10_000).map(|i| format!("text number {i}"))));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        let batch = Batch::new(RecordBatch::try_from_iter([("t", texts), ("n", numbers)]).unwrap());
        let mut bytes = vec![];
        encode(&batch.slice(5_000, 10), &mut bytes).unwrap();
        assert!(bytes.len() < 2_000, "{} bytes for 10 rows", bytes.len());
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let batch = sample();
        let mut good = vec![];
        encode(&batch, &mut good).unwrap();
        let mut rng = Rng::new(5);
        for n in 0..good.len() {
            assert!(decode(&batch.schema(), &good[..n]).is_err(), "cut at {n}");
        }
        for _ in 0..2_000 {
            let mut bytes = good.clone();
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            assert!(decode(&batch.schema(), &bytes).is_err(), "flipped at {at}");
        }
        good[0] = 9;
        assert!(decode(&batch.schema(), &good).unwrap_err().message().contains("version 9"));
    }
}
