//! Against models that share nothing with the implementation: long division digit by digit, sums and products as on paper.

use super::*;
use arrow::array::{Int8Array, Int16Array, Int32Array, Int64Array};
use std::cmp::Ordering;
use thalweg_engine::rng::Rng;

const D: fn(u8, i8) -> DataType = DataType::Decimal128;

#[test]
fn types_are_those_of_flink() {
    use Operator::{Divide, Minus, Multiply, Plus};
    for (left, operator, right, want) in [
        (D(20, 2), Divide, D(10, 4), Some((35, 13))),
        (DataType::Int32, Divide, D(10, 4), Some((25, 11))),
        (D(10, 2), Divide, DataType::Int32, Some((21, 13))),
        (D(38, 10), Divide, D(38, 10), Some((38, 6))),
        (D(38, 0), Divide, D(38, 38), Some((38, 6))),
        (D(30, 20), Divide, D(30, 20), Some((38, 8))),
        (D(32, 8), Divide, D(38, 8), Some((38, 6))),
        (D(5, 2), Divide, D(3, 1), Some((10, 6))),
        (D(10, 2), Divide, DataType::Int64, Some((30, 22))),
        (DataType::Int32, Divide, DataType::Int32, None),
        (D(10, 2), Divide, DataType::Float64, None),
        (D(30, 10), Multiply, D(30, 10), Some((38, 6))),
        (D(30, 20), Multiply, D(30, 20), Some((38, 17))),
        (D(38, 2), Multiply, D(38, 3), Some((38, 5))),
        (D(10, 2), Multiply, D(5, 1), Some((16, 3))),
        (D(10, 2), Multiply, DataType::Int64, Some((30, 2))),
        (DataType::Int8, Multiply, D(10, 2), Some((14, 2))),
        (D(10, 2), Plus, DataType::Int16, Some((11, 2))),
        (D(10, 2), Plus, DataType::Int64, Some((22, 2))),
        (D(38, 8), Minus, D(32, 8), Some((38, 7))),
        (D(32, 8), Plus, D(38, 8), Some((38, 7))),
        (D(30, 20), Plus, D(28, 20), Some((31, 20))),
    ] {
        assert_eq!(result(&left, operator, &right), want, "{left} {operator} {right}");
    }
}

#[test]
fn null_without_a_type_has_that_of_the_other_side() {
    let field = |name: &str, of: DataType| arrow::datatypes::Field::new(name, of, true);
    let schema = arrow::datatypes::Schema::new(vec![field("p", D(10, 2)), field("n", DataType::Int32)]);
    let schema = DFSchema::try_from(schema).unwrap();
    let (p, n, null) = (datafusion_expr::col("p"), datafusion_expr::col("n"), Expr::Literal(ScalarValue::Null, None));
    for (left, right, want) in [(&null, &p, Some(D(23, 13))), (&p, &null, Some(D(23, 13))), (&null, &n, None)] {
        let found = bound(left, Operator::Divide, right, &schema).map(|b| match b {
            Bound::Call(call) => call.get_type(&schema).unwrap(),
            Bound::Operands(..) => panic!("a kernel"),
        });
        assert_eq!(found, want, "{left} / {right}");
    }
    let Some(Bound::Operands(left, right)) = bound(&null, Operator::Plus, &p, &schema) else { panic!("no kernel") };
    assert_eq!((left.get_type(&schema).unwrap(), right.get_type(&schema).unwrap()), (D(10, 2), D(10, 2)));
}

/// The digits of a number, the lowest first.
fn written(number: u128) -> Vec<u8> {
    number.to_string().bytes().rev().map(|d| d - b'0').collect()
}

fn compared(a: &[u8], b: &[u8]) -> Ordering {
    let digit = |of: &[u8], at: usize| of.get(at).copied().unwrap_or(0);
    let unequal = (0..a.len().max(b.len())).rev().find(|at| digit(a, *at) != digit(b, *at));
    unequal.map_or(Ordering::Equal, |at| digit(a, at).cmp(&digit(b, at)))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut out = vec![];
    for at in 0..=a.len().max(b.len()) {
        carry += a.get(at).unwrap_or(&0) + b.get(at).unwrap_or(&0);
        out.push(carry % 10);
        carry /= 10;
    }
    out
}

/// `a` is not less.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    let one = |(at, digit): (usize, &u8)| {
        let take = b.get(at).unwrap_or(&0) + borrowed;
        borrowed = u8::from(*digit < take);
        digit + 10 * borrowed - take
    };
    a.iter().enumerate().map(one).collect()
}

