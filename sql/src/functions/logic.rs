//! Conditional functions. IF is rewritten into CASE, so that only the chosen branch is computed; GREATEST and LEAST are NULL as soon
//! as one argument is.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::zip::zip;
use arrow::compute::nullif;
use datafusion_common::{Result, plan_err};
use datafusion_expr::Expr;
use datafusion_expr::expr::Case;

use super::params::Param::{Any, Bool};
use super::params::unify_from;
use super::scalar::{Call, Returns, Spec};

/// Conditional functions.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "if",
        required: &[Bool, Any, Any],
        unify: Some(|name, types| unify_from(name, 1, types)),
        returns: Returns::Argument(1),
        strict: false,
        rewrite: Some(if_to_case),
        kernel: choose,
        ..Spec::DEFAULT
    },
    Spec {
        name: "greatest",
        required: &[Any],
        rest: Some(Any),
        unify: Some(|name, types| unify_from(name, 0, types)),
        returns: Returns::Argument(0),
        kernel: |call| extreme(call, true),
        ..Spec::DEFAULT
    },
    Spec {
        name: "least",
        required: &[Any],
        rest: Some(Any),
        unify: Some(|name, types| unify_from(name, 0, types)),
        returns: Returns::Argument(0),
        kernel: |call| extreme(call, false),
        ..Spec::DEFAULT
    },
];

fn if_to_case(args: Vec<Expr>) -> Result<Expr> {
    match <[Expr; 3]>::try_from(args) {
        Ok([condition, then, otherwise]) => {
            let branch = (Box::new(condition), Box::new(then));
            Ok(Expr::Case(Case::new(None, vec![branch], Some(Box::new(otherwise)))))
        }
        Err(args) => plan_err!("function `if` takes 3 arguments, got {}", args.len()),
    }
}

fn choose(call: &Call<'_>) -> Result<ArrayRef> {
    let condition = truth(&call.typed::<BooleanArray>(0)?);
    Ok(zip(&condition, &call.array(1)?, &call.array(2)?)?)
}

/// NULL counts as false.
fn truth(condition: &BooleanArray) -> BooleanArray {
    match condition.nulls() {
        None => condition.clone(),
        Some(nulls) => BooleanArray::new(condition.values() & nulls.inner(), None),
    }
}

fn extreme(call: &Call<'_>, largest: bool) -> Result<ArrayRef> {
    let mut best = call.array(0)?;
    for at in 1..call.args.len() {
        let other = call.array(at)?;
        let better = if largest { gt(&other, &best)? } else { lt(&other, &best)? };
        best = zip(&truth(&better), &other, &best)?;
    }
    match &call.nulls {
        None => Ok(best),
        Some(nulls) => Ok(nullif(&best, &BooleanArray::new(!nulls.inner(), None))?),
    }
}
