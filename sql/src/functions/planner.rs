//! Binds the special forms of SQL (`EXTRACT(.. FROM ..)`, `POSITION(.. IN ..)`, `SUBSTRING(.. FROM ..)`, `OVERLAY(.. PLACING ..)`,
//! `s || s`) to the functions of this module; DataFusion's planners would bind them to its own, which have no limit of memory.

use super::decimal::{Bound, bound};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion_expr::type_coercion::binary::{BinaryTypeCoercer, type_union_resolution};
use datafusion_expr::{Expr, ExprSchemable, GetFieldAccess, Operator, ScalarUDF};
use datafusion_sql::sqlparser::ast::BinaryOperator;
use datafusion_sql::sqlparser::tokenizer::Span;
use thalweg_engine::type_name;

use crate::error::Fault;
use crate::mixed::one_type;
use crate::planner::refuse::span_of;
use crate::shown::written;

use super::{nested, scalar_functions};

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
    check_number(expr, (&left, &right), compares)?;
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

/// A constant text that is compared with a whole number is read as one: it must be one.
fn check_number(expr: &RawBinaryExpr, types: (&DataType, &DataType), compares: bool) -> Result<()> {
    for (constant, of, span_in) in [(&expr.right, types.0, &expr.left), (&expr.left, types.1, &expr.right)] {
        if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = constant
            && compares
            && of.is_integer()
            && text.trim().parse::<i128>().is_err()
        {
            let span = span_of(constant).or_else(|| span_of(span_in)).unwrap_or(Span::empty());
            let text = format!("{} {} {}", written(&expr.left), expr.op, written(&expr.right));
            let reason = format!("`{text}`: {} is no {}", written(constant), type_name(of));
            return Err(Fault::invalid(span, reason).remedy("write a number, without quotes").into());
        }
    }
    Ok(())
}

impl ExprPlanner for FunctionPlanner {
    /// `a || b || c` of texts is one `CONCAT(a, b, c)`: NULL if any part is, and with the limit of all functions that make text.
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        check_types(&expr, schema)?;
        let operator = match expr.op {
            BinaryOperator::Plus => Some(Operator::Plus),
            BinaryOperator::Minus => Some(Operator::Minus),
            BinaryOperator::Multiply => Some(Operator::Multiply),
            BinaryOperator::Divide => Some(Operator::Divide),
            _ => None,
        };
        match operator.and_then(|operator| bound(&expr.left, operator, &expr.right, schema)) {
            Some(Bound::Call(call)) => return Ok(PlannerResult::Planned(call)),
            Some(Bound::Operands(left, right)) => {
                return Ok(PlannerResult::Original(RawBinaryExpr { op: expr.op, left, right }));
            }
            None => {}
        }
        let is_text = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Utf8));
        let joins = expr.op == BinaryOperator::StringConcat && is_text(&expr.left) && is_text(&expr.right);
        let concat = self.functions.iter().find(|function| joins && function.name() == "concat");
        let Some(concat) = concat else { return Ok(PlannerResult::Original(expr)) };
        let args = [joined(expr.left), joined(expr.right)].concat();
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(concat), args))))
    }

    /// `array[1]`; fields of rows and keys of maps are DataFusion's business.
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let span = span_of(&access.expr).unwrap_or(Span::empty());
        let of = access.expr.get_type(schema)?;
        let shown = written(&access.expr);
        let refused = |reason: String, remedy: &str| Err(Fault::invalid(span, reason).remedy(remedy).into());
        match (&of, &access.field_access) {
            (DataType::List(_), GetFieldAccess::ListIndex { key }) => {
                if let Expr::Literal(ScalarValue::Int64(Some(..1)), _) = key.as_ref() {
                    return refused(
                        format!("`{shown}[{}]`: places count from 1", written(key)),
                        "write array[1] for the first",
                    );
                }
                let place = key.get_type(schema)?;
                if !place.is_integer() {
                    let reason = format!("`{shown}[{}]`: the place is {}", written(key), type_name(&place));
                    return refused(reason, "write a whole number");
                }
                let place = key.as_ref().clone().cast_to(&DataType::Int64, schema)?;
                Ok(PlannerResult::Planned(nested::element(access.expr, place)))
            }
            (DataType::Map(..) | DataType::Struct(_), GetFieldAccess::NamedStructField { name }) => {
                let name = Expr::Literal(name.clone(), None);
                Ok(PlannerResult::Planned(datafusion_functions::core::get_field().call(vec![access.expr, name])))
            }
            (DataType::List(_), _) => {
                refused(format!("`{shown}[..]`: the place is no whole number"), "write array[1] for the first")
            }
            (DataType::Map(..), _) => refused(
                format!("`{shown}[..]`: the key of a MAP must be a constant text"),
                "write map['key'], or read the field as ROW",
            ),
            _ => refused(format!("`{shown}[..]`: {} has no elements", type_name(&of)), "only ARRAY, MAP and ROW have"),
        }
    }

    /// `ARRAY[a, b]`: all items in one type.
    fn plan_array_literal(&self, items: Vec<Expr>, schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        one_type("ARRAY", items.iter(), schema)?;
        let types = items.iter().map(|e| e.get_type(schema)).collect::<Result<Vec<_>>>()?;
        let span = items.iter().find_map(span_of).unwrap_or(Span::empty());
        if types.is_empty() {
            let fault = Fault::invalid(span, "ARRAY[] has no type");
            return Err(fault.remedy("cast it: CAST(NULL AS ARRAY<INT>)").into());
        }
        let Some(common) = type_union_resolution(&types).filter(|t| !t.is_null()) else {
            let names: Vec<String> = types.iter().map(type_name).collect();
            let fault = Fault::invalid(span, format!("ARRAY of {} has no type", names.join(", ")));
            return Err(fault.remedy("cast the items to one type: ARRAY[CAST(x AS STRING), ..]").into());
        };
        let one = |e: Expr| e.cast_to(&common, schema);
        Ok(PlannerResult::Planned(nested::array(items.into_iter().map(one).collect::<Result<_>>()?)))
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
