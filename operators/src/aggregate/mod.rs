//! Aggregates over groups of rows, as columns of a keyed table. The planner writes down [`Aggregate`]s; window operators compile
//! them into a [`Program`], which folds rows into states, merges partial states, and finishes them into output columns.
//!
//! | function | arguments | output types | over no row |
//! |---|---|---|---|
//! | COUNT | any; none: rows | any integer | 0 |
//! | SUM | integers, decimals, floats | any number; one that does not fit is the user's error | NULL |
//! | AVG | integers, decimals, floats | integer (truncated), decimal (rounded half up), float | NULL |
//! | MIN, MAX | all ordered types; NaN is the greatest float | the argument's | NULL |
//! | FIRST_VALUE, LAST_VALUE | all ordered types; by event time, then by value | the argument's | NULL |
//! | STDDEV_*, VAR_* | numbers | float | NULL; of one row: 0 (POP), NULL (SAMP) |
//! | BOOL_AND, BOOL_OR | boolean | boolean | NULL |
//!
//! NULL arguments are skipped by all of them; so are rows for which FILTER is not true. DISTINCT is for COUNT, SUM and AVG (it
//! changes nothing about MIN, MAX, BOOL_*, and those drop it).

pub mod finish;
pub mod fold;
pub mod program;
mod special;
pub mod value;

pub use program::Program;

use crate::expr::Expr;
use arrow::datatypes::DataType;

/// What an aggregate computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Number of rows, or of rows whose argument is not NULL.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the earliest row.
    FirstValue,
    /// The value of the latest row.
    LastValue,
    /// Standard deviation of a population.
    StddevPop,
    /// Standard deviation of a sample.
    StddevSamp,
    /// Variance of a population.
    VarPop,
    /// Variance of a sample.
    VarSamp,
    /// Whether all are true.
    BoolAnd,
    /// Whether one is true.
    BoolOr,
}

impl Function {
    /// What it is called in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::Min => "min",
            Function::Max => "max",
            Function::FirstValue => "first_value",
            Function::LastValue => "last_value",
            Function::StddevPop => "stddev_pop",
            Function::StddevSamp => "stddev_samp",
            Function::VarPop => "var_pop",
            Function::VarSamp => "var_samp",
            Function::BoolAnd => "bool_and",
            Function::BoolOr => "bool_or",
        }
    }
}

/// One aggregate: `SUM(DISTINCT argument) FILTER (WHERE filter)`.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What it computes.
    pub function: Function,
    /// Over the operator's input; `None` for COUNT(*).
    pub argument: Option<Expr>,
    /// Only rows for which this is true.
    pub filter: Option<Expr>,
    /// Each value once.
    pub distinct: bool,
    /// The type of the output column.
    pub output: DataType,
}

impl Aggregate {
    /// `function(argument)` over all rows.
    pub fn new(function: Function, argument: Option<Expr>, output: DataType) -> Aggregate {
        Aggregate { function, argument, filter: None, distinct: false, output }
    }

    /// Only rows for which `filter` is true.
    pub fn filter(self, filter: Expr) -> Aggregate {
        Aggregate { filter: Some(filter), ..self }
    }

    /// Each value once.
    pub fn distinct(self) -> Aggregate {
        Aggregate { distinct: true, ..self }
    }

    /// Whether it must see each value once.
    pub fn needs_distinct(&self) -> bool {
        self.distinct && matches!(self.function, Function::Count | Function::Sum | Function::Avg)
    }
}

#[cfg(test)]
mod tests;
