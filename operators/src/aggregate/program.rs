//! Aggregates compiled: which arguments and filters are evaluated, which state columns a group has, what is folded into which.
//! Called by window operators, in both phases.
//!
//! Arguments, filters, counts and folds that several aggregates need are there once: SUM(x), AVG(x) and COUNT(x) share one
//! sum and one count. The state columns are: 1. counts, the first of which counts all rows; 2. the columns of the folds.
//!
//! Invariants
//! - P1 the partial columns of a group are its state columns, in order.
//! - P2 counts and folds of DISTINCT aggregates take in nothing but what [`Program::update_distinct`] gives them, folds over kept values
//!   nothing but what [`Program::update_kept`] does.

use super::finish::finish;
use super::fold::{self, Fold, FoldKind, Rows};
use super::value::{self, Class, Loaded};
use super::{Aggregate, Function};
use crate::expr::{self, Expr, Kept};
use arrow::array::{Array, ArrayRef, Int64Array, new_empty_array};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use std::ops::Range;
use std::sync::Arc;
use thalweg_engine::state::reader::{Names, label};
use thalweg_engine::state::{KeyedTable, ValueColumn};
use thalweg_engine::{Batch, Error, Result, StreamKind};

/// Which rows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Mask {
    /// Those whose argument is not NULL.
    argument: Option<usize>,
    /// Those for which this is true.
    filter: Option<usize>,
    /// Each value once.
    distinct: bool,
    /// All values are kept, because a fold cannot take one back: it is folded anew.
    kept: bool,
}

#[derive(Clone, Debug)]
struct FoldAt {
    fold: Fold,
    argument: usize,
    mask: usize,
    columns: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Output {
    mask: usize,
    fold: Option<usize>,
}

/// Compiled aggregates.
#[derive(Clone, Debug)]
pub struct Program {
    kind: StreamKind,
    aggregates: Vec<Aggregate>,
    arguments: Vec<(Expr, DataType)>,
    filters: Vec<Expr>,
    masks: Vec<Mask>,
    folds: Vec<FoldAt>,
    outputs: Vec<Output>,
    columns: Vec<ValueColumn>,
    /// The same, with names for people.
    named: Vec<ValueColumn>,
}

/// What the aggregates read, evaluated for the rows of one batch.
pub struct Inputs {
    arguments: Vec<Loaded>,
    arrays: Vec<ArrayRef>,
    masks: Vec<Option<BooleanBuffer>>,
    times: ScalarBuffer<i64>,
    weights: Option<ScalarBuffer<i64>>,
}

impl Program {
    /// Compiles aggregates over rows of a schema. Errors: `user` for arguments that a function does not take.
    pub fn new(aggregates: &[Aggregate], input: &Schema) -> Result<Program> {
        Program::over(StreamKind::Append, aggregates, input)
    }

    /// The same over a stream of any kind: over a changelog, floats that no sum can be freed of are counted apart.
    pub fn over(kind: StreamKind, aggregates: &[Aggregate], input: &Schema) -> Result<Program> {
        let mut program = Program {
            kind,
            aggregates: aggregates.to_vec(),
            arguments: vec![],
            filters: vec![],
            masks: vec![Mask::default()],
            folds: vec![],
            outputs: vec![],
            columns: vec![],
            named: vec![],
        };
        for aggregate in aggregates {
            let output = program.add(aggregate, input)?;
            program.outputs.push(output);
        }
        let counts = (0..program.masks.len()).map(|i| ValueColumn::new(format!("count{i}"), 0i64));
        program.columns = counts.collect();
        for (i, at) in program.folds.iter_mut().enumerate() {
            let start = program.columns.len();
            program.columns.extend(at.fold.columns(&format!("fold{i}")));
            at.columns = start..program.columns.len();
        }
        program.named = program.names();
        Ok(program)
    }

