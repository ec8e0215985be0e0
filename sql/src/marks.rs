//! Casts between parser and optimizer: calls of a function that only this file knows.
//!
//! DataFusion leaves CAST out of an expression's name, so that `i` and `CAST(i AS STRING)` are one column for it, and it keeps no place of
//! an expression. [`mark`] writes every cast of a parsed tree, `DATE '..'` and `1e10` included, as a call whose name holds the place;
//! [`function`] makes the function when DataFusion asks for it; [`Mark::of`] finds the casts again in the bound expression.
//!
//! Invariants
//! - MK1 no mark survives `casts`: the optimizer and all behind it see casts.
//! - MK2 two casts of one expression to one type are equal wherever they stand: GROUP BY and SELECT compare expressions.

use crate::error::{Fault, Result};
use crate::parser::types::arrow_type;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::{
    self as sql, CastKind, ExactNumberInfo, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Spanned, Value, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};
use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use thalweg_engine::type_name;

const CAST: &str = "$cast";
const TRY_CAST: &str = "$try_cast";

/// Marks the casts in a query or an expression, at any depth. Errors: a number that no type holds.
pub(crate) fn mark(tree: &mut impl VisitMut) -> Result<()> {
    match tree.visit(&mut Marker) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Marker;

impl VisitorMut for Marker {
    type Break = Fault;

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<Fault> {
        let span = expr.span();
        match expr {
            sql::Expr::Cast { kind, expr: of, data_type, array: false, format: None } if !is_interval(data_type) => {
                let name = match kind {
                    CastKind::Cast | CastKind::DoubleColon => CAST,
                    CastKind::TryCast | CastKind::SafeCast => TRY_CAST,
                };
                // A name in the reason is a better place than the cast.
                if let Err(fault) =
                    arrow_type(data_type).map_err(|f| if f.reason.contains('`') { f } else { f.at(span) })
                {
                    return ControlFlow::Break(fault);
                }
                *expr = call(name, span, of.as_ref().clone(), data_type.clone());
            }
            sql::Expr::TypedString(typed) if !is_interval(&typed.data_type) => {
                *expr = call(CAST, span, sql::Expr::Value(typed.value.clone()), typed.data_type.clone());
            }
            sql::Expr::Value(value) => {
                let Value::Number(digits, _) = &value.value else { return ControlFlow::Continue(()) };
                if digits.parse::<f64>().is_ok_and(f64::is_infinite) {
                    let reason = format!("`{digits}` is greater than any DOUBLE");
                    return ControlFlow::Break(
                        Fault::invalid(span, reason).remedy("write at most 1.7976931348623157e308"),
                    );
                }
                // As in Flink, an exponent makes it a DOUBLE.
                if digits.contains(['e', 'E']) {
                    let text = Value::SingleQuotedString(digits.clone()).with_span(value.span);
                    *expr = call(CAST, span, sql::Expr::Value(text), sql::DataType::Double(ExactNumberInfo::None));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_interval(data_type: &sql::DataType) -> bool {
    matches!(data_type, sql::DataType::Interval { .. })
}

/// `name(of, CAST(NULL AS data_type))`: the second argument is there for its type.
fn call(name: &str, span: Span, of: sql::Expr, data_type: sql::DataType) -> sql::Expr {
    let (from, to) = (span.start, span.end);
    let name = format!("{name} {} {} {} {}", from.line, from.column, to.line, to.column);
    let null = sql::Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(sql::Expr::Value(Value::Null.with_span(span))),
        data_type,
        array: false,
        format: None,
    };
    sql::Expr::Function(sql::Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: [of, null].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).into(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A marked cast of a bound expression.
pub(crate) fn cast(of: Expr, to: &DataType, span: Span) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    let function = Function { name: CAST.to_owned(), tries: false, span, signature };
    let null = datafusion_expr::cast(datafusion_expr::lit(ScalarValue::Null), to.clone());
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), vec![of, null]))
}

/// The function of this name, if it is that of a mark.
pub(crate) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    let (kind, places) = name.split_once(' ')?;
    let tries = match kind {
        CAST => false,
        TRY_CAST => true,
        _ => return None,
    };
    let places: Vec<u64> = places.split(' ').map_while(|p| p.parse().ok()).collect();
    let [line, column, end_line, end_column] = places[..] else { return None };
    let span = Span::new(Location::new(line, column), Location::new(end_line, end_column));
    let signature = Signature::any(2, Volatility::Immutable);
    Some(Arc::new(ScalarUDF::new_from_impl(Function { name: name.to_owned(), tries, span, signature })))
}

#[derive(Debug)]
struct Function {
    /// With the place: DataFusion gives an alias to a function that is called by another name than its own.
    name: String,
    tries: bool,
    span: Span,
    signature: Signature,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.tries == other.tries
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tries.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> datafusion_common::Result<DataType> {
        datafusion_common::internal_err!("a cast knows its type by its argument")
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> datafusion_common::Result<FieldRef> {
        match args.arg_fields {
            [_, to] => Ok(Arc::new(Field::new("cast", to.data_type().clone(), true))),
            _ => datafusion_common::internal_err!("a cast has two arguments"),
        }
    }
    /// What errors quote, and the name of the column.
    fn schema_name(&self, args: &[Expr]) -> datafusion_common::Result<String> {
        let what = if self.tries { "TRY_CAST" } else { "CAST" };
        match args {
            [of, Expr::Cast(to)] => Ok(format!("{what}({} AS {})", of.schema_name(), type_name(to.field.data_type()))),
            _ => Ok(what.to_owned()),
        }
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        datafusion_common::internal_err!("a mark of a cast is left")
    }
}

/// A cast that was marked.
pub(crate) struct Mark<'a> {
    pub(crate) of: &'a Expr,
    pub(crate) to: &'a DataType,
    pub(crate) tries: bool,
    pub(crate) span: Span,
}

impl Mark<'_> {
    /// The mark that an expression is.
    pub(crate) fn of(expr: &Expr) -> Option<Mark<'_>> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let function = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Function>()?;
        let [of, Expr::Cast(to)] = &call.args[..] else { return None };
        Some(Mark { of, to: to.field.data_type(), tries: function.tries, span: function.span })
    }

    /// The cast as DataFusion has it.
    pub(crate) fn cast(&self) -> Expr {
        let of = Box::new(self.of.clone());
        match self.tries {
            true => Expr::TryCast(datafusion_expr::TryCast::new(of, self.to.clone())),
            false => Expr::Cast(datafusion_expr::Cast::new(of, self.to.clone())),
        }
    }
}
