//! Nexmark events that were generated before the clock starts: a source over shared batches, so that a benchmark measures the
//! engine and not the generator. The benchmark puts it into the connector registry in place of the generator.
//!
//! Invariants
//! - P1 every event stands in memory once, as its own wide row; readers share the buffers and only leave out columns.
//! - P2 split `s` of `n` holds the batches `s`, `s + n`, ..; a reader takes its splits in turn, so that they advance together.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg::connectors::nexmark::{Generator, NexmarkConfig, Projection, Slice};
use thalweg::connectors::splits::deal;
use thalweg::engine::Batch;
use thalweg::engine::error::{Error, Result};
use thalweg::engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};

/// Enough for every parallelism that a benchmark is run at, few enough to keep event time together.
const SPLITS: usize = 16;

/// The events as batches, in the order of their ids.
pub(crate) type Events = Arc<Vec<RecordBatch>>;

/// Generates all events of the table.
pub(crate) fn generate(config: &NexmarkConfig, batch_rows: usize) -> Result<Events> {
    let generator = Generator::new(config.clone()).map_err(|e| Error::user(e.to_string()))?;
    let all = Projection::all();
    let firsts = (0..generator.len()).step_by(batch_rows.max(1));
    let batches = firsts.map(|first| Ok(generator.generate(Slice::run(first, batch_rows), &all)?));
    Ok(Arc::new(batches.collect::<Result<Vec<_>>>()?))
}

/// A table over events that are there already.
#[derive(Debug)]
pub(crate) struct Pregenerated {
    events: Events,
    schema: SchemaRef,
}

impl Pregenerated {
    /// `schema` is the part of the wide row that is read.
    pub(crate) fn new(events: Events, schema: SchemaRef) -> Pregenerated {
        Pregenerated { events, schema }
    }
}

impl SourceFactory for Pregenerated {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let splits = SPLITS.min(self.events.len());
        Ok(Box::new(Enumerator { splits }))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader {
            events: self.events.clone(),
            schema: self.schema.clone(),
            turn: VecDeque::new(),
            all: vec![],
        }))
    }
}

/// All splits are known; they are dealt out once.
struct Enumerator {
    splits: usize,
}

impl Enumerator {
    fn splits(&self) -> Vec<Split> {
        let split = |s: usize| Split { id: s.to_string(), spec: json!({ "first": s, "step": self.splits }) };
        (0..self.splits).map(split).collect()
    }
}

impl SplitEnumerator for Enumerator {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: self.splits(), complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        let Fact::Started { parallelism, finished } = fact else { return vec![] };
        deal(&self.splits(), &finished, parallelism, true)
    }

    fn snapshot(&self) -> Value {
        Value::Null
    }

    fn restore(&mut self, _state: &Value) -> Result<()> {
        Ok(())
    }
}

/// A split that is being read.
struct Run {
    id: SplitId,
    /// The batch to read next, and its first row not yet given.
    batch: usize,
    row: usize,
    step: usize,
}

struct Reader {
    events: Events,
    schema: SchemaRef,
    turn: VecDeque<Run>,
    /// Positions of splits that were read to their end.
    all: Vec<(SplitId, Position)>,
}

fn position(run: &Run) -> Position {
    Position(json!([run.batch, run.row]))
}

fn number(value: &Value) -> Result<usize> {
    let found = value.as_u64().and_then(|n| usize::try_from(n).ok());
    found.ok_or_else(|| Error::internal(format!("`{value}` is no place among the pre-generated events")))
}