    /// The state columns with the names that state is shown under: `count`, `sum_price.sum`, `count_price_if_url_like_a`.
    fn names(&self) -> Vec<ValueColumn> {
        let mut taken = Names::default();
        let of = |what: &str, argument: Option<usize>, mask: &Mask| {
            let text = |e: &Expr| label(&expr::Text(e).to_string());
            let argument = argument.and_then(|a| self.arguments.get(a)).map(|(e, _)| format!("_{}", text(e)));
            let filter = mask.filter.and_then(|f| self.filters.get(f)).map(|e| format!("_if_{}", text(e)));
            let distinct = if mask.distinct { "_distinct" } else { "" };
            [what, distinct, &argument.unwrap_or_default(), &filter.unwrap_or_default()].concat()
        };
        let counts = self.masks.iter().map(|m| ValueColumn::new(taken.unique(of("count", m.argument, m)), 0i64));
        let mut named: Vec<ValueColumn> = counts.collect();
        for at in &self.folds {
            let Some(mask) = self.masks.get(at.mask) else { continue };
            let what = match at.fold.kind {
                FoldKind::Sum | FoldKind::FloatSum => "sum",
                FoldKind::Min => "min",
                FoldKind::Max => "max",
                FoldKind::First => "first",
                FoldKind::Last => "last",
                FoldKind::Moments | FoldKind::FloatMoments => "moments",
            };
            named.extend(at.fold.columns(&taken.unique(of(what, Some(at.argument), mask))));
        }
        named
    }

    fn add(&mut self, aggregate: &Aggregate, input: &Schema) -> Result<Output> {
        let mut mask = Mask { distinct: aggregate.needs_distinct(), ..Mask::default() };
        let mut argument = None;
        if let Some(expr) = &aggregate.argument {
            let data_type = expr.data_type(input).map_err(|e| expr::error(&e))?;
            let place = place(&mut self.arguments, (expr.clone(), data_type));
            let nullable = expr.nullable(input).map_err(|e| expr::error(&e))?;
            mask.argument = (nullable || mask.distinct).then_some(place);
            argument = Some(place);
        }
        mask.filter = aggregate.filter.clone().map(|filter| place(&mut self.filters, filter));
        use Function as F;
        let extreme = matches!(aggregate.function, F::Min | F::Max | F::BoolAnd | F::BoolOr);
        mask.kept = extreme && self.kind == StreamKind::Changelog && argument.is_some();
        // What is kept are values, and NULL is none.
        mask.argument = if mask.kept { argument } else { mask.argument };
        let mask = place(&mut self.masks, mask);
        let kind = match aggregate.function {
            Function::Count if argument.is_some() || !aggregate.distinct => return Ok(Output { mask, fold: None }),
            Function::Count => return Err(Error::user("COUNT(DISTINCT *) needs an argument")),
            Function::Sum | Function::Avg => FoldKind::Sum,
            Function::Min | Function::BoolAnd => FoldKind::Min,
            Function::Max | Function::BoolOr => FoldKind::Max,
            Function::FirstValue => FoldKind::First,
            Function::LastValue => FoldKind::Last,
            _ => FoldKind::Moments,
        };
        let Some(argument) = argument else {
            return Err(Error::user(format!("{} needs an argument", aggregate.function.name().to_uppercase())));
        };
        let data_type = self.arguments.get(argument).map_or(DataType::Null, |(_, t)| t.clone());
        let kind = match kind {
            FoldKind::Sum if self.kind == StreamKind::Changelog && data_type.is_floating() => FoldKind::FloatSum,
            FoldKind::Moments if self.kind == StreamKind::Changelog => FoldKind::FloatMoments,
            kind => kind,
        };
        let fold = Fold::new(kind, &data_type)?;
        let known = self.folds.iter().position(|f| f.fold == fold && f.argument == argument && f.mask == mask);
        let fold = known.unwrap_or_else(|| {
            self.folds.push(FoldAt { fold, argument, mask, columns: 0..0 });
            self.folds.len() - 1
        });
        Ok(Output { mask, fold: Some(fold) })
    }

