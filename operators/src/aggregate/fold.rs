//! Folds: how one state of an aggregate takes rows in, how two of them become one, and which columns it is made of. Called by
//! the program with handles of a keyed table; loops are over slices, branches outside of them.
//!
//! Invariants
//! - F1 `merge` of the states of two parts is the state of the whole, in any order: results depend neither on batch sizes nor
//!   on parallelism (float sums to within their compensated rounding).
//! - F2 a fold never reads a value that its mask leaves out.

use super::special;
use super::value::{Class, Loaded, class_of, less};
use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, i256};
use thalweg_engine::state::{BytesColumn, Column, Fixed, Initial, ValueColumn, Values};
use thalweg_engine::{Error, Result};

/// The kinds of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    /// An exact sum of integers or decimals, or a compensated sum of floats.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the earliest row; the least of those.
    First,
    /// The value of the latest row; the greatest of those.
    Last,
    /// Number, mean and sum of squared deviations.
    Moments,
    /// A sum of floats from which they can be taken back: see `special.rs`.
    FloatSum,
    /// Number, sum and sum of squares, from which values can be taken back.
    FloatMoments,
}

/// A kind of state over values of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What it computes.
    pub kind: FoldKind,
    /// The class of the values.
    pub class: Class,
    /// The type of the values.
    pub data_type: DataType,
}

/// The rows that a fold takes in: handles, their values and event times, which of them count, and their weights.
pub struct Rows<'a> {
    /// The entry of each row.
    pub handles: &'a [u32],
    /// The argument of each row.
    pub values: &'a Loaded,
    /// The event time of each row.
    pub times: &'a [i64],
    /// Which rows count; `None`: all.
    pub mask: Option<&'a BooleanBuffer>,
    /// `None`: all 1.
    pub weights: Option<&'a [i64]>,
}

impl Rows<'_> {
    /// Calls `f` with the number and the handle of every row that counts. The one call of `f` here is what lets it be inlined.
    #[inline(always)]
    pub(super) fn each(&self, mut f: impl FnMut(usize, u32)) {
        for (i, row) in self.handles.iter().enumerate() {
            if self.mask.is_none_or(|mask| mask.value(i)) {
                f(i, *row);
            }
        }
    }

    #[inline(always)]
    pub(super) fn weight(&self, i: usize) -> i64 {
        self.weights.map_or(1, |w| w[i])
    }
}

/// Adds up how often each entry was met: the state of COUNT, and what says whether any other state is there.
pub fn count(
    column: &mut Values,
    handles: &[u32],
    mask: Option<&BooleanBuffer>,
    weights: Option<&[i64]>,
) -> Result<()> {
    let counts = column.fixed_mut::<i64>()?;
    if mask.is_none() && weights.is_none() {
        handles.iter().for_each(|row| counts[*row] = counts[*row].wrapping_add(1));
        return Ok(());
    }
    let empty = Loaded::Int(ScalarBuffer::from(vec![]));
    let rows = Rows { handles, values: &empty, times: &[], mask, weights };
    rows.each(|i, row| counts[row] = counts[row].wrapping_add(rows.weight(i)));
    Ok(())
}

/// Adds partial counts.
pub fn merge_count(column: &mut Values, handles: &[u32], partial: &ArrayRef) -> Result<()> {
    let counts = column.fixed_mut::<i64>()?;
    for (row, n) in handles.iter().zip(int(partial)?) {
        counts[*row] = counts[*row].wrapping_add(*n);
    }
    Ok(())
}

impl Fold {
    /// A state over values of a type. Errors: `user` if the aggregate does not take such values.
    pub fn new(kind: FoldKind, data_type: &DataType) -> Result<Fold> {
        let class = class_of(data_type);
        let fits = match kind {
            FoldKind::FloatSum => data_type.is_floating(),
            FoldKind::Sum | FoldKind::Moments | FoldKind::FloatMoments => {
                data_type.is_numeric() || *data_type == DataType::Null
            }
            _ => true,
        };
        match class.filter(|_| fits) {
            Some(class) => Ok(Fold { kind, class, data_type: data_type.clone() }),
            None => Err(Error::user(format!("{kind:?} over values of type {data_type} is not supported"))),
        }
    }

