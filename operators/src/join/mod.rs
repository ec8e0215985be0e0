//! Joins of two streams: each side is kept as a multimap by the join key, and new rows meet the other side. The planner fills in
//! [`Join`]; port 0 is left, port 1 right, both behind hash edges on all of their keys, in order.
//!
//! | file | does |
//! |---|---|
//! | here | what a join is, and its compiled form |
//! | `shape.rs` | which columns of a side are kept, and how rows become entries and back |
//! | `packing.rs` | columns of types that state cannot hold as they are |
//! | `pairs.rs` | entries that meet: probing in chunks, the residual filter |
//! | `output.rs` | columns and weights of results |
//! | `operator.rs` | the operator: inner joins at once, all others when their epoch ends |
//! | `keyed.rs` | the end of an epoch without residual filter: what changes by key |
//! | `counted.rs` | the end of an epoch with one: what changes by row |
//! | `not_in.rs` | NOT IN |
//!
//! **When rows are emitted.** An inner join emits with every batch. The others emit, when an epoch ends, what changed in it. With a
//! [`TimeBound`] a row that waits for a partner in vain is emitted when it is freed, so that nothing is ever taken back.
//!
//! **NULL keys** match nothing (unless `nulls_equal`): such rows are never kept; where rows without partner count, they are emitted as
//! they come.
//!
//! **State.** Both sides are kept whole, of each row the columns that are not keys already; of the right side of a semi or anti join
//! without residual filter only the keys with their number. See [`Multimap`](thalweg_engine::state::Multimap) for what that costs.

mod counted;
mod keyed;
mod not_in;
mod operator;
mod output;
mod packing;
mod pairs;
mod shape;

use crate::expr::{self, Expr, Text};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use pairs::Residual;
use serde_json::{Value, json};
use shape::Shape;
use std::sync::Arc;
use thalweg_engine::state::MultimapSpec;
use thalweg_engine::{Error, Operator, OperatorFactory, Result, StreamKind};

/// Which rows a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without partner, the right columns NULL.
    Left,
    /// Pairs, and right rows without partner, the left columns NULL.
    Right,
    /// Pairs, and rows of both sides without partner.
    Full,
    /// Left rows with a partner, once.
    LeftSemi,
    /// Left rows without partner.
    LeftAnti,
}

/// Which rows of one side by themselves are results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Those without partner.
    Alone,
    /// Those with one.
    Partnered,
}

impl Watch {
    /// Whether a row with so many partners is a result.
    fn wants(self, partners: i64) -> bool {
        (partners == 0) == (self == Watch::Alone)
    }
}

impl JoinKind {
    fn has_pairs(self) -> bool {
        !matches!(self, JoinKind::LeftSemi | JoinKind::LeftAnti)
    }

    /// Of each side.
    fn watches(self) -> [Option<Watch>; 2] {
        match self {
            JoinKind::Inner => [None, None],
            JoinKind::Left | JoinKind::LeftAnti => [Some(Watch::Alone), None],
            JoinKind::Right => [None, Some(Watch::Alone)],
            JoinKind::Full => [Some(Watch::Alone), Some(Watch::Alone)],
            JoinKind::LeftSemi => [Some(Watch::Partnered), None],
        }
    }
}

/// How long rows wait for partners, in event time: a left row is freed once the frontier is beyond its time and `left_keep_ms`, so a
/// right row that is not late (older than the frontier) must never match one that is older. Late rows are counted and routed, rows
/// without a time match nothing. The watermark let through is the frontier less the longest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// The column of the left input that is its time.
    pub left: usize,
    /// How long a left row is kept; less than 0 is as 0: what may still be taken back stays.
    pub left_keep_ms: i64,
    /// The column of the right input that is its time.
    pub right: usize,
    /// How long a right row is kept.
    pub right_keep_ms: i64,
}

/// A join, as the planner describes it.
#[derive(Clone, Debug)]
pub struct Join {
    /// Which rows it gives.
    pub kind: JoinKind,
    /// The columns of the left input.
    pub left: SchemaRef,
    /// The columns of the right input.
    pub right: SchemaRef,
    /// What must be equal: left and right expressions of one type each. None: every pair meets in one subtask.
    pub keys: Vec<(Expr, Expr)>,
    /// Whether NULL is a key like any other.
    pub nulls_equal: bool,
    /// NOT IN, for [`JoinKind::LeftAnti`] with one key and no filter: no row is a result while the right side has a NULL, and none whose
    /// key is NULL while it has any row. One subtask must see all rows: no columns of the edges' hash.
    pub null_aware: bool,
    /// What else must be true of a pair, over the left columns followed by the right ones.
    pub filter: Option<Expr>,
    /// When rows are freed. Without it, both sides are kept for ever.
    pub bound: Option<TimeBound>,
    /// What the output is. [`StreamKind::Append`] needs inputs that only append, and a kind that takes nothing back: inner, or bounded.
    pub stream: StreamKind,
    /// The columns of the output: left, then right; of semi and anti joins the left ones. Nullable where rows without partner are.
    pub output: SchemaRef,
}

