//! How long the rows of a join wait for each other, where its conditions say so: by an interval between two event times, or by the same
//! window on both sides. Such a join frees its state as event time goes on, and takes nothing back.

use super::stream::{JoinBound, place};
use crate::attribute::Attribute;
use datafusion_common::ScalarValue;
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Operator};

/// What is known about the columns of both sides; those of the right side come behind the left ones.
pub(super) struct Times<'a> {
    pub(super) attributes: &'a [Option<Attribute>],
    /// How many columns the left side has.
    pub(super) width: usize,
}

impl Times<'_> {
    /// The bound, if equal columns or the condition give one. `keys`: columns of the left and of the right side.
    pub(super) fn bound(&self, keys: &[(usize, usize)], filter: Option<&Expr>) -> Option<JoinBound> {
        let end = |place: usize| {
            matches!(self.attributes.get(place), Some(Some(Attribute::Window { place: 1, processing_time: false })))
        };
        let same = |(l, r): &&(usize, usize)| {
            let r = r + self.width;
            (end(*l) && end(r)) || (self.is_time(*l) && self.is_time(r))
        };
        if let Some((left, right)) = keys.iter().find(same) {
            return Some(JoinBound { left: *left, left_keep_ms: 0, right: *right, right_keep_ms: 0 });
        }
        let limits: Vec<Limit> = split_conjunction(filter?).into_iter().filter_map(|e| self.limit(e)).collect();
        let of = |lower: &Limit, upper: &Limit| {
            let same = lower.is_lower && !upper.is_lower && (lower.left, lower.right) == (upper.left, upper.right);
            same.then(|| JoinBound {
                left: lower.left,
                left_keep_ms: (-lower.ms).max(0),
                right: lower.right - self.width,
                right_keep_ms: upper.ms.max(0),
            })
        };
        limits.iter().find_map(|lower| limits.iter().find_map(|upper| of(lower, upper)))
    }

    fn is_time(&self, place: usize) -> bool {
        let attribute = self.attributes.get(place).copied().flatten();
        matches!(attribute, Some(Attribute::Rowtime | Attribute::Window { place: 2, processing_time: false }))
    }

    /// A comparison of a left and a right time.
    fn limit(&self, e: &Expr) -> Option<Limit> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
        let ((l, x), (r, y)) = (self.shifted(left)?, self.shifted(right)?);
        let is_lower = match op {
            Operator::GtEq | Operator::Gt => true,
            Operator::LtEq | Operator::Lt => false,
            _ => return None,
        };
        let ms = y.checked_sub(x)?;
        // l >= r + ms, or the other way round: r >= l + ms is l <= r - ms.
        match (l < self.width, r < self.width) {
            (true, false) => Some(Limit { left: l, right: r, is_lower, ms }),
            (false, true) => Some(Limit { left: r, right: l, is_lower: !is_lower, ms: ms.checked_neg()? }),
            _ => None,
        }
    }

    /// A time column, and what is added to it.
    fn shifted(&self, e: &Expr) -> Option<(usize, i64)> {
        if let Some(at) = place(e) {
            return self.is_time(at).then_some((at, 0));
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
        let (at, before) = self.shifted(left)?;
        let ms = millis(right)?;
        match op {
            Operator::Plus => Some((at, before.checked_add(ms)?)),
            Operator::Minus => Some((at, before.checked_sub(ms)?)),
            _ => None,
        }
    }
}

/// `left >= right + ms`, or `<=`.
struct Limit {
    left: usize,
    right: usize,
    is_lower: bool,
    ms: i64,
}

/// A constant interval; one that does not end on a millisecond is longer by less than one.
fn millis(e: &Expr) -> Option<i64> {
    match e {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _) if v.months == 0 => {
            let nanos = i64::from(v.days).checked_mul(86_400_000_000_000)?.checked_add(v.nanoseconds)?;
            (nanos % 1_000_000 == 0).then_some(nanos / 1_000_000)
        }
        _ => None,
    }
}
