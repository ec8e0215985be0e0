//! What every scalar function here is made of: a static [`Spec`] and the one adapter that shows it to DataFusion.
//!
//! The family modules (`strings`, `datetime`, `json`, ...) are tables of specs whose kernels take a [`Call`]; `functions::scalar_functions`
//! wraps them. The planner calls `coerce_types` and `return_field_from_args`, a running job calls `invoke_with_args` per batch.
//!
//! Invariants
//! - S1 a kernel runs on types its spec lists: `coerce_types` refuses everything else with a remedy.
//! - S2 in a strict function a NULL argument makes a NULL result; its kernel sees only rows without NULLs.
//! - S3 literal arguments are checked at plan time (`Spec::check`); a kernel still answers bad values, with NULL or an error.
//! - S4 all-constant calls run once, on one row, whatever the batch size; volatile functions never do.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::params::{Param, coerce};

/// How a function's result type follows from its arguments.
pub(super) enum Returns {
    /// Always this type.
    Type(DataType),
    /// The type of the argument at this position.
    Argument(usize),
    /// Computed from argument types and literal values.
    By(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

/// A kernel: one call over one batch gives one array of `call.rows` rows.
pub(super) type Kernel = fn(&Call<'_>) -> Result<ArrayRef>;

/// A rule that gives the types the arguments are cast to, from the function's name and the types given.
pub(super) type Unify = fn(&str, &[DataType]) -> Result<Vec<DataType>>;

/// The description of one scalar function. Tables of these are `static`.
pub(super) struct Spec {
    /// Lower-case SQL name.
    pub name: &'static str,
    /// Other lower-case names.
    pub aliases: &'static [&'static str],
    /// Arguments that must be given.
    pub required: &'static [Param],
    /// Arguments that may follow.
    pub optional: &'static [Param],
    /// Any number of these may follow.
    pub rest: Option<Param>,
    /// Replaces the per-argument rule where arguments must agree on one type.
    pub unify: Option<Unify>,
    /// Result type.
    pub returns: Returns,
    /// Volatile functions run for every row and are never folded.
    pub volatility: Volatility,
    /// Whether any NULL argument makes the result NULL (S2).
    pub strict: bool,
    /// Plan-time check of the literal arguments (`None` = not a literal).
    pub check: fn(&[Option<&ScalarValue>]) -> Result<()>,
    /// Rewrite into other expressions, so that branches stay lazy.
    pub rewrite: Option<fn(Vec<Expr>) -> Result<Expr>>,
    /// The work.
    pub kernel: Kernel,
}

impl Spec {
    /// What most functions share; family tables override single fields.
    pub(super) const DEFAULT: Spec = Spec {
        name: "",
        aliases: &[],
        required: &[],
        optional: &[],
        rest: None,
        unify: None,
        returns: Returns::Type(DataType::Utf8),
        volatility: Volatility::Immutable,
        strict: true,
        check: |_| Ok(()),
        rewrite: None,
        kernel: |call| Ok(new_null_array(call.returns, call.rows)),
    };
}

/// The adapter between a [`Spec`] and DataFusion.
pub(super) struct Function {
    spec: &'static Spec,
    aliases: Vec<String>,
    signature: Signature,
}

impl Function {
    /// Wraps a spec for registration.
    pub(super) fn udf(spec: &'static Spec) -> Arc<ScalarUDF> {
        let aliases = spec.aliases.iter().map(ToString::to_string).collect();
        let no_arguments = spec.required.is_empty() && spec.optional.is_empty() && spec.rest.is_none();
        let signature =
            if no_arguments { Signature::nullary(spec.volatility) } else { Signature::user_defined(spec.volatility) };
        Arc::new(ScalarUDF::new_from_impl(Function { spec, aliases, signature }))
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Function({})", self.spec.name)
    }
}

// A name stands for one spec, so it is the identity that plan comparison needs.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        result_type(self.spec, arg_types, &vec![None; arg_types.len()])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        (self.spec.check)(args.scalar_arguments)?;
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = self.spec.volatility != Volatility::Volatile || !types.is_empty();
        let result = result_type(self.spec, &types, args.scalar_arguments)?;
        Ok(Arc::new(Field::new(self.spec.name, result, nullable)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce(self.spec, arg_types)
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.spec.rewrite {
            Some(rewrite) => Ok(ExprSimplifyResult::Simplified(rewrite(args)?)),
            None => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn short_circuits(&self) -> bool {
        self.spec.rewrite.is_some()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = self.spec.volatility != Volatility::Volatile
            && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let array = run(self.spec, &args.args, rows, args.return_field.data_type())?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

fn result_type(spec: &Spec, types: &[DataType], literals: &[Option<&ScalarValue>]) -> Result<DataType> {
    match &spec.returns {
        Returns::Type(fixed) => Ok(fixed.clone()),
        Returns::Argument(at) => match types.get(*at) {
            Some(found) => Ok(found.clone()),
            None => plan_err!("function `{}`: argument {} is missing", spec.name, at + 1),
        },
        Returns::By(rule) => rule(types, literals),
    }
}

fn run(spec: &Spec, args: &[ColumnarValue], rows: usize, returns: &DataType) -> Result<ArrayRef> {
    let mut nulls = None;
    if spec.strict {
        for arg in args {
            match arg {
                ColumnarValue::Scalar(value) if value.is_null() => return Ok(new_null_array(returns, rows)),
                ColumnarValue::Scalar(_) => {}
                ColumnarValue::Array(array) => {
                    nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref())
                }
            }
        }
    }
    let nulls = nulls.filter(|found| found.null_count() > 0);
    (spec.kernel)(&Call { name: spec.name, args, rows, returns, nulls })
}

/// One evaluation: arguments of the coerced types, and what the result must look like.
pub(super) struct Call<'a> {
    /// Name of the function, for messages.
    pub name: &'static str,
    /// The arguments.
    pub args: &'a [ColumnarValue],
    /// Rows of the result.
    pub rows: usize,
    /// Type of the result.
    pub returns: &'a DataType,
    /// Rows where an argument is NULL; always `None` in functions that are not strict.
    pub nulls: Option<NullBuffer>,
}

impl Call<'_> {
    /// Whether the row has a NULL argument (strict functions).
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Builds a primitive result from a value per row; rows with NULL arguments become NULL whatever the value is.
    pub(super) fn primitive<T: ArrowPrimitiveType>(&self, values: Vec<T::Native>) -> Result<ArrayRef> {
        let array = PrimitiveArray::<T>::try_new(values.into(), self.nulls.clone())?;
        Ok(Arc::new(array.with_data_type(self.returns.clone())))
    }

    /// Builds a primitive result from a fallible, nullable function of the row; it is not asked about rows with NULL arguments.
    pub(super) fn try_primitive<T: ArrowPrimitiveType>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let mut builder = arrow::array::PrimitiveBuilder::<T>::with_capacity(self.rows);
        for row in 0..self.rows {
            match self.is_null(row) {
                true => builder.append_null(),
                false => builder.append_option(value(row)?),
            }
        }
        Ok(Arc::new(builder.finish().with_data_type(self.returns.clone())))
    }

    /// Builds a BOOLEAN result; rows with NULL arguments are not asked.
    pub(super) fn booleans(&self, mut value: impl FnMut(usize) -> Option<bool>) -> Result<ArrayRef> {
        let rows = (0..self.rows).map(|row| if self.is_null(row) { None } else { value(row) });
        Ok(Arc::new(rows.collect::<arrow::array::BooleanArray>()))
    }

    /// The literal at `at`, if the argument is one.
    pub(super) fn literal(&self, at: usize) -> Option<&ScalarValue> {
        match self.args.get(at) {
            Some(ColumnarValue::Scalar(value)) => Some(value),
            _ => None,
        }
    }

    /// The argument at `at` as an array of `rows` rows.
    pub(super) fn array(&self, at: usize) -> Result<ArrayRef> {
        match self.args.get(at) {
            Some(ColumnarValue::Array(array)) => Ok(Arc::clone(array)),
            Some(ColumnarValue::Scalar(value)) => value.to_array_of_size(self.rows),
            None => plan_err!("function `{}`: argument {} is missing", self.name, at + 1),
        }
    }

    /// The argument at `at` as an array of Rust type `A`, owned.
    pub(super) fn typed<A: Array + Clone + 'static>(&self, at: usize) -> Result<A> {
        let array = self.array(at)?;
        match array.as_any().downcast_ref::<A>() {
            Some(found) => Ok(found.clone()),
            None => plan_err!("function `{}`: argument {} has type {}", self.name, at + 1, array.data_type()),
        }
    }
}