impl SourceReader for Reader {
    fn open(&mut self, _ctx: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, from) in splits {
            let (mut batch, mut row) = (number(&split.spec["first"])?, 0);
            if let Some(Position(p)) = from {
                (batch, row) = (number(&p[0])?, number(&p[1])?);
            }
            self.turn.push_back(Run { id: split.id.into(), batch, row, step: number(&split.spec["step"])? });
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let Some(mut run) = self.turn.pop_front() else { return Ok(Poll::Finished) };
        let Some(wide) = self.events.get(run.batch) else {
            self.all.push((run.id.clone(), position(&run)));
            return Ok(Poll::SplitFinished(run.id));
        };
        let rows = (wide.num_rows() - run.row).min(max_rows);
        let batch = project(&wide.slice(run.row, rows), &self.schema)?;
        run.row += rows;
        if run.row == wide.num_rows() {
            (run.batch, run.row) = (run.batch + run.step, 0);
        }
        let split = run.id.clone();
        self.turn.push_back(run);
        Ok(Poll::Batch { split, batch: Batch::new(batch), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        let open = self.turn.iter().map(|run| (run.id.clone(), position(run)));
        self.all.iter().cloned().chain(open).collect()
    }
}

/// Leaves out the columns, and the columns of structs, that `schema` does not name. Copies nothing.
fn project(wide: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |name: &str| wide.column_by_name(name).ok_or_else(|| missing(name));
    let columns = schema.fields().iter().map(|f| narrow(column(f.name())?, f.data_type()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(wide.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn narrow(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    match (wanted, column.as_struct_opt()) {
        (DataType::Struct(fields), Some(whole)) => Ok(Arc::new(narrow_struct(whole, fields)?)),
        _ => Ok(column.clone()),
    }
}

fn narrow_struct(whole: &StructArray, fields: &Fields) -> Result<StructArray> {
    let child = |name: &str| whole.column_by_name(name).cloned().ok_or_else(|| missing(name));
    let children = fields.iter().map(|f| child(f.name())).collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields.clone(), children, whole.nulls().cloned(), whole.len())?)
}

fn missing(name: &str) -> Error {
    Error::user(format!("the pre-generated events have no column `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Field, Schema};

    fn config(events: u64) -> NexmarkConfig {
        NexmarkConfig { events_num: events, ..NexmarkConfig::default() }
    }

    fn pruned() -> SchemaRef {
        let wide = Projection::all().schema().clone();
        let DataType::Struct(bid) = wide.field_with_name("bid").unwrap().data_type() else { panic!("no struct") };
        let price = bid.iter().find(|f| f.name() == "price").unwrap().clone();
        let bid = Field::new("bid", DataType::Struct(vec![price].into()), true);
        Arc::new(Schema::new(vec![bid, wide.field(0).clone()]))
    }

    /// Reads everything with so many readers; returns the rows of each split.
    fn read(table: &Pregenerated, readers: u32, max_rows: usize) -> Vec<RecordBatch> {
        let mut enumerator = table.enumerator().unwrap();
        let mut found = enumerator.discover().unwrap();
        let mut out = vec![];
        for a in enumerator.step(Fact::Started { parallelism: readers, finished: vec![] }) {
            found.splits.retain(|s| !a.splits.contains(s));
            let mut reader = table.reader().unwrap();
            reader.assign(a.splits.into_iter().map(|s| (s, None)).collect()).unwrap();
            loop {
                match reader.poll(max_rows).unwrap() {
                    Poll::Batch { batch, .. } => out.push(batch.columns().clone()),
                    Poll::SplitFinished(_) => {}
                    Poll::Finished => break,
                    Poll::Idle { .. } => panic!("there is always something to read"),
                }
            }
        }
        assert!(found.splits.is_empty(), "splits that nobody reads: {:?}", found.splits);
        out
    }

    fn prices(batches: &[RecordBatch]) -> Vec<Option<i64>> {
        let one = concat_batches(&batches[0].schema(), batches).unwrap();
        let bid = one.column_by_name("bid").unwrap().as_struct().clone();
        let price = bid.column(0).as_primitive::<arrow::datatypes::Int64Type>().clone();
        let mut out: Vec<_> = (0..one.num_rows()).map(|i| price.is_valid(i).then(|| price.value(i))).collect();
        out.sort();
        out
    }

    #[test]
    fn every_event_is_read_once_at_every_parallelism_and_batch_size() {
        let events = generate(&config(1_000), 30).unwrap();
        assert_eq!(events.len(), 34);
        let all = project(&concat_batches(&events[0].schema(), events.iter()).unwrap(), &pruned()).unwrap();
        let expected = prices(&[all]);
        let table = Pregenerated::new(events, pruned());
        for (readers, max_rows) in [(1, 30), (2, 7), (3, 1), (20, 8192)] {
            assert_eq!(prices(&read(&table, readers, max_rows)), expected, "{readers} readers, {max_rows} rows");
        }
    }

    #[test]
    fn a_few_events_leave_readers_without_a_split() {
        let table = Pregenerated::new(generate(&config(1), 8192).unwrap(), pruned());
        assert_eq!(read(&table, 4, 10).iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    }

    #[test]
    fn columns_are_shared_not_copied() {
        let events = generate(&config(100), 100).unwrap();
        let narrow = project(&events[0], &pruned()).unwrap();
        let before = events[0].column_by_name("bid").unwrap().as_struct().column_by_name("price").unwrap().to_data();
        let after = narrow.column(0).as_struct().column(0).to_data();
        assert_eq!(before.buffers()[0].as_ptr(), after.buffers()[0].as_ptr());
    }

    #[test]
    fn a_reader_goes_on_where_another_stood() {
        let events = generate(&config(500), 50).unwrap();
        let table = Pregenerated::new(events, pruned());
        let mut splits: Vec<Split> = table.enumerator().unwrap().discover().unwrap().splits;
        let whole = read(&table, 1, 8);
        let mut reader = table.reader().unwrap();
        reader.assign(splits.iter().cloned().map(|s| (s, None)).collect()).unwrap();
        let mut parts = vec![];
        loop {
            match reader.poll(8).unwrap() {
                Poll::Batch { batch, .. } => parts.push(batch.columns().clone()),
                Poll::Finished => break,
                Poll::SplitFinished(id) => splits.retain(|s| s.id != *id),
                Poll::Idle { .. } => panic!("there is always something to read"),
            }
            let positions = reader.positions();
            let at = |id: &str| positions.iter().find(|(s, _)| &**s == id).map(|(_, p)| p.clone());
            reader = table.reader().unwrap();
            reader.assign(splits.iter().map(|s| (s.clone(), at(&s.id))).collect()).unwrap();
        }
        assert_eq!(prices(&parts), prices(&whole));
    }
}
