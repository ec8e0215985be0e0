//! Joins of batch queries: by hash where there are equal columns, else by trying all pairs.

use super::plan::{Lowering, Physical};
use arrow::datatypes::Schema;
use datafusion_common::{DFSchema, JoinType, Result};
use datafusion_expr::{Expr, Join};
use datafusion_physical_plan::joins::utils::JoinFilter;
use datafusion_physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use std::sync::Arc;

pub(super) fn join(lowering: &Lowering, node: &Join) -> Result<Physical> {
    let (left, right) = (lowering.plan(&node.left)?, lowering.plan(&node.right)?);
    let equal =
        |(l, r): &(Expr, Expr)| Ok((lowering.expr(l, node.left.schema())?, lowering.expr(r, node.right.schema())?));
    let on = node.on.iter().map(equal).collect::<Result<Vec<_>>>()?;
    let filter = node.filter.as_ref().map(|e| filter(lowering, node, e, &left, &right)).transpose()?;
    if on.is_empty() && filter.is_none() && node.join_type == JoinType::Inner {
        return Ok(Arc::new(CrossJoinExec::new(left, right)));
    }
    if on.is_empty() {
        return Ok(Arc::new(NestedLoopJoinExec::try_new(left, right, filter, &node.join_type, None)?));
    }
    Ok(Arc::new(HashJoinExec::try_new(
        left,
        right,
        on,
        filter,
        &node.join_type,
        None,
        PartitionMode::CollectLeft,
        node.null_equality,
        node.null_aware,
    )?))
}

/// What must hold beside equal columns, over those columns of both sides that it names.
fn filter(lowering: &Lowering, node: &Join, expr: &Expr, left: &Physical, right: &Physical) -> Result<JoinFilter> {
    let columns = expr.column_refs();
    let places = |schema: &DFSchema| {
        let mut places: Vec<usize> = columns.iter().filter_map(|c| schema.index_of_column(c).ok()).collect();
        places.sort_unstable();
        places
    };
    let (l, r) = (places(node.left.schema()), places(node.right.schema()));
    let (mut logical, mut physical) = (Vec::new(), Vec::new());
    for (places, schema, side) in [(&l, node.left.schema(), left), (&r, node.right.schema(), right)] {
        for i in places {
            let (qualifier, field) = schema.qualified_field(*i);
            logical.push((qualifier.cloned(), field.clone()));
            physical.push(side.schema().field(*i).clone());
        }
    }
    let schema = DFSchema::new_with_metadata(logical, Default::default())?;
    let expr = lowering.expr(expr, &schema)?;
    Ok(JoinFilter::new(expr, JoinFilter::build_column_indices(l, r), Arc::new(Schema::new(physical))))
}
