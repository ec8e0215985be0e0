//! Results of `+`, `-`, `*` and `/` of decimals, exact and rounded once, over slices of a batch.
//!
//! Called by [`decimal`](super::decimal) with operands whose values are within their precision. What 128 bits hold is computed in them,
//! all else in 256: sums and products of 38 digits always fit there.

use arrow::buffer::NullBuffer;
use arrow::datatypes::i256;
use datafusion_expr::Operator;

/// Digits that 128 bits hold, whatever they are.
const NARROW_DIGITS: u32 = 38;

/// The values of one side.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    /// One per row.
    Rows(&'a [i128]),
    /// The same for all rows.
    One(i128),
}

/// What is computed; sides and result are `(precision, scale)`.
pub(super) struct Shape {
    pub(super) operator: Operator,
    pub(super) left: (u8, u8),
    pub(super) right: (u8, u8),
    pub(super) result: (u8, u8),
    pub(super) rows: usize,
}

/// Why there is no result.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    DivideByZero,
    /// The result of this row has too many digits.
    Unfit(usize),
}

/// One result per row, 0 where a row is NULL.
pub(super) fn results(
    shape: &Shape,
    left: Operand<'_>,
    right: Operand<'_>,
    nulls: Option<&NullBuffer>,
) -> Result<Vec<i128>, Failure> {
    let ((p1, s1), (_, s2), (precision, scale)) = (shape.left, shape.right, shape.result);
    let [p1, s1, s2, scale] = [p1, s1, s2, scale].map(u32::from);
    let divides = shape.operator == Operator::Divide;
    let each = Each { left, right, nulls, rows: shape.rows, limit: 10u128.pow(u32::from(precision)), divides };
    match shape.operator {
        Operator::Divide => {
            // Never negative: the scale is at least s1, or as many digits as 38 leave it.
            let shift = (scale + s2).saturating_sub(s1);
            match p1 + shift <= NARROW_DIGITS {
                true => {
                    let power = 10i128.pow(shift);
                    each.run(|x, y| (y != 0).then(|| rounded(x * power, y)))
                }
                false => {
                    let power = power(shift);
                    // A product that leaves 256 bits makes a quotient of more than 38 digits.
                    each.run(|x, y| rounded_wide(i256::from_i128(x).checked_mul(power)?, i256::from_i128(y)))
                }
            }
        }
        Operator::Multiply => match s1 + s2 == scale {
            true => each.run(i128::checked_mul),
            false => {
                let power = power(s1 + s2 - scale);
                each.run(|x, y| rounded_wide(i256::from_i128(x).checked_mul(i256::from_i128(y))?, power))
            }
        },
        operator => sums(&each, operator == Operator::Minus, (s1, s2, scale)),
    }
}

fn sums(each: &Each<'_>, subtracts: bool, (s1, s2, scale): (u32, u32, u32)) -> Result<Vec<i128>, Failure> {
    if s1 == scale && s2 == scale {
        return match subtracts {
            true => each.run(i128::checked_sub),
            false => each.run(i128::checked_add),
        };
    }
    let common = s1.max(s2);
    let (grow_left, grow_right, cut) = (power(common - s1), power(common - s2), power(common - scale));
    each.run(|x, y| {
        let (x, y) = (i256::from_i128(x).checked_mul(grow_left)?, i256::from_i128(y).checked_mul(grow_right)?);
        rounded_wide(if subtracts { x.checked_sub(y)? } else { x.checked_add(y)? }, cut)
    })
}

/// A power of ten; 256 bits hold the 76th, and no shift is greater.
fn power(of: u32) -> i256 {
    i256::from_i128(10).checked_pow(of).unwrap_or(i256::MAX)
}

/// The rows of one batch.
struct Each<'a> {
    left: Operand<'a>,
    right: Operand<'a>,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
    /// Results are nearer to zero.
    limit: u128,
    divides: bool,
}

impl Each<'_> {
    fn run(&self, one: impl Fn(i128, i128) -> Option<i128>) -> Result<Vec<i128>, Failure> {
        match (self.left, self.right) {
            (Operand::Rows(x), Operand::Rows(y)) => self.all(x.iter().copied().zip(y.iter().copied()), one),
            (Operand::Rows(x), Operand::One(y)) => self.all(x.iter().map(|x| (*x, y)), one),
            (Operand::One(x), Operand::Rows(y)) => self.all(y.iter().map(|y| (x, *y)), one),
            (Operand::One(x), Operand::One(y)) => self.all(std::iter::repeat_n((x, y), self.rows), one),
        }
    }

    fn all(
        &self,
        pairs: impl Iterator<Item = (i128, i128)>,
        one: impl Fn(i128, i128) -> Option<i128>,
    ) -> Result<Vec<i128>, Failure> {
        let mut out = Vec::with_capacity(self.rows);
        for (row, (x, y)) in pairs.enumerate() {
            if self.nulls.is_some_and(|n| n.is_null(row)) {
                out.push(0);
                continue;
            }
            match one(x, y) {
                Some(value) if value.unsigned_abs() < self.limit => out.push(value),
                _ if y == 0 && self.divides => return Err(Failure::DivideByZero),
                _ => return Err(Failure::Unfit(row)),
            }
        }
        Ok(out)
    }
}

/// `y` is not 0.
fn rounded(x: i128, y: i128) -> i128 {
    let (quotient, rest) = (x / y, (x % y).unsigned_abs());
    // Not `2 * rest >= y`: that may leave 128 bits.
    let is_up = rest >= y.unsigned_abs() - rest;
    if is_up { quotient + if (x < 0) == (y < 0) { 1 } else { -1 } } else { quotient }
}

/// `None` if `y` is 0, or the quotient leaves 128 bits.
fn rounded_wide(x: i256, y: i256) -> Option<i128> {
    let (quotient, rest) = (x.checked_div(y)?, x.checked_rem(y)?.wrapping_abs());
    let is_up = rest >= y.wrapping_abs() - rest;
    let one = i256::from_i128(if x.is_negative() == y.is_negative() { 1 } else { -1 });
    let quotient = if is_up { quotient.checked_add(one)? } else { quotient };
    quotient.to_i128()
}
