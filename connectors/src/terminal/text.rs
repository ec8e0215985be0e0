//! Rows as text for people: padded columns.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write as _;
use thalweg_engine::error::{Error, Result};

const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.3f";
/// Columns never become wider by themselves than this, in characters; longer values stand out.
const WIDTH_MAX: usize = 40;

/// Column widths, which only grow: rows that are on the screen already cannot be moved.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    names: Vec<String>,
    widths: Vec<usize>,
    right: Vec<bool>,
    prefix: String,
    /// Rows are marked: they come or go.
    marked: bool,
}

impl Table {
    pub(crate) fn new(schema: &Schema, prefix: Option<String>) -> Table {
        let fields = schema.fields();
        let names: Vec<String> = fields.iter().map(|f| printable(f.name())).collect();
        let width = |f: &arrow::datatypes::FieldRef| usual_width(f.data_type()).max(f.name().chars().count());
        Table {
            widths: fields.iter().map(width).collect(),
            right: fields.iter().map(|f| f.data_type().is_numeric()).collect(),
            names,
            marked: false,
            prefix: prefix.map_or_else(String::new, |p| format!("{}> ", printable(&p))),
        }
    }

    /// With a first column that says whether a row comes or goes.
    pub(crate) fn marked(self) -> Table {
        Table { marked: true, ..self }
    }

    /// The line of names.
    pub(crate) fn header(&self) -> String {
        let mut line = self.prefix.clone();
        if self.marked {
            line.push_str("   ");
        }
        for (i, name) in self.names.iter().enumerate() {
            self.cell(i, name, &mut line);
        }
        end_line(&mut line);
        line
    }

    /// One line per row.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.lines(batch, |_| 1)
    }

    /// As many lines per row as its weight says.
    pub(crate) fn changes(&mut self, batch: &RecordBatch, weights: &[i64]) -> Result<Vec<u8>> {
        self.lines(batch, |row| weights.get(row).copied().unwrap_or(0))
    }

    fn lines(&mut self, batch: &RecordBatch, weight: impl Fn(usize) -> i64) -> Result<Vec<u8>> {
        let options = FormatOptions::new().with_null("NULL").with_timestamp_format(Some(TIMESTAMP));
        let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let (mut out, mut value) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            let (weight, start) = (weight(row), out.len());
            if weight == 0 {
                continue;
            }
            out.push_str(&self.prefix);
            if self.marked {
                out.push_str(if weight < 0 { "-  " } else { "+  " });
            }
            for (i, column) in columns.iter().enumerate() {
                value.clear();
                let unshowable = |_| Error::user(format!("show column {}: a value has no text", i + 1));
                write!(value, "{}", column.value(row)).map_err(unshowable)?;
                if value.contains(char::is_control) {
                    value = printable(&value);
                }
                self.grow(i, value.chars().count());
                self.cell(i, &value, &mut out);
            }
            end_line(&mut out);
            let line = out.get(start..).unwrap_or_default().to_owned();
            (1..weight.unsigned_abs()).for_each(|_| out.push_str(&line));
        }
        Ok(out.into_bytes())
    }

    fn grow(&mut self, i: usize, chars: usize) {
        if let Some(width) = self.widths.get_mut(i)
            && chars > *width
        {
            *width = chars.min(WIDTH_MAX).max(*width);
        }
    }

    fn cell(&self, i: usize, text: &str, out: &mut String) {
        let width = self.widths.get(i).copied().unwrap_or(0);
        let pad = width.saturating_sub(text.chars().count());
        let right = self.right.get(i).copied().unwrap_or(false);
        let blanks = |out: &mut String| out.extend(std::iter::repeat_n(' ', pad));
        if right {
            blanks(out);
        }
        out.push_str(text);
        if !right {
            blanks(out);
        }
        out.push_str("  ");
    }
}

/// Takes the padding of the last column away.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// Values never steer the terminal, nor break the line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn usual_width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Timestamp(..) => 23,
        DataType::Int64 | DataType::Float64 | DataType::Decimal128(..) | DataType::Date32 => 10,
        DataType::Int32 | DataType::Float32 => 8,
        _ => 5,
    }
}