    /// An aggregate that cannot take a row back, if there is one.
    pub fn irrevocable(&self) -> Option<Function> {
        let kept = |o: &Output| self.masks.get(o.mask).is_some_and(|m| m.kept);
        let linear = |o: &Output| o.fold.and_then(|f| self.folds.get(f)).is_none_or(|f| f.fold.is_linear());
        self.aggregates.iter().zip(&self.outputs).find(|(_, o)| !kept(o) && !linear(o)).map(|(a, _)| a.function)
    }

    /// The state columns of a group.
    pub fn columns(&self) -> &[ValueColumn] {
        &self.columns
    }

    /// The same, with the names that state is shown under.
    pub fn named_columns(&self) -> &[ValueColumn] {
        &self.named
    }

    /// The same as fields of a batch.
    pub fn partial_fields(&self) -> Vec<Field> {
        self.columns.iter().map(|c| Field::new(c.name(), c.data_type().clone(), true)).collect()
    }

    /// The output types.
    pub fn output_types(&self) -> impl Iterator<Item = &DataType> {
        self.aggregates.iter().map(|a| &a.output)
    }

    /// The arguments of DISTINCT aggregates: what has to be kept per group, each value once.
    pub fn distincts(&self) -> Vec<(usize, FieldRef)> {
        self.values_of(|m| m.distinct)
    }

    /// The arguments of aggregates that fold anew when a value goes: all their values have to be kept.
    pub fn kept(&self) -> Vec<(usize, FieldRef)> {
        self.values_of(|m| m.kept)
    }

    fn values_of(&self, wanted: fn(&Mask) -> bool) -> Vec<(usize, FieldRef)> {
        let masks = self.masks.iter().enumerate().filter(|(_, m)| wanted(m));
        let field = |(mask, m): (usize, &Mask)| {
            let (_, data_type) = m.argument.and_then(|a| self.arguments.get(a))?;
            Some((mask, Arc::new(Field::new(format!("value{mask}"), data_type.clone(), true)) as FieldRef))
        };
        masks.filter_map(field).collect()
    }

    /// Evaluates arguments and filters. Errors: `user` for what the data does not allow.
    pub fn evaluate(&self, batch: &Batch, times: ScalarBuffer<i64>) -> Result<Inputs> {
        let rows = batch.columns();
        let arrays = self.arguments.iter().map(|(e, _)| expr::evaluate(e, rows)).collect::<Result<Vec<_>>>()?;
        let kept = self.filters.iter().map(|f| expr::select(f, rows)).collect::<Result<Vec<_>>>()?;
        let n = batch.num_rows();
        let filters: Vec<Option<BooleanBuffer>> = kept
            .into_iter()
            .map(|kept| match kept {
                Kept::All => None,
                Kept::None => Some(BooleanBuffer::new_unset(n)),
                Kept::Some(mask) => match mask.nulls() {
                    None => Some(mask.values().clone()),
                    Some(nulls) => Some(mask.values() & nulls.inner()),
                },
            })
            .collect();
        let masks = self.masks.iter().map(|mask| {
            let valid = mask.argument.and_then(|a| arrays.get(a)).and_then(|a| a.logical_nulls());
            let valid = valid.filter(|n| n.null_count() > 0).map(|n| n.into_inner());
            let filter = mask.filter.and_then(|f| filters.get(f).cloned().flatten());
            match (valid, filter) {
                (Some(a), Some(b)) => Some(&a & &b),
                (a, b) => a.or(b),
            }
        });
        let arguments = arrays.iter().map(value::load).collect::<Result<_>>()?;
        let weights = batch.weights().map(|w| w.to_vec().into());
        Ok(Inputs { masks: masks.collect(), arguments, arrays, times, weights })
    }

    /// Folds rows into their entries. Errors: `internal` for retractions that an aggregate cannot take back.
    pub fn update(&self, table: &mut KeyedTable, handles: &[u32], inputs: &Inputs) -> Result<()> {
        let columns = table.columns_mut();
        let weights = inputs.weights.as_deref();
        for (i, mask) in self.masks.iter().enumerate().filter(|(_, m)| !m.distinct) {
            let rows = inputs.mask(i);
            debug_assert!(mask.argument.is_some() || mask.filter.is_some() || rows.is_none());
            fold::count(columns.get_mut(i).ok_or_else(wrong)?, handles, rows, weights)?;
        }
        for at in self.folds.iter().filter(|at| !self.is_fed_apart(at.mask)) {
            let values = inputs.arguments.get(at.argument).ok_or_else(wrong)?;
            let mask = inputs.mask(at.mask);
            let rows = Rows { handles, values, times: &inputs.times, mask, weights };
            at.fold.update(columns.get_mut(at.columns.clone()).ok_or_else(wrong)?, &rows)?;
        }
        Ok(())
    }

