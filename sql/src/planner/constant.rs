//! The source of rows that stand in the text: those of VALUES, the one behind `SELECT 1`, or none; then the end.
//!
//! Made by the graph planner, for queries without FROM and those that the optimizer found to be empty too. A position is the number of
//! rows given.

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use std::sync::Arc;
use thalweg_engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};
use thalweg_engine::{Batch, Error, Result};

const SPLIT: &str = "constant";

/// Gives these rows, once.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    pub(crate) rows: RecordBatch,
}

impl Constant {
    /// So many rows of one meaningless column.
    pub(crate) fn nothing(rows: usize) -> Result<Constant> {
        let schema = Arc::new(Schema::new(vec![Field::new("nothing", DataType::Boolean, true)]));
        let rows = RecordBatch::try_new(schema, vec![new_null_array(&DataType::Boolean, rows)])?;
        Ok(Constant { rows })
    }
}

impl SourceFactory for Constant {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(OneSplit))
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Rows { rows: self.rows.clone(), split: None, given: 0, ended: false }))
    }
}

/// Gives the one split to the first reader.
struct OneSplit;

impl SplitEnumerator for OneSplit {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: vec![Split { id: SPLIT.into(), spec: json!(null) }], complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        let Fact::Started { parallelism, finished } = fact else { return vec![] };
        let split = || Split { id: SPLIT.into(), spec: json!(null) };
        let splits =
            |subtask| if subtask == 0 && !finished.iter().any(|f| f == SPLIT) { vec![split()] } else { vec![] };
        (0..parallelism).map(|subtask| Assignment { subtask, splits: splits(subtask), no_more: true }).collect()
    }

    fn snapshot(&self) -> serde_json::Value {
        json!(null)
    }

    fn restore(&mut self, _: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

struct Rows {
    rows: RecordBatch,
    split: Option<SplitId>,
    given: usize,
    ended: bool,
}

impl SourceReader for Rows {
    fn open(&mut self, _: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            self.given = match position {
                None => 0,
                Some(Position(p)) => given(&p, self.rows.num_rows())
                    .ok_or_else(|| Error::internal(format!("split `{}`: position {p}", split.id)))?,
            };
            (self.split, self.ended) = (Some(split.id.into()), false);
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        let Some(split) = self.split.clone().filter(|_| !self.ended) else { return Ok(Poll::Finished) };
        let left = self.rows.num_rows().saturating_sub(self.given);
        if left == 0 {
            self.ended = true;
            return Ok(Poll::SplitFinished(split));
        }
        let rows = self.rows.slice(self.given, left.min(max_rows.max(1)));
        self.given += rows.num_rows();
        Ok(Poll::Batch { split, batch: Batch::new(rows), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.split.iter().map(|s| (Arc::clone(s), Position(json!(self.given)))).collect()
    }
}

/// The rows given; older positions say whether all are.
fn given(position: &serde_json::Value, rows: usize) -> Option<usize> {
    match position {
        serde_json::Value::Bool(all) => Some(if *all { rows } else { 0 }),
        other => usize::try_from(other.as_u64()?).ok().filter(|n| *n <= rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: usize, position: Option<Position>) -> usize {
        let mut reader = Constant::nothing(rows).unwrap().reader().unwrap();
        reader.assign(vec![(Split { id: SPLIT.into(), spec: json!(null) }, position)]).unwrap();
        let mut seen = 0;
        loop {
            match reader.poll(10).unwrap() {
                Poll::Batch { batch, .. } => {
                    assert!(batch.num_rows() <= 10);
                    seen += batch.num_rows();
                    assert!(reader.positions()[0].1.0.as_u64().unwrap() >= seen as u64);
                }
                Poll::SplitFinished(_) => {}
                Poll::Finished => return seen,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn rows_are_given_once_even_over_a_restart() {
        assert_eq!((read(1, None), read(0, None)), (1, 0));
        assert_eq!((read(1, Some(Position(json!(true)))), read(1, Some(Position(json!(false))))), (0, 1));
        assert_eq!(
            (read(25, None), read(25, Some(Position(json!(20)))), read(25, Some(Position(json!(25))))),
            (25, 5, 0)
        );
        let mut reader = Constant::nothing(3).unwrap().reader().unwrap();
        let split = Split { id: SPLIT.into(), spec: json!(null) };
        assert!(reader.assign(vec![(split, Some(Position(json!(4))))]).is_err(), "of other rows");
    }

    #[test]
    fn only_the_first_reader_gets_the_split() {
        let given = OneSplit.step(Fact::Started { parallelism: 3, finished: vec![] });
        assert_eq!(given.iter().map(|a| a.splits.len()).collect::<Vec<_>>(), [1, 0, 0]);
        assert!(given.iter().all(|a| a.no_more));
        let again = OneSplit.step(Fact::Started { parallelism: 2, finished: vec![SPLIT.into()] });
        assert!(again.iter().all(|a| a.splits.is_empty()));
    }
}
