//! Tests of the connector: which options it takes, what it says to the others, and which tables are another table.

use super::*;
use crate::options::Options;
use crate::registry::TableColumn;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

/// A table with a column of every kind; `id` is NOT NULL.
pub(super) fn table(options: &[(&str, &str)]) -> TableSpec {
    let pair = Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("s", DataType::Utf8, true)]);
    let columns = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("n", DataType::Int32, true),
        Field::new("tiny", DataType::Int8, true),
        Field::new("f", DataType::Float32, true),
        Field::new("d", DataType::Float64, true),
        Field::new("m", DataType::Decimal128(10, 2), true),
        Field::new("big", DataType::Decimal128(38, 0), true),
        Field::new("s", DataType::Utf8, true),
        Field::new("y", DataType::Binary, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("ltz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("day", DataType::Date32, true),
        Field::new("hour", DataType::Time32(TimeUnit::Millisecond), true),
        Field::new("pair", DataType::Struct(pair.clone()), true),
        Field::new("list", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        Field::new("pairs", DataType::List(Arc::new(Field::new("item", DataType::Struct(pair), true))), true),
    ];
    table_of(columns, options)
}

pub(super) fn table_of(columns: Vec<Field>, options: &[(&str, &str)]) -> TableSpec {
    let column = |field| TableColumn { field: Arc::new(field), metadata: None };
    TableSpec {
        s3: thalweg_engine::s3::S3Options::default(),
        name: "t".into(),
        columns: columns.into_iter().map(column).collect(),
        primary_key: vec![],
        partition_keys: vec![],
        options: Options::new(options.iter().copied()).unwrap(),
    }
}

/// Checks a table, and plans to read these columns of it.
pub(super) fn plan(spec: &TableSpec, names: &[&str]) -> OptionResult<Arc<dyn SourceFactory>> {
    let options = spec.options.check("x", OPTIONS)?;
    DatagenConnector.check(spec, &options)?;
    let all = spec.physical();
    let columns = names.iter().map(|name| all.field_with_name(name).unwrap().clone());
    DatagenConnector.source(spec, &options, Arc::new(Schema::new(columns.collect::<Vec<_>>())))
}

fn refusal(options: &[(&str, &str)]) -> OptionError {
    let error = plan(&table(options), &["n"]).err();
    error.unwrap_or_else(|| panic!("{options:?} was taken"))
}

const DAYS_300_YEARS: &str = "109573 d";

#[test]
fn values_beyond_their_limits_are_refused_at_their_option() {
    for (key, value) in [
        ("rows-per-second", "-1"),
        ("rows-per-second", "1000000001"),
        ("number-of-rows", "-1"),
        ("base-time", "now"),
        ("base-time", "1969-12-31 23:59:59"),
        ("base-time", "10000-01-01 00:00:00"),
        ("fields.n.min", "3000000000"),
        ("fields.n.min", "1.5"),
        ("fields.tiny.max", "128"),
        ("fields.f.max", "3.5e38"),
        ("fields.f.min", "-1e39"),
        ("fields.d.max", "1e309"),
        ("fields.m.max", "100000000"),
        ("fields.n.null-rate", "1.5"),
        ("fields.n.null-rate", "-0.1"),
        ("fields.id.null-rate", "0.5"),
        ("fields.s.length", "-1"),
        ("fields.s.length", "1048577"),
        ("fields.y.length", "99999999999"),
        ("fields.list.length", "65537"),
        ("fields.b.kind", "walk"),
        ("fields.at.max-past", DAYS_300_YEARS),
    ] {
        let error = refusal(&[(key, value)]);
        assert_eq!(error.key.as_deref(), Some(key), "{error}");
    }
}

#[test]
fn options_that_do_not_apply_are_refused() {
    for (key, value) in [
        ("fields.n.length", "3"),
        ("fields.n.start", "3"),
        ("fields.n.max-past", "1 s"),
        ("fields.s.min", "1"),
        ("fields.b.max", "1"),
        ("fields.at.length", "1"),
        ("fields.pair.length", "1"),
        ("fields.pair.x.length", "1"),
        ("fields.list.min", "1"),
        ("fields.list.element.end", "1"),
        ("fields.y.end", "1"),
    ] {
        let error = refusal(&[(key, value)]);
        assert_eq!(error.key.as_deref(), Some(key), "{error}");
        assert!(error.message.starts_with("does not apply to `"), "{error}");
    }
    let sequence = [("fields.id.kind", "sequence"), ("fields.id.start", "1"), ("fields.id.end", "2")];
    let error = refusal(&[sequence[0], sequence[1], sequence[2], ("fields.id.min", "1")]);
    assert_eq!(
        error.to_string(),
        "option `fields.id.min`: does not apply to `id`, a sequence Int64; it takes end, kind, null-rate, start"
    );
    assert_eq!(refusal(&[("fields.dayy.max-past", "1 s")]).remedy.as_deref(), Some("did you mean `day`?"));
    assert_eq!(refusal(&[("fields.pair.y.min", "1")]).message, "table `t` has no column `pair.y`");
    assert!(refusal(&[("fields.zzz.min", "1")]).remedy.unwrap().contains("not computed"));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (low, high) in [("fields.n", ("2", "1")), ("fields.f", ("2", "1.5")), ("fields.m", ("0.02", "0.01"))] {
        let error = refusal(&[(&format!("{low}.min"), high.0), (&format!("{low}.max"), high.1)]);
        assert_eq!(error.message, format!("is larger than `{low}.max`"));
    }
    let sequence = |name: &str, start: &str, end: &str| {
        let keys = ["kind", "start", "end"].map(|option| format!("fields.{name}.{option}"));
        refusal(&[(&keys[0], "sequence"), (&keys[1], start), (&keys[2], end)])
    };
    assert_eq!(sequence("id", "3", "2").to_string(), "option `fields.id.end`: 2 is less than the start 3");
    assert_eq!(sequence("tiny", "0", "128").key.as_deref(), Some("fields.tiny.end"));
    assert_eq!(sequence("m", "0", "100000000").key.as_deref(), Some("fields.m.end"));
    for name in ["b", "at", "y", "pair", "list"] {
        assert!(sequence(name, "0", "1").message.starts_with("there is no sequence of"));
    }
    assert_eq!(sequence("list.element", "0", "1").message, "there is no sequence of Utf8 within an ARRAY");
    let error = refusal(&[("fields.id.kind", "sequence"), ("fields.id.start", "1")]);
    assert_eq!(error.to_string(), "option `fields.id.kind`: a sequence needs `fields.id.end`");
    assert_eq!(
        refusal(&[("base-time", "2026-01-01 00:00:00"), ("rows-per-second", "0")]).key.as_deref(),
        Some("base-time")
    );
}

#[test]
fn columns_that_cannot_be_made_are_refused() {
    let nested = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let nested = Field::new("a", DataType::List(Arc::new(Field::new("item", nested, true))), true);
    let long = [("fields.a.length", "65536"), ("fields.a.element.length", "65536")];
    let error = plan(&table_of(vec![nested], &long), &[]).err().unwrap();
    assert!(error.message.starts_with("one row of column `a` would take"), "{error}");

    let entry =
        Fields::from(vec![Field::new("key", DataType::Int32, false), Field::new("value", DataType::Int32, true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false);
    let error = plan(&table_of(vec![Field::new("a", map, true)], &[]), &[]).err().unwrap();
    assert!(error.message.starts_with("datagen makes no values of type Map"), "{error}");

    let base = |column: Field, time| plan(&table_of(vec![column], &[("base-time", time)]), &[]).err();
    let nanos = Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true);
    assert!(base(nanos.clone(), "2262-01-01 00:00:00").is_none());
    assert_eq!(base(nanos, "2263-01-01 00:00:00").unwrap().key.as_deref(), Some("base-time"));
    let number = Field::new("n", DataType::Int32, true);
    assert_eq!(base(number, "2026-01-01 00:00:00").unwrap().key.as_deref(), Some("base-time"));
}

#[test]
fn a_restore_into_another_table_names_what_changed() {
    let options = [
        ("seed", "7"),
        ("number-of-rows", "100"),
        ("base-time", "2026-01-01 00:00:00"),
        ("rows-per-second", "5"),
        ("fields.n.min", "-2"),
        ("fields.f.max", "0.1"),
        ("fields.m.max", "0.1"),
        ("fields.s.length", "3"),
        ("fields.n.null-rate", "0.3"),
        ("fields.at.max-past", "1 s"),
        ("fields.pair.x.max", "4"),
        ("fields.list.length", "4"),
    ];
    let columns = ["n", "f", "d", "m", "big", "s", "at", "pair", "list"];
    let enumerator = |options: &[(&str, &str)]| plan(&table(options), &columns).unwrap().enumerator().unwrap();
    // As a checkpoint holds it.
    let state = enumerator(&options).snapshot().to_string();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    enumerator(&options).restore(&state).unwrap();
    for at in 0..options.len() {
        let mut other = options;
        let (key, value) = other[at];
        other[at].1 = match key {
            "base-time" => "2026-01-01 00:00:01",
            "fields.at.max-past" => "2 s",
            _ if value.starts_with("0.") => "0.2",
            _ => "1",
        };
        let error = enumerator(&other).restore(&state).unwrap_err();
        assert!(error.message().contains(&format!("setting `{key}` was ")), "{key}: {error}");
    }
    let sequence = [("fields.n.kind", "sequence"), ("fields.n.start", "0"), ("fields.n.end", "99")];
    let error = enumerator(&sequence).restore(&enumerator(&[("number-of-rows", "100")]).snapshot()).unwrap_err();
    assert!(error.message().contains("setting `fields.n."), "{error}");
    // Without `base-time` no row depends on how many there are in a second.
    let (slow, fast) = (enumerator(&[("rows-per-second", "5")]), enumerator(&[("rows-per-second", "0")]));
    { fast }.restore(&slow.snapshot()).unwrap();
}
