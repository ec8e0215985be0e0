//! Binds the special forms of SQL (`EXTRACT(.. FROM ..)`, `POSITION(.. IN ..)`, `SUBSTRING(.. FROM ..)`, `OVERLAY(.. PLACING ..)`,
//! `s || s`) to the functions of this module; DataFusion's planners would bind them to its own, which have no limit of memory.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion_expr::{Expr, ExprSchemable, Operator, ScalarUDF};
use datafusion_sql::sqlparser::ast::BinaryOperator;
use datafusion_sql::sqlparser::tokenizer::Span;
use thalweg_engine::type_name;

use crate::error::Fault;
use crate::planner::refuse::span_of;
use crate::wording::written;

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

/// Refuses an operator that its operands' types do not have: here both still know their places.
fn check_types(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<()> {
    use BinaryOperator as B;
    let (operator, compares) = match expr.op {
        B::Plus => (Operator::Plus, false),
        B::Minus => (Operator::Minus, false),
        B::Multiply => (Operator::Multiply, false),
        B::Divide => (Operator::Divide, false),
        B::Modulo => (Operator::Modulo, false),
        B::And => (Operator::And, false),
        B::Or => (Operator::Or, false),
        B::Eq => (Operator::Eq, true),
        B::NotEq => (Operator::NotEq, true),
        B::Lt => (Operator::Lt, true),
        B::LtEq => (Operator::LtEq, true),
        B::Gt => (Operator::Gt, true),
        B::GtEq => (Operator::GtEq, true),
        _ => return Ok(()),
    };
    let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else { return Ok(()) };
    // As in Flink, a column of texts is no number and no time; a constant is read as one.
    let reads = |e: &Expr, of: &DataType, other: &DataType| {
        *of == DataType::Utf8 && *other != DataType::Utf8 && !other.is_null() && !matches!(e, Expr::Literal(..))
    };
    let mixed = compares && (reads(&expr.left, &left, &right) || reads(&expr.right, &right, &left));
    if !mixed && BinaryTypeCoercer::new(&left, &operator, &right).get_result_type().is_ok() {
        return Ok(());
    }
    let span = span_of(&expr.left).or_else(|| span_of(&expr.right)).unwrap_or(Span::empty());
    let text = format!("{} {} {}", written(&expr.left), expr.op, written(&expr.right));
    let reason = format!("`{text}`: {} and {} have no `{}`", type_name(&left), type_name(&right), expr.op);
    let to = if left == DataType::Utf8 { type_name(&right) } else { type_name(&left) };
    let remedy = match (&left, &right) {
        (DataType::Timestamp(..) | DataType::Date32, _) if !compares => "add or take away an INTERVAL".to_owned(),
        _ if matches!(operator, Operator::And | Operator::Or) => "both sides must be BOOLEAN: compare them".to_owned(),
        _ => format!("convert one side, for instance CAST(x AS {to})"),
    };
    Err(Fault::invalid(span, reason).remedy(remedy).into())
}

impl ExprPlanner for FunctionPlanner {
    /// `a || b || c` of texts is one `CONCAT(a, b, c)`: NULL if any part is, and with the limit of all functions that make text.
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        check_types(&expr, schema)?;
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
