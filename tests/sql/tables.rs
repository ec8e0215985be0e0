//! The connector `memory` of these tests: tables read the `data` blocks, and what is written lands in memory tables.
//!
//! Called by the compiler, once per query; the graph then runs many times. Invariants:
//! - T1 before a run [`Tables::begin`] empties what was written.
//! - T2 while the gate is closed a reader gives half of the rows of its splits and then pauses, so that a checkpoint falls in the middle
//!   whatever the machine does.

use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use thalweg_connectors::format::json::JsonDecoder;
use thalweg_connectors::format::{Decoder, Record};
use thalweg_connectors::memory::{MemorySource, MemoryTable};
use thalweg_engine::sink::{Committer, JobInfo, Prepared, Sink, SinkFactory};
use thalweg_engine::source::{
    Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator, SplitId,
};
use thalweg_engine::{Batch, Result, StreamKind};
use thalweg_sql::{Connectors, Outcome, Refusal, Settings, TableSpec};

/// The rows of each split of a table, as JSON.
pub type Splits = Vec<Vec<String>>;

/// All tables of a query.
#[derive(Default)]
pub struct Tables {
    pub data: BTreeMap<String, Splits>,
    declared: Mutex<BTreeMap<String, SchemaRef>>,
    sinks: Mutex<Vec<Slot>>,
    gate: Arc<Gate>,
    /// Makes the sinks, if they are no memory tables; by the table's name, none for the terminal.
    others: Option<MakeSink>,
}

type MakeSink = Box<dyn Fn(Option<String>) -> Arc<dyn SinkFactory> + Send + Sync>;

/// Rows of JSON in a schema.
pub fn decode(schema: &SchemaRef, rows: &[String]) -> Result<Batch> {
    let mut decoder = JsonDecoder::new(Arc::clone(schema))?;
    for row in rows {
        decoder.push(&[Record { bytes: row.as_bytes(), position: 0 }]);
    }
    let decoded = decoder.flush()?;
    match decoded.bad.first() {
        Some(bad) => Err(thalweg_engine::Error::user(format!("row {}: {}", bad.index + 1, bad.reason))),
        None => Ok(Batch::new(decoded.batch)),
    }
}

impl Tables {
    pub fn new(data: BTreeMap<String, Splits>) -> Tables {
        Tables { data, ..Tables::default() }
    }

    /// Writes to other sinks than memory tables.
    pub fn with_sinks(self, make: impl Fn(Option<String>) -> Arc<dyn SinkFactory> + Send + Sync + 'static) -> Tables {
        Tables { others: Some(Box::new(make)), ..self }
    }

    /// The physical columns of the tables that were created.
    pub fn declared(&self) -> BTreeMap<String, SchemaRef> {
        self.declared.lock().unwrap().clone()
    }

    /// Forgets the last run.
    pub fn begin(&self, closed: bool) {
        for slot in self.sinks.lock().unwrap().iter() {
            *slot.table.lock().unwrap() = MemoryTable::new();
        }
        *self.gate.lock() = GateState { closed, ..GateState::default() };
    }

    /// Lets the sources read on.
    pub fn open(&self) {
        self.gate.lock().closed = false;
    }

    /// Whether anything is read in this run.
    pub fn has_splits(&self) -> bool {
        self.gate.lock().splits > 0
    }

    /// Whether every split is read to its half.
    pub fn paused(&self) -> bool {
        let state = self.gate.lock();
        state.splits > 0 && state.paused >= state.splits
    }

    /// Whether a checkpoint is committed.
    pub fn committed(&self) -> bool {
        self.gate.lock().commits > 0
    }

    /// What was committed, by sink.
    pub fn written(&self) -> Vec<(Option<String>, Vec<Batch>)> {
        let sinks = self.sinks.lock().unwrap();
        sinks.iter().map(|s| (s.name.clone(), s.table.lock().unwrap().rows())).collect()
    }

    fn slot(&self, name: Option<String>) -> Arc<dyn SinkFactory> {
        if let Some(make) = &self.others {
            return make(name);
        }
        let slot = Slot { name, table: Arc::default(), gate: Arc::clone(&self.gate) };
        self.sinks.lock().unwrap().push(slot.clone());
        Arc::new(slot)
    }
}

fn refusal(e: thalweg_engine::Error) -> Refusal {
    Refusal::new(e.to_string())
}