fn product(a: &[u8], b: &[u8]) -> Vec<u8> {
    b.iter().enumerate().fold(vec![], |all, (at, times)| {
        let shifted = [vec![0; at], a.to_vec()].concat();
        (0..*times).fold(all, |all, _| sum(&all, &shifted))
    })
}

/// One digit at a time, with a remainder that is less than the divisor.
fn quotient(dividend: &[u8], divisor: u128) -> Vec<u8> {
    let (mut rest, mut out) = (0u128, vec![]);
    for next in dividend.iter().rev() {
        let (mut ten_times, mut digit) = (0u128, 0u8);
        let steps = std::iter::repeat_n(rest, 10).chain([u128::from(*next)]);
        for step in steps {
            ten_times += step;
            while ten_times >= divisor {
                ten_times -= divisor;
                digit += 1;
            }
        }
        rest = ten_times;
        out.push(digit);
    }
    out.reverse();
    out
}

/// Without the lowest digits; half up on the first of them.
fn cut(digits: &[u8], by: usize) -> Vec<u8> {
    let kept = digits.get(by..).unwrap_or_default();
    let is_up = by > 0 && digits.get(by - 1).is_some_and(|d| *d >= 5);
    if is_up { sum(kept, &[1]) } else { kept.to_vec() }
}

/// What the operator gives; `None` if it has too many digits.
fn model(shape: &Shape, x: i128, y: i128) -> Option<i128> {
    let ((_, s1), (_, s2), (precision, scale)) = (shape.left, shape.right, shape.result);
    let [s1, s2, scale] = [s1, s2, scale].map(usize::from);
    let shifted = |number: i128, by: usize| [vec![0; by], written(number.unsigned_abs())].concat();
    let (digits, is_negative) = match shape.operator {
        Operator::Divide => {
            // One digit more than asked for, to round on.
            let dividend = shifted(x, scale + s2 + 1 - s1);
            (cut(&quotient(&dividend, y.unsigned_abs()), 1), (x < 0) != (y < 0))
        }
        Operator::Multiply => (cut(&product(&shifted(x, 0), &shifted(y, 0)), s1 + s2 - scale), (x < 0) != (y < 0)),
        operator => {
            let y = if operator == Operator::Minus { -y } else { y };
            let common = s1.max(s2);
            let (a, b) = (shifted(x, common - s1), shifted(y, common - s2));
            let (digits, is_negative) = match (x < 0) == (y < 0) {
                true => (sum(&a, &b), x < 0),
                false if compared(&a, &b) == Ordering::Less => (difference(&b, &a), y < 0),
                false => (difference(&a, &b), x < 0),
            };
            (cut(&digits, common - scale), is_negative)
        }
    };
    let length = digits.iter().rposition(|d| *d > 0).map_or(0, |at| at + 1);
    let value =
        digits.iter().take(length).rev().try_fold(0i128, |all, d| all.checked_mul(10)?.checked_add(i128::from(*d)));
    value.filter(|_| length <= usize::from(precision)).map(|v| if is_negative { -v } else { v })
}

/// Numbers of all lengths, and those at the edges.
fn number(random: &mut Rng, precision: u8) -> i128 {
    let length = 1 + random.below(u64::from(precision)) as u32;
    let value = match random.below(8) {
        0 => 10i128.pow(length) - 1,
        1 => 10i128.pow(length - 1),
        2 => i128::from(random.below(3)),
        _ => (0..length).fold(0i128, |all, _| all * 10 + i128::from(random.below(10))),
    };
    if random.percent(50) { -value } else { value }
}

fn shape(operator: Operator, left: &DataType, right: &DataType) -> Shape {
    let of = |(p, s): (u8, i8)| (p, s.unsigned_abs());
    Shape {
        operator,
        left: digits(left).map(of).unwrap(),
        right: digits(right).map(of).unwrap(),
        result: result(left, operator, right).map(of).unwrap(),
        rows: 1,
    }
}

fn array(of: &DataType, values: &[Option<i128>]) -> ArrayRef {
    let values = values.iter().copied();
    match of {
        DataType::Int8 => Arc::new(values.map(|v| v.map(|v| v as i8)).collect::<Int8Array>()),
        DataType::Int16 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(values.map(|v| v.map(|v| v as i64)).collect::<Int64Array>()),
        DataType::Decimal128(p, s) => {
            Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(*p, *s).unwrap())
        }
        other => panic!("{other}"),
    }
}