    /// The columns of the state.
    pub fn columns(&self, name: &str) -> Vec<ValueColumn> {
        let part = |p: &str| format!("{name}.{p}");
        match (self.kind, self.class) {
            (FoldKind::Sum, Class::Float) => {
                vec![ValueColumn::new(part("sum"), 0f64), ValueColumn::new(part("low"), 0f64)]
            }
            (FoldKind::Sum, _) => {
                let sum = ValueColumn::new(part("sum"), Initial::I128(0)).shown_as(&self.shown_sum());
                let carry = carries(&self.data_type).then(|| ValueColumn::new(part("carry"), 0i64));
                std::iter::once(sum).chain(carry).collect()
            }
            (FoldKind::Moments, _) => ["n", "mean", "m2"].map(|p| ValueColumn::new(part(p), 0f64)).to_vec(),
            (FoldKind::FloatSum | FoldKind::FloatMoments, _) => {
                let floats: &[&str] = if self.kind == FoldKind::FloatSum {
                    &["sum", "low"]
                } else {
                    &["n", "sum", "low", "squares", "squares_low"]
                };
                let floats = floats.iter().map(|p| ValueColumn::new(part(p), 0f64));
                floats.chain(special::COUNTS.iter().map(|p| ValueColumn::new(part(p), 0i64))).collect()
            }
            (FoldKind::Min | FoldKind::Max, class) => {
                let value = class.column(part("value"), &self.data_type).shown_as(&self.data_type);
                vec![ValueColumn::new(part("there"), false), value]
            }
            (FoldKind::First | FoldKind::Last, class) => vec![
                ValueColumn::new(part("there"), false),
                class.column(part("value"), &self.data_type).shown_as(&self.data_type),
                ValueColumn::new(part("time"), 0i64).shown_as(&DataType::Timestamp(TimeUnit::Millisecond, None)),
            ],
        }
    }

    /// The type of an exact sum: its values have the scale of what was added.
    fn shown_sum(&self) -> DataType {
        match self.data_type {
            DataType::Decimal128(_, scale) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
            _ => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
        }
    }

    /// Whether a row of weight -1 can be taken back.
    pub fn is_linear(&self) -> bool {
        use FoldKind as K;
        matches!(self.kind, K::Sum | K::Moments | K::FloatSum | K::FloatMoments)
    }

    /// Takes rows in. Errors: `internal` for a negative weight where it cannot be taken back.
    pub fn update(&self, columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
        if !self.is_linear() && rows.weights.is_some_and(|w| w.iter().any(|w| *w <= 0)) {
            return Err(Error::internal(format!("{:?} of a stream with retractions", self.kind)));
        }
        match self.kind {
            FoldKind::Sum if carries(&self.data_type) => sum_wide(columns, rows),
            FoldKind::Sum => sum(columns, rows),
            FoldKind::Moments => moments(columns, rows),
            FoldKind::FloatSum => special::sum(columns, rows),
            FoldKind::FloatMoments => special::moments(columns, rows),
            FoldKind::Min | FoldKind::Max => self.extreme(columns, rows),
            FoldKind::First | FoldKind::Last => self.by_time(columns, rows),
        }
    }