impl Connectors for Tables {
    fn check(&self, table: &TableSpec<'_>) -> Outcome<()> {
        if let Some(unknown) = table.options.keys().find(|k| *k != "connector") {
            let refusal = Refusal::new(format!("option `{unknown}` is not known"));
            return Err(Refusal { option: Some(unknown.clone()), remedy: Some("remove it".into()), ..refusal });
        }
        let physical = table.columns.iter().filter(|c| c.is_read());
        let fields: Vec<Field> = physical.map(|c| Field::new(&c.name, c.data_type.clone(), true)).collect();
        self.declared.lock().unwrap().insert(table.name.to_owned(), Arc::new(Schema::new(fields)));
        Ok(())
    }

    fn source(&self, table: &TableSpec<'_>, schema: SchemaRef) -> Outcome<Arc<dyn SourceFactory>> {
        let rows = self.data.get(table.name).ok_or_else(|| Refusal::new(format!("`{}` has no data", table.name)))?;
        let batches = rows.iter().map(|rows| decode(&schema, rows).map(|b| vec![b])).collect::<Result<Vec<_>>>();
        let inner = MemorySource::new(schema, batches.map_err(refusal)?);
        let sizes = rows.iter().map(Vec::len).collect();
        Ok(Arc::new(GatedSource { sizes, inner, gate: Arc::clone(&self.gate) }))
    }

    fn sink(&self, table: &TableSpec<'_>, _: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(self.slot(Some(table.name.to_owned())))
    }

    fn terminal(&self, _: SchemaRef, _: StreamKind) -> Outcome<Arc<dyn SinkFactory>> {
        Ok(self.slot(None))
    }
}

impl Settings for Tables {
    fn get(&self, _: &str) -> Option<(String, bool)> {
        None
    }

    fn check(&self, key: &str, _: &str) -> Outcome<()> {
        match key == thalweg_sql::DECIMAL_LITERALS {
            true => Ok(()),
            false => Err(Refusal { remedy: Some("remove it".into()), ..Refusal::new(format!("no setting `{key}`")) }),
        }
    }
}

#[derive(Default)]
struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    closed: bool,
    splits: usize,
    paused: usize,
    commits: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap()
    }
}

struct GatedSource {
    sizes: Vec<usize>,
    inner: MemorySource,
    gate: Arc<Gate>,
}

impl SourceFactory for GatedSource {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        self.gate.lock().splits += self.sizes.len();
        self.inner.enumerator()
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let (gate, inner) = (Arc::clone(&self.gate), self.inner.reader()?);
        Ok(Box::new(GatedReader { sizes: self.sizes.clone(), running: 0, half: 0, inner, gate }))
    }
}

struct GatedReader {
    sizes: Vec<usize>,
    /// Splits that are not at their half.
    running: usize,
    /// Rows that may be given while the gate is closed.
    half: usize,
    inner: Box<dyn SourceReader>,
    gate: Arc<Gate>,
}

impl SourceReader for GatedReader {
    fn open(&mut self, ctx: &ReaderContext) -> Result<()> {
        self.inner.open(ctx)
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, _) in &splits {
            let rows = split.spec.as_u64().and_then(|i| self.sizes.get(i as usize));
            self.half += rows.unwrap().div_ceil(2);
            self.running += 1;
        }
        self.inner.assign(splits)
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        if !self.gate.lock().closed {
            return self.inner.poll(max_rows);
        }
        if self.half == 0 {
            self.gate.lock().paused += std::mem::take(&mut self.running);
            return Ok(Poll::Idle { until: None });
        }
        let poll = self.inner.poll(max_rows.min(self.half))?;
        if let Poll::Batch { batch, .. } = &poll {
            self.half -= batch.num_rows();
        }
        Ok(poll)
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.inner.positions()
    }
}

/// A sink into the memory table of the current run.
#[derive(Clone)]
struct Slot {
    name: Option<String>,
    table: Arc<Mutex<MemoryTable>>,
    gate: Arc<Gate>,
}

impl SinkFactory for Slot {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        self.table.lock().unwrap().sink()
    }

    fn committer(&self, job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        let inner = self.table.lock().unwrap().committer(job)?.unwrap();
        Ok(Some(Box::new(SignallingCommitter { inner, gate: Arc::clone(&self.gate) })))
    }
}

struct SignallingCommitter {
    inner: Box<dyn Committer>,
    gate: Arc<Gate>,
}

impl Committer for SignallingCommitter {
    fn commit(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.inner.commit(id, parts)?;
        self.gate.lock().commits += 1;
        Ok(())
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.inner.recover(id, parts)
    }
}