fn computed(operator: Operator, left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Result<Vec<Option<i128>>> {
    let function = Arithmetic { operator, signature: Signature::any(2, Volatility::Immutable) };
    let out = function.compute(&Side::of(left)?, &Side::of(right)?, rows)?.into_array(rows)?;
    Ok(out.as_primitive::<Decimal128Type>().iter().collect())
}

/// One row by the model; a NULL stays one.
fn expected(shape: &Shape, x: Option<i128>, y: Option<i128>) -> Option<i128> {
    model(shape, x?, y?)
}

/// Rows that fit, with NULL here and there, as two columns and as a column and a constant.
fn check_batch(operator: Operator, left: &DataType, right: &DataType, pairs: &[(i128, i128)]) {
    let shape = shape(operator, left, right);
    let nulls = |at: usize, every: usize, v: i128| (!at.is_multiple_of(every)).then_some(v);
    let x: Vec<_> = pairs.iter().enumerate().map(|(i, p)| nulls(i, 5, p.0)).collect();
    let y: Vec<_> = pairs.iter().enumerate().map(|(i, p)| nulls(i, 7, p.1)).collect();
    let columns = [array(left, &x), array(right, &y)].map(ColumnarValue::Array);
    let rows = pairs.len();
    let want: Vec<_> = x.iter().zip(&y).map(|(x, y)| expected(&shape, *x, *y)).collect();
    assert_eq!(computed(operator, &columns[0], &columns[1], rows).unwrap(), want, "{left} {operator} {right}");
    let constant = |of: &DataType, v: Option<i128>| {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&array(of, &[v]), 0).unwrap())
    };
    for at in 0..rows.min(6) {
        let fits = |x: Option<i128>, y: Option<i128>| x.is_none() || y.is_none() || expected(&shape, x, y).is_some();
        if !y.contains(&Some(0)) && y.iter().all(|y| fits(x[at], *y)) {
            let want: Vec<_> = y.iter().map(|y| expected(&shape, x[at], *y)).collect();
            assert_eq!(computed(operator, &constant(left, x[at]), &columns[1], rows).unwrap(), want);
        }
        if (operator != Operator::Divide || y[at] != Some(0)) && x.iter().all(|x| fits(*x, y[at])) {
            let want: Vec<_> = x.iter().map(|x| expected(&shape, *x, y[at])).collect();
            assert_eq!(computed(operator, &columns[0], &constant(right, y[at]), rows).unwrap(), want);
        }
        let want = expected(&shape, x[at], y[at]);
        assert_eq!(computed(operator, &constant(left, x[at]), &constant(right, y[at]), 1).unwrap(), [want]);
    }
}

const TYPES: [(DataType, DataType); 14] = [
    (DataType::Decimal128(5, 2), DataType::Decimal128(3, 1)),
    (DataType::Decimal128(10, 2), DataType::Decimal128(10, 4)),
    (DataType::Decimal128(18, 6), DataType::Decimal128(9, 0)),
    (DataType::Decimal128(20, 2), DataType::Decimal128(20, 18)),
    (DataType::Decimal128(38, 6), DataType::Decimal128(38, 6)),
    (DataType::Decimal128(38, 0), DataType::Decimal128(38, 0)),
    (DataType::Decimal128(38, 38), DataType::Decimal128(38, 38)),
    (DataType::Decimal128(38, 0), DataType::Decimal128(38, 38)),
    (DataType::Decimal128(38, 30), DataType::Decimal128(12, 3)),
    (DataType::Int8, DataType::Decimal128(7, 2)),
    (DataType::Decimal128(30, 10), DataType::Int16),
    (DataType::Int32, DataType::Decimal128(38, 12)),
    (DataType::Decimal128(38, 10), DataType::Int64),
    (DataType::Int64, DataType::Decimal128(1, 0)),
];

/// A number that the type holds: a whole number's has fewer than its digits.
fn value(random: &mut Rng, of: &DataType) -> i128 {
    let (precision, _) = digits(of).unwrap();
    number(random, precision - u8::from(of.is_integer()))
}

#[test]
fn results_are_those_of_the_models() {
    let mut random = Rng::new(20_261_123);
    let (mut fitting, mut unfit) = (0, 0);
    for operator in [Operator::Divide, Operator::Multiply, Operator::Plus, Operator::Minus] {
        for (left, right) in &TYPES {
            let shape = shape(operator, left, right);
            let mut pairs = vec![];
            for _ in 0..150 {
                let (x, y) = (value(&mut random, left), value(&mut random, right));
                if operator == Operator::Divide && y == 0 {
                    continue;
                }
                let found = results(&shape, Operand::One(x), Operand::One(y), None);
                let want = model(&shape, x, y).map(|v| vec![v]).ok_or(Failure::Unfit(0));
                assert_eq!(found, want, "{x} {operator} {y} of {left} and {right}");
                if want.is_ok() { pairs.push((x, y)) } else { unfit += 1 }
            }
            fitting += pairs.len();
            check_batch(operator, left, right, &pairs);
        }
    }
    assert!(fitting > 4000 && unfit > 200, "{fitting} fit, {unfit} do not");
}

