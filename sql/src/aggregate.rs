//! The aggregate functions that queries may name, with Flink's argument and result types.
//!
//! Only declarations: DataFusion binds and type-checks them; the window operators compute them. `count` is DataFusion's own declaration,
//! because its planner rewrites `count(*)` by identity.

use crate::error::Fault;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion_common::Result;
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::sync::Arc;

pub(crate) use thalweg_operators::aggregate::Function;

/// All names that queries may use.
const NAMES: [(&str, Function); 15] = [
    ("count", Function::Count),
    ("sum", Function::Sum),
    ("avg", Function::Avg),
    ("min", Function::Min),
    ("max", Function::Max),
    ("first_value", Function::FirstValue),
    ("last_value", Function::LastValue),
    ("stddev_pop", Function::StddevPop),
    ("stddev_samp", Function::StddevSamp),
    ("stddev", Function::StddevSamp),
    ("var_pop", Function::VarPop),
    ("var_samp", Function::VarSamp),
    ("variance", Function::VarSamp),
    ("mean", Function::Avg),
    ("any_value", Function::FirstValue),
];

/// What the aggregate of this name computes, if there is one.
pub(crate) fn function(name: &str) -> Option<Function> {
    NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, function)| *function)
}

/// The declarations, by every name they have.
pub(crate) fn declarations() -> Vec<(&'static str, Arc<AggregateUDF>)> {
    let declare = |(name, kind): (&'static str, Function)| match kind {
        Function::Count => (name, datafusion_functions_aggregate::count::count_udaf()),
        kind => (
            name,
            Arc::new(AggregateUDF::from(Declared { kind, signature: Signature::user_defined(Volatility::Immutable) })),
        ),
    };
    NAMES.into_iter().map(declare).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Declared {
    kind: Function,
    signature: Signature,
}

impl Declared {
    fn refuse(&self, argument: &DataType) -> datafusion_common::DataFusionError {
        let name = self.kind.name();
        let written = thalweg_engine::type_name(argument);
        let fault = Fault::invalid(Span::empty(), format!("`{name}` cannot take {written}"));
        fault.remedy(format!("cast the argument: {name}(CAST(x AS DOUBLE))")).into()
    }

    /// The type that an argument is cast to.
    fn argument(&self, given: &DataType) -> Result<DataType> {
        use Function as K;
        match (self.kind, given) {
            // sum('1') is a number in no dialect; NULL alone may be one.
            (K::Sum | K::Avg, DataType::Null) => Ok(DataType::Int64),
            (K::Sum | K::Avg, t) if t.is_signed_integer() || t.is_floating() || is_decimal(t) => Ok(t.clone()),
            (K::Sum | K::Avg, t) if t.is_unsigned_integer() => Ok(DataType::Int64),
            (K::StddevPop | K::StddevSamp | K::VarPop | K::VarSamp, t) if t.is_numeric() || t.is_null() => {
                Ok(DataType::Float64)
            }
            (K::Min | K::Max, t) if is_ordered(t) => Ok(t.clone()),
            (K::FirstValue | K::LastValue, t) => Ok(t.clone()),
            (_, t) => Err(self.refuse(t)),
        }
    }
}

fn is_decimal(t: &DataType) -> bool {
    matches!(t, DataType::Decimal128(..))
}

fn is_ordered(t: &DataType) -> bool {
    t.is_primitive() || matches!(t, DataType::Boolean | DataType::Utf8 | DataType::Binary)
}

impl AggregateUDFImpl for Declared {
    fn name(&self) -> &str {
        self.kind.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [one] => Ok(vec![self.argument(one)?]),
            _ => {
                let reason = format!("`{}` takes one argument, not {}", self.kind.name(), given.len());
                Err(Fault::invalid(Span::empty(), reason).remedy(format!("write {}(x)", self.kind.name())).into())
            }
        }
    }
    /// Flink: SUM and AVG of a type are of that type, of a decimal they are wide enough for any sum.
    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [argument] = arguments else {
            return datafusion_common::internal_err!("{} without an argument", self.name());
        };
        Ok(match (self.kind, argument) {
            (Function::Sum, DataType::Decimal128(_, s)) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, *s),
            (Function::Avg, DataType::Decimal128(_, s)) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, (*s).max(6)),
            _ => argument.clone(),
        })
    }
    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        datafusion_common::internal_err!("{} is computed by the window operators", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_function_and_canonical_names_to_themselves() {
        for (name, of) in NAMES {
            assert_eq!((function(name), function(&name.to_uppercase())), (Some(of), Some(of)));
            assert_eq!(function(of.name()), Some(of), "{name}");
        }
        assert_eq!(function("median"), None);
    }

    /// The first cells of the table under `## Aggregates` name every aggregate, and only those.
    #[test]
    fn the_document_lists_all_aggregates() {
        let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/dialect.md"));
        let table = document.split("\n## Aggregates\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let cells = table.lines().filter(|l| l.starts_with("| `")).filter_map(|l| l.split(" | ").next());
        let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(|n| n.split('(').next().unwrap_or(n)));
        let documented: std::collections::BTreeSet<String> = named.map(str::to_lowercase).collect();
        assert_eq!(documented, NAMES.iter().map(|(n, _)| (*n).to_owned()).collect());
    }
}
