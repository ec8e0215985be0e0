//! JSON: one object per record to one row, and back.
//!
//! The decoder walks a record once, along the schema that is left after pruning: values go straight into column buffers, what
//! nobody reads is skipped (but checked, so that a record is good or bad whatever is read of it). It expects the keys in the
//! order of the record before, so that a key costs one comparison.
//!
//! What is accepted beyond the obvious, as in Flink: numbers, booleans and times may be given as strings; `1.0` is a whole number,
//! `1.5` is none; a STRING column takes
//! any value, numbers and nested values as their JSON text; of a repeated key the last one counts; a missing field is NULL.

mod cursor;
mod decoder;
mod encoder;
mod keys;
mod object;

pub use decoder::JsonDecoder;
pub(super) use encoder::Cell;
pub use encoder::{JsonEncoder, JsonEncoderOptions};
pub(super) use keys::Keys;
