//! The source behind `SELECT 1`: one row, or none, then the end.
//!
//! Made by the graph planner for queries without FROM and for those that the optimizer found to be empty.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use std::sync::Arc;
use thalweg_engine::source::{
    Assignment, Discovery, Fact, Poll, Position, ReaderContext, SourceFactory, SourceReader, Split, SplitEnumerator,
    SplitId,
};
use thalweg_engine::{Batch, Error, Result};

const SPLIT: &str = "constant";

/// Gives `rows` rows of one meaningless column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    pub(crate) rows: usize,
}

impl SourceFactory for Constant {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("nothing", DataType::Boolean, true)]))
    }
    fn bounded(&self) -> bool {
        true
    }
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(OneSplit))
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(OneRow { source: *self, split: None, given: false, ended: false }))
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

struct OneRow {
    source: Constant,
    split: Option<SplitId>,
    given: bool,
    ended: bool,
}

impl SourceReader for OneRow {
    fn open(&mut self, _: &ReaderContext) -> Result<()> {
        Ok(())
    }

    fn assign(&mut self, splits: Vec<(Split, Option<Position>)>) -> Result<()> {
        for (split, position) in splits {
            self.given = match position {
                None => self.source.rows == 0,
                Some(Position(p)) => {
                    p.as_bool().ok_or_else(|| Error::internal(format!("split `{}`: position {p}", split.id)))?
                }
            };
            (self.split, self.ended) = (Some(split.id.into()), false);
        }
        Ok(())
    }

    fn poll(&mut self, _: usize) -> Result<Poll> {
        let Some(split) = self.split.clone().filter(|_| !self.ended) else { return Ok(Poll::Finished) };
        if self.given {
            self.ended = true;
            return Ok(Poll::SplitFinished(split));
        }
        self.given = true;
        let rows = RecordBatch::try_new(self.source.schema(), vec![Arc::new(BooleanArray::from(vec![None::<bool>]))])?;
        Ok(Poll::Batch { split, batch: Batch::new(rows), rejected: None })
    }

    fn positions(&self) -> Vec<(SplitId, Position)> {
        self.split.iter().map(|s| (Arc::clone(s), Position(json!(self.given)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: usize, position: Option<Position>) -> usize {
        let mut reader = Constant { rows }.reader().unwrap();
        reader.assign(vec![(Split { id: SPLIT.into(), spec: json!(null) }, position)]).unwrap();
        let mut seen = 0;
        loop {
            match reader.poll(10).unwrap() {
                Poll::Batch { batch, .. } => seen += batch.num_rows(),
                Poll::SplitFinished(_) => {}
                Poll::Finished => return seen,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_row_is_given_once_even_over_a_restart() {
        assert_eq!((read(1, None), read(0, None)), (1, 0));
        assert_eq!((read(1, Some(Position(json!(true)))), read(1, Some(Position(json!(false))))), (0, 1));
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
