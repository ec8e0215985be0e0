//! Answers of the text, search, regular expression, JSON, URL, digest and conditional functions.

use super::*;

#[test]
fn changing_text() {
    table(&[
        ("lower", &[s("HeLLo")], s("hello")),
        ("lower", &[s("ÄÖ X")], s("äö x")),
        ("lower", &[NO_TEXT], NO_TEXT),
        ("upper", &[s("straße")], s("STRASSE")),
        ("initcap", &[s("hello wORLD x2y")], s("Hello World X2y")),
        ("trim", &[s("  a b ")], s("a b")),
        ("btrim", &[s("xxaxx"), s("x")], s("a")),
        ("ltrim", &[s("xyxab"), s("yx")], s("ab")),
        ("rtrim", &[s(" a ")], s(" a")),
        ("concat", &[s("AA"), s("BB"), s("CC")], s("AABBCC")),
        ("concat", &[s("AA"), NO_TEXT], NO_TEXT),
        ("concat_ws", &[s("~"), s("AA"), NO_TEXT, s("BB"), s(""), s("CC")], s("AA~BB~~CC")),
        ("concat_ws", &[NO_TEXT, s("a")], NO_TEXT),
        ("concat_ws", &[s(","), NO_TEXT], s("")),
        ("left", &[s("hällo"), i(2)], s("hä")),
        ("left", &[s("a"), i(-1)], s("")),
        ("right", &[s("hallö"), i(2)], s("lö")),
        ("right", &[s("a"), i(i64::MAX)], s("a")),
        ("substring", &[s("foobar"), i(4)], s("bar")),
        ("substr", &[s("foobar"), i(2), i(3)], s("oob")),
        ("substr", &[s("foobar"), i(-3), i(2)], s("ba")),
        ("substr", &[s("foobar"), i(0), i(2)], s("fo")),
        ("substr", &[s("foobar"), i(-9)], s("")),
        ("substr", &[s("foobar"), i(9)], s("")),
        ("substr", &[s("foobar"), i(1), i(-1)], NO_TEXT),
        ("substr", &[s("foobar"), i(i64::MIN), i(i64::MAX)], s("")),
        ("overlay", &[s("This is an old string"), s(" new"), i(10), i(5)], s("This is a new string")),
        ("overlay", &[s("xxxxxtest"), s("xxxx"), i(6)], s("xxxxxxxxx")),
        ("overlay", &[s("abc"), s("Z"), i(0)], s("abc")),
        ("replace", &[s("hello world"), s("world"), s("flink")], s("hello flink")),
        ("replace", &[s("ababab"), s("abab"), s("z")], s("zab")),
        ("replace", &[s("ab"), s(""), s("-")], s("-a-b-")),
        ("reverse", &[s("aé日")], s("日éa")),
        ("chr", &[i(97)], s("a")),
        ("chr", &[i(353)], s("a")),
        ("chr", &[i(233)], s("é")),
        ("chr", &[i(-1)], s("")),
        ("repeat", &[s("This is a test String."), i(2)], s("This is a test String.This is a test String.")),
        ("repeat", &[s("a"), i(-1)], s("")),
        ("repeat", &[s(""), i(i64::MAX)], s("")),
        ("lpad", &[s("hi"), i(4), s("??")], s("??hi")),
        ("lpad", &[s("hi"), i(1), s("??")], s("h")),
        ("lpad", &[s("é"), i(4), s("ab")], s("abaé")),
        ("rpad", &[s("hi"), i(5), s("ab")], s("hiaba")),
        ("rpad", &[s("hi"), i(-1), s("ab")], NO_TEXT),
        ("rpad", &[s("hi"), i(3), s("")], NO_TEXT),
        ("char_length", &[s("日本x")], int(3)),
        ("character_length", &[s("")], int(0)),
    ]);
}

