//! The enumerator of sources whose splits are found once: looks, spreads them over the readers, and gives out nothing more.
//! Files, generators and memory tables use it.
//!
//! Invariants
//! - E1 what was found when the job first started is part of every checkpoint: a restored source reads the same splits.
//! - E2 splits are spread by their place in the list, so neighbours go to different readers, and finished ones to none.

use serde_json::{Value, json};
use std::collections::HashSet;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::source::{Assignment, Discovery, Fact, Split, SplitEnumerator};

/// Looks for splits; runs off the tasks, may do I/O.
pub type Discover = Box<dyn FnMut() -> Result<Vec<Split>> + Send>;

/// See the module.
pub struct AssignOnce {
    discover: Discover,
    splits: Vec<Split>,
}

impl AssignOnce {
    /// With what finds the splits.
    pub fn new(discover: Discover) -> AssignOnce {
        AssignOnce { discover, splits: vec![] }
    }

    /// With splits that are known without looking.
    pub fn known(splits: Vec<Split>) -> AssignOnce {
        AssignOnce::new(Box::new(move || Ok(splits.clone())))
    }
}

impl SplitEnumerator for AssignOnce {
    fn discover(&mut self) -> Result<Discovery> {
        Ok(Discovery { splits: (self.discover)()?, complete: true })
    }

    fn step(&mut self, fact: Fact) -> Vec<Assignment> {
        match fact {
            Fact::Discovered(found) => {
                self.splits = found.splits;
                vec![]
            }
            Fact::Started { parallelism, finished } => {
                let finished: HashSet<String> = finished.into_iter().collect();
                let empty = |subtask| Assignment { subtask, splits: vec![], no_more: true };
                let mut all: Vec<Assignment> = (0..parallelism).map(empty).collect();
                let open = self.splits.iter().filter(|s| !finished.contains(&s.id));
                for (i, split) in open.enumerate() {
                    if let Some(a) = all.get_mut(i % parallelism.max(1) as usize) {
                        a.splits.push(split.clone());
                    }
                }
                all
            }
            Fact::Drained { .. } => vec![],
        }
    }

    fn snapshot(&self) -> Value {
        json!({ "format": 1, "splits": self.splits })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let splits = state.get("splits").cloned().unwrap_or(Value::Null);
        self.splits = serde_json::from_value(splits).map_err(|e| Error::user(format!("restore the splits: {e}")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: &str) -> Split {
        Split { id: id.to_owned(), spec: json!({ "end": 7 }) }
    }

    fn ids(a: &[Assignment]) -> Vec<Vec<&str>> {
        a.iter().map(|a| a.splits.iter().map(|s| s.id.as_str()).collect()).collect()
    }

    #[test]
    fn splits_are_spread_and_a_restore_gives_out_the_unfinished_ones() {
        let mut e = AssignOnce::known(["a", "b", "c"].map(split).to_vec());
        let found = e.discover().unwrap();
        e.step(Fact::Discovered(found));
        let first = e.step(Fact::Started { parallelism: 2, finished: vec![] });
        assert_eq!(ids(&first), [vec!["a", "c"], vec!["b"]]);
        assert!(first.iter().all(|a| a.no_more));

        let mut again = AssignOnce::new(Box::new(|| panic!("what was found stays")));
        again.restore(&e.snapshot()).unwrap();
        let next = again.step(Fact::Started { parallelism: 3, finished: vec!["b".into()] });
        assert_eq!(ids(&next), [vec!["a"], vec!["c"], vec![]]);
        assert_eq!(next[0].splits[0].spec, json!({ "end": 7 }), "what was fixed about a split stays");
    }
}
