//! Tests of the table options: what is accepted, with which meaning, and what each mistake is answered with.

use super::*;

fn parse(extra: &[(&str, &str)]) -> Result<KafkaOptions> {
    let base = [
        ("connector", "kafka"),
        ("topic", "orders"),
        ("properties.bootstrap.servers", "localhost:9092"),
        ("scan.startup.mode", "earliest-offset"),
        ("format", "json"),
    ];
    let mut options: BTreeMap<String, String> = base.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    for (name, value) in extra {
        if value.is_empty() {
            options.remove(*name);
        } else {
            options.insert(name.to_string(), value.to_string());
        }
    }
    KafkaOptions::parse(&options).map(|(o, _)| o)
}

fn refusal(extra: &[(&str, &str)]) -> String {
    let error = parse(extra).unwrap_err();
    assert_eq!(error.kind(), thalweg_engine::error::ErrorKind::User, "{error}");
    error.to_string()
}

#[test]
fn defaults_are_those_of_flink() {
    let o = parse(&[("scan.startup.mode", ""), ("properties.group.id", "g")]).unwrap();
    assert_eq!(o.topics, ["orders"]);
    assert_eq!((o.startup, o.bounded), (Startup::GroupOffsets, Bounded::Unbounded));
    assert_eq!((o.value_format.as_str(), o.key_format, o.value_fields), ("json", None, ValueFields::All));
    assert_eq!((o.partitioner, o.delivery), (Partitioner::Default, None));
}

#[test]
fn start_and_end_are_typed() {
    let offsets = "partition:0,offset:42; partition:1 , offset:300;";
    let specific: PartitionOffsets = [(0, 42), (1, 300)].into();
    let o = parse(&[
        ("scan.startup.mode", "specific-offsets"),
        ("scan.startup.specific-offsets", offsets),
        ("scan.bounded.mode", "timestamp"),
        ("scan.bounded.timestamp-millis", "1767225600000"),
    ])
    .unwrap();
    assert_eq!((o.startup, o.bounded), (Startup::Specific(specific.clone()), Bounded::Timestamp(1_767_225_600_000)));
    let o = parse(&[("scan.bounded.mode", "Specific-Offsets"), ("scan.bounded.specific-offsets", offsets)]).unwrap();
    assert_eq!((o.startup, o.bounded), (Startup::Earliest, Bounded::Specific(specific)));
}

#[test]
fn keys_and_several_topics() {
    let o = parse(&[
        ("topic", "a; b ;c"),
        ("format", ""),
        ("value.format", "csv"),
        ("key.format", "json"),
        ("key.fields", "k_id;k_at"),
        ("key.fields-prefix", "k_"),
        ("value.fields-include", "EXCEPT_KEY"),
    ])
    .unwrap();
    assert_eq!(o.topics, ["a", "b", "c"]);
    assert_eq!((o.key_fields.len(), o.key_fields_prefix.as_str(), o.value_fields), (2, "k_", ValueFields::ExceptKey));
    assert!(o.sink_topic().unwrap_err().to_string().contains("names 3 topics"));
}

#[test]
fn options_of_others_are_handed_back() {
    let options = [
        ("topic", "t"),
        ("properties.bootstrap.servers", "b:1"),
        ("format", "json"),
        ("scan.startup.mode", "latest-offset"),
        ("json.ignore-parse-errors", "true"),
        ("bad-record.table", "dead"),
    ];
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let (_, rest) = KafkaOptions::parse(&options).unwrap();
    assert_eq!(rest.keys().collect::<Vec<_>>(), ["bad-record.table", "json.ignore-parse-errors"]);
}

#[test]
fn every_mistake_is_named_with_its_remedy() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("topic", "")], "option `topic` is missing: the name of the topic"),
        (&[("topic", "a/b")], "option `topic` = 'a/b': a topic's name has"),
        (&[("topic", "a;b;a")], "option `topic` = 'a': named twice"),
        (&[("topic-pattern", "a.*")], "`topic-pattern` is not supported: name the topics in `topic`"),
        (&[("properties.bootstrap.servers", "")], "`properties.bootstrap.servers` is missing"),
        (&[("format", "")], "option `format` is missing"),
        (&[("value.format", "json")], "give one of them"),
        (&[("scan.startup.mode", "group-offsets")], "`properties.group.id` is missing"),
        (&[("scan.startup.mode", "begin")], "expected one of 'group-offsets', 'earliest-offset'"),
        (&[("scan.startup.mode", "timestamp")], "`scan.startup.timestamp-millis` is missing"),
        (
            &[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "2026-01-01")],
            "expected milliseconds",
        ),
        (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "-5")], "expected milliseconds"),
        (
            &[("scan.startup.mode", "specific-offsets"), ("scan.startup.specific-offsets", "0:42")],
            "write 'partition:0,offset:42",
        ),
        (
            &[
                ("scan.bounded.mode", "specific-offsets"),
                ("scan.bounded.specific-offsets", "partition:0,offset:1;partition:0,offset:2"),
            ],
            "partition 0 is named twice",
        ),
        (&[("scan.bounded.mode", "group-offsets")], "`properties.group.id` is missing"),
        (&[("scan.startup.mod", "x")], "did you mean `scan.startup.mode`?"),
        (&[("scan_startup_mode", "x")], "did you mean `scan.startup.mode`?"),
        (&[("zzz", "x")], "this connector knows connector, format"),
        (&[("key.fields", "a")], "option `key.format` is missing"),
        (&[("key.format", "json")], "option `key.fields` is missing"),
        (
            &[("key.format", "json"), ("key.fields", "a"), ("key.fields-prefix", "k_")],
            "it needs `value.fields-include` = 'EXCEPT_KEY'",
        ),
        (
            &[
                ("key.format", "json"),
                ("key.fields", "a"),
                ("key.fields-prefix", "k_"),
                ("value.fields-include", "EXCEPT_KEY"),
            ],
            "column `a` of `key.fields` does not begin so",
        ),
        (&[("sink.delivery-guarantee", "twice")], "expected one of 'exactly-once', 'at-least-once', 'none'"),
        (&[("sink.partitioner", "hash")], "expected one of 'default', 'fixed', 'round-robin'"),
        (&[("properties.fetch.min.byte", "1")], "did you mean `properties.fetch.min.bytes`?"),
    ];
    for (extra, expected) in cases {
        let text = refusal(extra);
        assert!(text.contains(expected), "{extra:?}: {text}");
    }
}

#[test]
fn debug_of_a_table_shows_no_secret() {
    let o = parse(&[("properties.sasl.password", "hunter2")]).unwrap();
    let shown = format!("{o:?}");
    assert!(!shown.contains("hunter2") && shown.contains("sasl.password"), "{shown}");
}

#[test]
fn a_table_that_is_only_written_to_needs_no_place_to_start() {
    let o = parse(&[("scan.startup.mode", "")]).unwrap();
    let e = o.check_source().unwrap_err().to_string();
    assert!(e.contains("`properties.group.id` is missing"), "{e}");
    assert_eq!(parse(&[]).unwrap().check_source(), Ok(()));
}