#[test]
fn searching_text() {
    table(&[
        ("locate", &[s("aa"), s("aaads")], int(1)),
        ("locate", &[s("a"), s("bäba"), i(3)], int(4)),
        ("locate", &[s("a"), s("abc"), i(i64::MIN)], int(1)),
        ("locate", &[s("a"), s("abc"), i(i64::MAX)], int(0)),
        ("instr", &[s("hällo"), s("l")], int(3)),
        ("position", &[s("abc"), s("")], int(1)),
        ("split_index", &[s("https://www.nexmark.com/a/b/c/item.htm"), s("/"), i(3)], s("a")),
        ("split_index", &[s("AQIDBA=="), i(65), i(0)], s("")),
        ("split_index", &[s("AQIDBA=="), i(300), i(0)], NO_TEXT),
        ("split_index", &[s("a--b--"), s("--"), i(2)], s("")),
        ("split_index", &[s("a--b--"), s("--"), i(3)], NO_TEXT),
        ("split_index", &[s("a,b"), s(","), i(-1)], NO_TEXT),
        ("split_index", &[s("a,b"), s(""), i(0)], NO_TEXT),
        ("split_index", &[s(""), s(","), i(0)], NO_TEXT),
        ("split_index", &[s("a日b日c"), s("日"), i(1)], s("b")),
        ("split_index", &[s("a,b"), s(","), i(i64::MAX)], NO_TEXT),
        ("split_index", &[NO_TEXT, s(","), i(0)], NO_TEXT),
        ("count_char", &[s("abcabc"), s("c")], i(2)),
        ("count_char", &[s("日本日"), s("日x")], i(2)),
        ("count_char", &[s("abc"), s("")], i(0)),
        ("startswith", &[s("abc"), s("ab")], b(true)),
        ("endswith", &[s("abc"), s("ab")], b(false)),
        ("is_alpha", &[s("abcÄ")], b(true)),
        ("is_alpha", &[s("a1")], b(false)),
        ("is_digit", &[s("123")], b(true)),
        ("is_digit", &[s("")], b(false)),
        ("is_decimal", &[s("-12.5e3")], b(true)),
        ("is_decimal", &[s("1.")], b(true)),
        ("is_decimal", &[s(".")], b(false)),
        ("is_decimal", &[s("1e")], b(false)),
    ]);
    assert_eq!(eval("is_alpha", &[NO_TEXT]).unwrap(), b(false));
}

#[test]
fn regular_expressions() {
    table(&[
        ("regexp_extract", &[s("foothebar"), s("foo(.*?)(bar)"), i(2)], s("bar")),
        ("regexp_extract", &[s("foothebar"), s("foo(.*?)(bar)")], s("foothebar")),
        ("regexp_extract", &[s("foothebar"), s("foo(.*?)(bar)"), i(3)], NO_TEXT),
        ("regexp_extract", &[s("foothebar"), s("foo(.*?)(bar)"), i(-1)], NO_TEXT),
        ("regexp_extract", &[s("foo"), s("x(y)"), i(1)], NO_TEXT),
        ("regexp_extract", &[s("http://x/?query=1&channel_id=12&b"), s("(&|^)channel_id=([^&]*)"), i(2)], s("12")),
        ("regexp_extract", &[s("channel_id=7"), s("(&|^)channel_id=([^&]*)"), i(2)], s("7")),
        ("regexp_extract", &[s("xchannel_id=7&channel_id=8"), s("(&|^)channel_id=([^&]*)"), i(2)], s("8")),
        ("regexp_extract", &[s("b"), s("(a)|b"), i(1)], NO_TEXT),
        ("regexp_extract", &[s("٣4"), s("\\d+")], s("4")),
        ("regexp_extract", &[s("a.b"), s("\\Q.\\Eb")], s(".b")),
        ("regexp_replace", &[s("foobar"), s("oo|ar"), s("")], s("fb")),
        ("regexp_replace", &[s("a1b22"), s("[0-9]+"), s("$0")], s("a$0b$0")),
        ("regexp_replace", &[s("abc"), s(""), s("-")], s("-a-b-c-")),
        ("regexp", &[s("johngreen"), s("^john")], b(true)),
        ("regexp", &[s("johngreen"), s("^green")], b(false)),
        ("regexp", &[NO_TEXT, s("a")], ScalarValue::Boolean(None)),
        ("regexp_count", &[s("ababa"), s("a")], int(3)),
        ("regexp_instr", &[s("日ab"), s("b")], int(3)),
        ("regexp_instr", &[s("abc"), s("z")], int(0)),
        ("regexp_substr", &[s("x12y"), s("[0-9]+")], s("12")),
    ]);
    assert!(refusal("regexp_extract", &[s("a"), s("(")]).contains("regular expression `(`"));
    assert!(refusal("regexp_extract", &[s("a"), s("(?=a)")]).contains("look-around"));
    assert!(refusal("regexp", &[s("a"), s("(a)\\1")]).contains("back references"));
    assert!(refusal("regexp", &[s("a"), s("(((a{999}){999}){999})")]).contains("smaller repetitions"));
    let patterns: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["(", "a", "("]));
    let args = [ColumnarValue::Scalar(s("a")), ColumnarValue::Array(patterns)];
    let found = call("regexp_extract", &args, 3).unwrap().into_array(3).unwrap();
    assert_eq!((found.is_null(0), found.is_null(1), found.is_null(2)), (true, false, true));
}