    /// Takes in partial states: one array per state column.
    pub fn merge(&self, columns: &mut [Values], handles: &[u32], partials: &[ArrayRef]) -> Result<()> {
        match (self.kind, partials) {
            (FoldKind::Sum, [sum, carry]) if carries(&self.data_type) => {
                let (sums, carries) = wide_sums(columns)?;
                for ((row, v), c) in handles.iter().zip(wide(sum)?).zip(int(carry)?) {
                    carry_on(&mut sums[*row], &mut carries[*row], *v);
                    carries[*row] = carries[*row].wrapping_add(*c);
                }
                Ok(())
            }
            (FoldKind::Sum, [sum, low]) => merge_floats(columns, handles, float(sum)?, float(low)?),
            (FoldKind::Sum, [sum]) => {
                let state = one(columns)?.fixed_mut::<i128>()?;
                for (row, v) in handles.iter().zip(wide(sum)?) {
                    state[*row] = state[*row].wrapping_add(*v);
                }
                Ok(())
            }
            (FoldKind::FloatSum, _) => special::merge_sum(columns, handles, partials),
            (FoldKind::FloatMoments, _) => special::merge_moments(columns, handles, partials),
            (FoldKind::Moments, [n, mean, m2]) => {
                merge_moments(columns, handles, [float(n)?, float(mean)?, float(m2)?])
            }
            (_, [there, values, rest @ ..]) => {
                let mask = boolean(there)?;
                let values = super::value::load(values)?;
                let times = rest.first().map_or(Ok(&[][..]), int)?;
                let mask = (mask.true_count() < mask.len()).then(|| mask.values());
                self.update(columns, &Rows { handles, values: &values, times, mask, weights: None })
            }
            _ => Err(wrong()),
        }
    }

    fn extreme(&self, columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
        let [there, state] = columns else { return Err(wrong()) };
        let there = there.fixed_mut::<bool>()?;
        let max = self.kind == FoldKind::Max;
        match rows.values {
            Loaded::Int(v) if max => keep(there, state.fixed_mut()?, v, rows, |new, old| new > old),
            Loaded::Int(v) => keep(there, state.fixed_mut()?, v, rows, |new, old| new < old),
            Loaded::Wide(v) if max => keep(there, state.fixed_mut()?, v, rows, |new, old| new > old),
            Loaded::Wide(v) => keep(there, state.fixed_mut()?, v, rows, |new, old| new < old),
            Loaded::Float(v) if max => keep(there, state.fixed_mut()?, v, rows, |new, old| less(old, new)),
            Loaded::Float(v) => keep(there, state.fixed_mut()?, v, rows, less),
            Loaded::Bytes(v) => return keep_bytes(there, state.bytes_mut()?, v, rows, max),
        }
        Ok(())
    }

    fn by_time(&self, columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
        let [there, state, time] = columns else { return Err(wrong()) };
        let (there, time) = (there.fixed_mut::<bool>()?, time.fixed_mut::<i64>()?);
        let last = self.kind == FoldKind::Last;
        match rows.values {
            Loaded::Int(v) => keep_timed(there, state.fixed_mut()?, time, v, rows, last, |a, b| a < b),
            Loaded::Wide(v) => keep_timed(there, state.fixed_mut()?, time, v, rows, last, |a, b| a < b),
            Loaded::Float(v) => keep_timed(there, state.fixed_mut()?, time, v, rows, last, less),
            Loaded::Bytes(v) => return keep_bytes_timed(there, state.bytes_mut()?, time, v, rows, last),
        }
        Ok(())
    }
}

pub(super) fn wrong() -> Error {
    Error::internal("an aggregate's state has other columns")
}

fn one(columns: &mut [Values]) -> Result<&mut Values> {
    columns.first_mut().ok_or_else(wrong)
}