impl Join {
    /// What the state looks like, for the graph. Errors: as making the operator.
    pub fn signature(&self) -> Result<Value> {
        let plan = self.compile()?;
        let side = |shape: &Shape| {
            let columns = shape.fields().map(|f| json!([f.name(), f.data_type().to_string()])).collect::<Vec<_>>();
            json!({ "keys": shape.key_columns(), "columns": columns })
        };
        let pairs = |(l, r): &(Expr, Expr)| json!([Text(l).to_string(), Text(r).to_string()]);
        Ok(json!({
            "kind": format!("{:?}", self.kind),
            "on": self.keys.iter().map(pairs).collect::<Vec<_>>(),
            "nulls_equal": self.nulls_equal,
            "null_aware": self.null_aware,
            "filter": self.filter.as_ref().map(|e| Text(e).to_string()),
            "bound": self.bound.map(|b| [b.left_keep_ms, b.right_keep_ms]),
            "left": side(&plan.shapes[0]),
            "right": side(&plan.shapes[1]),
            "format": 1,
        }))
    }

    fn compile(&self) -> Result<Arc<Plan>> {
        self.check()?;
        let counts = self.filter.is_some() || self.bound.is_some();
        let (left, right): (Vec<Expr>, Vec<Expr>) = self.keys.iter().cloned().unzip();
        let keeps_right = self.kind.has_pairs() || counts;
        let times =
            self.bound.map_or([None, None], |b| [Some((b.left, b.left_keep_ms)), Some((b.right, b.right_keep_ms))]);
        let shapes =
            [Shape::new(&self.left, left, true, times[0])?, Shape::new(&self.right, right, keeps_right, times[1])?];
        for ((l, r), (left, right)) in self.keys.iter().zip(shapes[0].key_fields().zip(shapes[1].key_fields())) {
            if left.data_type() != right.data_type() {
                let text =
                    format!("join key `{}` is {}, `{}` is {}", Text(l), left.data_type(), Text(r), right.data_type());
                return Err(Error::internal(text));
            }
        }
        let residual = self.filter.as_ref().map(|f| Residual::new(f, &self.left, &self.right)).transpose()?;
        Ok(Arc::new(Plan {
            kind: self.kind,
            shapes,
            residual,
            counts,
            has_bound: self.bound.is_some(),
            nulls_match: self.nulls_equal || self.null_aware,
            is_not_in: self.null_aware,
            stream: self.stream,
            output: self.output.clone(),
        }))
    }

    fn check(&self) -> Result<()> {
        let broken = |text: String| Err(Error::internal(format!("{:?} join: {text}", self.kind)));
        let not_in = self.kind == JoinKind::LeftAnti
            && self.keys.len() == 1
            && self.filter.is_none()
            && self.bound.is_none()
            && !self.nulls_equal;
        if self.null_aware && !not_in {
            return Err(Error::user(
                "NOT IN is for one column and a subquery that does not refer to the outer row; write NOT EXISTS",
            ));
        }
        if self.stream == StreamKind::Append && self.kind != JoinKind::Inner && self.bound.is_none() {
            return broken("rows may be taken back, the output is declared to append".into());
        }
        let both = self.left.fields().iter().chain(self.right.fields());
        let fields: Vec<_> = if self.kind.has_pairs() { both.collect() } else { self.left.fields().iter().collect() };
        if fields.len() != self.output.fields().len() {
            return broken(format!("{} output columns for {}", self.output.fields().len(), fields.len()));
        }
        for (input, output) in fields.into_iter().zip(self.output.fields()) {
            if input.data_type() != output.data_type() {
                let (name, found, out) = (input.name(), input.data_type(), output.data_type());
                return broken(format!("column `{name}` is {found}, in the output {out}"));
            }
        }
        Ok(())
    }
}

impl OperatorFactory for Join {
    fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::JoinOperator::new(self.compile()?)))
    }
}

/// A compiled [`Join`].
struct Plan {
    kind: JoinKind,
    shapes: [Shape; 2],
    residual: Option<Residual>,
    /// Whether partners are counted by row, and not by key.
    counts: bool,
    has_bound: bool,
    nulls_match: bool,
    is_not_in: bool,
    stream: StreamKind,
    output: SchemaRef,
}

impl Plan {
    /// What a side is kept in: `changes` of an epoch, or all of it.
    fn spec(&self, side: usize, changes: bool) -> MultimapSpec {
        let shape = &self.shapes[side];
        let mut spec = MultimapSpec::new(shape.key_fields().cloned(), shape.rest_fields().cloned());
        let watches = self.kind.watches();
        if watches[1 - side].is_some() && !self.counts {
            spec = spec.with_totals();
        }
        if changes {
            return spec;
        }
        if watches[side].is_some() && self.counts {
            spec = spec.with_partners();
        }
        if self.is_not_in {
            spec = spec.in_one_group();
        }
        match shape.time {
            Some(time) => spec.evicted_by(time.stored),
            None => spec,
        }
    }

    /// Whether results come when an epoch ends, not with each batch.
    fn waits(&self) -> bool {
        self.kind != JoinKind::Inner
    }
}

/// The unit of a column of times, as so many of it in a millisecond, or milliseconds in one of it.
fn unit_of(schema: &Schema, column: usize) -> Result<TimeUnit> {
    match schema.fields().get(column).map(|f| f.data_type()) {
        Some(DataType::Timestamp(unit, _)) => Ok(*unit),
        Some(DataType::Int64) => Ok(TimeUnit::Millisecond),
        other => Err(Error::internal(format!("join bounded by column {column}, which is {other:?}"))),
    }
}

/// The type of an expression over a schema.
fn type_of(expr: &Expr, schema: &Schema) -> Result<DataType> {
    expr.data_type(schema).map_err(|e| expr::error(&e))
}

fn nullable(name: &str, data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new(name, data_type, true))
}

#[cfg(test)]
mod bounded_tests;
#[cfg(test)]
mod tests;
