//! Which call of a function a fault is about, where several have its name: DataFusion says the name only.
//!
//! Called with a query that could not be bound. Every call of the name but one is taken out; the first that still fails alone is it.

use crate::error::Fault;
use datafusion_sql::sqlparser::ast::{Expr, Function, Query, Spanned, Value, Visit, VisitMut, Visitor, VisitorMut};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::ops::ControlFlow;

/// More calls of one name are not tried one by one.
const CALLS_MAX: usize = 50;

/// The fault with the place of the call that causes it, if it is about one and has no place. `bind` tries a query.
pub(crate) fn placed(fault: Fault, query: &Query, bind: impl Fn(Query) -> Option<Fault>) -> Fault {
    let rest = fault.reason.strip_prefix("function `").or_else(|| fault.reason.strip_prefix('`'));
    let Some(name) = rest.and_then(|r| r.split('`').next()).filter(|_| fault.span == Span::empty()) else {
        return fault;
    };
    let mut calls = Calls { name, spans: vec![] };
    let ControlFlow::Continue(()) = query.visit(&mut calls);
    let alone = |at: &usize| {
        let mut only = query.clone();
        let Some(kept) = calls.spans.get(*at).copied() else { return false };
        let ControlFlow::Continue(()) = VisitMut::visit(&mut only, &mut Without { name, kept });
        bind(only).is_some_and(|f| f.reason == fault.reason)
    };
    let found = match calls.spans.len() {
        0 | 1 => Some(0),
        n if n > CALLS_MAX => None,
        n => (0..n).find(alone),
    };
    match found.and_then(|at| calls.spans.get(at).copied()) {
        Some(span) => fault.at(span),
        None => fault,
    }
}

fn is_call(f: &Function, name: &str) -> bool {
    f.name.to_string().eq_ignore_ascii_case(name)
}

struct Calls<'a> {
    name: &'a str,
    spans: Vec<Span>,
}

impl Visitor for Calls<'_> {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(f) = expr
            && is_call(f, self.name)
        {
            self.spans.push(f.name.span());
        }
        ControlFlow::Continue(())
    }
}

/// Puts NULL in the place of all calls but one, and those around it.
struct Without<'a> {
    name: &'a str,
    kept: Span,
}

impl VisitorMut for Without<'_> {
    type Break = std::convert::Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(f) = expr
            && is_call(f, self.name)
        {
            let span = f.name.span();
            let mut inside = Calls { name: self.name, spans: vec![] };
            let ControlFlow::Continue(()) = Visit::visit(expr, &mut inside);
            if !inside.spans.contains(&self.kept) {
                *expr = Expr::Value(Value::Null.with_span(span));
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::refused;

    #[test]
    fn the_caret_points_at_the_call_that_is_wrong() {
        for (text, at) in [
            ("SELECT UPPER(s), upper(a) FROM t", "upper"),
            ("SELECT UPPER(s), upper(a), UPPER(b) FROM t", "upper"),
            ("SELECT UPPER(upper(a)) FROM t", "upper"),
            ("SELECT nope, s FROM (SELECT nope(a) AS nope, s FROM t) AS v", "nope(a"),
            ("SELECT bidd FROM (SELECT a AS bidd FROM t) AS v UNION ALL SELECT a FROM bidd", "bidd\n"),
        ] {
            let e = refused(text);
            let column = format!("{text}\n").find(at).unwrap() + 1;
            assert_eq!(e.position().unwrap().column, column, "{text}\n{e}");
        }
    }
}
