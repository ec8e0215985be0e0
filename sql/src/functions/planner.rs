//! Binds the special forms of SQL (`EXTRACT(.. FROM ..)`, `POSITION(.. IN ..)`, `SUBSTRING(.. FROM ..)`, `OVERLAY(.. PLACING ..)`,
//! `s || s`) to the functions of this module; DataFusion's planners would bind them to its own, which have no limit of memory.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion_sql::sqlparser::ast::BinaryOperator;

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

/// What a `||` joins: the parts of one that was bound before, or the expression itself.
fn joined(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "concat" => call.args,
        other => vec![other],
    }
}

impl ExprPlanner for FunctionPlanner {
    /// `a || b || c` of texts is one `CONCAT(a, b, c)`: NULL if any part is, and with the limit of all functions that make text.
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_text = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Utf8));
        let joins = expr.op == BinaryOperator::StringConcat && is_text(&expr.left) && is_text(&expr.right);
        let concat = self.functions.iter().find(|function| joins && function.name() == "concat");
        let Some(concat) = concat else { return Ok(PlannerResult::Original(expr)) };
        let args = [joined(expr.left), joined(expr.right)].concat();
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(concat), args))))
    }

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
