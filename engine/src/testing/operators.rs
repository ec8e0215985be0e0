//! Second implementors of the operator trait, as small as they can be: an updating keyed sum that buffers to the barrier, a
//! two-input sum, an operator that answers from other threads, and one that holds the watermark back.

use crate::batch::Batch;
use crate::error::Result;
use crate::key::hash_rows;
use crate::operator::{Context, Flush, Open, Operator, OperatorFactory, OutPort, Port};
use crate::state::{KeyedTable, State, TableSpec, ValueColumn};
use crate::time::EventTime;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An updating `SELECT key, sum(value) GROUP BY key` over i64 columns, on any number of inputs. It emits net changes at the
/// barrier: -1 the old sum, +1 the new one. Takes weights.
pub struct KeyedSum {
    key: usize,
    value: usize,
    table: Option<State<KeyedTable>>,
    /// Sums as they were when the epoch first touched them; `None` = there was no row.
    before: BTreeMap<i64, Option<i64>>,
}

impl KeyedSum {
    /// Sums column `value` by column `key`.
    pub fn factory(key: usize, value: usize) -> Arc<dyn OperatorFactory> {
        Arc::new(move || {
            Ok(Box::new(KeyedSum { key, value, table: None, before: BTreeMap::new() }) as Box<dyn Operator>)
        })
    }

    fn sums(&self, keys: &[i64]) -> Result<Vec<Option<i64>>> {
        let mut table = self.table.as_ref().unwrap().lock();
        let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        let (mut hashes, mut rows) = (vec![], vec![]);
        hash_rows(std::slice::from_ref(&column), keys.len(), &mut hashes)?;
        table.lookup(&[column], &hashes, &mut rows)?;
        let sum = table.column::<i64>(0)?;
        Ok(rows.iter().map(|&r| (r != u32::MAX).then(|| sum[r])).collect())
    }
}

impl Operator for KeyedSum {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        let key = Arc::new(Field::new("key", DataType::Int64, false));
        let values = [ValueColumn::new("sum", 0i64), ValueColumn::new("rows", 0i64)];
        self.table = Some(ctx.state.keyed_table("sums", TableSpec::new([key], values))?);
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, _ctx: &mut Context<'_>) -> Result<()> {
        let keys = batch.column(self.key)?.clone();
        let known: Vec<i64> = keys.as_primitive::<Int64Type>().values().to_vec();
        for (key, sum) in known.iter().zip(self.sums(&known)?) {
            self.before.entry(*key).or_insert(sum);
        }
        let (mut hashes, mut rows) = (vec![], vec![]);
        hash_rows(std::slice::from_ref(&keys), batch.num_rows(), &mut hashes)?;
        let mut table = self.table.as_ref().unwrap().lock();
        table.intern(&[keys], &hashes, &mut rows)?;
        let values = batch.column(self.value)?.as_primitive::<Int64Type>().values().clone();
        let weight = |i: usize| batch.weights().map_or(1, |w| w[i]);
        let sum = table.column_mut::<i64>(0)?;
        rows.iter().enumerate().for_each(|(i, r)| sum[*r] += values[i] * weight(i));
        let count = table.column_mut::<i64>(1)?;
        rows.iter().enumerate().for_each(|(i, r)| count[*r] += weight(i));
        let gone: Vec<u32> = rows.iter().copied().filter(|r| count[*r] == 0).collect();
        let mut gone = gone;
        gone.sort_unstable();
        gone.dedup();
        table.remove(&gone)?;
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        let before = std::mem::take(&mut self.before);
        let keys: Vec<i64> = before.keys().copied().collect();
        let mut out: Vec<(i64, i64, i64)> = vec![];
        for ((key, old), new) in before.iter().zip(self.sums(&keys)?) {
            if *old != new {
                out.extend(old.map(|s| (*key, s, -1)));
                out.extend(new.map(|s| (*key, s, 1)));
            }
        }
        let column =
            |f: fn(&(i64, i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(out.iter().map(f))) as ArrayRef;
        let columns = RecordBatch::try_from_iter([("key", column(|r| r.0)), ("sum", column(|r| r.1))])?;
        let weights: Vec<i64> = out.iter().map(|r| r.2).collect();
        ctx.emit(OutPort::MAIN, Batch::with_weights(columns, weights.into())?)?;
        Ok(Flush::Done)
    }
}

/// Passes rows on unchanged, but each batch only after another thread has had it: an asynchronous lookup in small. At most
/// `limit` batches are away; a barrier waits for all of them.
pub struct AsyncPass {
    limit: usize,
    away: usize,
    to: Option<Sender<Batch>>,
    back: Option<Receiver<Batch>>,
}

impl AsyncPass {
    /// With so many batches away at most.
    pub fn factory(limit: usize) -> Arc<dyn OperatorFactory> {
        Arc::new(move || Ok(Box::new(AsyncPass { limit, away: 0, to: None, back: None }) as Box<dyn Operator>))
    }

    fn take_back(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        let Some(back) = self.back.clone() else { return Ok(()) };
        while let Ok(batch) = back.try_recv() {
            self.away -= 1;
            ctx.emit(OutPort::MAIN, batch)?;
        }
        Ok(())
    }
}

impl Operator for AsyncPass {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        let (to, work) = bounded::<Batch>(1 << 16);
        let (done, back) = bounded::<Batch>(1 << 16);
        let waker = ctx.waker.clone();
        let body = move || {
            while let Ok(batch) = work.recv() {
                if done.send(batch).is_err() {
                    break;
                }
                waker.wake();
            }
            Ok(())
        };
        crate::thread::spawn("async-pass", body, |_: Result<()>| {})?;
        (self.to, self.back) = (Some(to), Some(back));
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, _ctx: &mut Context<'_>) -> Result<()> {
        self.away += 1;
        self.to.as_ref().unwrap().send(batch).unwrap();
        Ok(())
    }

    /// Rows that are away would come late: the watermark waits for them.
    fn on_frontier(&mut self, now: EventTime, ctx: &mut Context<'_>) -> Result<EventTime> {
        self.take_back(ctx)?;
        Ok(if self.away == 0 { now } else { EventTime::MIN })
    }

    fn on_wake(&mut self, ctx: &mut Context<'_>) -> Result<()> {
        self.take_back(ctx)
    }

    fn ready(&self) -> bool {
        self.away < self.limit
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        self.take_back(ctx)?;
        Ok(if self.away == 0 { Flush::Done } else { Flush::Pending })
    }
}

/// Passes rows and time on; what a projection does.
pub struct Pass;

impl Pass {
    /// Its factory.
    pub fn factory() -> Arc<dyn OperatorFactory> {
        Arc::new(|| Ok(Box::new(Pass) as Box<dyn Operator>))
    }
}

impl Operator for Pass {
    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        ctx.emit(OutPort::MAIN, batch)
    }
}

/// Panics when it meets this value in its first column.
pub struct PanicOn(pub i64);

impl Operator for PanicOn {
    fn process(&mut self, _port: Port, batch: Batch, ctx: &mut Context<'_>) -> Result<()> {
        let values = batch.column(0)?.as_primitive::<Int64Type>().values().clone();
        assert!(!values.contains(&self.0), "met {}", self.0);
        ctx.emit(OutPort::MAIN, batch)
    }
}
