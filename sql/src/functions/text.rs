//! Reading STRING arguments and writing STRING results without an allocation per row.
//!
//! Used by every kernel that touches text. [`Call::write_text`] owns the one output buffer of a call: a kernel appends bytes and says
//! whether the row is NULL. Output is bounded by [`MAX_OUTPUT_BYTES`] a call, so no argument can exhaust memory.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullBufferBuilder, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::ColumnarValue;

use super::scalar::Call;

/// Most bytes of text one function call may produce for one batch.
pub(super) const MAX_OUTPUT_BYTES: usize = 256 << 20;

/// A STRING argument: a column, or one value for all rows.
pub(super) enum Text<'a> {
    /// One value per row.
    Column(&'a StringArray),
    /// The same value in every row.
    Constant(Option<&'a str>),
}

impl<'a> Text<'a> {
    /// The value of a row; the empty string where it is NULL.
    pub(super) fn value(&self, row: usize) -> &'a str {
        match self {
            Text::Column(array) => array.value(row),
            Text::Constant(value) => value.unwrap_or(""),
        }
    }

    /// The value of a row, `None` where it is NULL.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Text::Column(array) if array.is_null(row) => None,
            Text::Column(array) => Some(array.value(row)),
            Text::Constant(value) => *value,
        }
    }

    /// Bytes of all values of `rows` rows, to size the output.
    pub(super) fn total_bytes(&self, rows: usize) -> usize {
        match self {
            Text::Column(array) => {
                let offsets = array.value_offsets();
                let ends = offsets.first().zip(offsets.last());
                ends.map_or(0, |(first, last)| usize::try_from(last - first).unwrap_or(0))
            }
            Text::Constant(value) => value.map_or(0, str::len).saturating_mul(rows).min(MAX_OUTPUT_BYTES),
        }
    }
}

impl Call<'_> {
    /// Argument `at` as text.
    pub(super) fn text(&self, at: usize) -> Result<Text<'_>> {
        match self.args.get(at) {
            Some(ColumnarValue::Array(array)) => match array.as_any().downcast_ref::<StringArray>() {
                Some(found) => Ok(Text::Column(found)),
                None => plan_err!("function `{}`: argument {} has type {}", self.name, at + 1, array.data_type()),
            },
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(value))) => Ok(Text::Constant(value.as_deref())),
            Some(ColumnarValue::Scalar(other)) => {
                plan_err!("function `{}`: argument {} has type {}", self.name, at + 1, other.data_type())
            }
            None => plan_err!("function `{}`: argument {} is missing", self.name, at + 1),
        }
    }

    /// Argument `at` as text, or `default` for every row if it was not given.
    pub(super) fn text_or(&self, at: usize, default: &'static str) -> Result<Text<'_>> {
        match self.args.len() > at {
            true => self.text(at),
            false => Ok(Text::Constant(Some(default))),
        }
    }

    /// Builds a STRING result: `row(i, out)` appends the value's UTF-8 bytes and returns true, or returns false for NULL. Rows with
    /// NULL arguments are not asked. `expected_bytes` sizes the buffer.
    pub(super) fn write_text(
        &self,
        expected_bytes: usize,
        mut row: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut out = Vec::with_capacity(expected_bytes.min(MAX_OUTPUT_BYTES));
        let mut offsets: Vec<i32> = Vec::with_capacity(self.rows + 1);
        offsets.push(0);
        let mut nulls = NullBufferBuilder::new(self.rows);
        for at in 0..self.rows {
            let start = out.len();
            if !self.is_null(at) && row(at, &mut out)? {
                check_output(self.name, out.len(), 0)?;
                nulls.append_non_null();
            } else {
                out.truncate(start);
                nulls.append_null();
            }
            offsets.push(out.len() as i32);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(out), nulls.finish())?))
    }
}

/// Refuses to grow an output of `written` bytes by `more` beyond [`MAX_OUTPUT_BYTES`]; kernels that multiply text ask before they write.
pub(super) fn check_output(name: &str, written: usize, more: usize) -> Result<()> {
    if written.saturating_add(more) > MAX_OUTPUT_BYTES {
        let limit = MAX_OUTPUT_BYTES >> 20;
        return exec_err!("function `{name}`: result is over {limit} MiB for one batch; shorten the text or the count");
    }
    Ok(())
}

/// Byte position of the `count`-th code point, or the length of the text if it has fewer.
pub(super) fn char_boundary(text: &str, count: usize) -> usize {
    if text.is_ascii() {
        return count.min(text.len());
    }
    text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
}

/// Number of code points.
pub(super) fn char_count(text: &str) -> usize {
    text.chars().count()
}
