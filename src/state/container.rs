//! One container of an operator as a table: keys, the slice's time, what is kept, the key group. Called by queries and by exports.

use super::columns::{self, Shown, TIME, instants};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde_json::Value;
use std::sync::Arc;
use thalweg_engine::state::reader::{Layout, Names, Reader, label};
use thalweg_engine::state::{Budget, Chain, ContainerKind};
use thalweg_engine::{Error, Result};
use thalweg_operators::window::Windows;
use thalweg_sql::batch::{BatchTable, Parts};

/// Entries read at a time.
const BATCH_ROWS: usize = 8192;
/// The cell of window operators that says how far a key group has fired.
const FIRED: &str = "fired";

/// A table of state.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    operator: String,
    label: String,
    layout: Layout,
    /// From the end of a slice back to its start, in ms.
    slice_ms: Option<i64>,
    values: Vec<Shown>,
    schema: SchemaRef,
    chains: Arc<Vec<Chain>>,
    budget: Arc<Budget>,
}

impl Container {
    /// `node`: the operator in the picture of the graph.
    pub(super) fn new(
        name: String,
        operator: &str,
        node: Option<&Value>,
        layout: Layout,
        chains: Arc<Vec<Chain>>,
        budget: Arc<Budget>,
    ) -> Result<Container> {
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
        let windows = node.and_then(|n| text(n.get("signature")?, "windows"));
        let slice_ms = windows.and_then(|w| windows_of(&w)).map(|w| w.slice());
        let label = node.and_then(|n| text(n, "label")).unwrap_or_default();
        let found = layout.schema().fields();
        let (keys, rest) = found.split_at(layout.keys().min(found.len()));
        let rest: Vec<_> = rest.iter().filter(|f| !f.name().starts_with('$')).cloned().collect();
        let values = columns::shown(&rest, keys.len());
        let mut names = Names::default();
        let mut fields: Vec<Field> = Vec::new();
        let mut add = |name: String, data_type: DataType| fields.push(Field::new(names.unique(name), data_type, true));
        if layout.kind() == ContainerKind::Cells {
            add("cell".into(), DataType::Utf8);
            add("number".into(), DataType::Int64);
            add("time".into(), TIME);
            add("value".into(), DataType::Binary);
        } else {
            keys.iter().for_each(|f| add(self::label(f.name()), f.data_type().clone()));
            if layout.kind() == ContainerKind::Slices {
                add("slice_start".into(), TIME);
                add("slice_end".into(), TIME);
            }
            values.iter().for_each(|v| add(v.name.clone(), v.data_type.clone()));
        }
        add("key_group".into(), DataType::Int32);
        let schema = Arc::new(Schema::new(fields));
        Ok(Container { name, operator: operator.to_owned(), label, layout, slice_ms, values, schema, chains, budget })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn operator(&self) -> &str {
        &self.operator
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Windows as an operator's signature has them: `Hop { slide_ms: 1000, size_ms: 2000, offset_ms: 0 }`.
fn windows_of(text: &str) -> Option<Windows> {
    let (kind, rest) = text.split_once(' ')?;
    let number = |name: &str| {
        let rest = rest.split_once(&format!("{name}: "))?.1;
        rest.split([',', ' ', '}']).next()?.parse::<i64>().ok()
    };
    let (size_ms, offset_ms) = (number("size_ms")?, number("offset_ms")?);
    let windows = match kind {
        "Tumble" => Windows::Tumble { size_ms, offset_ms },
        "Hop" => Windows::Hop { slide_ms: number("slide_ms")?, size_ms, offset_ms },
        "Cumulate" => Windows::Cumulate { step_ms: number("step_ms")?, size_ms, offset_ms },
        _ => return None,
    };
    windows.check().is_ok().then_some(windows)
}

impl BatchTable for Container {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(&self) -> Result<Parts> {
        let show = Show {
            layout: self.layout.clone(),
            slice_ms: self.slice_ms,
            values: self.values.clone(),
            schema: self.schema.clone(),
        };
        let scan = Scan {
            show,
            chains: self.chains.clone(),
            budget: self.budget.clone(),
            operator: self.operator.clone(),
            next: 0,
            reader: None,
            failed: false,
        };
        Ok(Box::new(scan))
    }
}

/// The entries of all subtasks, one subtask after the other.
struct Scan {
    show: Show,
    chains: Arc<Vec<Chain>>,
    budget: Arc<Budget>,
    operator: String,
    next: usize,
    reader: Option<Reader>,
    failed: bool,
}

impl Scan {
    fn part(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(rows) = reader.next(BATCH_ROWS)? {
                    return self.show.batch(&rows).map(Some);
                }
                self.reader = None;
            }
            let Some(chain) = self.chains.get(self.next) else { return Ok(None) };
            self.reader = Some(Reader::open(chain, &self.show.layout, &self.budget)?);
            self.next += 1;
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.failed {
            return None;
        }
        let part = self.part().map_err(|e| e.context(format!("state of `{}`", self.operator)));
        self.failed = part.is_err();
        part.transpose()
    }
}

/// How entries become rows.
struct Show {
    layout: Layout,
    slice_ms: Option<i64>,
    values: Vec<Shown>,
    schema: SchemaRef,
}

impl Show {
    fn batch(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = rows.columns();
        let named = |name: &str| {
            let missing = || Error::external(format!("state without `{name}`")).with_retry(false);
            rows.column_by_name(name).ok_or_else(missing)
        };
        let mut out: Vec<ArrayRef>;
        if self.layout.kind() == ContainerKind::Cells {
            out = cells(named("cell")?, named("value")?)?;
        } else {
            out = columns.iter().take(self.layout.keys()).cloned().collect();
            if self.layout.kind() == ContainerKind::Slices {
                let ends = named("$slice")?.as_primitive::<Int64Type>();
                let start = |end: &i64| self.slice_ms.map(|slice| end.saturating_sub(slice));
                out.push(instants(ends.values().iter().map(start)));
                out.push(instants(ends.values().iter().map(|end| Some(*end))));
            }
            for value in &self.values {
                out.push(value.of(columns)?);
            }
        }
        out.push(cast(named("$group")?, &DataType::Int32)?);
        for (column, field) in out.iter_mut().zip(self.schema.fields()) {
            if column.data_type() != field.data_type() {
                *column = cast(column, field.data_type())?;
            }
        }
        Ok(RecordBatch::try_new(self.schema.clone(), out)?)
    }
}

/// Name, number and instant, where the bytes are such, and the bytes.
fn cells(names: &ArrayRef, values: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let wrong = || Error::external("cells without names or values").with_retry(false);
    let texts = names.as_string_opt::<i32>().ok_or_else(wrong)?;
    let bytes: &BinaryArray = values.as_binary_opt::<i32>().ok_or_else(wrong)?;
    let number = |i: usize| bytes.is_valid(i).then(|| <[u8; 8]>::try_from(bytes.value(i)).ok()).flatten();
    let numbers: Vec<Option<i64>> = (0..bytes.len()).map(|i| number(i).map(i64::from_le_bytes)).collect();
    let time = |(i, n): (usize, &Option<i64>)| n.filter(|_| texts.value(i) == FIRED);
    let times = instants(numbers.iter().enumerate().map(time));
    Ok(vec![names.clone(), Arc::new(Int64Array::from(numbers.clone())), times, values.clone()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_out_of_signatures_as_they_were_written() {
        for windows in [
            Windows::tumble(86_400_000),
            Windows::Hop { slide_ms: 1000, size_ms: 2500, offset_ms: -7 },
            Windows::cumulate(5, 60),
        ] {
            assert_eq!(windows_of(&format!("{windows:?}")), Some(windows));
        }
        assert_eq!(windows_of("Session { gap_ms: 5 }"), None);
        assert_eq!(windows_of("Tumble { size_ms: 0, offset_ms: 0 }"), None);
    }
}