#[test]
fn json() {
    let document = r#"{"a": {"b": [1, {"c": "x\n\u00e9\ud83d\ude00"}, true, null, 1.10]}, "a b": "q", "d": 1, "d": 2}"#;
    table(&[
        ("json_value", &[s(document), s("$.a.b[0]")], s("1")),
        ("json_value", &[s(document), s("lax $.a.b[1].c")], s("x\né😀")),
        ("json_value", &[s(document), s("strict $.a.b[2]")], s("true")),
        ("json_value", &[s(document), s("$.a.b[3]")], NO_TEXT),
        ("json_value", &[s(document), s("$.a.b[4]")], s("1.10")),
        ("json_value", &[s(document), s("$['a b']")], s("q")),
        ("json_value", &[s(document), s("$.\"a b\"")], s("q")),
        ("json_value", &[s(document), s("$.d")], s("2")),
        ("json_value", &[s(document), s("$.a")], NO_TEXT),
        ("json_value", &[s(document), s("$.z.y")], NO_TEXT),
        ("json_value", &[s("{\"a\": 1"), s("$.a")], NO_TEXT),
        ("json_value", &[s("{\"a\": 1} x"), s("$.a")], NO_TEXT),
        ("json_value", &[s("{\"\\u0061\": 1}"), s("$.a")], s("1")),
        ("json_value", &[s(" 5 "), s("$")], s("5")),
        ("json_value", &[s("\"\\ud800\""), s("$")], s("\u{FFFD}")),
        ("json_value", &[NO_TEXT, s("$")], NO_TEXT),
        ("json_query", &[s("{ \"a\": { \"b\": \" 1 \" } }"), s("$.a")], s("{\"b\":\" 1 \"}")),
        ("json_query", &[s("[1, [ ] ]"), s("$[1]")], s("[]")),
        ("json_query", &[s("[1]"), s("$[0]")], NO_TEXT),
        ("json_exists", &[s("{\"a\": null}"), s("$.a")], b(true)),
        ("json_exists", &[s("{\"a\": null}"), s("$.b")], b(false)),
        ("json_exists", &[s("{"), s("$.b")], b(false)),
        ("is_json", &[s("{}")], b(true)),
        ("is_json", &[s("01")], b(false)),
        ("is_json", &[s("")], b(false)),
        ("is_json", &[s("[1,]")], b(false)),
    ]);
    for path in ["a", "$.", "$[*]", "$.*", "$[-1]", "$['a", "$x", "$[99999999999999999999]", "$..a"] {
        assert!(refusal("json_value", &[s("{}"), s(path)]).contains("JSON path"), "{path}");
    }
}

