//! The end of an epoch of NOT IN. With three-valued logic `x NOT IN (..)` is true of every row while the right side is empty, of no row
//! while it has a NULL, and else of rows whose x is neither NULL nor there.
//!
//! While this rule stays, it is an anti join by key. When another begins to hold, every left row is looked at once.

use super::keyed::{Turn, has_null};
use super::operator::Sides;
use super::output::{Emit, sum};
use super::{Plan, Watch};
use arrow::array::new_null_array;
use thalweg_engine::Result;
use thalweg_engine::state::{Cursor, Multimap};

/// Of which left rows it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Of all: the right side is empty.
    All,
    /// Of none: the right side has a NULL.
    None,
    /// Of those whose key is no NULL and not on the right side.
    Absent,
}

impl Rule {
    fn of(plan: &Plan, right: &mut Multimap) -> Result<Rule> {
        if right.is_empty() {
            return Ok(Rule::All);
        }
        let nulls = plan.shapes[1].key_fields().map(|f| new_null_array(f.data_type(), 1)).collect();
        let key = plan.shapes[1].entries(nulls, vec![0])?;
        let mut rows = Vec::new();
        right.totals(key.keys(), &key.hashes, &mut rows)?;
        Ok(if rows.iter().any(|n| *n != 0) { Rule::None } else { Rule::Absent })
    }

    /// Whether it is true of a row.
    fn wants(self, is_null: bool, partners: i64) -> bool {
        match self {
            Rule::All => true,
            Rule::None => false,
            Rule::Absent => !is_null && partners == 0,
        }
    }
}

/// Settles the changes of both sides.
pub(super) fn settle(sides: &mut Sides<'_>, emit: Emit<'_>) -> Result<()> {
    let old = Rule::of(sides.plan, sides.state[1])?;
    sides.absorb(1)?;
    let new = Rule::of(sides.plan, sides.state[1])?;
    match (old, new) {
        (Rule::None, Rule::None) => sides.absorb(0),
        (old, new) if old == new => {
            sides.turn(0, Watch::Alone, Turn::Leave, true, emit)?;
            sides.stay(0, Watch::Alone, true, new == Rule::Absent, emit)?;
            sides.absorb(0)?;
            sides.turn(0, Watch::Alone, Turn::Enter, true, emit)
        }
        (old, new) => {
            change(sides, old, new, emit)?;
            sides.absorb(0)
        }
    }
}

/// Another rule holds: looks at every row that was there, then at those that are new.
fn change(sides: &mut Sides<'_>, old: Rule, new: Rule, emit: Emit<'_>) -> Result<()> {
    let plan = sides.plan;
    let (mut cursor, mut other) = (Cursor::default(), Vec::new());
    while let Some(mut rows) = plan.next_entries(0, sides.state[0], &mut cursor)? {
        let partners = sides.partners(0, &rows, true)?;
        sides.changes[0].find(rows.keys(), &rows.hashes, rows.rest(), &mut other)?;
        for (i, ((before, after), change)) in partners.iter().zip(&other).enumerate() {
            let is_null = has_null(&rows, i);
            let was = if old.wants(is_null, *before) { rows.weights[i] } else { 0 };
            let is = if new.wants(is_null, *after) { sum(rows.weights[i], *change)? } else { 0 };
            rows.weights[i] = sum(is, was.saturating_neg())?;
        }
        plan.emit_entries(0, &rows.columns, &rows.weights, emit)?;
    }
    let mut cursor = Cursor::default();
    while let Some(mut rows) = sides.next_changes(0, &mut cursor)? {
        let partners = sides.partners(0, &rows, true)?;
        sides.state[0].find(rows.keys(), &rows.hashes, rows.rest(), &mut other)?;
        for (i, ((_, after), there)) in partners.iter().zip(&other).enumerate() {
            if *there != 0 || !new.wants(has_null(&rows, i), *after) {
                rows.weights[i] = 0;
            }
        }
        plan.emit_entries(0, &rows.columns, &rows.weights, emit)?;
    }
    Ok(())
}
