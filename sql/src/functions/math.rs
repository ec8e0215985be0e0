//! Mathematical functions. Those on DOUBLE never fail (a domain error is NaN); whole numbers wrap as in Java, division by zero is an
//! error of the row's author.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::kernels::numeric::rem;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, Volatility};

use super::params::Param::{Double, Long, Number, NumberOrText, Text as T};
use super::params::unify_from;
use super::scalar::{Call, Returns, Spec};

const DOUBLE: Returns = Returns::Type(DataType::Float64);
/// A function of one DOUBLE.
const UNARY: Spec = Spec { required: &[Double], returns: DOUBLE, ..Spec::DEFAULT };

/// Mathematical functions.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "sqrt", kernel: |c| unary(c, f64::sqrt), ..UNARY },
    Spec { name: "cbrt", kernel: |c| unary(c, f64::cbrt), ..UNARY },
    Spec { name: "exp", kernel: |c| unary(c, f64::exp), ..UNARY },
    Spec { name: "ln", kernel: |c| unary(c, f64::ln), ..UNARY },
    Spec { name: "log10", kernel: |c| unary(c, f64::log10), ..UNARY },
    Spec { name: "log2", kernel: |c| unary(c, f64::log2), ..UNARY },
    Spec { name: "sin", kernel: |c| unary(c, f64::sin), ..UNARY },
    Spec { name: "cos", kernel: |c| unary(c, f64::cos), ..UNARY },
    Spec { name: "tan", kernel: |c| unary(c, f64::tan), ..UNARY },
    Spec { name: "cot", kernel: |c| unary(c, |x| 1.0 / x.tan()), ..UNARY },
    Spec { name: "asin", kernel: |c| unary(c, f64::asin), ..UNARY },
    Spec { name: "acos", kernel: |c| unary(c, f64::acos), ..UNARY },
    Spec { name: "atan", kernel: |c| unary(c, f64::atan), ..UNARY },
    Spec { name: "sinh", kernel: |c| unary(c, f64::sinh), ..UNARY },
    Spec { name: "cosh", kernel: |c| unary(c, f64::cosh), ..UNARY },
    Spec { name: "tanh", kernel: |c| unary(c, f64::tanh), ..UNARY },
    Spec { name: "degrees", kernel: |c| unary(c, f64::to_degrees), ..UNARY },
    Spec { name: "radians", kernel: |c| unary(c, f64::to_radians), ..UNARY },
    Spec { name: "atan2", required: &[Double, Double], kernel: |c| binary(c, f64::atan2), ..UNARY },
    Spec { name: "power", aliases: &["pow"], required: &[Double, Double], kernel: |c| binary(c, f64::powf), ..UNARY },
    Spec { name: "log", optional: &[Double], kernel: log, ..UNARY },
    Spec {
        name: "e",
        required: &[],
        kernel: |c| c.primitive::<Float64Type>(vec![std::f64::consts::E; c.rows]),
        ..UNARY
    },
    Spec {
        name: "pi",
        required: &[],
        kernel: |c| c.primitive::<Float64Type>(vec![std::f64::consts::PI; c.rows]),
        ..UNARY
    },
    Spec {
        name: "abs",
        required: &[Number],
        returns: Returns::Argument(0),
        kernel: |c| sign_or_abs(c, true),
        ..Spec::DEFAULT
    },
    Spec {
        name: "sign",
        required: &[Number],
        returns: Returns::Argument(0),
        kernel: |c| sign_or_abs(c, false),
        ..Spec::DEFAULT
    },
    Spec {
        name: "mod",
        required: &[Number, Number],
        unify: Some(|name, types| unify_from(name, 0, types)),
        returns: Returns::Argument(1),
        rewrite: Some(mod_to_operator),
        kernel: modulo,
        ..Spec::DEFAULT
    },
    Spec { name: "bin", required: &[Long], kernel: bin, ..Spec::DEFAULT },
    Spec { name: "hex", required: &[NumberOrText], kernel: hex, ..Spec::DEFAULT },
    Spec { name: "unhex", required: &[T], returns: Returns::Type(DataType::Binary), kernel: unhex, ..Spec::DEFAULT },
    Spec {
        name: "rand_integer",
        required: &[Long],
        returns: Returns::Type(DataType::Int32),
        volatility: Volatility::Volatile,
        kernel: rand_integer,
        ..Spec::DEFAULT
    },
];

fn unary(call: &Call<'_>, function: fn(f64) -> f64) -> Result<ArrayRef> {
    call.primitive::<Float64Type>(call.doubles(0)?.iter().map(|x| function(*x)).collect())
}

fn binary(call: &Call<'_>, function: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (left, right) = (call.doubles(0)?, call.doubles(1)?);
    call.primitive::<Float64Type>(left.iter().zip(right.iter()).map(|(x, y)| function(*x, *y)).collect())
}

/// The natural logarithm, or with two arguments that of the second to the base of the first.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    match call.args.len() {
        1 => unary(call, f64::ln),
        _ => binary(call, |base, x| x.ln() / base.ln()),
    }
}

