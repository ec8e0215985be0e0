//! Settings: the file against the table, precedence, and refusals.

use super::resolve::variable;
use super::*;
use std::collections::HashSet;
use std::ffi::OsString;

fn defaults() -> Resolver {
    Resolver::new().unwrap()
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect()
}

fn refused(name: &str, value: &str) -> String {
    defaults().put(name, value, Origin::Argument(format!("--set {name}={value}"))).unwrap_err().to_string()
}

/// The names that stand in the embedded file.
fn names_in_file() -> Vec<String> {
    let mut section = String::new();
    let mut names = vec![];
    for line in DEFAULTS.lines().filter(|l| !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, _)) = line.split_once(" = ") {
            names.push(format!("{section}{name}"));
        }
    }
    names
}

#[test]
fn the_file_holds_every_setting_in_order_and_no_other() {
    let specs: Vec<&str> = SPECS.iter().map(|s| s.name).collect();
    assert_eq!(names_in_file(), specs);
}

#[test]
fn every_setting_of_the_file_is_explained() {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, l)| !l.starts_with('#') && l.contains(" = ")) {
        assert!(lines[at - 1].starts_with("# "), "`{line}` has no comment above it");
    }
}

#[test]
fn defaults_are_what_the_file_says() {
    let s = Settings::defaults().unwrap();
    assert!((1..=256).contains(&s.parallelism));
    assert_eq!((s.batch_rows, s.exchange_gate_bytes), (8192, 8 << 20));
    assert_eq!((s.epoch_interval, s.epoch_max_in_flight), (Duration::from_millis(100), 2));
    assert_eq!((s.source_idle_timeout, s.sql_decimal_literals), (Some(Duration::from_secs(5)), true));
}

#[test]
fn no_two_settings_share_a_variable_and_none_looks_like_one_of_the_others() {
    let variables: HashSet<String> = SPECS.iter().map(|s| variable(s.name)).collect();
    assert_eq!(variables.len(), SPECS.len());
    assert!(variables.contains("THALWEG_EPOCH_MAX_IN_FLIGHT"));
    for v in &variables {
        assert!(!["THALWEG_TEST_", "THALWEG_CI_", "THALWEG_JOB_MANAGER"].iter().any(|p| v.starts_with(p)), "{v}");
    }
}

#[test]
fn stronger_places_win_in_whatever_order_they_are_read() {
    let steps: [fn(&mut Resolver); 4] = [
        |r| r.file("a.toml", "[batch]\nrows = 1\n").unwrap(),
        |r| r.environment(environment(&[("THALWEG_BATCH_ROWS", "2")])).unwrap(),
        |r| r.put("batch.rows", "3", Origin::Sql).unwrap(),
        |r| r.argument("batch.rows=4").unwrap(),
    ];
    for strongest in 0..steps.len() {
        let (mut forth, mut back) = (defaults(), defaults());
        steps[..=strongest].iter().for_each(|step| step(&mut forth));
        steps[..=strongest].iter().rev().for_each(|step| step(&mut back));
        assert_eq!(forth.settings().batch_rows, strongest + 1);
        assert_eq!(back.settings().batch_rows, strongest + 1);
    }
}

#[test]
fn what_was_given_can_be_asked_for() {
    let mut r = defaults();
    assert_eq!(r.get("batch.bytes"), Some(("1 MiB", false)));
    r.put("batch.bytes", "2 MiB", Origin::Sql).unwrap();
    assert_eq!(r.get("batch.bytes"), Some(("2 MiB", false)));
    r.argument("batch.bytes= 3 MiB").unwrap();
    r.put("batch.bytes", "4 MiB", Origin::Sql).unwrap();
    assert_eq!(r.get("batch.bytes"), Some(("3 MiB", true)));
    assert_eq!(r.get("batch.byte"), None);
}

#[test]
fn the_same_place_may_say_it_again() {
    let mut r = defaults();
    r.argument("batch.rows=4").unwrap();
    r.argument("batch.rows=5").unwrap();
    assert_eq!(r.settings().batch_rows, 5);
}

#[test]
fn a_hidden_mistake_is_a_mistake() {
    let mut r = defaults();
    r.argument("batch.rows=4").unwrap();
    let e = r.environment(environment(&[("THALWEG_BATCH_ROWS", "many")])).unwrap_err();
    assert!(e.to_string().starts_with("environment variable THALWEG_BATCH_ROWS: `many` is no value"), "{e}");
    assert_eq!(r.settings().batch_rows, 4);
}

#[test]
fn values_are_read_with_their_units() {
    let mut r = defaults();
    for (name, value) in [
        ("parallelism", "256"),
        ("exchange.gate-bytes", "64KiB"),
        ("epoch.interval", " 2  s "),
        ("source.idle-timeout", "1 min"),
        ("progress.interval", "off"),
        ("sql.decimal-literals", "false"),
        ("epoch.max-bytes", "64 GiB"),
    ] {
        r.argument(&format!("{name}={value}")).unwrap();
    }
    let s = r.settings();
    assert_eq!((s.parallelism, s.exchange_gate_bytes, s.epoch_max_bytes), (256, 65_536, 64 << 30));
    assert_eq!((s.epoch_interval, s.source_idle_timeout), (Duration::from_secs(2), Some(Duration::from_secs(60))));
    assert_eq!((s.progress_interval, s.sql_decimal_literals), (None, false));
}

