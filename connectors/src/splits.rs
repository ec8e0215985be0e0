//! Splits that are given out once: who reads which ([`deal`], used by every enumerator), and the enumerator of sources that only
//! look once and spread what they found. Files and memory tables use it.
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

/// Deals the splits that are not `finished` out to the readers in turn, and tells each whether that is all.
pub fn deal(splits: &[Split], finished: &[String], parallelism: u32, no_more: bool) -> Vec<Assignment> {
    let finished: HashSet<&str> = finished.iter().map(String::as_str).collect();
    let open: Vec<&Split> = splits.iter().filter(|s| !finished.contains(s.id.as_str())).collect();
    let share = |subtask: u32| {
        let mine = open.iter().skip(subtask as usize).step_by(parallelism as usize);
        Assignment { subtask, splits: mine.map(|s| (*s).clone()).collect(), no_more }
    };
    (0..parallelism).map(share).collect()
}

/// The error of a table that reads something else than what its checkpoint knows positions of.
pub fn other_place(was: &str, is: &str) -> Error {
    let text = format!("the checkpoint has positions in {was}, and the table now reads {is}");
    let remedy = "to begin with the new one, give the table another name and use --allow-dropped-state";
    Error::user(format!("{text}; go on with the old one; or, {remedy}"))
}

/// See the module.
pub struct AssignOnce {
    discover: Discover,
    /// Where they are found.
    place: String,
    splits: Vec<Split>,
}

impl AssignOnce {
    /// With what finds the splits, and where: what was found in one place is not looked for in another.
    pub fn new(place: impl Into<String>, discover: Discover) -> AssignOnce {
        AssignOnce { discover, place: place.into(), splits: vec![] }
    }

    /// With splits that are known without looking.
    pub fn known(splits: Vec<Split>) -> AssignOnce {
        AssignOnce::new("", Box::new(move || Ok(splits.clone())))
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
            Fact::Started { parallelism, finished } => deal(&self.splits, &finished, parallelism, true),
            Fact::Drained { .. } => vec![],
        }
    }

    fn snapshot(&self) -> Value {
        json!({ "format": 1, "place": self.place, "splits": self.splits })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let place = state.get("place").and_then(Value::as_str).unwrap_or(&self.place);
        if place != self.place {
            return Err(other_place(&format!("`{place}`"), &format!("`{}`", self.place)));
        }
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
    fn every_open_split_is_dealt_once_and_nobody_gets_two_more_than_another() {
        for (splits, parallelism) in [(0_usize, 1_u32), (1, 4), (7, 3), (64, 5), (3, 0)] {
            let all: Vec<Split> = (0..splits).map(|n| split(&n.to_string())).collect();
            for finished in [vec![], vec!["1".to_owned(), "5".to_owned(), "gone".to_owned()]] {
                let dealt = deal(&all, &finished, parallelism, parallelism != 3);
                let subtasks: Vec<u32> = dealt.iter().map(|a| a.subtask).collect();
                assert_eq!(subtasks, (0..parallelism).collect::<Vec<_>>());
                assert!(dealt.iter().all(|a| a.no_more == (parallelism != 3)));
                let counts = dealt.iter().map(|a| a.splits.len());
                assert!(counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0) <= 1);
                let mut got: Vec<&Split> = dealt.iter().flat_map(|a| &a.splits).collect();
                got.sort_by_key(|s| s.id.parse::<usize>().unwrap());
                let open: Vec<&Split> = all.iter().filter(|s| !finished.contains(&s.id) && parallelism > 0).collect();
                assert_eq!(got, open);
            }
        }
    }

    #[test]
    fn splits_are_spread_and_a_restore_gives_out_the_unfinished_ones() {
        let mut e = AssignOnce::known(["a", "b", "c"].map(split).to_vec());
        let found = e.discover().unwrap();
        e.step(Fact::Discovered(found));
        let first = e.step(Fact::Started { parallelism: 2, finished: vec![] });
        assert_eq!(ids(&first), [vec!["a", "c"], vec!["b"]]);
        assert!(first.iter().all(|a| a.no_more));

        let mut again = AssignOnce::new("", Box::new(|| panic!("what was found stays")));
        again.restore(&e.snapshot()).unwrap();
        let next = again.step(Fact::Started { parallelism: 3, finished: vec!["b".into()] });
        assert_eq!(ids(&next), [vec!["a"], vec!["c"], vec![]]);
        assert_eq!(next[0].splits[0].spec, json!({ "end": 7 }), "what was fixed about a split stays");
        let e = AssignOnce::new("b/", Box::new(|| Ok(vec![]))).restore(&e.snapshot()).unwrap_err();
        assert!(e.message().contains("positions in ``, and the table now reads `b/`"), "{e}");
    }
}
