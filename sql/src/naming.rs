//! What the columns of a SELECT are called. DataFusion names expressions by their text and takes two columns of one name for one; here, as
//! in Flink, a column without a name is called `EXPR$0` by its place, and a name that stands twice gets a number.
//!
//! Called for every query before it is bound.
//!
//! Invariants
//! - NA1 no two items of one SELECT have one name, except that `*` may bring one; then the items beside it carry a [`MARK`].
//! - NA2 below the top, where names are looked up, a name that stands for two expressions is refused.

use crate::error::{Fault, Result};
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, Spanned, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Stands between a name and the number that keeps it apart from a column that `*` may bring; no name holds it.
const MARK: char = '\0';

/// Names the columns of a query at any depth. `top` says that nobody looks up the names of the query itself.
pub(crate) fn name_columns(query: &mut Query, top: bool) -> Result<()> {
    match query.visit(&mut Namer { depth: usize::from(!top) }) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The name as people read it.
pub(crate) fn shown(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// Names of which no two are equal: a repeated one gets a number, as in Flink `a`, `a0`, `a1`.
pub(crate) fn unique(names: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let names: Vec<String> = names.map(|n| shown(n.as_ref()).to_owned()).collect();
    let given: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut taken = BTreeSet::new();
    let one = |name: &String| {
        let numbered = (0usize..).map(|n| format!("{name}{n}")).filter(|n| !given.contains(n.as_str()));
        let mut candidates = std::iter::once(name.clone()).chain(numbered);
        let free = candidates.find(|c| !taken.contains(c)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    names.iter().map(one).collect()
}

struct Namer {
    /// Queries around; 1 is the top.
    depth: usize,
}

impl VisitorMut for Namer {
    type Break = Fault;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Fault> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Fault> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Fault> {
        let top = self.depth == 1;
        let is_wild = |i: &SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        let wild = select.projection.iter().any(is_wild);
        let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty());
        let mut seen: BTreeMap<String, Expr> = BTreeMap::new();
        let mut again = vec![];
        for (place, item) in select.projection.iter_mut().enumerate() {
            let (name, span) = match item {
                SelectItem::UnnamedExpr(expr) => match own_name(expr) {
                    Some(name) => (name, expr.span()),
                    None => {
                        let alias = Ident::new(format!("EXPR${place}"));
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                        (format!("EXPR${place}"), Span::empty())
                    }
                },
                SelectItem::ExprWithAlias { alias, .. } => (alias.value.clone(), alias.span),
                _ => continue,
            };
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &*item else { continue };
            match seen.get(&name) {
                Some(first) if !top && first != expr => return ControlFlow::Break(twice(&name, span)),
                Some(_) => again.push(place),
                // Where nobody looks up the name and `*` may bring the same one.
                None if top && wild && !grouped => {
                    let expr = expr.clone();
                    *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("{name}{MARK}{place}")) };
                }
                None => drop(seen.insert(name, expr.clone())),
            }
        }
        for place in again {
            let Some(item) = select.projection.get_mut(place) else { continue };
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &*item else { continue };
            let name = match &*item {
                SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                _ => own_name(expr).unwrap_or_default(),
            };
            let free = (0usize..).map(|n| format!("{name}{n}")).find(|n| !seen.contains_key(n)).unwrap_or_default();
            seen.insert(free.clone(), expr.clone());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(free) };
        }
        ControlFlow::Continue(())
    }
}

/// The name that an expression brings along: that of a column or field.
fn own_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()),
        Expr::Nested(inner) => own_name(inner),
        _ => None,
    }
}

fn twice(name: &str, span: Span) -> Fault {
    Fault::invalid(span, format!("two columns are named `{name}`")).remedy(format!("rename one: .. AS `{name}_2`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_numbered() {
        let names = ["a", "b", "a", "a0", "a", "c\u{0}7", "c"];
        assert_eq!(unique(names.iter()), ["a", "b", "a1", "a0", "a2", "c", "c0"]);
    }
}
