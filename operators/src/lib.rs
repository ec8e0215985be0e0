//! The streaming operators of Thalweg. The planner and the Rust API describe one as a plain struct, which is the
//! [`OperatorFactory`](thalweg_engine::OperatorFactory) that they put into the graph. Several edges into one port are a union:
//! it needs no operator.

pub mod aggregate;
pub mod calc;
pub mod choose;
pub mod consolidate;
pub mod expr;
pub mod group;
pub mod join;
mod share;
pub mod text;
pub mod window;
