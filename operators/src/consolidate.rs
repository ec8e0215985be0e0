//! Adds up the changes of an epoch: what comes and goes within it never leaves the job. The planner puts it in front of every sink of a
//! changelog, behind a hash edge, so that equal rows meet.
//!
//! Invariants
//! - N1 at a barrier every row is emitted once, with its net weight, and not at all if that is 0; rows that go come before those that
//!   come.
//! - N2 nothing is held across a barrier.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{FieldRef, Int64Type, SchemaRef};
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::state::{Budget, Cursor, KeyedTable, TableSpec, ValueColumn};
use thalweg_engine::{Batch, Context, Error, Flush, Open, Operator, OperatorFactory, OutPort, Port, Result};

/// Rows of an emitted batch.
const BATCH_ROWS: usize = 4_096;

/// Adds up rows of this schema.
#[derive(Clone, Debug)]
pub struct Consolidate {
    /// The columns, all of which decide whether rows are equal.
    pub schema: SchemaRef,
}

impl Consolidate {
    /// Whether rows of this schema can be compared. Errors: `user` for a column that cannot.
    pub fn check(&self) -> Result<()> {
        KeyedTable::new(self.spec(), &Budget::unlimited("check")).map(drop)
    }

    fn spec(&self) -> Arc<TableSpec> {
        let columns: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        Arc::new(TableSpec::new(columns, [ValueColumn::new("weight", 0i64)]))
    }
}

impl OperatorFactory for Consolidate {
    fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Rows {
            schema: self.schema.clone(),
            spec: self.spec(),
            open: None,
            hashes: vec![],
            handles: vec![],
        }))
    }
}

struct Rows {
    schema: SchemaRef,
    spec: Arc<TableSpec>,
    open: Option<(Arc<Budget>, KeyedTable)>,
    hashes: Vec<u64>,
    handles: Vec<u32>,
}

impl Rows {
    fn emit(&self, table: &mut KeyedTable, gone: bool, ctx: &mut Context<'_>) -> Result<()> {
        let (mut cursor, mut handles) = (Cursor::default(), vec![]);
        while table.scan(&mut cursor, BATCH_ROWS, &mut handles)? {
            let weights = table.column::<i64>(0)?;
            handles.retain(|h| if gone { weights[*h] < 0 } else { weights[*h] > 0 });
            if handles.is_empty() {
                continue;
            }
            let columns = table.keys(&handles)?;
            let weights: ArrayRef = table.values(0, &handles)?;
            let weights =
                weights.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("a weight is no i64"))?;
            let columns = crate::group::record_batch(&self.schema, columns, handles.len())?;
            ctx.emit(OutPort::MAIN, Batch::with_weights(columns, weights.values().clone())?)?;
        }
        Ok(())
    }
}

impl Operator for Rows {
    fn open(&mut self, ctx: &mut Open<'_>) -> Result<()> {
        let budget = ctx.state.budget().child("changes");
        let table = KeyedTable::new(self.spec.clone(), &budget)?;
        self.open = Some((budget, table));
        Ok(())
    }

    fn process(&mut self, _port: Port, batch: Batch, _ctx: &mut Context<'_>) -> Result<()> {
        let Some((_, table)) = &mut self.open else { return Err(Error::internal("the operator was not opened")) };
        let columns = batch.columns().columns();
        hash_rows(columns, batch.num_rows(), &mut self.hashes)?;
        table.intern(columns, &self.hashes, &mut self.handles)?;
        let weights = table.column_mut::<i64>(0)?;
        for (i, row) in self.handles.iter().enumerate() {
            let change = batch.weights().map_or(1, |w| w.get(i).copied().unwrap_or(0));
            let sum = weights[*row].checked_add(change);
            weights[*row] = sum.ok_or_else(|| Error::user("a row has come more than 2^63 times"))?;
        }
        Ok(())
    }

    fn flush(&mut self, ctx: &mut Context<'_>) -> Result<Flush> {
        let Some((budget, table)) = &mut self.open else { return Err(Error::internal("the operator was not opened")) };
        if table.is_empty() {
            return Ok(Flush::Done);
        }
        let empty = KeyedTable::new(self.spec.clone(), budget)?;
        let mut changes = std::mem::replace(table, empty);
        self.emit(&mut changes, true, ctx)?;
        self.emit(&mut changes, false, ctx)?;
        Ok(Flush::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use thalweg_engine::rng::Rng;
    use thalweg_engine::testing::harness::{Script, check, emitted};
    use thalweg_engine::testing::rows::{texts, zset};

    fn schema() -> SchemaRef {
        let field = |name: &str, of| Field::new(name, of, true);
        Arc::new(Schema::new(vec![field("a", DataType::Utf8), field("b", DataType::Float64)]))
    }

    fn batch(rows: &[(Option<&str>, Option<f64>, i64)]) -> Batch {
        let a: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<StringArray>());
        let b: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>());
        let columns = RecordBatch::try_new(schema(), vec![a, b]).unwrap();
        Batch::with_weights(columns, rows.iter().map(|r| r.2).collect::<Vec<_>>().into()).unwrap()
    }

    fn factory() -> Arc<dyn OperatorFactory> {
        Arc::new(Consolidate { schema: schema() })
    }

    #[test]
    fn equal_rows_meet_whatever_their_bits() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let rows = [(Some("x"), Some(f64::NAN), 1), (Some("x"), Some(0.0), 1), (None, None, 2), (Some(""), None, -1)];
        let back = [(Some("x"), Some(nan), -1), (Some("x"), Some(-0.0), -1), (None, None, -1), (Some(""), None, -2)];
        let script = Script::new(vec![0, 1]).rows(0, batch(&rows)).rows(0, batch(&back)).barrier().barrier();
        let out: Vec<_> = emitted(&factory(), &script, 1).unwrap().iter().flat_map(texts).collect();
        assert_eq!(out, [("|NULL".to_owned(), -3), ("NULL|NULL".to_owned(), 1)]);
    }

    #[test]
    fn every_epoch_gives_its_net_changes_once_each() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut script, mut all) = (Script::new(vec![0, 1]), vec![]);
            for _ in 0..4 {
                let names = ["a", "b", "c", ""];
                let mut draw = || {
                    let name = names[rng.below(4) as usize];
                    (Some(name), Some(rng.below(3) as f64), rng.below(5) as i64 - 2)
                };
                let (one, two): (Vec<_>, Vec<_>) =
                    ((0..30).map(|_| draw()).collect(), (0..9).map(|_| draw()).collect());
                script = script.rows(0, batch(&one)).rows(0, batch(&two)).barrier();
                let epoch = [batch(&one), batch(&two)];
                all.extend(epoch.clone());
                let given =
                    emitted(&factory(), &Script::new(vec![0]).rows(0, batch(&one)).rows(0, batch(&two)).barrier(), 1);
                let given: Vec<_> = given.unwrap().iter().flat_map(texts).collect();
                let (rows, wanted) = (given.len(), zset(&epoch));
                assert_eq!(given.clone().into_iter().collect::<std::collections::BTreeMap<_, _>>(), wanted);
                assert_eq!(rows, wanted.len(), "each once");
                assert!(given.is_sorted_by_key(|(_, w)| *w > 0), "what goes comes first");
            }
            assert_eq!(check(&factory(), &script).main, zset(&all), "seed {seed}");
        }
    }

    #[test]
    fn columns_that_cannot_be_compared_are_refused() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        let schema = Arc::new(Schema::new(vec![Field::new("l", list, true)]));
        assert!(Consolidate { schema }.check().is_err());
    }
}
