//! What happens to a record that cannot be decoded: the options, and the policy that every decoding reader applies.
//!
//! Called by the registry (options) and by readers, once per batch with bad records. A bad record is counted whatever else
//! happens to it, so nothing vanishes silently.

use crate::options::{OptionError, OptionResult, OptionSpec, TypedOptions, ValueKind};
use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch, StringBuilder};
use std::fmt::Display;
use std::sync::Arc;
use thalweg_engine::batch::Batch;
use thalweg_engine::error::{Error, Result};
use thalweg_engine::metrics::NodeMetrics;
use thalweg_engine::source::rejected_schema;

/// What a bad record does (`bad-record`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRecord {
    /// It fails the job.
    #[default]
    Fail,
    /// It is counted and skipped.
    Skip,
    /// It is counted and handed to the rejected output.
    DeadLetter,
}

/// The options of tables that decode records.
pub const BAD_RECORD_OPTIONS: &[OptionSpec] = &[
    OptionSpec::with_default(
        "bad-record",
        ValueKind::OneOf(&["fail", "skip", "dead-letter"]),
        "fail",
        "what a record does that cannot be decoded: fail the job, be counted and skipped, or go to `bad-record.table`",
    ),
    OptionSpec::new(
        "bad-record.table",
        ValueKind::Text,
        "the table that takes bad records, with columns source STRING, position STRING, reason STRING, raw BYTES",
    ),
    OptionSpec::new("json.ignore-parse-errors", ValueKind::Bool, "'true' is the same as 'bad-record' = 'skip'"),
    OptionSpec::new("csv.ignore-parse-errors", ValueKind::Bool, "'true' is the same as 'bad-record' = 'skip'"),
];

/// The options of tables that can be read from.
pub const LATE_OPTIONS: &[OptionSpec] =
    &[OptionSpec::new("late.table", ValueKind::Text, "the table that takes rows that are too late for every window")];

/// Policy and table, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadRecords {
    /// What a bad record does.
    pub policy: BadRecord,
    /// Where dead letters go.
    pub table: Option<String>,
}

impl BadRecords {
    /// Reads the options. Errors: two options that say different things, or a table that nothing goes to.
    pub fn parse(options: &TypedOptions<'_>) -> OptionResult<BadRecords> {
        let words = [("fail", BadRecord::Fail), ("skip", BadRecord::Skip), ("dead-letter", BadRecord::DeadLetter)];
        let mut policy = options.choice("bad-record", &words)?.unwrap_or_default();
        for key in ["json.ignore-parse-errors", "csv.ignore-parse-errors"] {
            if !options.is_given(key) {
                continue;
            }
            if options.is_given("bad-record") {
                let text = "given together with `bad-record`, which says the same";
                return Err(OptionError::at(key, text).remedy("keep one of them"));
            }
            if options.flag(key)? {
                policy = BadRecord::Skip;
            }
        }
        let table = options.text("bad-record.table").map(str::to_owned);
        match (policy, &table) {
            (BadRecord::DeadLetter, None) => {
                let remedy = "add 'bad-record.table' = '..', a table with columns source, position, reason, raw";
                Err(OptionError::at("bad-record", "'dead-letter' needs a table").remedy(remedy))
            }
            (BadRecord::Fail | BadRecord::Skip, Some(_)) => {
                let remedy = "add 'bad-record' = 'dead-letter'";
                Err(OptionError::at("bad-record.table", "nothing is sent to it").remedy(remedy))
            }
            _ => Ok(BadRecords { policy, table }),
        }
    }
}

/// One record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected<'a, P> {
    /// Where it stands, in the connector's terms: `orders-3:17`, `a.json, byte 120`.
    pub position: P,
    /// Why, as a lowercase fragment.
    pub reason: &'a str,
    /// Its bytes, if there are any.
    pub raw: Option<&'a [u8]>,
}