/// `x * 10^shift / y` is a half where `y = 2^(shift + 1)` and x is odd.
#[test]
fn halves_go_away_from_zero_and_their_neighbours_to_the_nearest() {
    let mut random = Rng::new(5);
    let mut ties = 0;
    for (p1, s1, p2) in [(9, 3, 2), (12, 4, 5), (18, 3, 8), (20, 4, 12), (38, 3, 9), (38, 6, 20), (30, 0, 10)] {
        let (left, right) = (D(p1, s1), D(p2, 0));
        let shape = shape(Operator::Divide, &left, &right);
        let shift = u32::from(shape.result.1) - s1 as u32;
        let divisor = 2i128.pow(shift + 1);
        assert!(divisor < 10i128.pow(u32::from(p2)), "{left} / {right}");
        let most = 10i128.pow(u32::from(p2)) / divisor;
        let mut pairs = vec![];
        for _ in 0..60 {
            let factor = 1 + i128::from(random.below(u64::try_from(most.min(1 << 40)).unwrap()));
            let factor = if factor * divisor < 10i128.pow(u32::from(p2)) { factor } else { 1 };
            let room = (10i128.pow(u32::from(p1)) / factor).min(1 << 60);
            let odd = (i128::from(random.below(u64::try_from(room).unwrap())) | 1).min(room - 1) | 1;
            let (x, y) = ((odd - 2).abs() * factor, divisor * factor);
            for (x, y) in [(x, y), (-x, y), (x, -y), (-x, -y), (x - 1, y), (x + 1, y), (1 - x, y), (x + 1, -y)] {
                let Some(want) = model(&shape, x, y) else { continue };
                ties += usize::from(x.abs() == (odd - 2).abs() * factor);
                assert_eq!(results(&shape, Operand::One(x), Operand::One(y), None), Ok(vec![want]), "{x} / {y}");
                pairs.push((x, y));
            }
        }
        check_batch(Operator::Divide, &left, &right, &pairs);
    }
    assert!(ties > 1000, "{ties}");
    let half = shape(Operator::Divide, &D(9, 3), &D(2, 0));
    let one = |x, y| results(&half, Operand::One(x), Operand::One(y), None).unwrap();
    assert_eq!((half.result.1, one(1, 16), one(-1, 16), one(1, -16)), (6, vec![63], vec![-63], vec![-63]), "62.5");
}

#[test]
fn empty_batches_nulls_and_failures() {
    let column = |values: &[Option<i128>]| ColumnarValue::Array(array(&D(38, 0), values));
    let one = |v: Option<i128>| ColumnarValue::Scalar(ScalarValue::Decimal128(v, 38, 0));
    for operator in [Operator::Divide, Operator::Multiply, Operator::Plus, Operator::Minus] {
        assert_eq!(computed(operator, &column(&[]), &column(&[]), 0).unwrap(), []);
        assert_eq!(computed(operator, &column(&[]), &one(Some(0)), 0).unwrap(), []);
        assert_eq!(computed(operator, &column(&[Some(1), None]), &one(None), 2).unwrap(), [None, None]);
        assert_eq!(computed(operator, &one(None), &column(&[Some(0)]), 1).unwrap(), [None]);
        let nulls = [None, Some(1)];
        assert_eq!(computed(operator, &column(&[Some(1), None]), &column(&nulls), 2).unwrap(), [None, None]);
    }
    let e = computed(Operator::Divide, &column(&[Some(1), Some(2)]), &column(&[None, Some(0)]), 2).unwrap_err();
    assert!(e.to_string().contains("Divide by zero"), "{e}");
    let most = 10i128.pow(38) - 1;
    let e = computed(Operator::Multiply, &column(&[Some(1), Some(most)]), &one(Some(2)), 2).unwrap_err().to_string();
    assert!(e.contains(&format!("{most} * 2 does not fit into DECIMAL(38, 0)")), "{e}");
    let least = ColumnarValue::Scalar(ScalarValue::Decimal128(Some(1), 38, 38));
    let e = computed(Operator::Divide, &column(&[Some(most)]), &least, 1).unwrap_err().to_string();
    assert!(e.contains("does not fit into DECIMAL(38, 6)"), "{e}");
}
