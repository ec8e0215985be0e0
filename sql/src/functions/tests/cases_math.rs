//! Answers of the mathematical functions.

use super::*;

#[test]
fn functions_of_numbers() {
    table(&[
        ("abs", &[i(-5)], i(5)),
        ("abs", &[i(i64::MIN)], i(i64::MIN)),
        ("abs", &[d(-0.5)], d(0.5)),
        ("abs", &[dec(-125, 5, 2)], dec(125, 5, 2)),
        ("sign", &[dec(-125, 5, 2)], dec(-100, 5, 2)),
        ("sign", &[d(-2.5)], d(-1.0)),
        ("sign", &[int(0)], int(0)),
        ("mod", &[i(29), i(9)], i(2)),
        ("mod", &[i(-29), i(9)], i(-2)),
        ("mod", &[i(i64::MIN), i(-1)], i(0)),
        ("power", &[i(2), i(10)], d(1024.0)),
        ("pow", &[i(10), i(400)], d(f64::INFINITY)),
        ("sqrt", &[i(9)], d(3.0)),
        ("ln", &[d(1.0)], d(0.0)),
        ("log", &[d(1.0)], d(0.0)),
        ("log", &[i(2), i(8)], d(8_f64.ln() / 2_f64.ln())),
        ("log2", &[i(8)], d(3.0)),
        ("log10", &[i(1000)], d(1000_f64.log10())),
        ("exp", &[i(0)], d(1.0)),
        ("e", &[], d(std::f64::consts::E)),
        ("pi", &[], d(std::f64::consts::PI)),
        ("atan2", &[i(0), i(1)], d(0.0)),
        ("bin", &[i(4)], s("100")),
        ("bin", &[i(-1)], s(&"1".repeat(64))),
        ("hex", &[i(20)], s("14")),
        ("hex", &[i(-1)], s("FFFFFFFFFFFFFFFF")),
        ("hex", &[s("hello,world")], s("68656C6C6F2C776F726C64")),
        ("unhex", &[s("466C696E6B")], bytes(b"Flink")),
        ("unhex", &[s("F")], bytes(b"\x0f")),
        ("unhex", &[s("GG")], ScalarValue::Binary(None)),
    ]);
    assert!(matches!(eval("ln", &[d(-1.0)]), Ok(ScalarValue::Float64(Some(x))) if x.is_nan()));
    assert!(refusal("mod", &[i(1), i(0)]).contains("division of 1 by zero"));
    assert!(refusal("rand_integer", &[i(0)]).contains("bound 0"));
    assert!(matches!(eval("rand_integer", &[i(3)]), Ok(ScalarValue::Int32(Some(0..3)))));
}

#[test]
fn rounding() {
    table(&[
        ("round", &[d(2.5)], d(3.0)),
        ("round", &[d(-2.5)], d(-3.0)),
        ("round", &[d(2.675), i(2)], d(2.68)),
        ("round", &[d(1.005), i(2)], d(1.01)),
        ("round", &[d(-1.005), i(2)], d(-1.01)),
        ("round", &[d(0.285), i(2)], d(0.29)),
        ("round", &[d(1234.5), i(-2)], d(1200.0)),
        ("round", &[d(1250.0), i(-2)], d(1300.0)),
        ("round", &[d(1e300), i(5)], d(1e300)),
        ("round", &[d(f64::INFINITY), i(2)], d(f64::INFINITY)),
        ("round", &[d(1.5), i(i64::MIN)], d(0.0)),
        ("round", &[d(1.5), i(i64::MAX)], d(1.5)),
        ("round", &[dec(1_235, 5, 2), i(1)], dec(124, 5, 1)),
        ("round", &[dec(-1_235, 5, 2), i(1)], dec(-124, 5, 1)),
        ("round", &[dec(1_235, 5, 2), i(5)], dec(1_235, 5, 2)),
        ("round", &[dec(9_999, 4, 2)], dec(100, 3, 0)),
        ("round", &[dec(1_235, 5, 2), i(-1)], dec(10, 4, 0)),
        ("round", &[i(1_250), i(-2)], i(1_300)),
        ("round", &[i(i64::MAX), i(-1)], NO_LONG),
        ("round", &[int(7)], int(7)),
        ("truncate", &[d(42.345), i(2)], d(42.34)),
        ("truncate", &[d(0.29), i(2)], d(0.29)),
        ("truncate", &[d(-0.29), i(2)], d(-0.29)),
        ("truncate", &[d(42.9)], d(42.0)),
        ("truncate", &[d(-42.99), i(1)], d(-42.9)),
        ("truncate", &[i(42), i(-1)], i(40)),
        ("truncate", &[dec(-1_239, 5, 2), i(1)], dec(-123, 5, 1)),
        ("floor", &[d(-1.5)], d(-2.0)),
        ("ceil", &[d(-1.5)], d(-1.0)),
        ("floor", &[i(3)], i(3)),
        ("floor", &[dec(-1_239, 5, 2)], dec(-13, 5, 0)),
        ("ceiling", &[dec(1_201, 5, 2)], dec(13, 5, 0)),
        ("floor", &[d(f64::NEG_INFINITY)], d(f64::NEG_INFINITY)),
    ]);
    let float = |x: f32| ScalarValue::Float32(Some(x));
    check("round", &[float(2.675), i(2)], &float(2.68));
}