/// The smallest number has no positive counterpart and stays as it is.
fn sign_or_abs(call: &Call<'_>, abs: bool) -> Result<ArrayRef> {
    macro_rules! map {
        ($kind:ty, $abs:expr, $sign:expr) => {{
            let array = call.array(0)?;
            let array = array.as_primitive::<$kind>();
            Ok(Arc::new(if abs { array.unary::<_, $kind>($abs) } else { array.unary::<_, $kind>($sign) }))
        }};
    }
    match call.returns {
        DataType::Int8 => map!(Int8Type, |x: i8| x.wrapping_abs(), |x: i8| x.signum()),
        DataType::Int16 => map!(Int16Type, |x: i16| x.wrapping_abs(), |x: i16| x.signum()),
        DataType::Int32 => map!(Int32Type, |x: i32| x.wrapping_abs(), |x: i32| x.signum()),
        DataType::Int64 => map!(Int64Type, |x: i64| x.wrapping_abs(), |x: i64| x.signum()),
        DataType::Float32 => map!(Float32Type, |x: f32| x.abs(), |x: f32| if x == 0.0 { x } else { x.signum() }),
        DataType::Float64 => map!(Float64Type, |x: f64| x.abs(), |x: f64| if x == 0.0 { x } else { x.signum() }),
        DataType::Decimal128(precision, scale) => {
            let array = call.typed::<Decimal128Array>(0)?;
            let one = 10_i128.checked_pow((*scale).max(0) as u32);
            let of = |x: i128| if abs { Some(x.wrapping_abs()) } else { x.signum().checked_mul(one?) };
            let mapped = array.unary_opt::<_, Decimal128Type>(of);
            Ok(Arc::new(mapped.with_precision_and_scale(*precision, *scale)?))
        }
        other if abs && other.is_unsigned_integer() => call.array(0),
        other => plan_err!("function `{}`: argument 1 has type {other}; write CAST(x AS BIGINT)", call.name),
    }
}

fn mod_to_operator(args: Vec<Expr>) -> Result<Expr> {
    match <[Expr; 2]>::try_from(args) {
        Ok([left, right]) => Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Modulo, Box::new(right)))),
        Err(args) => plan_err!("function `mod` takes 2 arguments, got {}", args.len()),
    }
}

fn modulo(call: &Call<'_>) -> Result<ArrayRef> {
    if *call.returns != DataType::Int64 {
        return Ok(rem(&call.array(0)?, &call.array(1)?)?);
    }
    let (left, right) = (call.longs(0)?, call.longs(1)?);
    call.try_primitive::<Int64Type>(|row| match right[row] {
        0 => exec_err!("function `mod`: division of {} by zero; guard it with CASE WHEN", left[row]),
        divisor => Ok(Some(left[row].wrapping_rem(divisor))),
    })
}

/// Two's complement binary digits without leading zeros.
fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    use std::io::Write;
    let values = call.longs(0)?;
    call.write_text(call.rows * 16, |row, out| {
        write!(out, "{:b}", values[row])?;
        Ok(true)
    })
}

/// Upper-case hexadecimal digits of a whole number (two's complement) or of the bytes of a text.
fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    use std::io::Write;
    if call.is(0, &DataType::Utf8) {
        let text = call.text(0)?;
        return call.write_text(text.total_bytes(call.rows) * 2, |row, out| {
            for byte in text.value(row).bytes() {
                write!(out, "{byte:02X}")?;
            }
            Ok(true)
        });
    }
    if !call.argument_type(0).is_integer() {
        return plan_err!("function `hex`: argument 1 must be a whole number or STRING; write CAST(x AS BIGINT)");
    }
    let values = arrow::compute::cast(&call.array(0)?, &DataType::Int64)?;
    let values: &Int64Array = values.as_primitive();
    call.write_text(call.rows * 16, |row, out| {
        write!(out, "{:X}", values.value(row))?;
        Ok(true)
    })
}

/// Bytes of hexadecimal digits in any case; an odd first digit stands alone; NULL for other characters.
fn unhex(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut builder = arrow::array::BinaryBuilder::with_capacity(call.rows, text.total_bytes(call.rows) / 2);
    let mut bytes = Vec::new();
    for row in 0..call.rows {
        if call.is_null(row) || !decode_hex(text.value(row).as_bytes(), &mut bytes) {
            builder.append_null();
        } else {
            builder.append_value(&bytes);
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Decodes into `bytes`, replacing what it held; false if a character is no hexadecimal digit.
pub(super) fn decode_hex(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (head, pairs) = text.split_at(text.len() % 2);
    for byte in head {
        let Some(value) = digit(*byte) else { return false };
        bytes.push(value);
    }
    for pair in pairs.chunks_exact(2) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return false };
        bytes.push(high << 4 | low);
    }
    true
}

/// A whole number from 0 up to the bound, which is not reached.
fn rand_integer(call: &Call<'_>) -> Result<ArrayRef> {
    let bounds = call.longs(0)?;
    let random = datafusion_functions::math::random().invoke_with_args(ScalarFunctionArgs {
        args: vec![],
        arg_fields: vec![],
        number_rows: call.rows,
        return_field: Arc::new(Field::new("random", DataType::Float64, false)),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let ColumnarValue::Array(random) = random else { return exec_err!("function `rand_integer`: no random numbers") };
    let random = random.as_primitive::<Float64Type>();
    call.try_primitive::<Int32Type>(|row| match i32::try_from(bounds[row]) {
        Ok(bound) if bound > 0 => Ok(Some((random.value(row) * f64::from(bound)) as i32)),
        _ => exec_err!("function `rand_integer`: bound {} is not between 1 and {}", bounds[row], i32::MAX),
    })
}
