//! SQL for Thalweg: text to job graph.
//!
//! [`compile`] takes a text of statements in Flink's dialect and gives [`Job`]s, each an engine graph, and answers to SHOW, DESCRIBE
//! and EXPLAIN. In the order of the work: `text` (variables, places) -> `parser` -> `check` -> `bind` (names and types, on
//! DataFusion) -> `optimize` -> `planner` (streams, then the graph). `limits` and `stack` see to it that no text can take the process down.
//!
//! Planning is a pure function of text, defines, settings and this binary: no clock, no file, no broker.

mod aggregate;
mod attribute;
pub mod batch;
mod bind;
mod casts;
pub mod catalog;
mod check;
mod coerce;
pub mod connect;
mod context;
mod culprit;
pub mod error;
mod fault;
pub mod functions;
pub mod limits;
mod marks;
mod mixed;
mod naming;
mod nodes;
mod optimize;
mod parser;
mod planner;
mod program;
mod relation;
mod secret;
mod shown;
mod size;
mod stack;
pub mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod units;
mod wording;

pub use catalog::{ColumnDef, ColumnOrigin};
pub use connect::{Connectors, Outcome, Refusal, Settings, TableSpec};
pub use error::{Position, SqlError, SqlErrorKind};
pub use program::{Answer, DECIMAL_LITERALS, Item, Job, Program, compile};
