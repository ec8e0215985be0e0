//! Tests of options: units, unknown names, secrets.

use super::*;

const KNOWN: &[OptionSpec] = &[
    OptionSpec::new("path", ValueKind::Text, "the folder"),
    OptionSpec::with_default("size", ValueKind::Bytes, "128MB", "when a file is full"),
    OptionSpec::with_default("interval", ValueKind::Duration, "30 min", "how often"),
    OptionSpec::new("mode", ValueKind::OneOf(&["fail", "skip"]), "what to do"),
    OptionSpec::new("count", ValueKind::Integer, "how many"),
    OptionSpec::new("on", ValueKind::Bool, "whether"),
    OptionSpec::new("fields.#.kind", ValueKind::OneOf(&["random", "sequence"]), "how"),
    OptionSpec::new("properties.*", ValueKind::Text, "the client's"),
];

fn options(pairs: &[(&str, &str)]) -> Options {
    Options::new(pairs.iter().copied()).unwrap()
}

fn fault(pairs: &[(&str, &str)]) -> OptionError {
    options(pairs).check("connector `x`", KNOWN).unwrap_err()
}

#[test]
fn durations_and_sizes_have_units() {
    let ms = |text| parse_duration("k", text).map(|d| d.as_millis());
    for (text, expected) in [("10 s", 10_000), ("1 min", 60_000), ("500ms", 500), ("7", 7), ("2H", 7_200_000)] {
        assert_eq!(ms(text), Ok(expected), "{text}");
    }
    assert_eq!(parse_duration("k", "3 us").unwrap().as_nanos(), 3_000);
    for text in ["", "s", "-1 s", "1.5 s", "1 fortnight", "99999999999999999999 s", "9223372036854775807 d"] {
        assert_eq!(ms(text).unwrap_err().key.as_deref(), Some("k"), "{text}");
    }
    for (text, expected) in [("128MB", 128 << 20), ("1 kb", 1024), ("7", 7), ("2 g", 2 << 30), ("0b", 0)] {
        assert_eq!(parse_bytes("k", text), Ok(expected), "{text}");
    }
    for text in ["", "mb", "1 pb", "-1", "1e3", "18446744073709551615", "9999999999 tb"] {
        assert!(parse_bytes("k", text).is_err(), "{text}");
    }
}

#[test]
fn typed_values_and_defaults() {
    let o =
        options(&[("path", " /a "), ("mode", "SKIP"), ("count", "-3"), ("on", "TRUE"), ("fields.a.b.kind", "random")]);
    let t = o.check("connector `x`", KNOWN).unwrap();
    assert_eq!((t.text("path"), t.raw("path"), t.required("path")), (Some("/a"), Some(" /a "), Ok("/a")));
    assert_eq!((t.bytes("size"), t.is_given("size")), (Ok(Some(128 << 20)), false));
    assert_eq!(t.duration("interval"), Ok(Some(Duration::from_secs(1800))));
    assert_eq!(t.choice("mode", &[("fail", 1), ("skip", 2)]), Ok(Some(2)));
    assert_eq!((t.integer("count"), t.flag("on")), (Ok(Some(-3)), Ok(true)));
    assert_eq!(t.integer_within("count", 0, 9).unwrap_err().to_string(), "option `count`: -3 is not within 0 and 9");
    let empty = Options::default();
    let missing = empty.check("connector `x`", KNOWN).unwrap().required("path").unwrap_err();
    assert_eq!(missing.to_string(), "option `path` is missing; add 'path' = '..': the folder");
}

#[test]
fn unknown_options_suggest_the_nearest() {
    let e = fault(&[("path", "a"), ("intervall", "1 s")]);
    assert_eq!(e.key.as_deref(), Some("intervall"));
    assert!(e.remedy.as_deref().unwrap().starts_with("did you mean `interval`? connector `x` knows count, "), "{e}");
    assert!(fault(&[("zzz", "1")]).remedy.unwrap().starts_with("connector `x` knows"));
    assert_eq!(fault(&[("properties.", "1")]).key.as_deref(), Some("properties."));
    assert_eq!(fault(&[("fields..kind", "random")]).key.as_deref(), Some("fields..kind"));
}

#[test]
fn only_near_names_are_suggested() {
    let names = ["seed", "path", "rows-per-second", "number-of-rows", "fields.#.min"];
    for (name, near) in [
        ("sed", Some("seed")),
        ("SEED", Some("seed")),
        ("row-per-seconds", Some("rows-per-second")),
        ("rows_per_second", Some("rows-per-second")),
        ("rows", None),
        ("s", None),
        ("speed-of-rows", None),
        ("pa", None),
        ("", None),
    ] {
        assert_eq!(nearest(name, names), near, "{name}");
    }
    assert_eq!(nearest(&"p".repeat(100_000), names), None);
}

#[test]
fn wrong_values_name_their_option() {
    for (key, value, text) in [
        ("on", "yes", "option `on`: 'yes' is not 'true' or 'false'"),
        ("count", "9223372036854775808", "option `count`: '9223372036854775808' is not a whole number of 64 bits"),
        ("mode", "skp", "option `mode`: 'skp' is not one of 'fail', 'skip'; did you mean 'skip'?"),
        ("path", "  ", "option `path`: is empty"),
    ] {
        assert_eq!(fault(&[(key, value)]).to_string(), text);
    }
    let twice = Options::new([("a", "1"), ("a", "1")]).unwrap_err();
    assert_eq!(twice.to_string(), "option `a`: given twice; keep one of them");
}

#[test]
fn secrets_are_never_shown() {
    let o = options(&[("properties.sasl.password", "hunter2"), ("properties.ssl.key.pem", "hunter2"), ("a", "b")]);
    for text in [format!("{o:?}"), format!("{o}"), format!("{:?}", o.check("x", KNOWN))] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(o.to_string(), "'a' = 'b', 'properties.sasl.password' = '******', 'properties.ssl.key.pem' = '******'");
    assert!(!invalid("api.token", "hunter2", "good").to_string().contains("hunter2"));
    assert!(!is_secret("key.fields") && is_secret("properties.sasl.jaas.config"));
}

#[test]
fn prefixes_are_taken_off() {
    let o = options(&[("properties.a", "1"), ("properties.b.c", "2"), ("x", "3")]);
    let properties: Vec<(String, String)> = o.with_prefix("properties.").into_iter().collect();
    assert_eq!(properties, [("a".to_owned(), "1".to_owned()), ("b.c".to_owned(), "2".to_owned())]);
}

#[test]
fn errors_of_the_engine_keep_the_option_they_name() {
    for (text, key) in [("option `a.b`: is odd", Some("a.b")), ("option `a` = 'x': is odd", Some("a")), ("odd", None)] {
        let e = OptionError::from(Error::user(text));
        assert_eq!((e.key.as_deref(), e.to_string().as_str()), (key, text));
    }
}
