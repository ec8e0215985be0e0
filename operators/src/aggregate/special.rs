//! Sums of floats and moments of numbers that rows can be taken back from: NaN and infinities would swallow everything, so they are counted apart.
//! Called by the folds over changelogs.
//!
//! Invariants
//! - X1 what was added and taken back leaves nothing behind, as long as no finite sum leaves the range of DOUBLE.
//! - X2 the result is that of a sum over the rows there are: NaN if one is, or infinities of both signs; an infinity if one is.

use super::fold::{Rows, add, float, int, wrong};
use super::value::Loaded;
use arrow::array::ArrayRef;
use thalweg_engine::Result;
use thalweg_engine::state::Values;

/// What is counted apart: NaN, infinity, minus infinity.
pub(super) const COUNTS: [&str; 3] = ["nan", "plus_infinite", "minus_infinite"];

/// Adds rows of floats to `[sum, low, nan, plus_infinite, minus_infinite]`.
pub(super) fn sum(columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
    let ([sum, low, counts @ ..], Loaded::Float(values)) = (columns, rows.values) else { return Err(wrong()) };
    count(counts, values, rows)?;
    let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
    rows.each(|i, row| {
        let (v, w) = (values[i], rows.weight(i));
        if !v.is_finite() {
            return;
        }
        add_product(&mut sum[row], &mut low[row], v, w as f64);
    });
    Ok(())
}

/// Merges such states.
pub(super) fn merge_sum(columns: &mut [Values], handles: &[u32], partials: &[ArrayRef]) -> Result<()> {
    let ([sum, low, counts @ ..], [sums, lows, others @ ..]) = (columns, partials) else { return Err(wrong()) };
    merge_counts(counts, handles, others)?;
    let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
    for ((row, s), l) in handles.iter().zip(float(sums)?).zip(float(lows)?) {
        add(&mut sum[*row], &mut low[*row], *s);
        low[*row] += *l;
    }
    Ok(())
}

/// Adds rows to `[n, sum, low, squares, squares_low, nan, plus_infinite, minus_infinite]`: number, sum and sum of squares of the finite
/// ones, in about twice the digits of a float. An update of mean and deviation is no sum: what is taken back from it leaves a trace.
pub(super) fn moments(columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
    let floats = match rows.values {
        Loaded::Float(v) => v.clone(),
        Loaded::Int(v) => v.iter().map(|v| *v as f64).collect(),
        Loaded::Wide(v) => v.iter().map(|v| *v as f64).collect(),
        Loaded::Bytes(_) => return Err(wrong()),
    };
    let [n, sum, low, squares, squares_low, counts @ ..] = columns else { return Err(wrong()) };
    count(counts, &floats, rows)?;
    let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
    let (squares, squares_low) = (squares.fixed_mut::<f64>()?, squares_low.fixed_mut::<f64>()?);
    let n = n.fixed_mut::<f64>()?;
    rows.each(|i, row| {
        let (v, w) = (floats[i], rows.weight(i) as f64);
        if v.is_finite() {
            n[row] += w;
            add_product(&mut sum[row], &mut low[row], v, w);
            let square = v * v;
            add_product(&mut squares[row], &mut squares_low[row], square, w);
            squares_low[row] += v.mul_add(v, -square) * w;
        }
    });
    Ok(())
}

/// Adds `v * w` without rounding the product.
#[inline(always)]
fn add_product(sum: &mut f64, low: &mut f64, v: f64, w: f64) {
    let product = v * w;
    add(sum, low, product);
    if w.abs() != 1.0 {
        *low += v.mul_add(w, -product);
    }
}

/// Merges such states.
pub(super) fn merge_moments(columns: &mut [Values], handles: &[u32], partials: &[ArrayRef]) -> Result<()> {
    let ([n, sums @ ..], [ns, partials @ ..]) = (columns, partials) else { return Err(wrong()) };
    let n = n.fixed_mut::<f64>()?;
    for (row, more) in handles.iter().zip(float(ns)?) {
        n[*row] += more;
    }
    let ([sum, low, squares, squares_low, counts @ ..], [a, b, c, d, others @ ..]) = (sums, partials) else {
        return Err(wrong());
    };
    merge_counts(counts, handles, others)?;
    for ((sum, low), (sums, lows)) in [((sum, low), (a, b)), ((squares, squares_low), (c, d))] {
        let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
        for ((row, s), l) in handles.iter().zip(float(sums)?).zip(float(lows)?) {
            add(&mut sum[*row], &mut low[*row], *s);
            low[*row] += *l;
        }
    }
    Ok(())
}

/// Numbers, and sums of squared deviations, of such states.
pub(super) fn deviations(state: &[ArrayRef]) -> Result<(Vec<f64>, Vec<f64>)> {
    let [n, sums @ ..] = state else { return Err(wrong()) };
    let [sum, low, squares, squares_low] = sums else { return Err(wrong()) };
    let (n, sum, low) = (float(n)?, float(sum)?, float(low)?);
    let (squares, squares_low) = (float(squares)?, float(squares_low)?);
    let one = |i: usize| {
        let (n, s, l) = (n[i], sum[i], low[i]);
        // s * s / n and what is lost by it.
        let square = s * s;
        let rest = s.mul_add(s, -square) + 2.0 * s * l;
        let mean = square / n;
        let mean_low = ((-mean).mul_add(n, square) + rest) / n;
        let m2 = (squares[i] - mean) + (squares_low[i] - mean_low);
        if n > 0.0 { m2.max(0.0) } else { 0.0 }
    };
    Ok((n.to_vec(), (0..n.len()).map(one).collect()))
}

fn count(columns: &mut [Values], values: &[f64], rows: &Rows<'_>) -> Result<()> {
    if values.iter().all(|v| v.is_finite()) {
        return Ok(());
    }
    let kinds: [fn(f64) -> bool; 3] = [f64::is_nan, |v| v == f64::INFINITY, |v| v == f64::NEG_INFINITY];
    for (column, is) in columns.iter_mut().zip(kinds) {
        let counts = column.fixed_mut::<i64>()?;
        rows.each(|i, row| {
            if is(values[i]) {
                counts[row] = counts[row].wrapping_add(rows.weight(i));
            }
        });
    }
    Ok(())
}

fn merge_counts(columns: &mut [Values], handles: &[u32], partials: &[ArrayRef]) -> Result<()> {
    for (column, partial) in columns.iter_mut().zip(partials) {
        let counts = column.fixed_mut::<i64>()?;
        for (row, n) in handles.iter().zip(int(partial)?) {
            counts[*row] = counts[*row].wrapping_add(*n);
        }
    }
    Ok(())
}

/// For every entry the value that its special rows make of any sum; `None`: there are none.
pub(super) fn overrides(counts: &[ArrayRef]) -> Result<Vec<Option<f64>>> {
    let [nan, plus, minus] = counts else { return Err(wrong()) };
    let (nan, plus, minus) = (int(nan)?, int(plus)?, int(minus)?);
    let one = |((nan, plus), minus): ((&i64, &i64), &i64)| match (*nan != 0, *plus != 0, *minus != 0) {
        (false, false, false) => None,
        (false, true, false) => Some(f64::INFINITY),
        (false, false, true) => Some(f64::NEG_INFINITY),
        _ => Some(f64::NAN),
    };
    Ok(nan.iter().zip(plus).zip(minus).map(one).collect())
}
