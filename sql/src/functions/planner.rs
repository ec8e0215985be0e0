//! Binds the special forms of SQL (`EXTRACT(.. FROM ..)`, `POSITION(.. IN ..)`, `SUBSTRING(.. FROM ..)`, `OVERLAY(.. PLACING ..)`) to
//! the functions of this module; DataFusion's planners would bind them to its own.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult};
use datafusion_expr::{Expr, ScalarUDF};

use super::scalar_functions;

/// To be registered before DataFusion's expression planners.
#[derive(Debug)]
pub struct FunctionPlanner {
    functions: Vec<Arc<ScalarUDF>>,
}

impl Default for FunctionPlanner {
    fn default() -> Self {
        FunctionPlanner { functions: scalar_functions() }
    }
}

impl FunctionPlanner {
    fn call(&self, name: &str, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        match self.functions.iter().find(|function| function.name() == name) {
            Some(function) => {
                let call = ScalarFunction::new_udf(Arc::clone(function), args);
                Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
            }
            None => Ok(PlannerResult::Original(args)),
        }
    }
}

impl ExprPlanner for FunctionPlanner {
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("date_part", args)
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("strpos", args)
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("substr", args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("overlay", args)
    }
}