#[test]
fn digests_and_encodings() {
    table(&[
        ("md5", &[s("")], s("d41d8cd98f00b204e9800998ecf8427e")),
        ("sha1", &[s("abc")], s("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("sha224", &[s("abc")], s("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")),
        ("sha256", &[s("abc")], s("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        ("sha2", &[s("abc"), i(224)], s("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")),
        ("to_base64", &[s("hello world")], s("aGVsbG8gd29ybGQ=")),
        ("from_base64", &[s("aGVsbG8gd29ybGQ=")], s("hello world")),
        ("encode", &[s("aé€"), s("ISO-8859-1")], bytes(b"a\xe9?")),
        ("encode", &[s("a"), s("UTF-16")], bytes(b"\xfe\xff\0a")),
        ("decode", &[bytes(b"\xfe\xff\0a"), s("UTF-16")], s("a")),
        ("decode", &[bytes(b"a\xff"), s("utf-8")], s("a\u{FFFD}")),
        ("url_encode", &[s("http://a b/é*")], s("http%3A%2F%2Fa+b%2F%C3%A9*")),
        ("url_decode", &[s("http%3A%2F%2Fa+b%2F%c3%a9")], s("http://a b/é")),
        ("url_decode", &[s("%4")], NO_TEXT),
        ("url_decode", &[s("%zz")], NO_TEXT),
        ("parse_url", &[s("http://facebook.com/path1/p.php?k1=v1&k2=v2#Ref1"), s("HOST")], s("facebook.com")),
        ("parse_url", &[s("http://facebook.com/path1/p.php?k1=v1&k2=v2#Ref1"), s("QUERY"), s("k2")], s("v2")),
        ("parse_url", &[s("http://facebook.com/path1/p.php?k1=v1#Ref1"), s("FILE")], s("/path1/p.php?k1=v1")),
        ("parse_url", &[s("http://facebook.com/path1/p.php?k1=v1#Ref1"), s("REF")], s("Ref1")),
        ("parse_url", &[s("ftp://u:p@h:21/x"), s("USERINFO")], s("u:p")),
        ("parse_url", &[s("ftp://u:p@h:21/x"), s("HOST")], s("h")),
        ("parse_url", &[s("ftp://u:p@h:21/x"), s("AUTHORITY")], s("u:p@h:21")),
        ("parse_url", &[s("no url"), s("HOST")], NO_TEXT),
    ]);
    assert!(eval("sha512", &[s("abc")]).unwrap().to_string().starts_with("ddaf35a193617abacc417349ae204131"));
    assert!(eval("sha384", &[s("abc")]).unwrap().to_string().starts_with("cb00753f45a35e8bb5a03d699ac65007"));
    assert!(refusal("sha2", &[s("a"), i(1)]).contains("224, 256, 384 or 512"));
    assert!(refusal("encode", &[s("a"), s("EBCDIC")]).contains("UTF-8"));
    assert!(refusal("from_base64", &[s("!")]).contains("no base64"));
    assert!(refusal("parse_url", &[s("a"), s("host")]).contains("HOST"));
}

#[test]
fn maps() {
    let map = |text: &str| {
        arrow::util::display::array_value_to_string(&eval("str_to_map", &[s(text)]).unwrap().to_array().unwrap(), 0)
            .unwrap()
    };
    assert_eq!(map("k1=v1,k2=v2"), "{k1: v1, k2: v2}");
    assert_eq!(map("a=1,a=2,b"), "{a: 2, b: }");
}

#[test]
fn conditions() {
    table(&[
        ("if", &[b(true), i(1), i(2)], i(1)),
        ("if", &[b(false), i(1), i(2)], i(2)),
        ("greatest", &[i(1), i(3), i(2)], i(3)),
        ("greatest", &[i(1), NO_LONG, i(2)], NO_LONG),
        ("least", &[s("b"), s("a")], s("a")),
        ("least", &[d(1.5), i(1)], d(1.0)),
        ("typeof", &[i(1)], s("BIGINT")),
        ("typeof", &[dec(1, 10, 2)], s("DECIMAL(10, 2)")),
        ("typeof", &[ts("2020-01-01")], s("TIMESTAMP(3)")),
    ]);
    assert_eq!(eval("if", &[ScalarValue::Boolean(None), i(1), i(2)]).unwrap(), i(2));
    let mixed = refusal("greatest", &[b(true), date("2020-01-01")]);
    assert!(mixed.contains("no common type for BOOLEAN, DATE"), "{mixed}");
}

#[test]
fn wrong_arguments_are_refused_with_a_remedy() {
    let wrong = refusal("lower", &[i(1)]);
    assert!(
        wrong.contains("function `lower`: argument 1 must be STRING, got BIGINT; write CAST(x AS STRING)"),
        "{wrong}"
    );
    assert!(refusal("lower", &[s("a"), s("b")]).contains("takes 1 argument, got 2"));
    assert!(refusal("substr", &[s("a")]).contains("takes 2 to 3 arguments, got 1"));
    assert!(refusal("hour", &[s("2020-01-01")]).contains("TO_TIMESTAMP"));
    assert_eq!(eval("lower", &[ScalarValue::Null]).unwrap(), NO_TEXT);
}
