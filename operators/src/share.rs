//! Subexpressions that several expressions have in common, computed once per row. Called by the calc operator when it is compiled.
//!
//! An occurrence is *certain* if it is evaluated for every row whenever its root is. Branches of CASE, arguments of functions that
//! stop early and what stands right of AND are not: they may be there to keep rows away from what costs or fails.
//!
//! Invariants
//! - H1 only what occurs twice, once of them certainly, is shared: nothing is evaluated on a row that it was kept from.
//! - H2 volatile expressions, and those that cost nothing, are not shared.

use crate::expr::Expr;
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_expr::Operator;
use datafusion_physical_expr::ScalarFunctionExpr;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NegativeExpr, NotExpr,
};
use std::collections::HashMap;
use std::sync::Arc;

/// How often a subexpression occurs.
#[derive(Clone, Copy, Default)]
struct Uses {
    all: usize,
    certain: usize,
}

/// Finds and takes out what is shared. Columns of the result beyond the input's are the shared ones, in order; each is over the
/// columns before it.
pub(crate) struct Sharing {
    uses: HashMap<Expr, Uses>,
    /// Places of the input's columns come before.
    first_place: usize,
    pub(crate) shared: Vec<Expr>,
}

impl Sharing {
    /// What is worth sharing among `certain`, expressions evaluated for every row, and `others`, which come later and for fewer.
    pub(crate) fn find(certain: &[&Expr], others: &[&Expr], first_place: usize) -> Sharing {
        let mut sharing = Sharing { uses: HashMap::new(), first_place, shared: vec![] };
        certain.iter().for_each(|e| sharing.count(e, true));
        others.iter().for_each(|e| sharing.count(e, false));
        sharing.uses.retain(|_, uses| uses.all > 1 && uses.certain > 0);
        sharing
    }

    fn count(&mut self, e: &Expr, certain: bool) {
        if is_input(e) || e.is::<Literal>() {
            return;
        }
        if is_worth_it(e) {
            let uses = self.uses.entry(Arc::clone(e)).or_default();
            uses.all += 1;
            uses.certain += usize::from(certain);
        }
        for (child, always) in children(e) {
            self.count(child, certain && always);
        }
    }

    /// The expression over the input's and the shared columns.
    pub(crate) fn take_out(&mut self, e: &Expr) -> Result<Expr> {
        self.rewrite(e, 1)
    }

    /// Takes out what occurs more than `times` times; of what lies inside it only what also occurs elsewhere.
    fn rewrite(&mut self, e: &Expr, times: usize) -> Result<Expr> {
        let rewritten = Arc::clone(e).transform_down(|e| {
            if is_input(&e) {
                return Ok(Transformed::new(e, false, TreeNodeRecursion::Jump));
            }
            match self.uses.get(&e).copied() {
                Some(uses) if uses.all > times => {
                    let column = self.column(&e, uses)?;
                    Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(e)),
            }
        });
        rewritten.data()
    }

    fn column(&mut self, e: &Expr, uses: Uses) -> Result<Expr> {
        let inner = e.children().into_iter().cloned().collect::<Vec<_>>();
        let inner = inner.iter().map(|child| self.rewrite(child, uses.all)).collect::<Result<Vec<_>>>()?;
        let made = Arc::clone(e).with_new_children(inner)?;
        let place = match self.shared.iter().position(|s| s == &made) {
            Some(place) => place,
            None => {
                self.shared.push(made);
                self.shared.len() - 1
            }
        };
        Ok(Arc::new(Column::new(&crate::expr::Text(e).to_string(), self.first_place + place)))
    }
}

/// A column, or a field of a struct column: what can be had without a copy.
pub(crate) fn is_input(e: &Expr) -> bool {
    if e.is::<Column>() {
        return true;
    }
    let Some(function) = e.downcast_ref::<ScalarFunctionExpr>() else { return false };
    match function.args() {
        [of, names @ ..] if function.name() == "get_field" => is_input(of) && names.iter().all(|n| n.is::<Literal>()),
        _ => false,
    }
}

/// Comparisons and the like are cheaper to repeat than to keep, and so is the sign.
fn is_worth_it(e: &Expr) -> bool {
    let simple = e.is::<NotExpr>() || e.is::<IsNullExpr>() || e.is::<IsNotNullExpr>() || e.is::<NegativeExpr>();
    let compares = e.downcast_ref::<BinaryExpr>().is_some_and(|b| is_comparison(b.op()));
    !simple && !compares && !is_volatile(e)
}

fn is_comparison(op: &Operator) -> bool {
    use Operator as O;
    matches!(op, O::And | O::Or | O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq)
}

fn is_volatile(e: &Expr) -> bool {
    e.is_volatile_node() || e.children().into_iter().any(is_volatile)
}

/// The children, and whether each is evaluated for every row that the expression is evaluated for.
fn children(e: &Expr) -> Vec<(&Expr, bool)> {
    let case = e.downcast_ref::<CaseExpr>();
    let first = case.and_then(|c| c.expr().or(c.when_then_expr().first().map(|(when, _)| when)));
    let stops = e.downcast_ref::<ScalarFunctionExpr>().is_some_and(|f| f.fun().short_circuits());
    let and = e.downcast_ref::<BinaryExpr>().is_some_and(|b| *b.op() == Operator::And);
    let certain = |place: usize, child: &Expr| match case {
        Some(_) => first == Some(child),
        None => !stops && (!and || place == 0),
    };
    e.children().into_iter().enumerate().map(|(place, child)| (child, certain(place, child))).collect()
}

/// Whether an expression only compares inputs and constants: then it is as cheap as a filter gets, and cannot fail.
pub(crate) fn is_cheap(e: &Expr) -> bool {
    if is_input(e) || e.is::<Literal>() {
        return true;
    }
    let simple = e.is::<NotExpr>() || e.is::<IsNullExpr>() || e.is::<IsNotNullExpr>();
    let compares = e.downcast_ref::<BinaryExpr>().is_some_and(|b| is_comparison(b.op()));
    (simple || compares) && e.children().into_iter().all(is_cheap)
}
