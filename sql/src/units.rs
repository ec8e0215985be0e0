//! Units of time as words, `TIMESTAMPDIFF(DAY, a, b)` and `FLOOR(ts TO HOUR)`, become what the functions take: texts.
//!
//! Called for every query and expression before it is bound. Whether a word is a unit the function says.

use crate::error::{Fault, Result};
use datafusion_sql::sqlparser::ast::{
    CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Spanned, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use std::ops::ControlFlow;

/// Functions whose first argument is a unit.
const UNIT_FIRST: [&str; 2] = ["timestampdiff", "timestampadd"];

/// Rewrites the units in a query or an expression, at any depth.
pub(crate) fn write_units(tree: &mut impl VisitMut) {
    let ControlFlow::Continue(()) = tree.visit(&mut Write);
}

/// Tries every INTERVAL of a query or an expression. Errors: the first that `bind` refuses, with its place.
pub(crate) fn check_intervals(tree: &impl Visit, bind: impl Fn(&Expr) -> Result<()>) -> Result<()> {
    match tree.visit(&mut Intervals(bind)) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Intervals<F>(F);

impl<F: Fn(&Expr) -> Result<()>> Visitor for Intervals<F> {
    type Break = Fault;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Fault> {
        let constant = matches!(expr, Expr::Interval(i) if matches!(*i.value, Expr::Value(_)));
        match if constant { (self.0)(expr) } else { Ok(()) } {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(Fault { span: expr.span(), ..fault }),
        }
    }
}

struct Write;

impl VisitorMut for Write {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) => first_argument(function),
            Expr::Floor { expr: of, field } => rounding("floor", of, field).into_iter().for_each(|call| *expr = call),
            Expr::Ceil { expr: of, field } => rounding("ceil", of, field).into_iter().for_each(|call| *expr = call),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn text(unit: &Ident) -> Expr {
    Expr::Value(Value::SingleQuotedString(unit.value.to_ascii_uppercase()).with_span(unit.span))
}

fn first_argument(function: &mut Function) {
    if !UNIT_FIRST.contains(&function.name.to_string().to_ascii_lowercase().as_str()) {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut() else { return };
    if let Expr::Identifier(ident) = unit
        && ident.quote_style.is_none()
    {
        *unit = text(ident);
    }
}

/// The call of `floor` or `ceil`, if it has a second argument.
fn rounding(name: &str, of: &Expr, field: &CeilFloorKind) -> Option<Expr> {
    let span = of.span();
    let second = match field {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => return None,
        CeilFloorKind::DateTimeField(unit) => Value::SingleQuotedString(unit.to_string()).with_span(span),
        CeilFloorKind::Scale(ValueWithSpan { value, span }) => value.clone().with_span(*span),
    };
    let args = [of.clone(), Expr::Value(second)].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e)));
    Some(Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }))
}