    /// Folds values, each of which is new in its group (weight -1: has gone from it), into what is DISTINCT under this mask.
    pub fn update_distinct(
        &self,
        table: &mut KeyedTable,
        handles: &[u32],
        mask: usize,
        values: &ArrayRef,
        weights: Option<&[i64]>,
    ) -> Result<()> {
        let columns = table.columns_mut();
        fold::count(columns.get_mut(mask).ok_or_else(wrong)?, handles, None, weights)?;
        let values = value::load(values)?;
        for at in self.folds.iter().filter(|at| at.mask == mask) {
            let rows = Rows { handles, values: &values, times: &[], mask: None, weights };
            at.fold.update(columns.get_mut(at.columns.clone()).ok_or_else(wrong)?, &rows)?;
        }
        Ok(())
    }

    /// Folds partial states into their entries.
    pub fn merge(&self, table: &mut KeyedTable, handles: &[u32], partials: &[ArrayRef]) -> Result<()> {
        let columns = table.columns_mut();
        for (column, partial) in columns.iter_mut().zip(partials).take(self.masks.len()) {
            fold::merge_count(column, handles, partial)?;
        }
        for at in &self.folds {
            let partials = partials.get(at.columns.clone()).ok_or_else(wrong)?;
            at.fold.merge(columns.get_mut(at.columns.clone()).ok_or_else(wrong)?, handles, partials)?;
        }
        Ok(())
    }

    /// The states of entries, one array per state column.
    pub fn partials(&self, table: &KeyedTable, handles: &[u32]) -> Result<Vec<ArrayRef>> {
        (0..self.columns.len()).map(|i| table.values(i, handles)).collect()
    }

    /// The output columns of entries.
    pub fn finish(&self, table: &KeyedTable, handles: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |(aggregate, output): (&Aggregate, &Output)| {
            let counts = table.values(output.mask, handles)?;
            let Some(at) = output.fold.and_then(|f| self.folds.get(f)) else {
                return finish(aggregate, &DataType::Null, &counts, &[]);
            };
            let state = at.columns.clone().map(|i| table.values(i, handles)).collect::<Result<Vec<_>>>()?;
            finish(aggregate, &at.fold.data_type, &counts, &state)
        };
        self.aggregates.iter().zip(&self.outputs).map(column).collect()
    }

    /// Folds values into what keeps them under this mask: those of the rows that `which` says.
    pub fn update_kept(
        &self,
        table: &mut KeyedTable,
        handles: &[u32],
        mask: usize,
        values: &ArrayRef,
        which: Option<&BooleanBuffer>,
    ) -> Result<()> {
        let (columns, values) = (table.columns_mut(), value::load(values)?);
        for at in self.folds.iter().filter(|at| at.mask == mask) {
            let rows = Rows { handles, values: &values, times: &[], mask: which, weights: None };
            at.fold.update(columns.get_mut(at.columns.clone()).ok_or_else(wrong)?, &rows)?;
        }
        Ok(())
    }

