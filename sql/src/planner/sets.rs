//! GROUPING SETS, CUBE and ROLLUP: one aggregate per set, and the union of their results, with NULL for the columns that a set has not.
//! What the aggregates read is computed once, as streams are shared.

use super::lower::{Lower, Pending};
use super::refuse;
use super::stream::column;
use crate::error::{Fault, Result};
use crate::fault;
use datafusion_common::ScalarValue;
use datafusion_expr::expr::GroupingSet;
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, lit};
use std::sync::Arc;

/// A query has no more sets than this: CUBE over six columns.
const SETS_MAX: usize = 64;

impl Lower<'_> {
    /// An aggregate over several groupings. Output: all grouping expressions, which set a row is of, aggregates.
    pub(super) fn grouping_sets(&mut self, input: Pending, aggregate: &Aggregate) -> Result<Pending> {
        let [Expr::GroupingSet(sets)] = &aggregate.group_expr[..] else {
            return Err(Fault::internal("grouping sets beside other groups"));
        };
        let exprs: Vec<Expr> = sets.distinct_expr().into_iter().cloned().collect();
        let sets = listed(sets).ok_or_else(|| refuse::many_sets(aggregate, SETS_MAX, self.span))?;
        let fields = aggregate.schema.fields();
        let names: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let mut inputs = vec![];
        for set in sets {
            let keys = set.len();
            let one = Aggregate::try_new(Arc::clone(&aggregate.input), set.clone(), aggregate.aggr_expr.clone());
            let mut pending = self.aggregate(input.clone(), &one.map_err(fault::of)?)?;
            let bit = |i: usize| u64::from(!set.contains(&exprs[i])) << (exprs.len() - 1 - i);
            let id: u64 = (0..exprs.len()).map(bit).sum();
            let mut outputs = vec![];
            let mut attributes = vec![];
            for (i, expr) in exprs.iter().enumerate() {
                let at = set.iter().position(|e| e == expr);
                let null = || ScalarValue::try_from(fields[i].data_type()).map(|null| Expr::Literal(null, None));
                outputs.push(match at.and_then(|at| pending.outputs.get(at)) {
                    Some(output) => output.clone(),
                    None => null().map_err(fault::of)?,
                });
                attributes.push(at.and_then(|at| pending.attributes.get(at).copied().flatten()));
            }
            let id_type = fields[exprs.len()].data_type();
            let id = lit(id);
            outputs.push(datafusion_expr::cast(id, id_type.clone()));
            outputs.extend(pending.outputs.iter().skip(keys).cloned());
            attributes.resize(outputs.len(), None);
            (pending.outputs, pending.attributes) = (outputs, attributes);
            inputs.push(pending);
        }
        let union = self.union_of(inputs, &names, aggregate.schema.as_ref())?;
        debug_assert!(union.outputs.iter().enumerate().all(|(i, e)| *e == column(i)));
        Ok(union)
    }
}

/// The sets one by one; `None`: they are too many.
fn listed(sets: &GroupingSet) -> Option<Vec<Vec<Expr>>> {
    let sets = match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|n| exprs[..n].to_vec()).collect(),
        GroupingSet::Cube(exprs) if exprs.len() > 6 => return None,
        GroupingSet::Cube(exprs) => {
            let subset = |mask: usize| exprs.iter().enumerate().filter(move |(i, _)| mask >> i & 1 == 1);
            (0..1 << exprs.len()).map(|mask| subset(mask).map(|(_, e)| e.clone()).collect()).collect()
        }
    };
    (sets.len() <= SETS_MAX).then_some(sets)
}