impl BadRecord {
    /// Counts the bad records of one batch and does what the policy says. Returns the rows for the rejected output.
    ///
    /// # Errors
    /// `user`, under [`BadRecord::Fail`], naming source, position and reason of the first.
    pub fn apply<'a, P: Display>(
        self,
        source: &str,
        bad: impl IntoIterator<Item = Rejected<'a, P>>,
        metrics: &NodeMetrics,
    ) -> Result<Option<Batch>> {
        let mut bad = bad.into_iter().peekable();
        let Some(first) = bad.peek() else { return Ok(None) };
        match self {
            BadRecord::Fail => {
                let text = format!(
                    "table `{source}`: record at {}: {}; 'bad-record' = 'skip' or 'dead-letter' goes on without it",
                    first.position, first.reason
                );
                metrics.bad_records.add(bad.count() as u64);
                Err(Error::user(text))
            }
            BadRecord::Skip => {
                metrics.bad_records.add(bad.count() as u64);
                Ok(None)
            }
            BadRecord::DeadLetter => {
                let rows = dead_letters(source, bad)?;
                metrics.bad_records.add(rows.num_rows() as u64);
                Ok(Some(rows))
            }
        }
    }
}

fn dead_letters<'a, P: Display>(source: &str, bad: impl Iterator<Item = Rejected<'a, P>>) -> Result<Batch> {
    let (mut sources, mut positions, mut reasons) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut raw = BinaryBuilder::new();
    for record in bad {
        sources.append_value(source);
        positions.append_value(record.position.to_string());
        reasons.append_value(record.reason);
        raw.append_option(record.raw);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(sources.finish()),
        Arc::new(positions.finish()),
        Arc::new(reasons.finish()),
        Arc::new(raw.finish()),
    ];
    Ok(Batch::new(RecordBatch::try_new(rejected_schema(), columns)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use arrow::array::AsArray;

    fn parse(pairs: &[(&str, &str)]) -> OptionResult<BadRecords> {
        let options = Options::new(pairs.iter().copied())?;
        let known = BAD_RECORD_OPTIONS.to_vec();
        BadRecords::parse(&options.check("x", &known)?)
    }

    #[test]
    fn flinks_option_means_skip_and_both_are_an_error() {
        let policy = |pairs: &[(&str, &str)]| parse(pairs).map(|b| b.policy);
        assert_eq!(policy(&[]), Ok(BadRecord::Fail));
        assert_eq!(policy(&[("json.ignore-parse-errors", "true")]), Ok(BadRecord::Skip));
        assert_eq!(policy(&[("csv.ignore-parse-errors", "false")]), Ok(BadRecord::Fail));
        assert_eq!(policy(&[("bad-record", "skip")]), Ok(BadRecord::Skip));
        let both = policy(&[("bad-record", "skip"), ("json.ignore-parse-errors", "true")]).unwrap_err();
        assert_eq!(both.key.as_deref(), Some("json.ignore-parse-errors"));
        let dead = parse(&[("bad-record", "dead-letter"), ("bad-record.table", "d")]).unwrap();
        assert_eq!(dead, BadRecords { policy: BadRecord::DeadLetter, table: Some("d".into()) });
        assert!(policy(&[("bad-record", "dead-letter")]).unwrap_err().to_string().contains("needs a table"));
        assert!(policy(&[("bad-record.table", "d")]).unwrap_err().to_string().contains("nothing is sent to it"));
        assert!(policy(&[("bad-record", "ignore")]).is_err());
    }

    #[test]
    fn every_policy_counts() {
        let bad = || {
            let rejected = |position, raw| Rejected { position, reason: "no object", raw };
            vec![rejected("f:1", Some(b"x".as_slice())), rejected("f:3", None)]
        };
        let metrics = NodeMetrics::default();
        let error = BadRecord::Fail.apply("t", bad(), &metrics).unwrap_err();
        assert!(error.message().starts_with("table `t`: record at f:1: no object; "), "{error}");
        assert_eq!(BadRecord::Skip.apply("t", bad(), &metrics).unwrap(), None);
        let rows = BadRecord::DeadLetter.apply("t", bad(), &metrics).unwrap().unwrap();
        assert_eq!((rows.num_rows(), metrics.bad_records.get()), (2, 6));
        assert_eq!(rows.column(1).unwrap().as_string::<i32>().value(1), "f:3");
        assert_eq!(
            rows.column(3).unwrap().as_binary::<i32>().iter().collect::<Vec<_>>(),
            [Some(b"x".as_slice()), None]
        );
        let none: [Rejected<'_, &str>; 0] = [];
        assert_eq!(BadRecord::Fail.apply("t", none, &metrics).unwrap(), None);
    }
}