pub(super) fn int(array: &ArrayRef) -> Result<&[i64]> {
    array.as_primitive_opt::<Int64Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

pub(super) fn float(array: &ArrayRef) -> Result<&[f64]> {
    array.as_primitive_opt::<Float64Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

fn wide(array: &ArrayRef) -> Result<&[i128]> {
    array.as_primitive_opt::<Decimal128Type>().map(|a| &**a.values()).ok_or_else(wrong)
}

fn boolean(array: &ArrayRef) -> Result<&BooleanArray> {
    array.as_boolean_opt().ok_or_else(wrong)
}

/// Keeps the better of the state and each row's value.
#[inline(always)]
fn keep<T: Fixed>(
    there: &mut Column<bool>,
    state: &mut Column<T>,
    values: &[T],
    rows: &Rows<'_>,
    better: impl Fn(T, T) -> bool,
) {
    rows.each(|i, row| {
        if !there[row] || better(values[i], state[row]) {
            there[row] = true;
            state[row] = values[i];
        }
    });
}

/// Keeps the value of the earliest or latest row, and of rows of one time the least or greatest.
#[inline(always)]
fn keep_timed<T: Fixed>(
    there: &mut Column<bool>,
    state: &mut Column<T>,
    time: &mut Column<i64>,
    values: &[T],
    rows: &Rows<'_>,
    last: bool,
    less: impl Fn(T, T) -> bool,
) {
    rows.each(|i, row| {
        let (new, old) = ((rows.times[i], values[i]), (time[row], state[row]));
        let (a, b) = if last { (old, new) } else { (new, old) };
        if !there[row] || a.0 < b.0 || (a.0 == b.0 && less(a.1, b.1)) {
            there[row] = true;
            (time[row], state[row]) = new;
        }
    });
}

fn keep_bytes(
    there: &mut Column<bool>,
    state: &mut BytesColumn,
    values: &BinaryArray,
    rows: &Rows<'_>,
    max: bool,
) -> Result<()> {
    let mut result = Ok(());
    rows.each(|i, row| {
        let (new, old) = (values.value(i), state.get(row).unwrap_or_default());
        if !there[row] || (if max { new > old } else { new < old }) {
            there[row] = true;
            if let Err(e) = state.set(row, Some(new)) {
                result = Err(e);
            }
        }
    });
    result
}

fn keep_bytes_timed(
    there: &mut Column<bool>,
    state: &mut BytesColumn,
    time: &mut Column<i64>,
    values: &BinaryArray,
    rows: &Rows<'_>,
    last: bool,
) -> Result<()> {
    let mut result = Ok(());
    rows.each(|i, row| {
        let (new, old) = ((rows.times[i], values.value(i)), (time[row], state.get(row).unwrap_or_default()));
        if !there[row] || (if last { new > old } else { new < old }) {
            there[row] = true;
            time[row] = new.0;
            if let Err(e) = state.set(row, Some(new.1)) {
                result = Err(e);
            }
        }
    });
    result
}

fn sum(columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
    match rows.values {
        Loaded::Int(v) => {
            let state = one(columns)?.fixed_mut::<i128>()?;
            rows.each(|i, row| state[row] = state[row].wrapping_add(i128::from(v[i]) * i128::from(rows.weight(i))));
        }
        Loaded::Wide(v) => {
            let state = one(columns)?.fixed_mut::<i128>()?;
            rows.each(|i, row| state[row] = state[row].wrapping_add(v[i].wrapping_mul(i128::from(rows.weight(i)))));
        }
        Loaded::Float(v) => {
            let [sum, low] = columns else { return Err(wrong()) };
            let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
            rows.each(|i, row| add(&mut sum[row], &mut low[row], v[i] * rows.weight(i) as f64));
        }
        Loaded::Bytes(_) => return Err(wrong()),
    }
    Ok(())
}

/// Digits of decimals of which any 2^63 add up to less than 2^127.
const NARROW_DIGITS: u8 = 19;

/// Whether the sum of values of a type needs more than 128 bits: the state is then the sum modulo 2^128, and how often it went
/// round, so that it is exact even where it leaves 128 bits on the way.
pub(super) fn carries(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(precision, _) if *precision > NARROW_DIGITS)
}

fn wide_sums(columns: &mut [Values]) -> Result<(&mut Column<i128>, &mut Column<i64>)> {
    let [sum, carry] = columns else { return Err(wrong()) };
    Ok((sum.fixed_mut()?, carry.fixed_mut()?))
}

/// Adds to `carry * 2^128 + sum`.
#[inline(always)]
fn carry_on(sum: &mut i128, carry: &mut i64, v: i128) {
    let (low, round) = sum.overflowing_add(v);
    *sum = low;
    if round {
        *carry = carry.wrapping_add(if v < 0 { -1 } else { 1 });
    }
}

fn sum_wide(columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
    let (sum, carry) = wide_sums(columns)?;
    let Loaded::Wide(v) = rows.values else { return Err(wrong()) };
    if rows.weights.is_none() {
        rows.each(|i, row| carry_on(&mut sum[row], &mut carry[row], v[i]));
        return Ok(());
    }
    rows.each(|i, row| {
        let product = i256::from_i128(v[i]).wrapping_mul(i256::from_i128(rows.weight(i).into()));
        let (low, high) = product.to_parts();
        let low = low as i128;
        carry_on(&mut sum[row], &mut carry[row], low);
        // The low half counts as a signed number: what that takes away goes into the carry.
        carry[row] = carry[row].wrapping_add(high as i64).wrapping_add(i64::from(low < 0));
    });
    Ok(())
}

/// Neumaier's sum: `low` gathers what rounding takes from `sum`.
#[inline(always)]
pub(super) fn add(sum: &mut f64, low: &mut f64, v: f64) {
    let t = *sum + v;
    *low += if sum.abs() >= v.abs() { (*sum - t) + v } else { (v - t) + *sum };
    *sum = t;
}

fn merge_floats(columns: &mut [Values], handles: &[u32], sums: &[f64], lows: &[f64]) -> Result<()> {
    let [sum, low] = columns else { return Err(wrong()) };
    let (sum, low) = (sum.fixed_mut::<f64>()?, low.fixed_mut::<f64>()?);
    for ((row, s), l) in handles.iter().zip(sums).zip(lows) {
        add(&mut sum[*row], &mut low[*row], *s);
        low[*row] += *l;
    }
    Ok(())
}

/// Welford's update of number, mean and sum of squared deviations; a negative weight takes a value back.
fn moments(columns: &mut [Values], rows: &Rows<'_>) -> Result<()> {
    let floats: Vec<f64> = match rows.values {
        Loaded::Float(v) => v.to_vec(),
        Loaded::Int(v) => v.iter().map(|v| *v as f64).collect(),
        Loaded::Wide(v) => v.iter().map(|v| *v as f64).collect(),
        Loaded::Bytes(_) => return Err(wrong()),
    };
    let [n, mean, m2] = columns else { return Err(wrong()) };
    let (n, mean, m2) = (n.fixed_mut::<f64>()?, mean.fixed_mut::<f64>()?, m2.fixed_mut::<f64>()?);
    rows.each(|i, row| {
        let (x, w) = (floats[i], rows.weight(i) as f64);
        chan([&mut n[row], &mut mean[row], &mut m2[row]], [w, x, 0.0]);
    });
    Ok(())
}

/// Chan's merge of two such triples.
#[inline(always)]
fn chan([n, mean, m2]: [&mut f64; 3], [n2, mean2, other]: [f64; 3]) {
    let total = *n + n2;
    if total == 0.0 {
        (*n, *mean, *m2) = (0.0, 0.0, 0.0);
        return;
    }
    let delta = mean2 - *mean;
    *m2 += other + delta * delta * (*n * n2 / total);
    *mean += delta * (n2 / total);
    *n = total;
}

fn merge_moments(columns: &mut [Values], handles: &[u32], [ns, means, m2s]: [&[f64]; 3]) -> Result<()> {
    let [n, mean, m2] = columns else { return Err(wrong()) };
    let (n, mean, m2) = (n.fixed_mut::<f64>()?, mean.fixed_mut::<f64>()?, m2.fixed_mut::<f64>()?);
    for (i, row) in handles.iter().enumerate() {
        chan([&mut n[*row], &mut mean[*row], &mut m2[*row]], [ns[i], means[i], m2s[i]]);
    }
    Ok(())
}