#[test]
fn a_file_may_nest_or_use_dots_and_plain_types() {
    let mut r = defaults();
    r.file("a.toml", "batch.rows = 0x10\nsql.decimal-literals = false\n[epoch]\nmax-in-flight = 3\n").unwrap();
    let s = r.settings();
    assert_eq!((s.batch_rows, s.sql_decimal_literals, s.epoch_max_in_flight), (16, false, 3));
}

#[test]
fn variables_that_are_no_settings_are_passed_over() {
    let others = [("PATH", "x"), ("THALWEG_TEST_KAFKA", "x"), ("THALWEG_CI_TARGET", "x"), ("THALWEG_JOB_MANAGER", "x")];
    let mut r = defaults();
    r.environment(environment(&others)).unwrap();
    assert_eq!(r.settings(), Settings::defaults().unwrap());
}

#[test]
fn a_wrong_value_names_what_would_be_right() {
    let cases = [
        ("parallelism", "0", "a whole number from 1 to 256, or `auto`"),
        ("parallelism", "257", "a whole number from 1 to 256"),
        ("parallelism", "+2", "a whole number"),
        ("parallelism", "99999999999999999999999", "a whole number"),
        ("batch.rows", "-1", "from 1 to 65536"),
        ("batch.rows", "", "from 1 to 65536"),
        ("epoch.interval", "5", "add a unit: `5 ms`"),
        ("epoch.interval", "5 fortnights", "a time from 1 ms to 1 h"),
        ("epoch.interval", "99999999999999999999 ms", "a time from 1 ms to 1 h"),
        ("epoch.interval", "18446744073709551615 d", "a time from 1 ms to 1 h"),
        ("epoch.interval", "off", "a time from 1 ms to 1 h, such as `100 ms`"),
        ("watermark.interval", "2 min", "from 0 ms to 1 min"),
        ("exchange.gate-bytes", "64", "add a unit: `64 B`"),
        ("exchange.gate-bytes", "1 MB", "a size from 64 KiB to 4 GiB"),
        ("sql.decimal-literals", "yes", "`true` or `false`"),
    ];
    for (name, value, expected) in cases {
        let text = refused(name, value);
        assert!(text.contains(expected) && text.contains(name), "{name}={value}: {text}");
    }
}

#[test]
fn a_huge_value_is_not_repeated_in_full() {
    assert!(refused("batch.rows", &"9".repeat(1 << 20)).len() < 2_000_000);
    let e = defaults().put("batch.rows", &"x".repeat(1 << 20), Origin::Sql).unwrap_err().to_string();
    assert!(e.len() < 400, "{} bytes", e.len());
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    assert!(refused("batch.row", "1").contains("did you mean `batch.rows`?"));
    assert!(refused("zzz", "1").contains("`thalweg config` lists all settings"));
    assert!(refused("execution.checkpointing.interval", "10 s").contains("it is called `checkpoint.interval` here"));
    let e = defaults().environment(environment(&[("THALWEG_EPOCH_INTERVALL", "1 s")])).unwrap_err();
    assert!(e.to_string().contains("did you mean `THALWEG_EPOCH_INTERVAL`?"), "{e}");
    let e = defaults().argument("batch.rows").unwrap_err().to_string();
    assert!(e.contains("no `=`"), "{e}");
}

#[test]
fn mistakes_in_a_file_name_the_line() {
    let refused = |text: &str| defaults().file("a.toml", text).unwrap_err().to_string();
    assert!(refused("\n[batch]\nrow = 1\n").starts_with("a.toml, line 3: there is no setting `batch.row`"));
    assert!(refused("[batch]\n\nrows = 0\n").starts_with("a.toml, line 3: `0` is no value of `batch.rows`"));
    assert!(refused("[batch]\nrows = 1.5\n").contains("line 2: setting `batch.rows` is a list, a date or a number"));
    assert!(refused("x = 1\nbatch = = 2\n").starts_with("a.toml, line 2: "));
    assert!(refused("batch = 1\n").contains("there is no setting `batch`"));
    assert!(refused(&"[a".repeat(10_000)).starts_with("a.toml, line 1: "));
    assert!(refused(&format!("x = {}", "[".repeat(100_000))).starts_with("a.toml, line 1: "));
}

#[test]
fn underscores_in_names_stand_for_hyphens() {
    let mut resolver = defaults();
    resolver.argument("state.spill_dir=/somewhere").unwrap();
    resolver.put("epoch.max_in_flight", "3", Origin::Sql).unwrap();
    resolver.file("a.toml", "[checkpoint]\ntolerated_failures = 9\n").unwrap();
    let s = resolver.settings();
    assert_eq!(s.state_spill_dir, std::path::Path::new("/somewhere"));
    assert_eq!((s.epoch_max_in_flight, s.checkpoint_tolerated_failures), (3, 9));
}