    /// Which of the entries may have lost what is folded from kept values: the best of those that went is as good as the best there was.
    /// `gone` has folds of what went; `found` its entries.
    pub fn stale(
        &self,
        table: &KeyedTable,
        handles: &[u32],
        gone: &KeyedTable,
        found: &[u32],
        mask: usize,
    ) -> Result<Vec<bool>> {
        let mut stale = vec![false; handles.len()];
        let at: Vec<usize> = (0..found.len()).filter(|i| found[*i] != KeyedTable::ABSENT).collect();
        let pick = |rows: &[u32]| at.iter().filter_map(|i| rows.get(*i).copied()).collect::<Vec<u32>>();
        let (ours, theirs) = (pick(handles), pick(found));
        for fold in self.folds.iter().filter(|fold| fold.mask == mask) {
            let (there, value) = (fold.columns.start, fold.columns.start + 1);
            let went = gone.column::<bool>(there)?;
            let same = not_distinct(&table.values(value, &ours)?, &gone.values(value, &theirs)?)?;
            for (i, (n, row)) in at.iter().zip(&theirs).enumerate() {
                stale[*n] |= went[*row] && same.value(i);
            }
        }
        Ok(stale)
    }

    /// Forgets what is folded from kept values under this mask.
    pub fn forget_kept(&self, table: &mut KeyedTable, handles: &[u32], mask: usize) -> Result<()> {
        for fold in self.folds.iter().filter(|fold| fold.mask == mask) {
            let there = table.column_mut::<bool>(fold.columns.start)?;
            handles.iter().for_each(|row| there[*row] = false);
            // Texts say by themselves whether they are there.
            if fold.fold.class == Class::Bytes {
                let values = table.bytes_column_mut(fold.columns.start + 1)?;
                handles.iter().try_for_each(|row| values.set(*row, None))?;
            }
        }
        Ok(())
    }

    fn is_fed_apart(&self, mask: usize) -> bool {
        self.masks.get(mask).is_some_and(|m| m.distinct || m.kept)
    }

    /// The values under a DISTINCT mask, with the numbers of the rows that have one.
    pub fn distinct_values(&self, mask: usize, inputs: &Inputs) -> Result<(Vec<u32>, ArrayRef)> {
        let argument = self.masks.get(mask).and_then(|m| m.argument).ok_or_else(wrong)?;
        let values = inputs.arrays.get(argument).ok_or_else(wrong)?;
        let Some(rows) = inputs.mask(mask) else {
            return Ok(((0..values.len() as u32).collect(), values.clone()));
        };
        let picked: Vec<u32> = rows.set_indices().map(|i| i as u32).collect();
        if picked.is_empty() {
            return Ok((picked, new_empty_array(values.data_type())));
        }
        let values = arrow::compute::take(values, &arrow::array::UInt32Array::from(picked.clone()), None)?;
        Ok((picked, values))
    }
}

impl Inputs {
    fn mask(&self, i: usize) -> Option<&BooleanBuffer> {
        self.masks.get(i).and_then(Option::as_ref)
    }

    /// The weights; `None`: all 1.
    pub fn weights(&self) -> Option<&[i64]> {
        self.weights.as_deref()
    }

    /// The rows `start..start + len`.
    pub fn slice(&self, start: usize, len: usize) -> Inputs {
        let loaded = |l: &Loaded| match l {
            Loaded::Int(v) => Loaded::Int(v.slice(start, len)),
            Loaded::Float(v) => Loaded::Float(v.slice(start, len)),
            Loaded::Wide(v) => Loaded::Wide(v.slice(start, len)),
            Loaded::Bytes(v) => Loaded::Bytes(v.slice(start, len)),
        };
        Inputs {
            arguments: self.arguments.iter().map(loaded).collect(),
            arrays: self.arrays.iter().map(|a| a.slice(start, len)).collect(),
            masks: self.masks.iter().map(|m| m.as_ref().map(|m| m.slice(start, len))).collect(),
            times: self.times.slice(start, len),
            weights: self.weights.as_ref().map(|w| w.slice(start, len)),
        }
    }
}

fn wrong() -> Error {
    Error::internal("an aggregate's state has other columns")
}

/// The place of `item` in a list without duplicates, at the end if it was not there.
fn place<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|i| *i == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

/// The number of rows that partial states stand for: the sum of the first state column.
pub fn rows_of(partials: &[ArrayRef]) -> u64 {
    let counts = partials.first().and_then(|c| c.as_any().downcast_ref::<Int64Array>());
    counts.map_or(0, |c| c.values().iter().map(|n| n.unsigned_abs()).sum())
}
